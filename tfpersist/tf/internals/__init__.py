"""All uses of private APIs of TensorFlow and Keras; tests run them on every supported version."""
