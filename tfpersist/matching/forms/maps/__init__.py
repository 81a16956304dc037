"""Maps from the variables of known models to those of their twins in other libraries, as data."""
