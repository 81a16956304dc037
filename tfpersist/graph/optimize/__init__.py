"""Make a graph compute less; its outputs keep their names and values."""
