"""The private APIs of the iterators of tf.data: their states, and what their datasets are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import attrs

# A dataset whose stateful ops would be lost is refused, whatever its own options say.
_FAIL = 2


@attrs.frozen
class IteratorState:
    """The state of an iterator, or why there is none.

    Args:
        state: what `tf.io.serialize_tensor` makes of TensorFlow's own state; None if there is none.
        why: TensorFlow's reason.
        is_seeded: whether the random ops of the data draw the same numbers in each process.
    """

    state: bytes | None
    why: str = ""
    is_seeded: bool = True

    @property
    def runs_python(self) -> bool:
        """Whether Python code makes the data."""
        return "PyFunc" in self.why


def is_iterator(thing: object) -> bool:
    """Return whether TensorFlow can be asked for the state of an iterator."""
    import tensorflow as tf

    return isinstance(thing, tf.data.Iterator) and hasattr(thing, "_iterator_resource")


def is_of_fit(thing: object) -> bool:
    """Return whether an object is an iterator of tf.data or of a strategy, as `fit` makes them."""
    import tensorflow as tf

    return isinstance(thing, (tf.data.Iterator, tf.distribute.DistributedIterator))


def state_of(iterator: Any) -> IteratorState:
    """Return the state of an iterator. Nothing is drawn, and the iterator goes on as before."""
    import tensorflow as tf

    try:
        state = tf.raw_ops.SerializeIterator(
            resource_handle=iterator._iterator_resource, external_state_policy=_FAIL
        )
        return IteratorState(tf.io.serialize_tensor(state).numpy())
    except tf.errors.OpError as error:
        said = (error.message or type(error).__name__).splitlines()[0]
        return IteratorState(None, re.sub(r"\{\{.*?\}\} | \[Op:\w+\].*", "", said).rstrip("."))


def set_state(iterator: Any, state: bytes) -> None:
    """Put an iterator where another one of the same dataset was.

    Raises:
        tf.errors.OpError: the dataset is another one.
    """
    import tensorflow as tf

    variant = tf.io.parse_tensor(state, tf.variant)
    tf.raw_ops.DeserializeIterator(resource_handle=iterator._iterator_resource, serialized=variant)


def dataset_of(iterator: Any) -> Any:
    """Return the dataset of an iterator, to make further ones of; None if it is not known."""
    return getattr(iterator, "_dataset", None)


def sources(dataset: Any) -> Iterator[Any]:
    """Yield a dataset and those that it is made of, the last step first."""
    waiting = [dataset]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += inputs_of(one)


def inputs_of(dataset: Any) -> list[Any]:
    """Return the datasets that one step of a dataset takes."""
    inputs = getattr(dataset, "_inputs", None)
    return list(inputs()) if callable(inputs) else []


def numbers_of(dataset: Any) -> dict[str, int]:
    """Return the numbers that one step of a dataset was made with, such as its batch size."""
    found = {}
    for name in ("_batch_size", "_buffer_size", "_count", "_seed", "_seed2", "_start", "_stop"):
        value = vars(dataset).get(name)
        if hasattr(value, "numpy") or isinstance(value, int):
            found[name.strip("_")] = int(value.numpy() if hasattr(value, "numpy") else value)
    return found


def is_repeated(dataset: Any) -> bool:
    """Return whether one step of a dataset repeats the steps before."""
    return type(dataset).__name__.strip("_") == "RepeatDataset"


def tensors_of(dataset: Any) -> list[Any]:
    """Return the tensors that a dataset holds itself."""
    import tensorflow as tf

    return [one for one in tf.nest.flatten(vars(dataset).get("_tensors", ())) if tf.is_tensor(one)]


def ops_of(dataset: Any) -> list[tuple[str, int, int]]:
    """Return the ops of the function that one step of a dataset applies, with their seeds."""
    function = getattr(vars(dataset).get("_map_func"), "_function", None)
    definition = getattr(function, "function_def", None)
    nodes = () if definition is None else definition.node_def
    return [(node.op, node.attr["seed"].i, node.attr["seed2"].i) for node in nodes]
