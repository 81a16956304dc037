"""Fetch the bytes of tensors from data files that are not mapped, and nothing else of them."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import attrs

from tfpersist.errors import CorruptionError, StorageError
from tfpersist.formats import bundle
from tfpersist.formats.bundle import BundleIndex
from tfpersist.formats.bundle_entry import BundleEntry
from tfpersist.formats.bundle_tensors import Shard
from tfpersist.storage import Storage

# Bytes between two tensors are fetched with them if that saves a request.
_GAP = 64 << 10
# More is fetched in several requests at once, which need not be put together afterwards.
_MOST_TOGETHER = 16 << 20
# A damaged index cannot ask for more than a file has: from this size on, the file is asked first.
_LARGE = 4 << 30


@attrs.define(eq=False)
class _Span:
    """Bytes of one data file, and the entries that lie in them."""

    shard: int
    start: int
    end: int
    entries: list[BundleEntry]


def missing(storage: Storage, name: str) -> CorruptionError:
    """Return the error for a data file that is missing."""
    return CorruptionError(
        "this data file of the checkpoint is missing",
        file=f"{storage.location}/{name}",
        advice="Copy it from where the checkpoint was saved, or use another checkpoint.",
    )


def entries_of(index: BundleIndex, keys: Iterable[str]) -> list[BundleEntry]:
    """Return the entries that hold the bytes of some tensors; names without a tensor are left out.

    Args:
        index: the index.
        keys: the names of the tensors.
    """
    entries = []
    for key in dict.fromkeys(keys):
        entry = index.entries.get(key)
        if entry is not None and entry.slices:
            entries += [index.parts[bundle.part_key(part)] for part in entry.slices]
        elif entry is not None:
            entries.append(entry)
    return entries


def fetch(
    index: BundleIndex,
    entries: Iterable[BundleEntry],
    storage: Storage,
    names: Mapping[int, str],
    known: Mapping[int, memoryview],
) -> tuple[BundleIndex, Shard]:
    """Fetch the bytes of some entries, many parts of files at once.

    Args:
        index: the index of the checkpoint.
        entries: what is fetched.
        storage: the directory.
        names: the data files, by number.
        known: the data files that are in memory already, by number.

    Returns:
        An index in which these entries lie in the parts that were fetched, each of them a shard;
        and what returns the bytes of such a shard.

    Raises:
        CorruptionError: a data file is missing, or ends before one of the entries does.
        StorageError: the server refused.
    """
    spans = _spans(entry for entry in entries if entry.size)
    chunks = _read(spans, storage, names, known)
    moved: dict[int, BundleEntry] = {}
    for number, span in enumerate(spans):
        for entry in span.entries:
            moved[id(entry)] = attrs.evolve(entry, shard=number, offset=entry.offset - span.start)
    files = [f"{storage.location}/{names[span.shard]} from byte {span.start}" for span in spans]
    near = attrs.evolve(
        index,
        entries=MappingProxyType({k: moved.get(id(e), e) for k, e in index.entries.items()}),
        parts=MappingProxyType({k: moved.get(id(e), e) for k, e in index.parts.items()}),
    )
    return near, lambda number: (chunks[number], files[number])


def _spans(entries: Iterable[BundleEntry]) -> list[_Span]:
    """Return the parts of files that hold some entries; neighbours share one."""
    spans: list[_Span] = []
    for entry in sorted(entries, key=lambda one: (one.shard, one.offset)):
        end = entry.offset + entry.size
        last = spans[-1] if spans else None
        is_near = last is not None and last.shard == entry.shard and entry.offset <= last.end + _GAP
        if last is not None and is_near and end <= last.start + _MOST_TOGETHER:
            last.end = max(last.end, end)
            last.entries.append(entry)
        else:
            spans.append(_Span(entry.shard, entry.offset, end, [entry]))
    return spans


def _read(
    spans: list[_Span],
    storage: Storage,
    names: Mapping[int, str],
    known: Mapping[int, memoryview],
) -> list[memoryview]:
    absent = [span for span in spans if span.shard not in known]
    try:
        if sum(span.end - span.start for span in absent) > _LARGE:
            sizes = {shard: storage.size(names[shard]) for shard in {one.shard for one in absent}}
            for span in absent:
                _refuse_outside(span, sizes[span.shard], storage, names)
        parts = [(names[span.shard], span.start, span.end - span.start) for span in absent]
        found = dict(zip(map(id, absent), storage.read_parts(parts), strict=True))
    except StorageError as error:
        if error.errno == errno.ENOENT:
            gone = next(n for n in names.values() if not storage.stamps([n]))
            raise missing(storage, gone) from error
        raise
    for span in absent:
        _refuse_outside(span, span.start + len(found[id(span)]), storage, names)
    return [found.get(id(span)) or known[span.shard][span.start : span.end] for span in spans]


def _refuse_outside(span: _Span, size: int, storage: Storage, names: Mapping[int, str]) -> None:
    for entry in span.entries:
        if entry.offset + entry.size > size:
            raise bundle.outside(entry, size, f"{storage.location}/{names[span.shard]}")
