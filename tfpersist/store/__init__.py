"""A directory of checkpoints: save, restore, retention, background saves."""
