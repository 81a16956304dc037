"""The pairs of tensors and variables: entries, fits, plans and reports."""
