"""Capture all eager variables of an object graph at once, with little work for each of them.

If a save of 20,000 variables makes a few objects for each, then making these objects takes most of
the time, and so does Python's garbage collector, which has to look at them. So what does not change
from save to save is kept with the graph, and the tensors are kept in columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tfpersist.formats.bundle_writer import Item, Items
from tfpersist.formats.tensors import Payload, TensorSpec, payload_of
from tfpersist.tf.internals import eager, trackables
from tfpersist.tf.internals.live import LiveGraph
from tfpersist.tf.targets import states
from tfpersist.tf.targets.target import Captured

# The number of the object, the key and the declared spec of each variable; and the number and the
# key of each state of Python.
_Columns = tuple[list[int], list[str], list[TensorSpec], list[tuple[int, str]]]


def capture_live_graph(live: LiveGraph) -> Captured | None:
    """Return all tensors that a graph of eager variables saves.

    Args:
        live: the objects as they are now.

    Returns:
        The values, in the order in which TensorFlow writes them; None unless all objects that save
        something are eager variables with values, and states of Python.
    """
    columns: _Columns | None = live.facts.get("columns")
    if columns is None:
        columns = live.facts["columns"] = _columns(live)
    numbers, keys, declared_specs, python = columns
    variables = [trackables.variable_in(live.objects[number]) for number in numbers]
    values = eager.read_together(variables) if variables else None
    if values is None:
        return None
    specs = []
    for variable, value, spec in zip(variables, values, declared_specs, strict=True):
        if value.shape == spec.shape:
            specs.append(spec)
            continue
        # A variable without a value may also read as an empty tensor.
        if not variable.is_initialized():
            return None
        specs.append(payload_of_variable(value, spec).spec)
    loads: list[Callable[[], np.ndarray[Any, Any]]] = [value.view for value in values]
    items = Items(keys[:], specs, loads, [None] * len(keys))
    for number, key in python:
        items.append(Item(key, payload_of(states.python_state(live.objects[number]))))
    return Captured(items, None, live.encoded)


def payload_of_variable(value: np.ndarray[Any, Any], declared: TensorSpec) -> Payload:
    """Return a value as a payload with the value's own shape.

    Args:
        value: the value of a variable.
        declared: the data type and the shape of the variable, which may leave sizes open.
    """
    if value.shape != declared.shape:
        declared = TensorSpec(declared.dtype, value.shape)
    return Payload(declared, value.view)


def _columns(live: LiveGraph) -> _Columns:
    """Return the columns; empty ones where another kind of object saves something."""
    numbers, keys, specs, python = [], [], [], []
    distinct_specs: dict[TensorSpec, TensorSpec] = {}
    for number, (thing, (_, saved)) in enumerate(zip(live.objects, live.states, strict=True)):
        if not saved:
            continue
        if [state.local for state in saved] == [states.PYTHON_STATE]:
            python.append((number, saved[0].key))
            continue
        if not trackables.is_variable(thing) or trackables.is_symbolic(
            trackables.variable_in(thing)
        ):
            return [], [], [], []
        for state in saved:
            numbers.append(number)
            keys.append(state.key)
            specs.append(distinct_specs.setdefault(state.spec, state.spec))
    return numbers, keys, specs, python
