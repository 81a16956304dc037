"""What a graph is: names, ops, functions, edges, and the order of its nodes."""
