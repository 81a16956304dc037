"""Descriptions of a graph: inputs and outputs, summary, signature, golden pair, parity."""
