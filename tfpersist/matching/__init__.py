"""Which tensor of a checkpoint belongs to which variable: pure, no TensorFlow."""
