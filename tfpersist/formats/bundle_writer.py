"""Write a checkpoint of the V2 format, byte for byte as SaveV2 does; `bundle` describes it.

Tensors lie in the data shard in the order in which they are given. With an alignment above 1 zeros
follow each, so that the next starts at a multiple of it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import attrs
import numpy as np

from tfpersist.errors import SaveError, UnsupportedError
from tfpersist.formats import (
    bundle,
    bundle_entry,
    crc32c,
    dtypes,
    schema,
    slices,
    sstable_writer,
    string_tensor,
)
from tfpersist.formats.tensors import Payload, Slice, TensorSpec

# Small tensors are gathered until there is this much to write.
_GATHER = 512 << 10

_NO_ROWS: Mapping[bytes, bytes] = MappingProxyType({})


class Sink(Protocol):
    """Where bytes go."""

    def reserve(self, size: int) -> None:
        """Learn the exact number of bytes to come; called once, before the first `write`."""
        ...

    def write(self, data: memoryview | bytes) -> None:
        """Append `data`, which the caller may change or drop after the call."""
        ...


@attrs.frozen
class Item:
    """A tensor to write.

    Args:
        key: its name in the checkpoint; for a part, the name of the whole variable.
        payload: its elements.
        part: which slice of a partitioned variable it is; None for a whole one.
    """

    key: str
    payload: Payload
    part: Slice | None = None


def write_bundle(
    items: Sequence[Item],
    data_sink: Sink,
    *,
    alignment: int = 64,
    shard: int = 0,
    others: Mapping[bytes, bytes] = _NO_ROWS,
) -> bytes:
    """Write the data shard of a checkpoint and lay out its index.

    Args:
        items: the tensors, in the order of their bytes in the shard.
        data_sink: where the shard goes; its exact size is reserved first.
        alignment: every tensor starts at a multiple of this many bytes; 1 is what SaveV2 does.
        shard: the number of this shard, the last one; those before it are written already.
        others: what the index says of the tensors in those, by key, encoded.

    Returns:
        The bytes of the index, to be written once the shard is safe.

    Raises:
        SaveError: two tensors of one name, an empty name, or elements that are not what was said.

    Example:
        >>> from tfpersist.formats.tensors import payload_of
        >>> class Shard(list):
        ...     def reserve(self, size): print("expects", size, "bytes")
        ...     def write(self, data): self.append(bytes(data))
        >>> shard = Shard()
        >>> index = write_bundle([Item("v", payload_of(np.zeros(3, np.float32)))], shard)
        expects 64 bytes
        >>> len(b"".join(shard))
        64
    """
    layout = _lay_out(items, alignment)
    data_sink.reserve(layout.size)
    table = {**others, **layout.wholes}
    gathered: list[bytes] = []
    length = 0
    for place in layout.places:
        crc = place.crc
        if place.size < _GATHER:
            content = _load(place.item).tobytes() if place.content is None else place.content
            gathered.append(content)
            length += place.size
            if place.content is None:
                crc = crc32c.of(content)
        else:
            if gathered:
                data_sink.write(b"".join(gathered))
                gathered, length = [], 0
            for chunk in _chunks(place):
                data_sink.write(chunk)
                if place.content is None:
                    crc = crc32c.of(chunk, start=crc)
        if place.padding:
            gathered.append(bytes(place.padding))
            length += place.padding
        if length >= _GATHER:
            data_sink.write(b"".join(gathered))
            gathered, length = [], 0
        where = bundle_entry.encode_place(place.offset, place.size, crc32c.masked(crc), shard=shard)
        table[place.key] = place.head + where
    if gathered:
        data_sink.write(b"".join(gathered))
    return index_of(table, shard + 1)


def index_of(table: Mapping[bytes, bytes], num_shards: int) -> bytes:
    """Give the bytes of the index that consists of these encoded entries, by key."""
    header = schema.BundleHeaderProto(num_shards=num_shards)
    header.version.producer = bundle.VERSION
    out = io.BytesIO()
    rows = ((key, table[key]) for key in sorted(table))
    sstable_writer.write_table([(b"", header.SerializeToString()), *rows], out)
    return out.getvalue()


@attrs.define(eq=False)
class _Place:
    """Where an item goes; strings are encoded already, for only so their size is known."""

    key: bytes
    head: bytes
    item: Item
    offset: int
    size: int
    padding: int
    content: bytes | None
    crc: int


@attrs.frozen
class _Layout:
    size: int
    places: list[_Place]
    wholes: dict[bytes, bytes]


def _lay_out(items: Iterable[Item], alignment: int) -> _Layout:
    places: list[_Place] = []
    partitioned: dict[str, list[Item]] = {}
    specs: dict[tuple[str, object], tuple[bytes, int | None]] = {}
    used: set[bytes] = set()
    offset = 0
    for item in items:
        part, spec = item.part, item.payload.spec
        key = bundle_entry.raw(item.key)
        if part is not None and part.length != part.full_shape:
            partitioned.setdefault(item.key, []).append(item)
            key = slices.part_key(key, zip(part.start, part.length, strict=True))
        if not item.key or key in used:
            raise _same_name(
                item.key, "two tensors have one name" if item.key else "a name is empty"
            )
        used.add(key)
        known = specs.get((spec.dtype, spec.shape))
        if known is None:
            known = (bundle_entry.encode_spec(spec), spec.nbytes)
            specs[spec.dtype, spec.shape] = known
        head, size = known
        content, crc = None, 0
        if spec.dtype == "string":
            content, crc = _encode_strings(item)
            size = len(content)
        if size is None:
            raise SaveError(
                f"a tensor of {spec} has no bytes that could be saved",
                where=f"tensor {item.key!r}",
                advice="Save a tensor whose shape is known and whose data type numpy can hold.",
            )
        padding = -(offset + size) % alignment
        places.append(_Place(key, head, item, offset, size, padding, content, crc))
        offset += size + padding
    wholes = {}
    for name, parts in partitioned.items():
        key = bundle_entry.raw(name)
        if key in used:
            raise _same_name(name, "a tensor is saved both as a whole and in parts")
        wholes[key] = _encode_whole(name, parts)
    return _Layout(offset, places, wholes)


def _same_name(name: str, problem: str) -> SaveError:
    return SaveError(
        problem, where=f"tensor {name!r}", advice="Give every tensor a name of its own."
    )


def _encode_whole(name: str, parts: list[Item]) -> bytes:
    shapes = {item.part.full_shape for item in parts if item.part}
    types = {item.payload.spec.dtype for item in parts}
    fits = all(item.part and item.payload.spec.shape == item.part.length for item in parts)
    if len(shapes) != 1 or len(types) != 1 or not fits:
        raise SaveError(
            "the parts of a partitioned variable do not fit together",
            where=f"variable {name!r}",
            expected="one data type, one full shape, and slices of the shape of their elements",
            found=[str(item.payload.spec) for item in parts],
        )
    head = bundle_entry.encode_spec(TensorSpec(types.pop(), shapes.pop()))
    return head + bundle_entry.encode_slices([item.part for item in parts if item.part])


def _load(item: Item) -> np.ndarray[Any, Any]:
    array = np.asarray(item.payload.load())
    spec = item.payload.spec
    wanted = dtypes.BY_NAME[spec.dtype].numpy
    if array.dtype is wanted and array.shape == spec.shape:
        return array
    native = array.dtype.newbyteorder("=") if array.dtype.kind in "iufc" else array.dtype
    strings = spec.dtype == "string" and array.dtype.kind in "SUO"
    if array.shape != spec.shape or not (strings or native == wanted):
        raise SaveError(
            "a tensor is not what it was announced as",
            where=f"tensor {item.key!r}",
            expected=spec,
            found=f"{array.dtype} of shape {list(array.shape)}",
        )
    return array if strings else array.astype(wanted, copy=False)


def _encode_strings(item: Item) -> tuple[bytes, int]:
    try:
        return string_tensor.encode(_load(item))
    except UnsupportedError as error:
        raise SaveError(
            error.problem, where=f"tensor {item.key!r}", expected="bytes or str"
        ) from error


def _chunks(place: _Place) -> Iterator[memoryview]:
    if place.content is not None:
        flat = np.frombuffer(place.content, np.uint8)
    else:
        flat = np.ascontiguousarray(_load(place.item)).reshape(-1).view(np.uint8)
    for at in range(0, flat.size, crc32c.CHUNK):
        yield flat[at : at + crc32c.CHUNK].data
