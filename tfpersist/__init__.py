"""Save, restore, freeze and load TensorFlow models of any TensorFlow era."""
