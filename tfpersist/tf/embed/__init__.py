"""Make a frozen model a part of a graph, a tf.Module or a Keras layer."""
