"""All private APIs of TensorFlow and Keras; tested on the oldest and newest releases."""
