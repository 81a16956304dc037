"""Which releases and runtimes can load a graph, and rewrites for older ones."""
