"""Remember the last save of a store, for its next incremental save."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import attrs

from tfpersist.formats.bundle_index_writer import Places, TensorList
from tfpersist.formats.tensors import Array
from tfpersist.storage.base import Stamp

_LARGE = 1 << 16
# After so many failures one after the other, the number of saves that wait grows no further.
_MOST_FAILURES = 4


@attrs.frozen(eq=False)
class SharedMemory:
    """Memory of TensorFlow with the same bytes as a tensor of a checkpoint.

    TensorFlow does not write to memory that it shares. So a tensor that is in the same memory at
    the next save has not changed.

    Args:
        array: a view of the memory; the memory stays shared as long as the view exists.
        file: the stamp of the data file at the time when its bytes were last compared with their
            checksum; None if the tensor is in a new data file.
    """

    array: Array
    file: Stamp | None


@attrs.frozen(eq=False)
class LastSave:
    """The checkpoint that a store saved last.

    Args:
        tensors: its tensors.
        places: their places in its data files.
        file_sizes: the size of each of its data files.
        memory: the shared memory that holds its tensors, by the name of the tensor.
        shared: the numbers of the data files that it linked, or wrote so that they can be linked.
    """

    tensors: TensorList
    places: Places
    file_sizes: tuple[int, ...]
    memory: Mapping[str, SharedMemory] = MappingProxyType({})
    shared: Sequence[int] = ()


@attrs.define(eq=False)
class Sharing:
    """A record of whether sharing unchanged tensors has saved time.

    To share data files pays off if most of what one save has shared is unchanged at the next one.
    To compare the rows of a table pays off if only some of them are written then. Whenever it does
    not, the next 1, 3, 7 or 15 saves do not try it.
    """

    _failures: int = attrs.field(default=0, init=False)
    _waits: int = attrs.field(default=0, init=False)

    def note(self, *, paid: bool) -> None:
        """Note whether it has paid off this time."""
        self._failures = 0 if paid else min(self._failures + 1, _MOST_FAILURES)
        self._waits = (1 << self._failures) - 1

    def is_due(self) -> bool:
        """Return whether this save does it; called once for each save.

        Example:
            >>> sharing = Sharing()
            >>> sharing.note(paid=False)
            >>> [sharing.is_due() for _ in range(3)]
            [False, True, True]
        """
        self._waits, waits = max(self._waits - 1, 0), self._waits
        return not waits


@attrs.frozen(eq=False)
class SaveMemory:
    """The memory of a store between its saves.

    Args:
        borrowed: the names of tensors in memory that the caller may write to.
        turns: counts the saves that compare.
        samples: counts the samples.
        sharing: whether it has paid off to share data files.
        cutting: whether it has paid off to cut a table into slices of rows, by its name.
    """

    borrowed: frozenset[str] = frozenset()
    turns: Iterator[int] = attrs.field(factory=itertools.count)
    samples: Iterator[int] = attrs.field(factory=itertools.count)
    sharing: Sharing = attrs.field(factory=Sharing)
    cutting: dict[str, Sharing] = attrs.field(factory=dict)
    _last: dict[int, LastSave] = attrs.field(factory=dict)

    @property
    def last(self) -> LastSave | None:
        """The checkpoint that was saved last, even if it is gone; None if there was none."""
        return next(iter(self._last.values()), None)

    def find(self, index_crc: int) -> LastSave | None:
        """Return the checkpoint that was saved last if its index has this checksum."""
        return self._last.get(index_crc)

    def note(self, index_crc: int, last: LastSave) -> None:
        """Remember a checkpoint, and forget the one before."""
        self._last.clear()
        self._last[index_crc] = last

    def may_share(self, name: str, array: Array) -> bool:
        """Return whether an array is a large view of memory that nobody writes to."""
        flags = array.flags
        shared = not (flags.owndata or flags.writeable or array.dtype.hasobject)
        return shared and array.nbytes >= _LARGE and name not in self.borrowed
