"""Open a checkpoint of any format: the specs of its tensors, and their elements."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import attrs
import numpy as np

from tfpersist.checkpoint.facts import facts_in
from tfpersist.checkpoint.fetched import entries_of, fetch, missing
from tfpersist.checkpoint.files import Files
from tfpersist.checkpoint.hdf5 import Hdf5, is_hdf5, open_hdf5
from tfpersist.checkpoint.sidecar import Sidecar
from tfpersist.errors import CorruptionError, StorageError
from tfpersist.formats import bundle, bundle_tensors, crc32c, v1
from tfpersist.formats.bundle_entry import BundleEntry
from tfpersist.formats.read_only import ReadOnly
from tfpersist.formats.tensors import TensorSpec
from tfpersist.storage import Hold, Storage
from tfpersist.storage.base import ATTEMPTS

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
        facts: what the index itself notes; None if it notes nothing.
    """

    index: bundle.BundleIndex
    storage: Storage
    shard_names: Mapping[int, str]
    shards: dict[int, memoryview]
    index_crc32c: int = 0
    facts: Sidecar | None = None
    _checked: set[str] = attrs.field(factory=set, init=False)
    _specs: dict[str, TensorSpec] = attrs.field(init=False)

    @_specs.default
    def _list(self) -> dict[str, TensorSpec]:
        return {key: entry.spec for key, entry in self.index.entries.items()}

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        return ReadOnly(self._specs)

    def read(self, key: str) -> np.ndarray[Any, Any]:
        index, shard = self._near([key])
        array = bundle_tensors.read_tensor(index, key, shard, verify=self._is_unchecked(key))
        self._checked.add(key)
        return array

    def read_many(self, keys: Iterable[str]) -> Iterator[np.ndarray[Any, Any]]:
        keys = list(keys)
        index, shard = self._near(keys)
        trusted = self._checked if index is self.index else ()
        yield from bundle_tensors.read_tensors(index, keys, shard, trusted=trusted)
        self._checked.update(keys)

    def _is_unchecked(self, key: str) -> bool:
        # What is fetched once more may have been damaged on the way.
        return key not in self._checked or not self.storage.maps

    def _near(self, keys: Sequence[str]) -> tuple[bundle.BundleIndex, bundle_tensors.Shard]:
        """Return an index of these tensors and their bytes; they are fetched unless they are here.

        Raises:
            CorruptionError: a data file is missing, or ends before one of the tensors does.
        """
        if len(self.shards) == len(self.shard_names):
            return self.index, self.shard
        entries = entries_of(self.index, keys)
        return fetch(self.index, entries, self.storage, self.shard_names, self.shards)

    def load(self) -> None:
        """Read all data files at once, if they are not mapped."""
        absent = [number for number in self.shard_names if number not in self.shards]
        names = [self.shard_names[number] for number in absent]
        parts = [(name, 0, self.storage.size(name)) for name in names]
        self.shards.update(zip(absent, self.storage.read_parts(parts), strict=True))

    def release(self, key: str) -> None:
        entry = self.index.entries[key]
        for part in entry.slices:
            self._release(self.index.parts[bundle.part_key(part)])
        if not entry.slices:
            self._release(entry)

    def _release(self, entry: BundleEntry) -> None:
        if entry.size and entry.shard in self.shards:
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
            opened = _open_shards(storage, files.prefix, index, encoded, read)
            problem = None
        except CorruptionError as error:
            problem = error
        if problem is None and opened.facts is not None:
            # No other checkpoint writes to data files of these names.
            return opened
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


def _open_shards(
    storage: Storage,
    prefix: str,
    index: bundle.BundleIndex,
    encoded: bytes,
    read: Callable[[str], memoryview],
) -> Bundle:
    count = max(index.num_shards, 1)
    is_attempt = count in ATTEMPTS
    stored = [*(e for e in index.entries.values() if not e.slices), *index.parts.values()]
    numbers = sorted({e.shard for e in stored if e.size}) if is_attempt else range(count)
    names = {number: bundle.shard_name(prefix, number, count) for number in numbers}
    sizes: dict[int, int] = {}
    shards: dict[int, memoryview] = {}
    for number, name in names.items():
        try:
            if storage.maps:
                shards[number] = read(name)
                sizes[number] = len(shards[number])
            elif is_attempt:
                # That is noticed when they are read.
                sizes[number] = sys.maxsize
            else:
                sizes[number] = storage.size(name)
        except StorageError as error:
            if error.errno == errno.ENOENT:
                raise missing(storage, name) from error
            raise
    bundle.check_ranges(index, sizes, index.file)
    facts = facts_in(memoryview(encoded), index.file) if is_attempt else None
    return Bundle(index, storage, names, shards, crc32c.of(encoded), facts)
