"""One checkpoint: its files, its contents, writing and verifying it; without TensorFlow."""
