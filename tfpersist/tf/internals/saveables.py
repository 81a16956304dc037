"""Read and assign what the saveable objects of a graph save: iterators, and objects of own classes.

A Saver adds an operation that restores such an object, and so does this module where the object is
in the collection SAVEABLE_OBJECTS. The position of an iterator is a variant, which a session
neither returns nor takes, so it passes through two more operations as text. These are the only
operations that are added to the graph of a caller: once, under names that begin with "tfpersist/".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tfpersist.errors import TargetError
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.plans.entry import Entry

_SCOPE = "tfpersist/"


def is_saveable(entry: Entry) -> bool:
    """Return whether an entry is a tensor of a saveable object that is no table."""
    return hasattr(entry.ref, "specs") and hasattr(entry.ref, "restore")


def is_position(entry: Entry) -> bool:
    """Return whether an entry is the position of an iterator."""
    return is_saveable(entry) and entry.spec.dtype == "variant"


def moves_iterator(entry: Entry) -> bool:
    """Return whether the saveable object of an entry restores the position of an iterator."""
    saveable: Any = entry.ref
    return is_saveable(entry) and any(spec.dtype.name == "variant" for spec in saveable.specs)


def entries_of(saveable: Any) -> Iterator[Entry]:
    """Yield an entry for each tensor that a saveable object saves.

    Args:
        saveable: a member of the collection SAVEABLE_OBJECTS.
    """
    for spec in saveable.specs:
        tensor = spec.tensor
        shape = tensor.shape
        declared = TensorSpec(
            tensor.dtype.base_dtype.name, None if shape.rank is None else tuple(shape.as_list())
        )
        yield Entry(spec.name, spec.name, declared, saveable, handle=tensor)


def fetched(entry: Entry) -> Any:
    """Return a tensor that a session returns for an entry; for a position one of text.

    Raises:
        TargetError: the graph is finalized and has no such tensor.
    """
    import tensorflow as tf

    tensor: Any = entry.handle
    if not is_position(entry):
        return tensor
    known = [op for op in tensor.consumers() if op.type == "SerializeTensor"]
    if known:
        return known[0].outputs[0]
    with _building(tensor.graph, entry):
        return tf.io.serialize_tensor(tensor, name=_name(entry, "save"))


def restored(entry: Entry) -> tuple[Any, Sequence[Any]]:
    """Return the operation that restores a saveable object, and the tensors to feed to it.

    Args:
        entry: any tensor that the object saves.

    Raises:
        TargetError: the graph is finalized and has no such operation.
    """
    import tensorflow as tf

    saveable: Any = entry.ref
    specs = saveable.specs
    tensor: Any = entry.handle
    graph = tensor.graph
    name = _name(next(entries_of(saveable)), "restore")
    names = [f"{name}_value_{number}" for number in range(len(specs))]
    try:
        return graph.get_operation_by_name(_SCOPE + name), [
            graph.get_tensor_by_name(f"{_SCOPE}{one}:0") for one in names
        ]
    except KeyError:
        pass
    with _building(graph, entry):
        feeds, tensors = [], []
        for spec, one in zip(specs, names, strict=True):
            is_variant = spec.dtype == tf.variant
            dtype = tf.string if is_variant else spec.dtype
            feed = tf.compat.v1.placeholder(dtype, () if is_variant else None, one)
            feeds.append(feed)
            tensors.append(tf.io.parse_tensor(feed, tf.variant) if is_variant else feed)
        with tf.device(saveable.device):
            op = saveable.restore(tensors, restored_shapes=None)
        return tf.group(op, name=name), feeds


def prepare(graph: Any) -> None:
    """Add the operations for all saveable objects of a graph that is about to be finalized.

    Args:
        graph: a tf.Graph; without such objects it stays as it is.

    Raises:
        TargetError: the graph is finalized.
    """
    from tensorflow.compat import v1

    for saveable in graph.get_collection(v1.GraphKeys.SAVEABLE_OBJECTS):
        for entry in entries_of(saveable) if hasattr(saveable, "specs") else ():
            fetched(entry)
            restored(entry)


@contextmanager
def _building(graph: Any, entry: Entry) -> Iterator[None]:
    import tensorflow as tf

    if graph.finalized:
        raise TargetError(
            f"the graph is finalized and has no operation that saves or restores {entry.name!r}",
            where=entry.name,
            advice="Use ModelStore.hook(), which adds the operation, or save or restore once"
            " before the graph is finalized, or leave it out with only().",
        )
    with graph.as_default(), tf.control_dependencies(None), graph.name_scope(_SCOPE):
        yield


def _name(entry: Entry, use: str) -> str:
    # Different names may differ only in characters that the name of an operation cannot have.
    digest = hashlib.sha256(entry.name.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{use}_{re.sub(r'[^A-Za-z0-9_.-]', '_', entry.name)}_{digest}"
