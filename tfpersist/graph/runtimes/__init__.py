"""Check which releases and runtimes can load a graph, and rewrite graphs for older releases."""
