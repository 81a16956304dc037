"""Import a `.meta` file and run it with the values of its checkpoint."""
