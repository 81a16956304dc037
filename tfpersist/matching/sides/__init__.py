"""What a checkpoint and a target say of their tensors: names, objects, places, eras."""
