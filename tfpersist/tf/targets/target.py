"""What can be saved and restored, seen as variables under keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs
import numpy as np

from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.plan import Entry


@attrs.frozen
class Captured:
    """What one save writes.

    Args:
        items: the tensors; their payloads stay valid until the save is over.
        meta: the encoded MetaGraphDef for the `.meta` file; None where there is no graph.
        object_graph: the encoded TrackableObjectGraph; None for a checkpoint by names. The store
            writes it as the tensor `_CHECKPOINTABLE_OBJECT_GRAPH`, so it is not among the items.
        borrowed: the keys of items that lie in memory that the caller may write to. All others stay
            as they are, since TensorFlow copies a value that is shared before it changes it.
    """

    items: Sequence[Item]
    meta: bytes | None = None
    object_graph: bytes | None = None
    borrowed: frozenset[str] = frozenset()


class Target(Protocol):
    """Something whose variables a checkpoint can hold."""

    def entries(self, object_graph: Message | None = None) -> Sequence[Entry]:
        """List the variables.

        Args:
            object_graph: the TrackableObjectGraph of the checkpoint about to be restored, None for
                a save or a checkpoint by names. Keys are given as that checkpoint calls them.
        """

    def entries_by_name(self, specs: Mapping[str, TensorSpec]) -> Sequence[Entry]:
        """List the variables, keyed as a checkpoint by names calls them.

        Args:
            specs: what that checkpoint holds.
        """

    def capture(self, entries: Sequence[Entry]) -> Captured:
        """Take the values of these entries, to be written under the `key` that each now has.

        Args:
            entries: a selection of this target's entries; `name`, `ref`, `handle` and `part` are as
                `entries()` gave them, `key` (and `part.full_name`) may have been renamed.

        Raises:
            SaveError: some have no value yet; all of them are named.
        """

    def capture_all(self) -> Captured | None:
        """Take the values of all entries, as `capture(entries())` does, but faster.

        Returns:
            What `capture` returns; None where `capture` has to do it.
        """

    def read(self, entries: Sequence[Entry]) -> Sequence[np.ndarray[Any, Any]]:
        """Give the values that entries hold now, in their order; nobody may change them.

        Raises:
            SaveError: some have no value yet, or none that can be read; all of them are named.
        """

    def assign(self, values: Sequence[tuple[Entry, np.ndarray[Any, Any]]]) -> None:
        """Give these entries their values; an entry with a `part` is given that part alone.

        Data types and shapes have been compared with the entries' specs before.
        """

    def averages_of(
        self, averages: object, entries: Sequence[Entry]
    ) -> Mapping[str, Sequence[str]]:
        """Tell where a checkpoint may keep the moving averages of variables.

        Args:
            averages: what the user gave to `averages()`: an ExponentialMovingAverage, an optimizer
                with `use_ema`, or the last part of the shadow variables' names.
            entries: the entries of this target, keyed as the checkpoint at hand calls them.

        Returns:
            By key of an entry, the keys where its average may stand, the likeliest first; entries
            that cannot have one are left out.

        Raises:
            SelectionError: this target has no averages of that kind.
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
