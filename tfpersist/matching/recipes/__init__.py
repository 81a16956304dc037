"""Recipes: the steps that make a value from tensors of another form."""
