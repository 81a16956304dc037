"""What a store remembers of the checkpoint that it saved last, for its next incremental save."""

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
    """Memory of TensorFlow that holds what a checkpoint holds.

    TensorFlow does not write to memory that others share. So what lies in the same memory at the
    next save has not changed.

    Args:
        array: a view of the memory; the memory stays shared as long as it exists.
        file: time and size of the data file when its bytes were last compared with their checksum;
            None if the checkpoint has a new data file.
    """

    array: Array
    file: tuple[float, int] | None


@attrs.frozen(eq=False)
class LastSave:
    """The checkpoint that was saved last.

    Args:
        tensors: its tensors.
        places: their places in its data files.
        num_shards: the number of its data files.
        memory: the memory that holds the same as the checkpoint, by the name of the tensor.
    """

    tensors: TensorList
    places: Places
    num_shards: int
    memory: Mapping[str, SharedMemory] = MappingProxyType({})


@attrs.frozen(eq=False)
class SaveMemory:
    """What is remembered from save to save.

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
        """Return whether an array is memory that TensorFlow shares, and large enough to matter."""
        flags = array.flags
        shared = not (flags.owndata or flags.writeable or array.dtype.hasobject)
        return shared and array.nbytes >= _LARGE and name not in self.borrowed
