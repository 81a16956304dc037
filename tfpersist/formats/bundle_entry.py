"""What the index of a checkpoint says of each tensor, as a value; and its encoded form.

The form is a BundleEntryProto. A checkpoint of many variables has many of them and all look alike,
so these are coded by hand; one that looks different is left to the protobuf parser.
"""

from __future__ import annotations

import math

import attrs

from tfpersist.errors import CorruptionError, SaveError
from tfpersist.formats import dtypes, schema, slices, varint
from tfpersist.formats.tensors import Slice, TensorSpec

_MOST_BYTES = 1 << 63
_MOST_DIMENSIONS = 254

# Field number << 3 | wire type, of the fields of BundleEntryProto.
_DTYPE, _SHAPE, _SHARD, _OFFSET = 0x08, 0x12, 0x18, 0x20

_NO_PARTS: list[bytes] = []
_NO_SPEC = TensorSpec("variant", None)


@attrs.frozen
class BundleEntry:
    """One tensor of a checkpoint.

    Args:
        key: its name in the checkpoint.
        spec: data type and shape.
        shard: number of the data file that holds its bytes.
        offset: where they start in that file.
        size: how many they are.
        crc32c: their masked checksum.
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
        num_shards: how many data files there are.
    """

    file: str
    num_shards: int
    _heads: dict[bytes, tuple[TensorSpec, bytes | None]] = attrs.field(factory=dict, init=False)
    _sizes: dict[bytes, int] = attrs.field(factory=dict, init=False)

    def entry(self, key: bytes, value: memoryview, at: int) -> tuple[BundleEntry, list[bytes]]:
        """Decode one entry.

        Args:
            key: its key in the table.
            value: its encoded form.
            at: where that starts in the file.

        Returns:
            The entry; and, where it is a partitioned variable, the keys of its parts in the table.

        Raises:
            CorruptionError: it contradicts itself.
        """
        raw = bytes(value)
        try:
            # Data type and shape come first and are the same in many entries, as is the size, which
            # follows the offset.
            position = 4 + raw[3]
            head = raw[:position]
            known = self._heads.get(head)
            if known is None:
                known = self._head(head, at)
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
            if rest == raw[position:-4] and offset < _MOST_BYTES and shift < 64:
                crc = int.from_bytes(raw[-4:], "little")
                size = self._sizes[rest]
                return BundleEntry(text(key), spec, shard, offset, size, crc), _NO_PARTS
        except (IndexError, CorruptionError):
            pass
        return self._unusual(key, raw, at)

    def _head(self, head: bytes, at: int) -> tuple[TensorSpec, bytes | None]:
        """The spec that an entry begins with; and size and tag of the checksum as they follow.

        There is no such rest where the entry has to be looked at by the protobuf parser.
        """
        if head[0] != _DTYPE or head[2] != _SHAPE or head[1] | head[3] >= 0x80:
            return _NO_SPEC, None
        proto = schema.parse(schema.BundleEntryProto, head, file=self.file, offset=at)
        spec, nbytes = self._spec(proto, at)
        rest = encode_place(0, nbytes or 0, 1)[:-4]
        # A string tensor tells its size itself.
        known = spec, rest if nbytes is not None and self.num_shards > 0 else None
        self._sizes[rest] = nbytes or 0
        self._heads[head] = known
        return known

    def _unusual(self, key: bytes, raw: bytes, at: int) -> tuple[BundleEntry, list[bytes]]:
        proto = schema.parse(schema.BundleEntryProto, raw, file=self.file, offset=at)
        known = self._spec(proto, at)
        numbers = (proto.shard_id, proto.offset, proto.size, proto.crc32c)
        if not proto.slices:
            return self._checked(key, known, numbers, at), _NO_PARTS
        name = text(key)
        shape: tuple[int, ...] = known[0].shape  # type: ignore[assignment]
        extents = [slices.extents_of(part) for part in proto.slices]
        parts = tuple(
            slices.resolve(name, shape, each, file=self.file, offset=at) for each in extents
        )
        slices.check_cover(name, shape, parts, file=self.file, offset=at)
        return BundleEntry(name, known[0], *numbers, parts), [
            slices.part_key(key, each) for each in extents
        ]

    def _spec(self, proto: schema.Message, at: int) -> tuple[TensorSpec, int | None]:
        """The spec of an entry, and the number of bytes that follows from it."""
        dtype = dtypes.by_number(proto.dtype)
        shape = tuple(dimension.size for dimension in proto.shape.dim)
        if dtype is None or proto.dtype > dtypes.REF_OFFSET:
            raise CorruptionError(
                "an entry is of an unknown data type",
                file=self.file,
                offset=at,
                expected="a number of TensorFlow's DataType",
                found=proto.dtype,
            )
        extent = math.prod(filter(None, shape)) * max(dtype.size, 1)
        if (
            proto.shape.unknown_rank
            or len(shape) > _MOST_DIMENSIONS
            or min(shape, default=0) < 0
            or extent >= _MOST_BYTES
        ):
            raise CorruptionError(
                "an entry has an impossible shape", file=self.file, offset=at, found=list(shape)
            )
        spec = TensorSpec(dtype.name, shape)
        return spec, spec.nbytes

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
                f"tensor {text(key)!r} lies in a shard that does not exist",
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


def text(key: bytes) -> str:
    """Turn a key of a table into a name; bytes that are no UTF-8 survive as surrogates."""
    return key.decode("utf-8", "surrogateescape")


def raw(key: str) -> bytes:
    """Turn a name into the key of a table.

    Raises:
        SaveError: the name is no text that UTF-8 can encode.
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
    """Encode data type and shape, with which every BundleEntryProto begins."""
    proto = schema.BundleEntryProto(dtype=dtypes.BY_NAME[spec.dtype].number)
    proto.shape.SetInParent()
    for size in spec.shape or ():
        proto.shape.dim.add(size=size)
    return bytes(proto.SerializeToString())


def encode_place(offset: int, size: int, crc: int, *, shard: int = 0) -> bytes:
    """Encode where a tensor lies, with which its BundleEntryProto goes on."""
    out = b"\x18" + varint.encode(shard) if shard else b""
    if offset:
        out += b"\x20" + varint.encode(offset)
    if size:
        out += b"\x28" + varint.encode(size)
    return out + b"\x35" + crc.to_bytes(4, "little") if crc else out


def encode_slices(parts: list[Slice]) -> bytes:
    """Encode the parts of a partitioned variable, with which its BundleEntryProto goes on."""
    proto = schema.BundleEntryProto()
    for part in parts:
        extents = proto.slices.add()
        for start, length in zip(part.start, part.length, strict=True):
            extents.extent.add(start=start, length=length)
    return bytes(proto.SerializeToString())
