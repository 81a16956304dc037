"""Which tensor goes into which variable: entries, fits, plans and reports."""
