"""Save and resume in a training loop: Keras callbacks and session hooks."""
