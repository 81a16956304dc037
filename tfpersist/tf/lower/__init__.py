"""Lower living models: sessions, functions and Keras models become graphs with values."""
