"""The private APIs of the functions by which tf.data makes elements: which state they depend on.

TensorFlow refuses to write an iterator whose functions depend on state. But it looks neither at
what is under a shuffle or a snapshot nor into the functions that make datasets, as those of
interleave. An iterator with such functions would be written, and go on with other data, without a
word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs

from tfpersist.tf.internals import iterators, random_state
from tfpersist.tf.internals.iterators import IteratorState

_IGNORE = 1
# What is stateful by its declaration, and does not change the data; or has its state in the
# iterator (datasets), or in functions, which are looked at too.
_HARMLESS = re.compile(
    r"(Assert|Print(V2)?|LookupTable(Find|Size)(V2)?|(Stateful)?PartitionedCall|If|While|Case"
    r"|\w*Dataset(V\d+)?)"
)
# Steps of tf.data that begin with their input at the first element, and steps that begin with it,
# or with another one, in the middle.
_BEGINS_AGAIN = re.compile("Repeat|Concatenate")
_BEGINS_LATE = re.compile(f"Shuffle|{_BEGINS_AGAIN.pattern}")


def first_state_of(iterator: Any) -> IteratorState:
    """Return the state of an iterator, or why there is none, as TensorFlow or its functions say.

    Args:
        iterator: an eager iterator of a dataset.
    """
    op = stateful_op(iterator)
    found = IteratorState(None, f"{op} is stateful") if op else iterators.state_of(iterator)
    return attrs.evolve(found, is_seeded=is_seeded(iterator))


def is_seeded(iterator: Any) -> bool:
    """Return whether the random ops of a dataset draw the same numbers in each process."""
    dataset = iterators.dataset_of(iterator)
    steps = () if dataset is None else iterators.sources(dataset)
    if any(
        numbers.get("seed") == 0 == numbers.get("seed2")
        for numbers in map(iterators.numbers_of, steps)
    ):
        return False
    return not any(
        random_state.is_stateful(node.op) and not node.attr["seed"].i and not node.attr["seed2"].i
        for node in nodes_of(iterator)
    )


def stateful_op(iterator: Any) -> str:
    """Return an op on whose state the data depend; empty if there is none.

    Args:
        iterator: an eager iterator of a dataset.
    """
    return next(filter(is_stateful, (node.op for node in nodes_of(iterator))), "")


def stateful_op_in_graph(iterator: Any) -> str:
    """Return the same for an initializable iterator of a TF1 graph."""
    operation = iterator.initializer
    library = operation.graph.as_graph_def().library.function
    known = {definition.signature.name: definition for definition in library}
    waiting, seen, found = [operation], {operation}, []
    while waiting:
        for tensor in waiting.pop().inputs:
            if tensor.op not in seen:
                seen.add(tensor.op)
                waiting.append(tensor.op)
                found.append(tensor.op.node_def)
    nodes = _nodes_below(_called(found), known.get)
    return next(filter(is_stateful, (node.op for node in nodes)), "")


def nodes_of(iterator: Any) -> Iterator[Any]:
    """Yield the nodes of all functions that make the data of an eager iterator."""
    dataset = iterators.dataset_of(iterator)
    return iter(()) if dataset is None else _nodes_of_dataset(dataset)


def draws_anew(dataset: Any) -> bool:
    """Return whether each iterator of a dataset may give other data than the one before."""
    return any(map(_draws, iterators.sources(dataset))) or any(
        is_stateful(node.op) for node in _nodes_of_dataset(dataset)
    )


def draws_late(iterator: Any, *, after_first: bool = False) -> str:
    """Return a step that draws its seeds later than its iterator is made; empty if there is none.

    Args:
        iterator: an iterator of tf.data, or of a strategy.
        after_first: whether only steps count that draw after the first element too.
    """
    dataset = iterators.dataset_of(iterator)
    waiting = [] if dataset is None else [(dataset, False)]
    while waiting:
        step, is_late = waiting.pop()
        name = type(step).__name__.strip("_")
        if is_late and _draws(step):
            return name
        begins_late = _BEGINS_AGAIN if after_first else _BEGINS_LATE
        is_late = is_late or bool(begins_late.match(name))
        waiting += [(one, is_late) for one in iterators.inputs_of(step)]
    return ""


def _draws(step: Any) -> bool:
    """Return whether a step of a dataset draws from its seeds anew for each iterator."""
    return bool(
        iterators.numbers_of(step).keys() & {"seed", "seed2"}
        and vars(step).get("_reshuffle_each_iteration") is not False
    )


def _nodes_of_dataset(dataset: Any) -> Iterator[Any]:
    from tensorflow.python.eager import context

    current = context.context()

    def definition_of(name: str) -> Any:
        return current.get_function_def(name) if current.has_function(name) else None

    for step in iterators.sources(dataset):
        for value in vars(step).values():
            for one in value if isinstance(value, (list, tuple)) else (value,):
                function: Any = getattr(one, "_function", None)
                definition = getattr(function, "function_def", None)
                if definition is not None:
                    yield from definition.node_def
                    yield from _nodes_below(_called(definition.node_def), definition_of)
                    yield from _nodes_of_captured(function.captured_inputs)


def _nodes_of_captured(tensors: Iterable[Any]) -> Iterator[Any]:
    """Yield the nodes of the functions of datasets that a function takes from outside."""
    import tensorflow as tf

    for tensor in tensors:
        if tensor.dtype != tf.variant:
            continue
        try:
            graph = tf.raw_ops.DatasetToGraphV2(input_dataset=tensor, external_state_policy=_IGNORE)
        except tf.errors.InvalidArgumentError:  # another kind of variant
            continue
        found = tf.compat.v1.GraphDef.FromString(graph.numpy())
        known = {definition.signature.name: definition for definition in found.library.function}
        yield from _nodes_below(_called(found.node), known.get)


def _nodes_below(names: Iterable[str], definition_of: Callable[[str], Any]) -> Iterator[Any]:
    waiting = list(names)
    seen = set(waiting)
    while waiting:
        definition = definition_of(waiting.pop())
        if definition is not None:
            yield from definition.node_def
            called = set(_called(definition.node_def)) - seen
            seen |= called
            waiting += called


def _called(nodes: Iterable[Any]) -> Iterator[str]:
    for node in nodes:
        for attribute in node.attr.values():
            for function in (attribute.func, *attribute.list.func):
                if function.name:
                    yield function.name


def is_stateful(op: str) -> bool:
    """Return whether what an op computes depends on state that the iterator does not have."""
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(op)
    return definition is not None and definition.is_stateful and not _HARMLESS.fullmatch(op)
