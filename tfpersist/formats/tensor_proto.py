"""Decode and encode a TensorProto: a Const, an attribute or a tensor of a V1 checkpoint.

A TensorProto holds its elements in `tensor_content`, in the layout of memory, or in the field of
their type. If a field has too few elements, its last one is repeated; an empty field means zeros.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tfpersist.errors import CorruptionError, UnsupportedError
from tfpersist.formats import dtypes, schema, string_tensor, varint

# A few bytes can stand for a large tensor, of this many bytes at most.
LARGEST_EXPANSION = 1 << 28

_FIELDS = {
    "float32": "float_val",
    "float64": "double_val",
    "int64": "int64_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
    "bool": "bool_val",
    "string": "string_val",
    "complex64": "scomplex_val",
    "complex128": "dcomplex_val",
    "float16": "half_val",
    "bfloat16": "half_val",
}

_WIDE = {"int_val": np.int32}


def field_of(dtype: str) -> str:
    """Return the name of the field of TensorProto that holds elements of a type.

    Example:
        >>> field_of("float32"), field_of("int8")
        ('float_val', 'int_val')
    """
    if dtype.startswith("float8"):
        return "float8_val"
    return _FIELDS.get(dtype, "int_val")


def to_array(
    proto: schema.Message, *, file: str = "<tensor>", offset: int = 0
) -> np.ndarray[Any, Any]:
    """Decode a tensor.

    Args:
        proto: a TensorProto.
        file: name of the file that it comes from, for errors.
        offset: where it starts in that file.

    Returns:
        A read-only array. If one value stands for all, it is a view that repeats the value.

    Raises:
        CorruptionError: the elements do not fit the shape.
        UnsupportedError: numpy has no such data type, or has not so many dimensions.

    Example:
        >>> to_array(from_array(np.array([[1, 2]], np.int16)))
        array([[1, 2]], dtype=int16)
    """
    dtype = dtypes.by_number(proto.dtype)
    shape = tuple(dimension.size for dimension in proto.tensor_shape.dim)
    if dtype is None or min(shape, default=0) < 0 or proto.tensor_shape.unknown_rank:
        raise CorruptionError(
            "a tensor has an unknown data type or shape",
            file=file,
            offset=offset,
            found=f"type {proto.dtype}, shape {list(shape)}",
        )
    count = math.prod(shape)
    if proto.tensor_content and count:
        flat = _from_content(proto.tensor_content, dtype, count, file, offset)
    else:
        flat = values(proto, dtype, file=file)[:count]
        last = flat[-1:] if flat.size else np.array([_zero(dtype)], numpy_type(dtype, file))
        missing = count - flat.size
        if not missing:
            pass
        elif flat.size <= 1 and count <= np.iinfo(np.intp).max // max(dtype.size, 8):
            flat = np.broadcast_to(last, (count,))
        elif count * max(dtype.size, 8) <= LARGEST_EXPANSION:
            flat = np.concatenate([flat, np.broadcast_to(last, (missing,))])
        else:
            raise CorruptionError(
                "a tensor has too few elements for its shape",
                file=file,
                offset=offset,
                expected=f"{count} elements of {dtype.name}, or one or none for them all",
                found=flat.size,
            )
    return _shaped(flat, shape, file, offset)


def _shaped(
    flat: np.ndarray[Any, Any], shape: tuple[int, ...], file: str, offset: int
) -> np.ndarray[Any, Any]:
    try:
        if flat.size > 1 and flat.strides == (0,):
            shaped = np.broadcast_to(flat[:1].reshape(()), shape)
        else:
            shaped = flat.reshape(shape)
    except (ValueError, OverflowError) as error:
        raise UnsupportedError(
            f"numpy cannot hold a tensor of shape {list(shape)}: {error}",
            where=f"{file}, byte {offset}",
            advice="Read it with TensorFlow itself.",
        ) from error
    shaped.flags.writeable = False
    return shaped


def numpy_type(dtype: dtypes.DType, where: str) -> np.dtype[Any]:
    """Return the numpy type of a data type.

    Raises:
        UnsupportedError: numpy has no such type.
    """
    if dtype.numpy is None:
        raise UnsupportedError(
            f"numpy cannot hold elements of type {dtype.name}",
            where=where,
            advice="Read the tensor with TensorFlow itself.",
        )
    return dtype.numpy


def _zero(dtype: dtypes.DType) -> object:
    return b"" if dtype.name == "string" else 0


def _from_content(
    content: bytes, dtype: dtypes.DType, count: int, file: str, offset: int
) -> np.ndarray[Any, Any]:
    element_type = numpy_type(dtype, file)
    if element_type.kind == "O":
        return _strings_from_content(memoryview(content), count, file, offset)
    if count * dtype.size != len(content):
        raise CorruptionError(
            "a tensor's content does not fill its shape",
            file=file,
            offset=offset,
            expected=f"{count * dtype.size} bytes",
            found=len(content),
        )
    return np.frombuffer(content, np.uint8).view(element_type)


def _strings_from_content(
    content: memoryview, count: int, file: str, offset: int
) -> np.ndarray[Any, Any]:
    lengths: list[int] = []
    at = 0
    while len(lengths) < count:
        length, at = varint.read(content, at, len(content), file=file, offset=offset)
        lengths.append(length)
    if at + sum(lengths) != len(content):
        raise CorruptionError(
            "the strings of a tensor do not fill its content",
            file=file,
            offset=offset,
            expected=f"{at + sum(lengths)} bytes",
            found=len(content),
        )
    strings = np.empty(count, object)
    for index, length in enumerate(lengths):
        strings[index] = bytes(content[at : at + length])
        at += length
    return strings


def values(proto: schema.Message, dtype: dtypes.DType, *, file: str) -> np.ndarray[Any, Any]:
    """Return the elements in the field of a type, whatever the shape of the proto is.

    Args:
        proto: a TensorProto.
        dtype: the type of the elements.
        file: name of the file that it comes from, for errors.

    Returns:
        A flat array of the elements.

    Raises:
        UnsupportedError: numpy has no such data type.
    """
    element_type = numpy_type(dtype, file)
    stored = getattr(proto, field_of(dtype.name))
    if element_type.kind == "O":
        strings = np.empty(len(stored), object)
        strings[:] = list(stored)
        return strings
    if isinstance(stored, bytes):
        return np.frombuffer(stored, np.uint8).view(element_type)
    if element_type.kind == "c":
        half = np.dtype(f"f{element_type.itemsize // 2}")
        return np.array(stored[: len(stored) // 2 * 2], half).view(element_type)
    if dtype.name in ("float16", "bfloat16"):
        return np.array(stored, np.int32).astype(np.uint16).view(element_type)
    # A field may be wider than the type. The conversion keeps the low bits, as TensorFlow does.
    wide = _WIDE.get(field_of(dtype.name))
    if wide is None:
        return np.array(stored, element_type)
    return np.array(stored, wide).astype(element_type)


def from_array(array: np.ndarray[Any, Any], dtype: str | None = None) -> schema.Message:
    """Encode a tensor.

    Args:
        array: the elements; strings as bytes or str.
        dtype: TensorFlow's name of the type if numpy's type differs, such as "qint8".

    Returns:
        A TensorProto with its elements in `tensor_content`, or in `string_val`.

    Raises:
        UnsupportedError: TensorFlow has no such type, or the array has another type.

    Example:
        >>> from_array(np.array([1.5], np.float32)).tensor_content
        b'\\x00\\x00\\xc0?'
    """
    array = np.asarray(array)
    tensor_type = dtypes.by_numpy(array.dtype) if dtype is None else dtypes.BY_NAME[dtype]
    proto = schema.TensorProto(dtype=tensor_type.number)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    proto.tensor_shape.SetInParent()
    if tensor_type.name == "string":
        proto.string_val.extend(map(string_tensor.as_bytes, array.reshape(-1).tolist()))
        return proto
    wanted = numpy_type(tensor_type, "from_array")
    if (array.dtype if array.dtype.isnative else array.dtype.newbyteorder("=")) != wanted:
        raise UnsupportedError(
            f"an array of {array.dtype} cannot become a tensor of {tensor_type.name}",
            advice=f"Convert it first, with .astype({wanted.name!r}).",
        )
    proto.tensor_content = np.ascontiguousarray(array, wanted).tobytes()
    return proto
