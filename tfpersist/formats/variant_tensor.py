"""Encode and decode the elements of a variant tensor in a data shard.

A variant holds a value that only TensorFlow knows, such as the state of a tf.data iterator or a
list of tensors. In a file it is a VariantTensorDataProto, whose bytes need not be understood to be
verified, compared, copied and renamed. For each element:

length    varint
element   the bytes of the message
crc       masked crc32c

The checksum runs on over all elements: it covers the lengths, each as 8 bytes, the bytes and the
checksums before. The tensor's own checksum covers the last of these too. TensorFlow defines this in
WriteVariantTensor of tensor_bundle.cc.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from tfpersist.errors import CorruptionError, UnsupportedError, value_text
from tfpersist.formats import crc32c, schema, varint

_LENGTH_SIZE, _CRC_SIZE = 8, 4
# The tag (field number << 3 | wire type) of TensorProto.variant_val.
_VARIANT_VAL = bytes((15 << 3 | 2,))


class Variant(bytes):
    """One element of a variant tensor: an encoded VariantTensorDataProto.

    Example:
        >>> array_of([Variant(b"\\n\\x03int")])
        array([b'\\n\\x03int'], dtype=object)
    """


def array_of(elements: Iterable[bytes | memoryview]) -> np.ndarray[Any, Any]:
    """Return variants as a flat array of objects."""
    variants = [Variant(element) for element in elements]
    array = np.empty(len(variants), object)
    array[:] = variants
    return array


def encode(elements: np.ndarray[Any, Any]) -> tuple[bytes, int]:
    """Encode variants as SaveV2 does.

    Args:
        elements: an array of `Variant`.

    Returns:
        The bytes for the data shard, and the plain checksum of the tensor.

    Raises:
        UnsupportedError: an element is not a variant.

    Example:
        >>> encode(array_of([b"ab"]))[0].hex()
        '02616294b1eb00'
    """
    pieces: list[bytes] = []
    crc = 0
    for element in elements.reshape(-1).tolist():
        if not isinstance(element, Variant):
            raise UnsupportedError(
                "an element of a variant tensor is not a variant",
                expected="elements of a variant tensor that Checkpoint has read",
                found=value_text(element),
                advice="Pass the tensors of a checkpoint as they were read.",
            )
        length = len(element).to_bytes(_LENGTH_SIZE, "little")
        crc = crc32c.of(length, element, start=crc)
        stored = crc32c.masked(crc).to_bytes(_CRC_SIZE, "little")
        crc = crc32c.of(stored, start=crc)
        pieces += varint.encode(len(element)), element, stored
    return b"".join(pieces), crc


def decode(
    data: memoryview, count: int, *, big_endian: bool, file: str, offset: int
) -> tuple[np.ndarray[Any, Any], int]:
    """Decode the elements of a variant tensor.

    Args:
        data: the tensor's bytes in the shard.
        count: the number of elements.
        big_endian: whether a big-endian machine wrote them.
        file: name of the shard, for the error.
        offset: where `data` starts in the shard.

    Returns:
        The elements as a flat object array of `Variant`, and the plain checksum of the tensor.

    Raises:
        CorruptionError: the bytes are damaged.
    """
    order: Literal["big", "little"] = "big" if big_endian else "little"
    # Each has a length and a checksum: a small file cannot ask for much memory.
    if count * (1 + _CRC_SIZE) > len(data):
        raise _does_not_fit(file, offset, count, len(data))
    variants: list[memoryview] = []
    at = crc = 0
    for _ in range(count):
        length, start = varint.read(data, at, len(data), file=file, offset=offset)
        at = start + length
        if at + _CRC_SIZE > len(data):
            raise _does_not_fit(file, offset, count, len(data))
        element, stored = data[start:at], data[at : at + _CRC_SIZE]
        crc = crc32c.of(length.to_bytes(_LENGTH_SIZE, order), element, start=crc)
        expected = crc32c.masked(crc).to_bytes(_CRC_SIZE, order)
        if stored != expected:
            raise CorruptionError(
                "the checksum of an element of a variant tensor does not match",
                file=file,
                offset=offset + at,
                expected=expected.hex(),
                found=stored.hex(),
            )
        crc = crc32c.of(stored, start=crc)
        at += _CRC_SIZE
        variants.append(element)
    if at != len(data):
        raise _does_not_fit(file, offset, count, len(data))
    return array_of(variants), crc


def _does_not_fit(file: str, offset: int, count: int, size: int) -> CorruptionError:
    return CorruptionError(
        "the variants of a tensor do not fill its bytes",
        file=file,
        offset=offset,
        expected=f"{size} bytes",
        found=f"{count} variants of other lengths",
    )


def from_proto(encoded: bytes) -> np.ndarray[Any, Any]:
    """Return the elements of an encoded TensorProto, as `tf.io.serialize_tensor` returns it.

    Its `tensor_content` has the lengths of all elements, and then the elements.

    Args:
        encoded: a TensorProto of variants.

    Returns:
        An object array of `Variant`, in the shape of the tensor.

    Raises:
        CorruptionError: the message contradicts itself.
    """
    proto = schema.parse(schema.TensorProto, encoded, file="a TensorProto")
    shape = tuple(dimension.size for dimension in proto.tensor_shape.dim)
    content = memoryview(proto.tensor_content)
    lengths, at = [], 0
    for _ in range(int(np.prod(shape, dtype=object))):
        length, at = varint.read(content, at, len(content), file="a TensorProto")
        lengths.append(length)
    ends = at + np.cumsum([0, *lengths], dtype=np.int64)
    if ends[-1] != len(content):
        raise _does_not_fit("a TensorProto", at, len(lengths), len(content))
    return array_of(content[start:end] for start, end in pairwise(ends)).reshape(shape)


def to_proto(elements: np.ndarray[Any, Any]) -> bytes:
    """Return variants as an encoded TensorProto, which `tf.io.parse_tensor` reads.

    Args:
        elements: an object array of `Variant`.
    """
    proto = schema.TensorProto(dtype=schema.DATA_TYPES["DT_VARIANT"])
    proto.tensor_shape.SetInParent()
    for size in elements.shape:
        proto.tensor_shape.dim.add(size=size)
    pieces = [proto.SerializeToString()]
    for element in elements.reshape(-1).tolist():
        pieces += _VARIANT_VAL, varint.encode(len(element)), element
    return b"".join(pieces)
