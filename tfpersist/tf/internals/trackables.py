"""The only module that touches private TensorFlow APIs; all of them are tested on both ends of the
supported range.

A *live graph* is what TensorFlow would write as the object graph of a `tf.train.Checkpoint`: the
same objects in the same order under the same keys. TensorFlow's own code for it adds operations to
the caller's graph and reads every value; this one does neither.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfpersist.errors import TargetError, UnsupportedError
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.object_graph import ATTRIBUTES
from tfpersist.tf.internals import live, replicas
from tfpersist.tf.internals.live import LiveGraph, SaveableState
from tfpersist.tf.internals.slots import add_slots

# The operation that reads many variables takes longer for each the more there are.
_AT_ONCE = 250
_PLAIN = frozenset("biufc")

# Gives the names and ends of the edges of an object.
Edges = Callable[[Any], Iterable[tuple[str, Any]]]


def is_trackable(thing: object) -> bool:
    """Whether TensorFlow can have this as an object in an object graph."""
    from tensorflow.python.trackable import base

    return isinstance(thing, base.Trackable)


def is_variable(thing: object) -> bool:
    """Whether this is a variable: TensorFlow's, or one that acts like it, such as Keras 3's."""
    import tensorflow as tf
    from tensorflow.python.ops import resource_variable_ops

    return isinstance(thing, tf.Variable) or bool(resource_variable_ops.is_resource_variable(thing))


def is_symbolic(variable: Any) -> bool:
    """Whether a variable lives in a TF1 graph and needs a session to be read."""
    import tensorflow as tf

    if not isinstance(variable, tf.Variable):
        return False
    variable = replicas.primary(variable)
    handle = getattr(variable, "handle", None)
    return not (hasattr(handle, "numpy") and hasattr(handle, "_id")) if handle is not None else True


def live_graph(target: Any, more: Edges | None = None) -> LiveGraph:
    """Walk an object graph as TensorFlow does when it saves.

    Args:
        target: a `tf.train.Checkpoint`, another trackable, or a dict of trackables.
        more: gives further edges of an object. They are followed last, so that nothing that
            TensorFlow reaches gets another key.

    Returns:
        The graph; no value of a variable is read and no operation is added anywhere.

    Raises:
        TargetError: an object in it cannot be saved.
    """
    import tensorflow as tf

    view, root = _view_of(target)
    reusable = more is None and tf.executing_eagerly()
    known = live.recall(target) if reusable else None
    things = _unchanged(known, view, type(target) is dict) if known else None
    if known is not None and things is not None:
        return known.revived(things, root)
    objects, paths, numbers, edges = _walk(view, more)
    slots = add_slots(objects, paths, numbers)
    states = [(path, _states_of(o, path)) for o, path in zip(objects, paths, strict=True)]
    found = live.graph_of(objects, states, edges, slots, full_name=_full_name, root=root)
    if reusable:
        leaves = [n for n, o in enumerate(objects) if n not in edges and _is_leaf(o)]
        looks = {n: look for n in leaves if (look := _look(objects[n])) is not None}
        if len(looks) == len(leaves):
            live.remember(target, found, edges, slots, looks)
    return found


def _is_leaf(thing: Any) -> bool:
    """Whether this is a variable, and of a kind whose children are where all others have them."""
    from tensorflow.python.trackable import base

    own = type(thing)._trackable_children is not base.Trackable._trackable_children
    return is_variable(thing) and not own


def _unchanged(known: live.Outline, view: Any, is_dict: bool) -> list[Any] | None:
    """Give the objects of a walk if another one would find the same; else None."""
    if is_dict:  # its root is made anew for every walk
        rest = [reference() for reference in known.objects[1:]]
        things = None if any(thing is None for thing in rest) else [view.root, *rest]
    else:
        things = known.living()
    if things is None or things[0] is not view.root:
        return None
    if not _look_alike(known.looks, things):
        return None
    others = [number for number in range(len(things)) if number not in known.looks]
    for number in others:
        thing, (path, states) = things[number], known.states[number]
        edges = known.edges.get(number, ())
        children = view.list_children(thing) if number < known.reached else ()
        same = len(children) == len(edges) and all(
            name == known_name and child is things[place]
            for (name, child), (known_name, place) in zip(children, edges, strict=True)
        )
        if not same or _states_of(thing, path) != states:
            return None
    if not any(hasattr(type(things[number]), "get_slot_names") for number in others):
        return None if known.slots else things
    objects = things[: known.reached]
    numbers = {id(thing): number for number, thing in enumerate(objects)}
    paths = [path for path, _ in known.states[: known.reached]]
    same = add_slots(objects, paths, numbers) == known.slots
    return things if same and all(map(operator.is_, objects, things)) else None


def _look_alike(looks: Mapping[int, live.Look], things: Sequence[Any]) -> bool:
    """Whether variables still have no children, and the shapes and data types they had."""
    import tensorflow as tf

    for number, (shape, dtype) in looks.items():
        thing = things[number]
        inner = thing if isinstance(thing, tf.Variable) else thing.value
        if inner.dtype is not dtype and inner.dtype != dtype:
            return False
        if inner.shape is not shape and inner.shape != shape:
            return False
        if getattr(thing, "_self_unconditional_checkpoint_dependencies", None):
            return False
    return True


def _look(variable: Any) -> live.Look | None:
    """Give what must stay as it is of an eager variable; None for one of a graph."""
    inner = variable_in(variable)
    return None if is_symbolic(inner) else (inner.shape, inner.dtype)


def _view_of(target: Any) -> tuple[Any, Any]:
    import tensorflow as tf

    try:
        if isinstance(target, tf.train.Checkpoint):
            checkpoint = target
        elif isinstance(target, dict) and not is_trackable(target):
            checkpoint = tf.train.Checkpoint(**target)
        else:
            # A root whose truth value is false would be ignored; a reference to it is not.
            checkpoint = tf.train.Checkpoint(weakref.ref(target))
    except (TypeError, ValueError) as error:
        raise TargetError(
            f"TensorFlow cannot track what is in this {type(target).__name__}: {error}",
            advice="Pass trackables only: variables, tf.Modules, Keras models and optimizers.",
        ) from error
    return checkpoint._saver._graph_view, (checkpoint, target)


def _walk(
    view: Any, more: Edges | None
) -> tuple[list[Any], list[str], dict[int, int], dict[int, list[Any]]]:
    from tensorflow.python.trackable import trackable_utils

    objects, paths, numbers = [view.root], [""], {id(view.root): 0}
    edges: dict[int, list[Any]] = {}

    def follow(number: int, children: Iterable[tuple[str, Any]]) -> None:
        for name, child in children:
            if id(child) not in numbers:
                numbers[id(child)] = len(objects)
                objects.append(child)
                step = trackable_utils.escape_local_name(name)
                paths.append(f"{paths[number]}/{step}" if number else step)
            edges.setdefault(number, []).append((name, numbers[id(child)]))

    for number, thing in enumerate(objects):  # grows while it is walked
        follow(number, view.list_children(thing))
    reached = len(objects)
    for number, thing in enumerate(objects) if more else ():
        if number >= reached:
            follow(number, view.list_children(thing))
        assert more is not None
        known = {name for name, _ in edges.get(number, ())}
        follow(number, [(name, child) for name, child in more(thing) if name not in known])
    return objects, paths, numbers, edges


def container(thing: object) -> Any | None:
    """Wrap a list, tuple or dict as TensorFlow does to track what is in it; None for the rest."""
    from tensorflow.python.trackable import data_structures

    if isinstance(thing, dict):
        return data_structures.wrap_or_unwrap(dict(thing))
    if isinstance(thing, (list, tuple)):
        return data_structures.wrap_or_unwrap(list(thing))
    return None


def _states_of(thing: Any, path: str) -> tuple[SaveableState, ...]:
    import tensorflow as tf
    from tensorflow.python.checkpoint import saveable_compat
    from tensorflow.python.saved_model import registration
    from tensorflow.python.trackable import trackable_utils
    from tensorflow.python.training.saving import saveable_object_util

    if is_variable(thing):
        replicas.refuse_unknown(variable_in(thing), path)
        return (_state("VARIABLE_VALUE", path, spec_of(thing)),)
    if isinstance(thing, tf.train.experimental.PythonState):
        return (_state("py_state", path, TensorSpec("string", ())),)
    if isinstance(thing, tf.data.Iterator):
        key = f"{path}{ATTRIBUTES}ITERATOR"
        return (
            SaveableState("_STATE", "ITERATOR", f"{key}_STATE", key, TensorSpec("variant", None)),
        )
    saver = registration.get_registered_saver_name(thing)
    if saver or not saveable_object_util.trackable_has_serialize_to_tensor(thing):
        if saver or thing._gather_saveables_for_checkpoint():
            raise UnsupportedError(
                f"a {type(thing).__name__} writes its checkpoint itself",
                where=path,
                advice="Save a Checkpoint without it.",
            )
        return ()
    if not tf.executing_eagerly():
        raise TargetError(
            f"{path!r} is a {type(thing).__name__}, which only eager mode can save",
            where=path,
            advice="In a TF1 graph, save a Checkpoint of variables only.",
        )
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


def spec_of(variable: Any) -> TensorSpec:
    """Describe a variable as it was declared."""
    import tensorflow as tf

    inner = variable_in(variable)
    shape = tf.TensorShape(inner.shape)
    return TensorSpec(
        inner.dtype.base_dtype.name, None if shape.rank is None else tuple(shape.as_list())
    )


def export(thing: Any) -> dict[str, Any]:
    """Let an object that is no variable give its state, by the object's own names.

    Raises:
        UnsupportedError: it gives something else than tensors.
    """
    import tensorflow as tf

    if isinstance(thing, tf.train.experimental.PythonState):
        return {"py_state": tf.constant(serialized(thing), tf.string)}
    tensors = {
        local: value() if callable(value) else value
        for local, value in thing._serialize_to_tensors().items()
    }
    if not all(tf.is_tensor(value) for value in tensors.values()):
        raise UnsupportedError(
            f"a {type(thing).__name__} does not give its state as tensors",
            advice="Save a Checkpoint without it.",
        )
    return tensors


def serialized(state: Any) -> bytes:
    """Give the bytes of a PythonState, whichever kind of string it makes."""
    value = state.serialize()
    return value.encode() if isinstance(value, str) else bytes(value)


def _full_name(thing: Any) -> str:
    from tensorflow.python.checkpoint import util

    return str(util.get_full_name(thing))


def variable_in(thing: Any) -> Any:
    """Give the TensorFlow variable inside a variable, which for Keras 3 is another object."""
    import tensorflow as tf

    return thing if isinstance(thing, tf.Variable) else thing.value


def name_of(thing: Any) -> str:
    """Give the name that a TF1 Saver would use for a variable; "" for other objects."""
    return _full_name(thing) if is_variable(thing) else ""


def path_of(thing: Any) -> str:
    """Give the path that Keras 3 has for a variable; "" for TensorFlow's own."""
    import tensorflow as tf

    # A variable of a strategy would be read for an attribute that it does not have.
    return "" if isinstance(thing, tf.Variable) else str(getattr(thing, "path", None) or "")


def view(tensor: Any) -> np.ndarray[Any, Any]:
    """Give the elements of an eager tensor without copying them where that is possible."""
    array = tensor._numpy_internal() if hasattr(tensor, "_numpy_internal") else tensor.numpy()
    if tensor.dtype.name == "string":
        texts = np.empty(tensor.shape.as_list(), object)
        texts[...] = array
        return texts
    seen = np.asarray(array).view()
    seen.flags.writeable = False
    return seen


def read_together(variables: Sequence[Any]) -> Sequence[np.ndarray[Any, Any]] | None:
    """Give the elements of many eager variables by few operations.

    Args:
        variables: TensorFlow's own.

    Returns:
        The elements, not copied; None where this cannot be done for all of them together.
    """
    import tensorflow as tf
    from tensorflow.python.eager import context, execute

    if any(map(replicas.is_read_as_one, variables)):
        return None
    handles = [replicas.primary(variable).handle for variable in variables]
    types = [variable.dtype.as_datatype_enum for variable in variables]
    if len({handle.device for handle in handles}) != 1:
        return None
    values = []
    try:
        for start in range(0, len(handles), _AT_ONCE):
            some = handles[start : start + _AT_ONCE]
            attributes = ("N", len(some), "dtypes", types[start : start + _AT_ONCE])
            current = context.context()
            for tensor in execute.execute(
                b"_ReadVariablesOp", len(some), some, attributes, current
            ):
                array = tensor._numpy_internal()
                if type(array) is np.ndarray and array.dtype.kind in _PLAIN:
                    array.setflags(write=False)
                    values.append(array)
                else:
                    values.append(view(tensor))
    except (tf.errors.OpError, AttributeError):
        return None
    return values


def restore_states(thing: Any, tensors: Mapping[str, Any]) -> None:
    """Let an object that is no variable take its state, by the object's own names."""
    thing._restore_from_tensors(dict(tensors))
