"""The private APIs of trackables: what one object is, what it saves and what it is called."""

from __future__ import annotations

import collections
import enum
from collections.abc import Mapping
from typing import Any

from tfpersist.errors import TargetError, UnsupportedError
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.sides.object_graph import ATTRIBUTES
from tfpersist.tf.internals import gathered, replicas
from tfpersist.tf.internals.live import SaveableState


def is_trackable(thing: object) -> bool:
    """Return whether TensorFlow takes an object into an object graph."""
    from tensorflow.python.trackable import base

    return isinstance(thing, base.Trackable)


def is_trackable_class(kind: type[Any]) -> bool:
    """Return whether TensorFlow takes the objects of a class into an object graph."""
    from tensorflow.python.trackable import base

    return issubclass(kind, base.Trackable)


def children_of(view: Any, thing: Any, path: str) -> list[tuple[str, Any]]:
    """Return the children of an object with their names, as TensorFlow lists them for a save.

    TensorFlow refuses a dict with keys that are no texts, and lists and dicts that were changed
    after they were assigned, since it could not restore them while they are being made. Here they
    have the children that they hold now.

    Args:
        view: TensorFlow's view of the graph.
        thing: the object.
        path: its path, for the error.

    Raises:
        TargetError: two keys have one name, or a key has no name that stays the same.
    """
    if not isinstance(thing, (dict, list)):
        listed: list[tuple[str, Any]] = view.list_children(thing)
        return listed
    try:
        return list(view.list_children(thing))
    except ValueError:
        pairs = list(thing.items() if isinstance(thing, dict) else enumerate(thing))
    children: dict[str, Any] = {}
    for key, value in pairs:
        child = value if is_trackable(value) else container(value)
        if child is None:
            continue
        name = _key_name(key)
        if name is None or name in children:
            raise TargetError(
                f"a dict has the key {key!r}, under which nothing can be saved",
                where=path,
                expected="keys that are texts or numbers, and no two of the same text",
                found=f"a {type(key).__name__}" if name is None else f"another key {name!r}",
                advice="Give the dict other keys.",
            )
        children[name] = child
    return list(children.items())


def _key_name(key: Any) -> str | None:
    """Return the name of a child under a key of a dict; None if the next process has another."""
    if isinstance(key, str):
        return key
    if isinstance(key, enum.Enum):
        return str(key)
    if key is None or isinstance(key, (bool, int, float, bytes)):
        return str(key)
    if isinstance(key, tuple):
        names = [_key_name(part) for part in key]
        return None if None in names else f"({', '.join(map(str, names))})"
    return None


def make_save_counter(thing: Any) -> bool:
    """Make the counter by which a `tf.train.CheckpointManager` names what it saves.

    Args:
        thing: any object.

    Returns:
        Whether it is a `tf.train.Checkpoint` that had no counter.
    """
    import tensorflow as tf

    if not isinstance(thing, tf.train.Checkpoint) or thing._save_counter is not None:
        return False
    if not tf.executing_eagerly():
        return False
    thing._maybe_create_save_counter()
    return True


def is_sorted(root: object) -> bool:
    """Return whether an object is a `tf.train.Checkpoint`, which sorts what it holds, or a dict."""
    import tensorflow as tf

    return isinstance(root, (dict, tf.train.Checkpoint))


def is_variable(thing: object) -> bool:
    """Return whether an object is a variable: TensorFlow's, or one that acts like it, as Keras 3's.

    Args:
        thing: any object.
    """
    import tensorflow as tf
    from tensorflow.python.ops import resource_variable_ops

    if isinstance(thing, tf.Variable):
        return True
    return bool(resource_variable_ops.is_resource_variable(thing)) and not is_sharded(thing)


def is_sharded(thing: object) -> bool:
    """Return whether an object is a ShardedVariable: variables that are the rows of one."""
    from tensorflow.python.distribute import sharded_variable

    return isinstance(thing, sharded_variable.ShardedVariable)


def is_iterator(thing: object) -> bool:
    """Return whether an object is an iterator of tf.data, whose state is its position."""
    import tensorflow as tf

    return isinstance(thing, tf.data.Iterator)


def has_no_children(thing: Any) -> bool:
    """Return whether an object is a variable whose type defines no children of its own."""
    from tensorflow.python.trackable import base

    overridden = type(thing)._trackable_children is not base.Trackable._trackable_children
    return is_variable(thing) and not overridden


def has_added_children(variable: Any) -> bool:
    """Return whether somebody has given a variable children."""
    return bool(getattr(variable, "_self_unconditional_checkpoint_dependencies", None))


def is_symbolic(variable: Any) -> bool:
    """Return whether a variable belongs to a TF1 graph, so that only a session can read it."""
    import tensorflow as tf

    if not isinstance(variable, tf.Variable):
        return False
    handle = getattr(replicas.primary(variable), "handle", None)
    return handle is None or not (hasattr(handle, "numpy") and hasattr(handle, "_id"))


def variable_in(thing: Any) -> Any:
    """Return the TensorFlow variable of a variable; in Keras 3 that is another object."""
    import tensorflow as tf

    if isinstance(thing, tf.Variable):
        return thing
    # The property of Keras looks at its scopes first, which takes longer than to read the variable.
    inner = getattr(thing, "_value", None)
    return inner if isinstance(inner, tf.Variable) else thing.value


def full_name(thing: Any) -> str:
    """Return the name that TensorFlow writes for an object, as a TF1 Saver would call it."""
    from tensorflow.python.checkpoint import util

    return str(util.get_full_name(thing))


def name_of(thing: Any) -> str:
    """Return the name that a TF1 Saver would use for a variable; "" for other objects."""
    return full_name(thing) if is_variable(thing) else ""


def path_of(thing: Any) -> str:
    """Return the path of a Keras 3 variable; "" for TensorFlow's own variables."""
    import tensorflow as tf

    # To ask a variable of a strategy for an attribute that it lacks would read its value.
    return "" if isinstance(thing, tf.Variable) else str(getattr(thing, "path", None) or "")


def spec_of(variable: Any) -> TensorSpec:
    """Return the data type and the shape that a variable was declared with."""
    import tensorflow as tf

    inner = variable_in(variable)
    shape = tf.TensorShape(inner.shape)
    return TensorSpec(
        inner.dtype.base_dtype.name, None if shape.rank is None else tuple(shape.as_list())
    )


def container(thing: object) -> Any | None:
    """Return a list, tuple or dict in the wrapper by which TensorFlow tracks what is in it.

    Args:
        thing: any object.

    Returns:
        The wrapped copy; None for an object of another type.
    """
    from tensorflow.python.trackable import data_structures

    if isinstance(thing, (dict, list, tuple, collections.deque)):
        return data_structures.wrap_or_unwrap(_plain(thing))
    return None


def _plain(thing: object) -> object:
    """Return lists and dicts of any type, and those in them, as TensorFlow knows them."""
    if isinstance(thing, dict):
        return {key: _plain(value) for key, value in thing.items()}
    if isinstance(thing, (list, tuple, collections.deque)):
        return [_plain(value) for value in thing]
    return thing


def states_of(thing: Any, path: str) -> tuple[SaveableState, ...]:
    """Return the tensors that an object saves.

    Args:
        thing: a trackable.
        path: its path from the root.

    Raises:
        TargetError: its replicas are of an unknown type, or it cannot be saved in graph mode.
        UnsupportedError: it writes its part of a checkpoint itself.
    """
    import tensorflow as tf
    from tensorflow.python.saved_model import registration
    from tensorflow.python.training.saving import saveable_object_util

    if is_variable(thing):
        replicas.refuse_unknown(variable_in(thing), path)
        return (_state("VARIABLE_VALUE", path, spec_of(thing)),)
    if isinstance(thing, tf.train.experimental.PythonState):
        return (_state("py_state", path, TensorSpec("string", ())),)
    if is_iterator(thing):
        key, spec = f"{path}{ATTRIBUTES}ITERATOR", TensorSpec("variant", None)
        return (SaveableState("_STATE", "ITERATOR", f"{key}_STATE", key, spec),)
    if is_sharded(thing):
        spec = TensorSpec(thing.dtype.base_dtype.name, tuple(thing.shape.as_list()))
        return (_state("VARIABLE_VALUE", path, spec),)
    if registration.get_registered_saver_name(thing):
        raise UnsupportedError(
            f"a {type(thing).__name__} writes its checkpoint itself",
            where=path,
            advice="Save a tf.train.Checkpoint without it.",
        )
    serializes = saveable_object_util.trackable_has_serialize_to_tensor(thing)
    if not serializes and not thing._gather_saveables_for_checkpoint():
        return ()
    if not tf.executing_eagerly():
        raise TargetError(
            f"{path!r} is a {type(thing).__name__}, which only eager mode can save",
            where=path,
            advice="In a TF1 graph, save a tf.train.Checkpoint of variables only.",
        )
    return _exported_states(thing, path) if serializes else gathered.states_of(thing, path)


def _exported_states(thing: Any, path: str) -> tuple[SaveableState, ...]:
    from tensorflow.python.checkpoint import saveable_compat
    from tensorflow.python.trackable import trackable_utils

    shared = saveable_compat.get_saveable_name(thing)
    states = []
    for local, tensor in export(thing).items():
        step = trackable_utils.escape_local_name(local)
        spec = TensorSpec(tensor.dtype.base_dtype.name, (None,) * tensor.shape.rank)
        if shared:
            key = trackable_utils.checkpoint_key(path, shared)
            states.append(SaveableState(local, shared, key + step, key, spec))
        else:
            states.append(_state(step, path, spec, local))
    return tuple(states)


def _state(name: str, path: str, spec: TensorSpec, local: str | None = None) -> SaveableState:
    from tensorflow.python.trackable import trackable_utils

    key = trackable_utils.checkpoint_key(path, name)
    return SaveableState(name if local is None else local, name, key, key, spec)


def export(thing: Any) -> dict[str, Any]:
    """Return the state of an object that is not a variable.

    Args:
        thing: a trackable, such as a table.

    Returns:
        Tensors, by the object's own names.

    Raises:
        UnsupportedError: a part of the state is not a tensor.
    """
    import tensorflow as tf
    from tensorflow.python.training.saving import saveable_object_util

    if isinstance(thing, tf.train.experimental.PythonState):
        return {"py_state": tf.constant(serialized(thing), tf.string)}
    if is_sharded(thing):
        return {"VARIABLE_VALUE": tf.concat([part.read_value() for part in thing.variables], 0)}
    if not saveable_object_util.trackable_has_serialize_to_tensor(thing):
        return gathered.export(thing)
    tensors = {
        local: value() if callable(value) else value
        for local, value in thing._serialize_to_tensors().items()
    }
    if not all(tf.is_tensor(value) for value in tensors.values()):
        raise UnsupportedError(
            f"the state of a {type(thing).__name__} has values that are not tensors",
            expected="tensors from its _serialize_to_tensors()",
            advice="Save a tf.train.Checkpoint without it.",
        )
    return tensors


def serialized(state: Any) -> bytes:
    """Return the bytes of a PythonState, whether it serializes itself to bytes or to a str."""
    value = state.serialize()
    return value.encode() if isinstance(value, str) else bytes(value)


def restore_states(thing: Any, tensors: Mapping[str, Any]) -> None:
    """Restore the state of an object that is not a variable.

    Args:
        thing: a trackable, such as a table.
        tensors: its state, by the object's own names.
    """
    from tensorflow.python.training.saving import saveable_object_util

    if is_sharded(thing):
        thing.assign(tensors["VARIABLE_VALUE"])
    elif saveable_object_util.trackable_has_serialize_to_tensor(thing):
        thing._restore_from_tensors(dict(tensors))
    else:
        gathered.restore(thing, tensors)
