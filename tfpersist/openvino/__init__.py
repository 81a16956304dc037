"""Run a frozen model in OpenVINO, without TensorFlow."""
