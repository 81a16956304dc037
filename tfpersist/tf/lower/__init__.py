"""Lower living models to a graph with its variables: sessions, functions, Keras models."""
