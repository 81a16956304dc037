"""Open a checkpoint of any format: the specs of its tensors, and their elements."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import attrs
import numpy as np

from tfpersist.checkpoint.files import Files
from tfpersist.checkpoint.hdf5 import Hdf5, is_hdf5, open_hdf5
from tfpersist.errors import CorruptionError, StorageError
from tfpersist.formats import bundle, bundle_tensors, crc32c, v1
from tfpersist.formats.bundle_entry import BundleEntry
from tfpersist.formats.read_only import ReadOnly
from tfpersist.formats.tensors import TensorSpec
from tfpersist.storage import Hold, Storage

# How often to try again if the checkpoint is replaced while it is being opened.
_TRIES = 20


class Contents(Protocol):
    """An opened checkpoint; one class for each format."""

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        """Data type and shape of every tensor, sorted by name."""

    def read(self, key: str) -> np.ndarray[Any, Any]:
        """Return the elements of a tensor; the first read compares them with their checksum."""

    def read_many(self, keys: Iterable[str]) -> Iterator[np.ndarray[Any, Any]]:
        """Read many tensors, which takes less time than one after the other."""

    def release(self, key: str) -> None:
        """Free the memory that reading a tensor took; the next use reads the tensor again."""


@attrs.frozen(eq=False)
class Bundle:
    """A checkpoint of the V2 format.

    Args:
        index: its index.
        storage: where its shards are read from.
        shard_names: the data files, by number.
        shards: the data files that are mapped or in memory already, by number.
        index_crc32c: the checksum of the file of the index.
    """

    index: bundle.BundleIndex
    storage: Storage
    shard_names: tuple[str, ...]
    shards: dict[int, memoryview]
    index_crc32c: int = 0
    _checked: set[str] = attrs.field(factory=set, init=False)
    _specs: dict[str, TensorSpec] = attrs.field(init=False)

    @_specs.default
    def _list(self) -> dict[str, TensorSpec]:
        return {key: entry.spec for key, entry in self.index.entries.items()}

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        return ReadOnly(self._specs)

    def read(self, key: str) -> np.ndarray[Any, Any]:
        array = bundle_tensors.read_tensor(
            self.index, key, self.shard, verify=key not in self._checked
        )
        self._checked.add(key)
        return array

    def read_many(self, keys: Iterable[str]) -> Iterator[np.ndarray[Any, Any]]:
        keys = list(keys)
        yield from bundle_tensors.read_tensors(self.index, keys, self.shard, trusted=self._checked)
        self._checked.update(keys)

    def release(self, key: str) -> None:
        entry = self.index.entries[key]
        for part in entry.slices:
            self._release(self.index.parts[bundle.part_key(part)])
        if not entry.slices:
            self._release(entry)

    def _release(self, entry: BundleEntry) -> None:
        if entry.shard in self.shards:
            data = self.shards[entry.shard]
            self.storage.forget(data[entry.offset : entry.offset + entry.size])

    def shard(self, number: int) -> tuple[memoryview, str]:
        """Return the bytes and the path of a data file."""
        name = self.shard_names[number]
        if number not in self.shards:
            self.shards[number] = self.storage.read(name)
        return self.shards[number], f"{self.storage.location}/{name}"


@attrs.frozen(eq=False)
class V1Files:
    """A checkpoint of the V1 format.

    Args:
        index: the lists of all its files, merged.
    """

    index: v1.V1Index

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        return {key: entry.spec for key, entry in self.index.entries.items()}

    def read(self, key: str) -> np.ndarray[Any, Any]:
        return v1.read_tensor(self.index, key)

    def read_many(self, keys: Iterable[str]) -> Iterator[np.ndarray[Any, Any]]:
        return map(self.read, keys)

    def release(self, key: str) -> None:
        """Do nothing: reading returned a copy, and this object keeps none."""


Opened = Bundle | V1Files | Hdf5


def open_contents(storage: Storage, files: Files, hold: Hold | None = None) -> Opened:
    """Open a checkpoint.

    Args:
        storage: where it is.
        files: its files.
        hold: the hold on its index, if the caller has one; then fewer files are opened.

    Returns:
        The contents. If the storage maps files, the contents stay the same even if the checkpoint
        is replaced or removed.

    Raises:
        CorruptionError: a file is damaged, or a shard is missing.
        StorageError: a file cannot be read.
    """
    if files.missing:
        raise missing(storage, files.missing[0])
    if files.index is None:
        only = storage.read(files.shards[0]) if len(files.shards) == 1 else None
        if only is not None and is_hdf5(only):
            return open_hdf5(only, f"{storage.location}/{files.shards[0]}")
        parts = [v1.read_v1(storage.read(n), f"{storage.location}/{n}") for n in files.shards]
        return V1Files(parts[0] if len(parts) == 1 else v1.merge(parts))
    for _ in range(_TRIES):
        read = storage.read if hold is None else hold.read
        encoded = bytes(read(files.index))
        index = bundle.read_index(memoryview(encoded), f"{storage.location}/{files.index}")
        try:
            opened = _open_shards(storage, files.prefix, index, crc32c.of(encoded), read)
            problem = None
        except CorruptionError as error:
            problem = error
        # Index and shards belong together if the index was the same before and after.
        if (hold is None or hold.current()) and bytes(read(files.index)) == encoded:
            if problem is not None:
                raise problem
            return opened
        # The held index is that of a checkpoint that was replaced.
        hold = None
    raise StorageError(
        f"the checkpoint was replaced {_TRIES} times while it was being opened",
        where=f"{storage.location}/{files.prefix}",
        advice="Let the program that writes it finish, then open it again",
    )


def missing(storage: Storage, name: str) -> CorruptionError:
    """Return the error for a data file that is missing."""
    return CorruptionError(
        "this data file of the checkpoint is missing",
        file=f"{storage.location}/{name}",
        advice="Copy it from where the checkpoint was saved, or use another checkpoint.",
    )


def _open_shards(
    storage: Storage,
    prefix: str,
    index: bundle.BundleIndex,
    index_crc32c: int,
    read: Callable[[str], memoryview],
) -> Bundle:
    names: list[str] = []
    sizes: dict[int, int] = {}
    shards: dict[int, memoryview] = {}
    for number in range(max(index.num_shards, 1)):
        names.append(bundle.shard_name(prefix, number, max(index.num_shards, 1)))
        try:
            if storage.maps:
                shards[number] = read(names[number])
                sizes[number] = len(shards[number])
            else:
                sizes[number] = storage.size(names[number])
        except StorageError as error:
            if error.errno == errno.ENOENT:
                raise missing(storage, names[number]) from error
            raise
    bundle.check_ranges(index, sizes, index.file)
    return Bundle(index, storage, tuple(names), shards, index_crc32c)
