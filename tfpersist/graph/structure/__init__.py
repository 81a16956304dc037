"""The structure of a graph: names, ops, functions, calls, and the order of its nodes."""
