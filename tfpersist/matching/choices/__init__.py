"""What a user chooses: variables, keys, averages, casts, rows."""
