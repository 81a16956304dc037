"""Keras layers with more state than variables: what they derive, and what no checkpoint holds."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.plans.entry import Entry
from tfpersist.tf.internals.live import LiveGraph
from tfpersist.tf.targets.modes import eagerly


def unfilled(live: LiveGraph) -> list[Entry]:
    """Return an entry for each state that a layer lacks and that no checkpoint of TensorFlow holds.

    Args:
        live: the objects.

    Returns:
        An entry for each vocabulary and each list of bin boundaries that is not set yet. Its key
        is in no checkpoint, so that a restore reports it as missing.
    """
    return eagerly(lambda: list(_unfilled(live)))


def _unfilled(live: LiveGraph) -> Iterator[Entry]:
    for layer, (path, states) in zip(live.objects, live.states, strict=True):
        # An object with states is a variable or a table, and not a layer.
        lacking = None if states else _lacking_state(layer)
        if lacking is not None:
            state, spec, method = lacking
            name = f"{getattr(layer, 'path', None) or path}/{state}"
            key = f"{name} (in no TensorFlow checkpoint: call {method} before)"
            yield Entry(key, name, spec, layer)


def _lacking_state(layer: Any) -> tuple[str, TensorSpec, str] | None:
    """Return the name and the spec of a state that a layer lacks, and the method that sets it."""
    table = getattr(layer, "lookup_table", None)
    if table is not None and hasattr(layer, "set_vocabulary") and int(table.size()) == 0:
        spec = TensorSpec(table.key_dtype.name, (None,))
        return "vocabulary", spec, "set_vocabulary() or adapt()"
    if hasattr(layer, "num_bins") and getattr(layer, "bin_boundaries", ()) is None:
        return "bin_boundaries", TensorSpec("float32", (None,)), "adapt()"
    return None


def finalize(live: LiveGraph, assigned: Collection[int]) -> None:
    """Make layers recompute what they derive from variables that have new values.

    Args:
        live: the objects.
        assigned: the identities of the objects that were assigned.
    """
    layers = list(_layers_to_finalize(live, assigned))
    for layer in layers:
        eagerly(layer.finalize_state)
    # Functions that Keras has traced hold the derived values of before.
    for model in live.objects if layers else ():
        for name in ("train_function", "test_function", "predict_function"):
            if getattr(model, name, None) is not None:
                setattr(model, name, None)


def _layers_to_finalize(live: LiveGraph, assigned: Collection[int]) -> Iterator[Any]:
    for number, layer in enumerate(live.objects):
        if not callable(getattr(layer, "finalize_state", None)):
            continue
        if not any(id(live.objects[below]) in assigned for below in live.graph.below(number)):
            continue
        # A layer that has counted words and has no vocabulary yet goes on counting.
        counts = getattr(layer, "token_counts", None)
        if counts is None or int(eagerly(counts.size)) == 0:
            yield layer
