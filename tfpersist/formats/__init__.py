"""Bytes to values and back: no TensorFlow, no paths, no I/O."""
