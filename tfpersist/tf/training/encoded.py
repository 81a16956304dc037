"""Turn plain values and arrays into bytes and back; nothing is run when they are read.

The bytes begin with the length of a JSON text as an unsigned 64-bit little-endian number. The text
follows, and after it the elements of all arrays, one after the other. In the text, whatever JSON
does not have is a dict with the name of its kind under "!".
"""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfpersist.errors import CorruptionError, UnsupportedError

_LENGTH = struct.Struct("<Q")
_PLAIN = "biufc"


def encode(value: Any) -> bytes:
    """Return a value as bytes.

    Args:
        value: None, numbers, texts, bytes, arrays, and lists, tuples, sets and dicts of them.

    Raises:
        UnsupportedError: a part of it is of another type.

    Example:
        >>> decode(encode({"best": np.zeros(2), 3: (1, None)}))
        {'best': array([0., 0.]), 3: (1, None)}
    """
    payload = bytearray()
    text = json.dumps(_encoded(value, payload)).encode()
    return b"".join([_LENGTH.pack(len(text)), text, payload])


def decode(data: bytes) -> Any:
    """Return the value that `encode` has made bytes of.

    Raises:
        CorruptionError: the bytes are damaged.
    """
    try:
        (length,) = _LENGTH.unpack_from(data)
        begin = _LENGTH.size + length
        text = json.loads(data[_LENGTH.size : begin])
        return _decoded(text, memoryview(data)[begin:])
    except (ValueError, TypeError, KeyError, struct.error, RecursionError) as error:
        raise CorruptionError(f"the state of a training is damaged: {error}") from error


def _encoded(value: Any, payload: bytearray) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (np.ndarray, np.generic)) and _is_numeric(value.dtype):
        kind = "array" if isinstance(value, np.ndarray) else "number"
        begin = len(payload)
        if not value.dtype.isnative:
            value = value.astype(value.dtype.newbyteorder("="))
        payload += value.tobytes()
        return {"!": kind, "dtype": _name_of(value.dtype), "shape": value.shape, "at": begin}
    if type(value) is bytes:
        payload += value
        return {"!": "bytes", "at": len(payload) - len(value), "size": len(value)}
    if type(value) in (list, tuple, set, frozenset):
        items = [_encoded(one, payload) for one in value]
        if isinstance(value, (set, frozenset)):
            items.sort(key=json.dumps)
        return items if type(value) is list else {"!": type(value).__name__, "of": items}
    if isinstance(value, dict):
        pairs = [[_encoded(k, payload), _encoded(v, payload)] for k, v in value.items()]
        return {"!": "dict", "of": pairs}
    raise UnsupportedError(f"a {type(value).__name__} cannot be written as plain values")


@functools.cache
def _name_of(dtype: Any) -> str:
    return str(dtype.name)


@functools.cache
def _is_numeric(dtype: Any) -> bool:
    # The further float types, such as bfloat16, are of kind V, and known by their names.
    return dtype.kind in _PLAIN or (
        dtype.kind == "V" and dtype.names is None and dtype.name[0] != "v"
    )


def _decoded(text: Any, payload: memoryview) -> Any:
    if isinstance(text, list):
        return [_decoded(one, payload) for one in text]
    if not isinstance(text, Mapping):
        return text
    kind = text["!"]
    if kind == "bytes":
        return bytes(_part(payload, text["at"], text["size"]))
    if kind in ("array", "number"):
        dtype, shape = np.dtype(text["dtype"]), tuple(map(int, text["shape"]))
        if not _is_numeric(dtype):
            raise CorruptionError(f"the state of a training has an array of {dtype}")
        size = dtype.itemsize * int(np.prod(shape, dtype=object))
        array = np.frombuffer(bytearray(_part(payload, text["at"], size)), dtype).reshape(shape)
        return array if kind == "array" else array[()]
    if kind == "dict":
        return {_decoded(k, payload): _decoded(v, payload) for k, v in text["of"]}
    return _COLLECTIONS[kind](_decoded(text["of"], payload))


_COLLECTIONS: dict[str, Callable[[Any], Any]] = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
}


def _part(payload: memoryview, begin: int, size: int) -> memoryview:
    if not 0 <= begin <= begin + size <= len(payload):
        raise CorruptionError("the state of a training is cut")
    return payload[begin : begin + size]
