"""Objects that save themselves by saveable objects, as all did before `_serialize_to_tensors`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfpersist.errors import UnsupportedError
from tfpersist.formats.tensors import TensorSpec
from tfpersist.tf.internals.live import SaveableState


def states_of(thing: Any, path: str) -> tuple[SaveableState, ...]:
    """Return the tensors that an object saves by saveable objects.

    Args:
        thing: a trackable with `_gather_saveables_for_checkpoint`.
        path: its path from the root.

    Raises:
        UnsupportedError: it saves a part of a tensor, or a name that its key does not begin.
    """
    from tensorflow.python.trackable import trackable_utils

    states = []
    for attribute, saveables in _saveables(thing).items():
        key = trackable_utils.checkpoint_key(path, attribute)
        for spec in (spec for saveable in saveables for spec in saveable.specs):
            if spec.slice_spec or not spec.name.startswith(attribute):
                raise UnsupportedError(
                    f"a {type(thing).__name__} saves {spec.name!r}, which has no key of its own",
                    where=path,
                    expected=f"whole tensors under names that begin with {attribute!r}",
                    advice="Save a tf.train.Checkpoint without it.",
                )
            tensor = spec.tensor
            shape = None if tensor.shape.rank is None else (None,) * tensor.shape.rank
            declared = TensorSpec(tensor.dtype.base_dtype.name, shape)
            suffix = spec.name.removeprefix(attribute)
            states.append(SaveableState(spec.name, attribute, key + suffix, key, declared))
    return tuple(states)


def export(thing: Any) -> dict[str, Any]:
    """Return the tensors that an object saves, by their names."""
    saveables = [one for group in _saveables(thing).values() for one in group]
    return {spec.name: spec.tensor for saveable in saveables for spec in saveable.specs}


def restore(thing: Any, tensors: Mapping[str, Any]) -> None:
    """Restore an object from the tensors that `export` returned."""
    for group in _saveables(thing).values():
        for saveable in group:
            saveable.restore([tensors[spec.name] for spec in saveable.specs], restored_shapes=None)


def _saveables(thing: Any) -> dict[str, list[Any]]:
    """Return the saveable objects of an object by the name of their attribute, which they bear."""
    from tensorflow.python.training.saving import saveable_object, saveable_object_util

    found = {}
    for attribute, factory in thing._gather_saveables_for_checkpoint().items():
        made = factory(name=attribute) if callable(factory) else factory
        if isinstance(made, saveable_object.SaveableObject):
            found[attribute] = [made]
        else:
            found[attribute] = list(saveable_object_util.saveable_objects_for_op(made, attribute))
    return found
