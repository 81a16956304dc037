"""Freeze a model of any kind into one graph."""
