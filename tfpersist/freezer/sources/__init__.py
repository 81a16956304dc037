"""The sources of a freezer, one module a kind: each is lowered to a graph and its variables."""
