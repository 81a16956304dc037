"""A frozen model: load, describe, run, bind, embed, unfreeze and verify it."""
