"""How a value is made from tensors of another form."""
