"""A frozen model: load, describe, run, embed, unfreeze, verify."""
