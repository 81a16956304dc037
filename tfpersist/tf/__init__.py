"""The only room that imports TensorFlow and Keras, and it does so inside functions."""
