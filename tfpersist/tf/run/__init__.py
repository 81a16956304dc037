"""Run a graph: sessions, concrete functions, bound calls."""
