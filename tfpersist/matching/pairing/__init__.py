"""Pair the tensors of a checkpoint with those of a target, by evidence."""
