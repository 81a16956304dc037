"""Keras layers that hold more than their variables: what they derive, and what nothing saves."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.plan import Entry
from tfpersist.tf.internals.live import LiveGraph
from tfpersist.tf.targets.modes import eagerly


def unfilled(live: LiveGraph) -> list[Entry]:
    """List what layers cannot work without and TensorFlow writes into no checkpoint.

    Args:
        live: the objects.

    Returns:
        An entry for each vocabulary and each list of bin boundaries that is not there yet, under a
        key that no checkpoint has, so that a restore finds it missing.
    """
    return eagerly(lambda: list(_unfilled(live)))


def _unfilled(live: LiveGraph) -> Iterator[Entry]:
    for layer, (path, states) in zip(live.objects, live.states, strict=True):
        # Of thousands of variables none is a layer.
        kind = None if states else _lacking(layer)
        if kind is not None:
            what, spec, advice = kind
            name = f"{getattr(layer, 'path', None) or path}/{what}"
            key = f"{name} (in no TensorFlow checkpoint: call {advice} before)"
            yield Entry(key, name, spec, layer)


def _lacking(layer: Any) -> tuple[str, TensorSpec, str] | None:
    table = getattr(layer, "lookup_table", None)
    if table is not None and hasattr(layer, "set_vocabulary") and int(table.size()) == 0:
        spec = TensorSpec(table.key_dtype.name, (None,))
        return "vocabulary", spec, "set_vocabulary() or adapt()"
    if hasattr(layer, "num_bins") and getattr(layer, "bin_boundaries", ()) is None:
        return "bin_boundaries", TensorSpec("float32", (None,)), "adapt()"
    return None


def finalize(live: LiveGraph, assigned: Collection[int]) -> None:
    """Let layers derive again what they compute with from variables that have new values.

    Args:
        live: the objects.
        assigned: the identities of those that were given a value.
    """
    layers = list(_finalizing(live, assigned))
    for layer in layers:
        eagerly(layer.finalize_state)
    # What Keras has traced holds what was derived before.
    for model in live.objects if layers else ():
        for name in ("train_function", "test_function", "predict_function"):
            if getattr(model, name, None) is not None:
                setattr(model, name, None)


def _finalizing(live: LiveGraph, assigned: Collection[int]) -> Iterator[Any]:
    for number, layer in enumerate(live.objects):
        if not callable(getattr(layer, "finalize_state", None)):
            continue
        if not any(id(live.objects[below]) in assigned for below in live.graph.below(number)):
            continue
        # Words that were counted and not made a vocabulary yet are left to go on with.
        counts = getattr(layer, "token_counts", None)
        if counts is None or int(eagerly(counts.size)) == 0:
            yield layer
