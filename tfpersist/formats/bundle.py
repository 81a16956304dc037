"""Read a checkpoint of the V2 format, a TensorBundle: `<prefix>.index` and its data shards.

The index is a table (`sstable`). Its first key is empty and holds a BundleHeaderProto; every other
key is the name of a tensor and holds a BundleEntryProto: data type, shape, and which bytes of which
shard `<prefix>.data-<shard>-of-<shards>` the elements are. A partitioned variable lists its slices
instead; each slice has an entry of its own under an encoded key (`slices`).
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

__all__ = [
    "VERSION",
    "BundleEntry",
    "BundleIndex",
    "check_disjoint",
    "check_ranges",
    "outside",
    "part_key",
    "read_index",
    "shard_name",
]

VERSION = 1


@attrs.frozen
class BundleIndex:
    """What a checkpoint holds.

    Args:
        num_shards: how many data files it has.
        big_endian: whether a big-endian machine wrote it.
        entries: its tensors by name, sorted; a partitioned variable is one of them.
        parts: the parts of partitioned variables, by `part_key(...)` of their slice.
        file: name of the index, for errors.
    """

    num_shards: int
    big_endian: bool
    entries: Mapping[str, BundleEntry]
    parts: Mapping[bytes, BundleEntry]
    file: str = ""


def shard_name(prefix: str, shard: int, num_shards: int) -> str:
    """Name a data file of a checkpoint.

    Example:
        >>> shard_name("model.ckpt-5", 0, 2)
        'model.ckpt-5.data-00000-of-00002'
    """
    return f"{prefix}.data-{shard:05d}-of-{num_shards:05d}"


def part_key(part: Slice) -> bytes:
    """Give the key of a slice in `BundleIndex.parts`.

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
        The index; every entry of it is consistent in itself.

    Raises:
        CorruptionError: the bytes are no index, or damaged.
        UnsupportedError: a later version of the format.
    """
    records = sstable.read_table(data, file, copied=True)
    if not records or records[0][0]:
        raise CorruptionError(
            "the header is missing",
            file=file,
            expected="an empty first key",
            found=records[0][0] if records else "an empty table",
        )
    _, value, at = records[0]
    header = schema.parse(schema.BundleHeaderProto, value, file=file, offset=at)
    _check_header(header, file, at)
    decoder = bundle_entry.Decoder(file, header.num_shards)
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
        parts[canonical] = _take_part(entries, stored, file, at)
    _check_parts(partitioned, parts, file)
    return BundleIndex(
        header.num_shards,
        header.endianness == schema.BundleHeaderProto.BIG,
        MappingProxyType({entry.key: entry for entry in entries.values()}),
        MappingProxyType(parts),
        file,
    )


def _check_header(header: schema.Message, file: str, at: int) -> None:
    if header.num_shards < 0 or header.endianness not in (0, 1):
        raise CorruptionError(
            "the header is impossible",
            file=file,
            offset=at,
            found=f"{header.num_shards} shards, byte order {header.endianness}",
        )
    if header.version.min_consumer > VERSION or VERSION in header.version.bad_consumers:
        raise UnsupportedError(
            "this checkpoint was written for a later TensorFlow",
            where=f"{file}, byte {at}",
            expected=f"format version {VERSION}",
            found=header.version.min_consumer,
            advice="Update tfpersist, or save the model again with an earlier TensorFlow.",
        )


def _take_part(entries: dict[bytes, BundleEntry], stored: bytes, file: str, at: int) -> BundleEntry:
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
    """Refuse an index whose tensors lie outside of their shards or share bytes.

    Args:
        index: the index.
        shard_sizes: the size of each data file, in bytes, by its number.
        file: name of the index, for errors.

    Raises:
        CorruptionError: a tensor lies outside, or two overlap.
    """
    stored = [entry for entry in index.entries.values() if not entry.slices]
    stored += index.parts.values()
    shard, end, most, ordered = -1, 0, 0, True
    for entry in stored:
        if not entry.size:
            continue
        if entry.shard != shard:
            ordered = ordered and entry.shard > shard
            shard, end, most = entry.shard, 0, shard_sizes.get(entry.shard, 0)
        ordered = ordered and entry.offset >= end
        end = entry.offset + entry.size
        if end > most:
            raise outside(entry, most, file)
    if not ordered:
        check_disjoint(stored, file)


def check_disjoint(entries: Iterable[BundleEntry], file: str) -> None:
    """Refuse tensors that share bytes.

    Args:
        entries: where they lie.
        file: name of the index, for errors.

    Raises:
        CorruptionError: two overlap.
    """
    filled = (entry for entry in entries if entry.size)
    ordered = sorted(filled, key=lambda entry: (entry.shard, entry.offset))
    for one, other in pairwise(ordered):
        if one.shard == other.shard and one.offset + one.size > other.offset:
            raise CorruptionError(
                f"tensors {one.key!r} and {other.key!r} share bytes of shard {one.shard}",
                file=file,
                offset=0,
                expected=f"{other.key!r} at byte {one.offset + one.size} or behind",
                found=other.offset,
            )


def outside(entry: BundleEntry, size: int, file: str) -> CorruptionError:
    """Make the error for a tensor that lies beyond the `size` bytes of its shard, `file`."""
    return CorruptionError(
        f"tensor {entry.key!r} reaches over the end of its shard",
        file=file,
        offset=min(entry.offset, size),
        expected=f"{entry.size} bytes at {entry.offset}",
        found=f"a shard of {size} bytes",
    )
