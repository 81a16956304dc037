"""Match the tensors of a checkpoint with the variables of a target. Pure, without TensorFlow."""
