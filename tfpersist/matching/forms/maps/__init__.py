"""Which variable of a known model is which one of its twin in another library, as data."""
