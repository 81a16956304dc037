"""The choices of a user: variables, keys, averages, casts, rows."""
