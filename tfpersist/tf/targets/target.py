"""Declare what a save and a restore need of a target: variables under keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import attrs
import numpy as np

from tfpersist.formats.bundle_writer import Item
from tfpersist.matching.pairing.saved import Saved
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.plans.resume import Resume


@attrs.frozen
class Captured:
    """The tensors and graphs that one save writes.

    Args:
        items: the tensors; their payloads are valid until the save is over.
        meta: encodes the MetaGraphDef for the `.meta` file; None if there is no graph.
        object_graph: the encoded TrackableObjectGraph; None for a checkpoint by names. It is not
            among the items: the store writes it under `OBJECT_GRAPH_KEY`.
        borrowed: the keys of items in memory that the caller may write to. The others do not
            change, because TensorFlow copies a shared value before it changes it.
        layers: the names of layers that are in no full name, by the number of the object.
        resume: what they carry of a training; None where a model alone is saved.
    """

    items: Sequence[Item]
    meta: Callable[[], bytes] | None = None
    object_graph: bytes | None = None
    borrowed: frozenset[str] = frozenset()
    layers: Mapping[int, str] = attrs.field(factory=dict)
    resume: Resume | None = None


class Target(Protocol):
    """An object whose variables a checkpoint can hold."""

    def entries(self) -> Sequence[Entry]:
        """Return the variables, under the keys that a save gives them."""

    def entries_for(self, saved: Saved) -> Sequence[Entry]:
        """Return the variables, under the keys that they have in a checkpoint.

        Args:
            saved: the checkpoint.

        Returns:
            The entries. One without a tensor in the checkpoint has a key that the checkpoint does
            not have, and says what might be its tensor.
        """

    def capture(self, entries: Sequence[Entry]) -> Captured:
        """Return the values of entries, to be written under their keys.

        Args:
            entries: some of the entries that `entries()` has returned. Their `key` and
                `part.full_name` may have been renamed.

        Raises:
            SaveError: some have no value yet; the message names all of them.
        """

    def capture_all(self) -> Captured | None:
        """Return the values of all entries, as `capture(entries())` does, but faster.

        Returns:
            What `capture` returns; None if there is no faster way than `capture`.
        """

    def read(self, entries: Sequence[Entry]) -> Sequence[np.ndarray[Any, Any]]:
        """Return the present values of entries, in their order; nobody may change the arrays.

        Raises:
            SaveError: some have no value, or none that can be read; the message names all of them.
        """

    def assign(self, values: Sequence[tuple[Entry, np.ndarray[Any, Any]]]) -> None:
        """Assign values to entries; the value of an entry with a `part` is that part.

        The caller has compared data types and shapes with the specs of the entries.
        """

    def averages_of(
        self, averages: object, entries: Sequence[Entry]
    ) -> Mapping[str, Sequence[str]]:
        """Return the keys under which a checkpoint may hold the moving averages of variables.

        Args:
            averages: the argument of `averages()`: an ExponentialMovingAverage, an optimizer with
                `use_ema`, or the last part of the names of the shadow variables.
            entries: the entries of this target, under the keys of the checkpoint.

        Returns:
            The possible keys of the average of each entry, by the key of the entry, the most
            likely first. Entries that cannot have an average are left out.

        Raises:
            SelectionError: this target cannot have averages of that type.
        """

    def value_of(self, tensor: object) -> Any:
        """Return the value that a tensor or variable of this target's graph has in its session.

        Returns:
            The value; None where this target has no session.

        Raises:
            TargetError: TensorFlow cannot compute it.
        """

    def global_step(self) -> Any:
        """Return the variable in which this target's graph counts training steps.

        Returns:
            The variable; None where there is none.
        """
