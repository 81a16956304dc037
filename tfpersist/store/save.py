"""Take from a target what a save writes, under the keys that a selection gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tfpersist.errors import TargetError
from tfpersist.formats.bundle_writer import Item, Items
from tfpersist.formats.tensors import payload_of
from tfpersist.matching.object_graph import OBJECT_GRAPH_KEY
from tfpersist.matching.selection import Selection
from tfpersist.store.training import lasting

if TYPE_CHECKING:
    from tfpersist.tf.targets.target import Captured, Target


def capture(
    target: object, adapted: Target, selection: Selection, *, lasts: bool
) -> tuple[Captured, Items]:
    """Take the values of a target.

    Args:
        target: what the user gave, for the error.
        adapted: the same, seen as variables under keys.
        selection: which variables, under which keys.
        lasts: whether the values are to stay what they are now while the target changes.

    Returns:
        What was captured; and all tensors that are to be written, the object graph among them,
        for the caller to clear.

    Raises:
        TargetError: there is nothing to save.
        SelectionError: the selection asks for what is not there, or for one key twice.
        SaveError: some variables have no value yet.
    """
    chooses = selection.only is not None or selection.renames or selection.averages is not None
    captured = None if chooses else adapted.capture_all()
    if captured is None:
        chosen = selection.for_save(adapted.entries())
        if not chosen:
            raise TargetError(
                f"this {type(target).__name__} has no variables, so there is nothing to save",
                advice="Build the model first.",
            )
        captured = adapted.capture(chosen)
    taken = lasting(captured) if lasts else captured.items
    if captured.object_graph is None:
        taken = sorted(taken, key=lambda item: item.key)
    items = taken if isinstance(taken, Items) else Items.of(taken)
    if captured.object_graph is not None:
        # tf.train.Checkpoint writes in the order of the objects, and their graph last.
        encoded = np.array(captured.object_graph, dtype=object)
        items.append(Item(OBJECT_GRAPH_KEY, payload_of(encoded)))
    return captured, items
