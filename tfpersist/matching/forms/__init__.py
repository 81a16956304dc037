"""Find tensors that hold the same values in another form, and known models."""
