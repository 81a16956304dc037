"""Decode and encode the entry of one tensor in the index of a checkpoint, a BundleEntryProto.

An index has one entry for each tensor, and nearly all have the same form. Entries of that form are
decoded by hand, which is faster; the protobuf parser decodes all others.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import attrs

from tfpersist.errors import CorruptionError, SaveError
from tfpersist.formats import dtypes, schema, slices, varint
from tfpersist.formats.byte_columns import Field, Fixed32, Numbers, Varints
from tfpersist.formats.tensors import MOST_DIMENSIONS, Slice, TensorSpec

_MOST_BYTES = 1 << 63

# The tags (field number << 3 | wire type) of the fields of BundleEntryProto.
_DTYPE, _SHAPE, _SHARD, _OFFSET, _SIZE, _CRC = 0x08, 0x12, 0x18, 0x20, 0x28, 0x35

_NO_PARTS: list[bytes] = []
_NO_SPEC = TensorSpec("variant", None)


@attrs.frozen
class BundleEntry:
    """The place and the form of one tensor of a checkpoint.

    Args:
        key: its name in the checkpoint.
        spec: data type and shape.
        shard: number of the data file that holds its bytes.
        offset: where its bytes start in that file.
        size: the number of its bytes.
        crc32c: the masked checksum of its bytes.
        slices: the parts of a partitioned variable, which has no bytes of its own; else empty.
    """

    key: str
    spec: TensorSpec
    shard: int
    offset: int
    size: int
    crc32c: int
    slices: tuple[Slice, ...] = ()


@attrs.define(eq=False)
class Decoder:
    """Decodes the entries of one index.

    Args:
        file: name of the index, for errors.
        num_shards: the number of data files.
    """

    file: str
    num_shards: int
    _heads: dict[bytes, tuple[TensorSpec, bytes | None]] = attrs.field(factory=dict, init=False)
    _sizes: dict[bytes, int] = attrs.field(factory=dict, init=False)

    def entry(self, key: bytes, value: memoryview, at: int) -> tuple[BundleEntry, list[bytes]]:
        """Decode one entry.

        Args:
            key: its key in the table.
            value: the encoded entry.
            at: where `value` starts in the file.

        Returns:
            The entry; for a partitioned variable also the keys of its parts in the table.

        Raises:
            CorruptionError: the entry contradicts itself.
        """
        raw = bytes(value)
        try:
            # Data type and shape come first. Many entries have the same ones, and so the same size,
            # which follows the offset.
            position = 4 + raw[3]
            head = raw[:position]
            known = self._heads.get(head)
            if known is None:
                known = self._head(head)
            spec, rest = known
            shard = offset = shift = 0
            if raw[position] == _SHARD and raw[position + 1] < min(self.num_shards, 0x80):
                shard = raw[position + 1]
                position += 2
            if raw[position] == _OFFSET:
                byte = 0x80
                while byte >= 0x80:
                    position += 1
                    byte = raw[position]
                    offset |= (byte & 0x7F) << shift
                    shift += 7
                position += 1
            # Nine bytes of an offset have 63 bits.
            if rest == raw[position:-4] and shift < 64:
                crc = int.from_bytes(raw[-4:], "little")
                size = self._sizes[rest]
                return BundleEntry(text(key), spec, shard, offset, size, crc), _NO_PARTS
        except (IndexError, CorruptionError):
            pass
        return self._unusual(key, raw, at)

    def _head(self, head: bytes) -> tuple[TensorSpec, bytes | None]:
        """Return the spec that an entry begins with, and the bytes between offset and checksum.

        These bytes are None if the protobuf parser has to decode the entry.
        """
        if head[0] != _DTYPE or head[2] != _SHAPE or head[1] | head[3] >= 0x80:
            return _NO_SPEC, None
        spec, nbytes = _usual_head(head)
        rest = encode_place(0, nbytes or 0, 1)[:-4]
        # The size of a string tensor does not follow from its spec.
        known = spec, rest if nbytes is not None and self.num_shards > 0 else None
        self._sizes[rest] = nbytes or 0
        self._heads[head] = known
        return known

    def _unusual(self, key: bytes, raw: bytes, at: int) -> tuple[BundleEntry, list[bytes]]:
        proto = schema.parse(schema.BundleEntryProto, raw, file=self.file, offset=at)
        known = _spec(proto, self.file, at)
        numbers = (proto.shard_id, proto.offset, proto.size, proto.crc32c)
        if not proto.slices:
            return self._checked(key, known, numbers, at), _NO_PARTS
        name = text(key)
        shape = known[0].known_shape
        extents = [slices.extents_of(part) for part in proto.slices]
        parts = tuple(
            slices.resolve(name, shape, part, file=self.file, offset=at) for part in extents
        )
        slices.check_cover(name, shape, parts, file=self.file, offset=at)
        return BundleEntry(name, known[0], *numbers, parts), [
            slices.part_key(key, part) for part in extents
        ]

    def _checked(
        self,
        key: bytes,
        known: tuple[TensorSpec, int | None],
        numbers: tuple[int, int, int, int],
        at: int,
    ) -> BundleEntry:
        spec, nbytes = known
        shard, offset, size, crc = numbers
        if not 0 <= shard < self.num_shards:
            raise CorruptionError(
                f"tensor {text(key)!r} is in a shard that does not exist",
                file=self.file,
                offset=at,
                expected=f"a shard below {self.num_shards}",
                found=shard,
            )
        if (nbytes is not None and size != nbytes) or not 0 <= offset < _MOST_BYTES or size < 0:
            raise CorruptionError(
                f"tensor {text(key)!r} has an impossible place",
                file=self.file,
                offset=at,
                expected=f"{nbytes} bytes for {spec}",
                found=f"{size} bytes at {offset}",
            )
        return BundleEntry(text(key), spec, shard, offset, size, crc)


# The entries of one model begin alike in each of its checkpoints.
@functools.lru_cache(maxsize=1 << 12)
def _usual_head(head: bytes) -> tuple[TensorSpec, int | None]:
    """Return what `_spec` does for the beginning of an entry; an error has no place."""
    return _spec(schema.parse(schema.BundleEntryProto, head, file="", offset=0), "", 0)


def _spec(proto: schema.Message, file: str, at: int) -> tuple[TensorSpec, int | None]:
    """Return the spec of an entry, and the number of bytes that follows from the spec."""
    dtype = dtypes.by_number(proto.dtype)
    shape = tuple(dimension.size for dimension in proto.shape.dim)
    if dtype is None or proto.dtype > dtypes.REF_OFFSET:
        raise CorruptionError(
            "an entry has an unknown data type",
            file=file,
            offset=at,
            expected="a number of TensorFlow's DataType",
            found=proto.dtype,
        )
    # Also without the dimensions of size 0, which hide how large the others are.
    largest = math.prod(filter(None, shape)) * max(dtype.size, 1)
    if (
        proto.shape.unknown_rank
        or len(shape) > MOST_DIMENSIONS
        or min(shape, default=0) < 0
        or largest >= _MOST_BYTES
    ):
        raise CorruptionError(
            "an entry has an impossible shape",
            file=file,
            offset=at,
            expected=f"at most {MOST_DIMENSIONS} known sizes, fewer than 2**63 bytes",
            found=list(shape),
        )
    spec = TensorSpec(dtype.name, shape)
    return spec, spec.nbytes


def text(key: bytes) -> str:
    """Return the name for a key of a table; bytes that are not UTF-8 become surrogates."""
    return key.decode("utf-8", "surrogateescape")


def raw(key: str) -> bytes:
    """Return the key of a table for a name.

    Raises:
        SaveError: UTF-8 cannot encode the name.
    """
    try:
        return key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise SaveError(
            f"a name cannot be encoded: {error.reason}",
            where=f"tensor {key!r}",
            advice="Give the tensor a name without lone surrogates.",
        ) from error


def encode_spec(spec: TensorSpec) -> bytes:
    """Encode data type and shape: the beginning of every BundleEntryProto."""
    proto = schema.BundleEntryProto(dtype=dtypes.BY_NAME[spec.dtype].number)
    proto.shape.SetInParent()
    for size in spec.shape or ():
        proto.shape.dim.add(size=size)
    return bytes(proto.SerializeToString())


def encode_place(offset: int, size: int, crc: int, *, shard: int = 0) -> bytes:
    """Encode shard, offset, size and checksum: what follows the spec in a BundleEntryProto."""
    out = b"\x18" + varint.encode(shard) if shard else b""
    if offset:
        out += b"\x20" + varint.encode(offset)
    if size:
        out += b"\x28" + varint.encode(size)
    return out + b"\x35" + crc.to_bytes(4, "little") if crc else out


def place_columns(
    shards: Numbers, offsets: Numbers, sizes: Numbers, crcs: Numbers
) -> Sequence[Field]:
    """Encode the places of many entries as `encode_place` encodes one."""
    return [
        Field(_SHARD, Varints(shards)),
        Field(_OFFSET, Varints(offsets)),
        Field(_SIZE, Varints(sizes)),
        Field(_CRC, Fixed32(crcs)),
    ]


def encode_slices(parts: Sequence[Slice]) -> bytes:
    """Encode the slices of a partitioned variable: the end of its BundleEntryProto."""
    proto = schema.BundleEntryProto()
    for part in parts:
        extents = proto.slices.add()
        for start, length in zip(part.start, part.length, strict=True):
            extents.extent.add(start=start, length=length)
    return bytes(proto.SerializeToString())
