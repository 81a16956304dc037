"""The private list in which TensorFlow keeps the children of an object, for objects with no other.

To ask TensorFlow for the children of a Keras layer sets two attributes of it, and to ask for its
state looks through all of its classes. To compare the list takes a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Classes whose objects have exactly the children in the list, and no state, for a checkpoint.
_BASES = frozenset(
    {
        "tensorflow.python.trackable.base.Trackable",
        "tensorflow.python.trackable.autotrackable.AutoTrackable",
        "keras.src.backend.tensorflow.layer.TFLayer",
    }
)
# What a class may define, or an object be given, so that it has other children, or a state.
_OF_CHILDREN = frozenset({"_maybe_initialize_trackable", "_trackable_children"})
_OF_STATE = frozenset(
    {
        "_gather_saveables_for_checkpoint",
        "_serialize_to_tensors",
        "_should_act_as_resource_variable",
    }
)
_LIST = "_self_unconditional_checkpoint_dependencies"


def has_list(thing: object) -> bool:
    """Return whether an object is of a class whose objects have only the children of the list.

    Args:
        thing: any object; what it is itself given later is seen by `has_children`.
    """
    return _LIST in getattr(thing, "__dict__", ()) and not _defines(thing, _OF_CHILDREN)


def is_wrapper(thing: object) -> bool:
    """Return whether an object is a list or dict that TensorFlow has wrapped."""
    return type(thing).__module__ == "tensorflow.python.trackable.data_structures"


def children_in(wrapper: Any) -> Sequence[tuple[str, Any]]:
    """Return the children of a wrapped list or dict; none where TensorFlow refuses to say them."""
    try:
        return list(wrapper._trackable_children().items())
    except ValueError:
        return ()


def is_stateless(thing: object) -> bool:
    """Return whether an object is of a class whose objects have no state of their own."""
    return not _defines(thing, _OF_STATE)


def has_children(thing: Any, names: Sequence[str], children: Sequence[object]) -> bool:
    """Return whether an object that has the list has these children now.

    Args:
        thing: the object.
        names: the names of the children.
        children: the children.
    """
    own = vars(thing)
    kept = own.get(_LIST, ())
    if len(kept) != len(names) or _OF_CHILDREN & own.keys():
        return False
    return all(
        known == name and held is child
        for (known, held), name, child in zip(kept, names, children, strict=True)
    )


def is_still_stateless(thing: object) -> bool:
    """Return whether an object of a class without state has not been given one itself."""
    return _OF_STATE.isdisjoint(getattr(thing, "__dict__", ()))


def _defines(thing: object, names: frozenset[str]) -> bool:
    return any(
        not names.isdisjoint(vars(kind))
        for kind in type(thing).__mro__
        if f"{kind.__module__}.{kind.__qualname__}" not in _BASES
    )


def count_of_savers() -> int:
    """Return how many savers of objects a program has registered; one may take any object."""
    from tensorflow.python.saved_model.registration import registration

    return len(registration._saver_registry._registered_names)
