"""The only room that imports TensorFlow and Keras, and only inside functions."""
