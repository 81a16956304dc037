"""Rewrite a graph so that it computes less, and its outputs stay the same."""
