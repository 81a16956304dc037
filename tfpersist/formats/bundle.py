"""Read the index of a checkpoint of the V2 format, a TensorBundle.

A checkpoint has an index, `<prefix>.index`, and data files `<prefix>.data-<shard>-of-<shards>`. The
index is a table (`sstable`). Its first key is empty and holds a BundleHeaderProto. Every other key
is the name of a tensor and holds a BundleEntryProto: data type, shape, and where the elements are:
shard, offset and size. A partitioned variable lists its slices instead. Each slice has an entry of
its own under an encoded key (`slices`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from types import MappingProxyType

import attrs

from tfpersist.errors import CorruptionError, UnsupportedError
from tfpersist.formats import bundle_entry, schema, slices, sstable
from tfpersist.formats.bundle_entry import BundleEntry
from tfpersist.formats.tensors import Slice

VERSION = 1


@attrs.frozen
class BundleIndex:
    """The index of a checkpoint.

    Args:
        num_shards: the number of data files.
        big_endian: whether a big-endian machine wrote it.
        entries: the tensors by name, sorted; a partitioned variable is one of them.
        parts: the parts of partitioned variables, by `part_key(...)` of their slice.
        file: name of the index, for errors.
    """

    num_shards: int
    big_endian: bool
    entries: Mapping[str, BundleEntry]
    parts: Mapping[bytes, BundleEntry]
    file: str = ""


def shard_name(prefix: str, shard: int, num_shards: int) -> str:
    """Return the name of a data file of a checkpoint.

    Example:
        >>> shard_name("model.ckpt-5", 0, 2)
        'model.ckpt-5.data-00000-of-00002'
    """
    return f"{prefix}.data-{shard:05d}-of-{num_shards:05d}"


def part_key(part: Slice) -> bytes:
    """Return the key of a slice in `BundleIndex.parts`.

    Example:
        >>> part_key(Slice("v", (4,), (2,), (2,)))
        b'\\x00v\\x00\\x01\\x01\\x01\\x82\\x82'
    """
    extents = zip(part.start, part.length, strict=True)
    return slices.part_key(bundle_entry.raw(part.full_name), extents)


def read_index(data: memoryview, file: str) -> BundleIndex:
    """Read the index of a checkpoint.

    Args:
        data: the whole file.
        file: its name, for errors.

    Returns:
        The index. Each entry of it is consistent; `check_ranges` compares it with the data files.

    Raises:
        CorruptionError: the bytes are not an index, or damaged.
        UnsupportedError: it has a later version of the format.
    """
    records = sstable.read_table(data, file, copied=True)
    if not records or records[0][0]:
        raise CorruptionError(
            "the header of the index is missing",
            file=file,
            expected="an empty first key",
            found=records[0][0] if records else "an empty table",
        )
    _, value, at = records[0]
    num_shards, is_big_endian = _HEADERS.get(value) or _header(value, file, at)
    decoder = bundle_entry.Decoder(file, num_shards)
    entries: dict[bytes, BundleEntry] = {}
    part_keys: dict[bytes, tuple[bytes, int]] = {}
    partitioned: list[BundleEntry] = []
    for key, value, at in records[1:]:
        entry, keys = decoder.entry(key, value, at)
        entries[key] = entry
        if keys:
            partitioned.append(entry)
            for stored, part in zip(keys, entry.slices, strict=True):
                part_keys[stored] = (part_key(part), at)
    parts: dict[bytes, BundleEntry] = {}
    for stored, (canonical, at) in part_keys.items():
        parts[canonical] = _pop_part(entries, stored, file, at)
    _check_parts(partitioned, parts, file)
    return BundleIndex(
        num_shards,
        is_big_endian,
        MappingProxyType({entry.key: entry for entry in entries.values()}),
        MappingProxyType(parts),
        file,
    )


# What `_header` returned for the few headers that most checkpoints have.
_HEADERS: dict[bytes, tuple[int, bool]] = {}
_MOST_HEADERS, _LONGEST_HEADER = 64, 64


def _header(value: bytes, file: str, at: int) -> tuple[int, bool]:
    """Decode a header; return the number of data files, and whether they are big-endian."""
    header = schema.parse(schema.BundleHeaderProto, value, file=file, offset=at)
    if header.num_shards < 0 or header.endianness not in (0, 1):
        raise CorruptionError(
            "the header of the index is damaged",
            file=file,
            offset=at,
            expected="0 or more shards, and byte order 0 or 1",
            found=f"{header.num_shards} shards, byte order {header.endianness}",
        )
    if header.version.min_consumer > VERSION or VERSION in header.version.bad_consumers:
        raise UnsupportedError(
            "this checkpoint needs a later TensorFlow",
            where=f"{file}, byte {at}",
            expected=f"format version {VERSION}",
            found=header.version.min_consumer,
            advice="Update tfpersist, or save the model again with an earlier TensorFlow.",
        )
    decoded = header.num_shards, header.endianness == schema.BundleHeaderProto.BIG
    if len(_HEADERS) < _MOST_HEADERS and len(value) <= _LONGEST_HEADER:
        _HEADERS[value] = decoded
    return decoded


def _pop_part(entries: dict[bytes, BundleEntry], stored: bytes, file: str, at: int) -> BundleEntry:
    part = entries.pop(stored, None)
    if part is None or part.slices:
        raise CorruptionError(
            "a part of a partitioned variable is missing",
            file=file,
            offset=at,
            expected=f"an entry for {stored!r}",
        )
    return part


def _check_parts(
    partitioned: list[BundleEntry], parts: Mapping[bytes, BundleEntry], file: str
) -> None:
    for entry in partitioned:
        keys = {part_key(part): part for part in entry.slices}
        wrong = len(keys) != len(entry.slices) or any(
            parts[key].spec != attrs.evolve(entry.spec, shape=part.length)
            for key, part in keys.items()
        )
        if wrong:
            raise CorruptionError(
                f"the parts of variable {entry.key!r} do not fit it",
                file=file,
                expected=f"distinct slices of {entry.spec}",
            )


def check_ranges(index: BundleIndex, shard_sizes: Mapping[int, int], file: str) -> None:
    """Raise if a tensor lies outside of its shard, or if two tensors share bytes.

    Args:
        index: the index.
        shard_sizes: the size of each data file in bytes, by its number.
        file: name of the index, for errors.

    Raises:
        CorruptionError: a tensor lies outside, or two overlap.
    """
    stored = [entry for entry in index.entries.values() if not entry.slices]
    stored += index.parts.values()
    # Most checkpoints list their tensors in the order of their bytes: then one pass is enough.
    shard, end, shard_size, ordered = -1, 0, 0, True
    for entry in stored:
        if not entry.size:
            continue
        if entry.shard != shard:
            ordered = ordered and entry.shard > shard
            shard, end, shard_size = entry.shard, 0, shard_sizes.get(entry.shard, 0)
        ordered = ordered and entry.offset >= end
        end = entry.offset + entry.size
        if end > shard_size:
            raise outside(entry, shard_size, file)
    if not ordered:
        check_disjoint(stored, file)


def check_disjoint(entries: Iterable[BundleEntry], file: str) -> None:
    """Raise if two tensors share bytes.

    Args:
        entries: the tensors.
        file: name of the index, for errors.

    Raises:
        CorruptionError: two tensors share bytes.
    """
    filled = (entry for entry in entries if entry.size)
    ordered = sorted(filled, key=lambda entry: (entry.shard, entry.offset))
    for entry, following in pairwise(ordered):
        end = entry.offset + entry.size
        if entry.shard == following.shard and end > following.offset:
            raise CorruptionError(
                f"tensors {entry.key!r} and {following.key!r} share bytes of shard {entry.shard}",
                file=file,
                offset=0,
                expected=f"{following.key!r} at byte {end} or later",
                found=following.offset,
            )


def outside(entry: BundleEntry, size: int, file: str) -> CorruptionError:
    """Return the error for a tensor that ends after the `size` bytes of its shard `file`."""
    return CorruptionError(
        f"tensor {entry.key!r} reaches beyond the end of its shard",
        file=file,
        offset=min(entry.offset, size),
        expected=f"{entry.size} bytes at {entry.offset}",
        found=f"a shard of {size} bytes",
    )
