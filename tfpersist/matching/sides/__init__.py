"""The evidence in a checkpoint and in a target: names, objects, places, eras."""
