"""Take the values of all eager variables of an object graph at once, with little for each of them.

A save of 20,000 variables that makes a few objects for each takes most of its time to make them,
and to let Python's garbage collector look at them. So what does not change from save to save is
kept with the graph, and the tensors stand in columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tfpersist.formats.bundle_writer import Items
from tfpersist.formats.tensors import Payload, TensorSpec
from tfpersist.tf.internals import eager, trackables
from tfpersist.tf.internals.live import LiveGraph
from tfpersist.tf.targets.target import Captured

# The number of the object, the key and the spec of each tensor.
_Columns = tuple[list[int], list[str], list[TensorSpec]]


def capture_all(live: LiveGraph) -> Captured | None:
    """Take everything that a graph of objects saves.

    Args:
        live: the objects as they are now.

    Returns:
        The values, in the order in which TensorFlow writes them; None where there is something
        else than eager variables that have values.
    """
    columns: _Columns | None = live.facts.get("columns")
    if columns is None:
        columns = live.facts["columns"] = _columns(live)
    numbers, names, specs = columns
    variables = [trackables.variable_in(live.objects[number]) for number in numbers]
    values = eager.read_together(variables) if variables else None
    if values is None:
        return None
    held = []
    for variable, value, spec in zip(variables, values, specs, strict=True):
        if value.shape == spec.shape:
            held.append(spec)
            continue
        # A variable that was made without a value may also read as an empty tensor.
        if not variable.is_initialized():
            return None
        held.append(payload(value, spec).spec)
    loads: list[Callable[[], np.ndarray[Any, Any]]] = [value.view for value in values]
    return Captured(Items(names[:], held, loads, [None] * len(names)), None, live.encoded)


def payload(value: np.ndarray[Any, Any], spec: TensorSpec) -> Payload:
    """Wrap a value; what its variable leaves open of its shape is filled in."""
    if value.shape != spec.shape:
        spec = TensorSpec(spec.dtype, value.shape)
    return Payload(spec, value.view)


def _columns(live: LiveGraph) -> _Columns:
    """Give the columns; empty where there is something else than eager variables."""
    numbers, names, specs = [], [], []
    known: dict[TensorSpec, TensorSpec] = {}
    for number, (thing, (_, states)) in enumerate(zip(live.objects, live.states, strict=True)):
        if not states:
            continue
        if not trackables.is_variable(thing) or trackables.is_symbolic(
            trackables.variable_in(thing)
        ):
            return [], [], []
        for state in states:
            numbers.append(number)
            names.append(state.key)
            specs.append(known.setdefault(state.spec, state.spec))
    return numbers, names, specs
