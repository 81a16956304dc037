"""What can be said of a graph: summary, signature, candidates for outputs, golden values."""
