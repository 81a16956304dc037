"""Adapt what can be saved and restored: sessions, objects, Keras models, arrays."""
