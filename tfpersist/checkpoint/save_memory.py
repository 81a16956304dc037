"""Remember the last save of a store, for its next incremental save."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import attrs

from tfpersist.formats.bundle_index_writer import Places, TensorList
from tfpersist.formats.tensors import Array

_LARGE = 1 << 16


@attrs.frozen(eq=False)
class SharedMemory:
    """Memory of TensorFlow with the same bytes as a tensor of a checkpoint.

    TensorFlow does not write to memory that it shares. So a tensor that is in the same memory at
    the next save has not changed.

    Args:
        array: a view of the memory; the memory stays shared as long as the view exists.
        file: when the data file was last written, and its size, at the time when its bytes were
            last compared with their checksum; None if the tensor is in a new data file.
    """

    array: Array
    file: tuple[float, int] | None


@attrs.frozen(eq=False)
class LastSave:
    """The checkpoint that a store saved last.

    Args:
        tensors: its tensors.
        places: their places in its data files.
        num_shards: the number of its data files.
        memory: the shared memory that holds its tensors, by the name of the tensor.
    """

    tensors: TensorList
    places: Places
    num_shards: int
    memory: Mapping[str, SharedMemory] = MappingProxyType({})


@attrs.frozen(eq=False)
class SaveMemory:
    """The memory of a store between its saves.

    Args:
        borrowed: the names of tensors in memory that the caller may write to.
        turns: counts the saves.
    """

    borrowed: frozenset[str] = frozenset()
    turns: Iterator[int] = attrs.field(factory=itertools.count)
    _last: dict[int, LastSave] = attrs.field(factory=dict)

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
