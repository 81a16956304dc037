"""List the data types that TensorFlow can store, with their numpy types.

The numbers are those of `DataType` in schema.proto. numpy has no quantized types, so these are read
as the integers that are stored. A string element is `bytes` in an object array, and so is a variant
(`variant_tensor`). Values of `resource` have no meaning outside of TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs
import ml_dtypes
import numpy as np

from tfpersist.errors import UnsupportedError
from tfpersist.formats import schema

# A ref type's number is its value type's plus this (tensorflow/core/framework/types.proto).
REF_OFFSET = 100

# The types whose elements are bytes of any length, in an array of objects.
OF_BYTES = frozenset({"string", "variant"})

_NAMES = {"half": "float16", "float": "float32", "double": "float64"}
_STORED_AS = {
    "bool": "bool_",
    "string": "object_",
    "qint8": "int8",
    "quint8": "uint8",
    "qint16": "int16",
    "quint16": "uint16",
    "qint32": "int32",
}


@attrs.frozen
class DType:
    """One data type.

    Args:
        name: TensorFlow's name, such as "float32".
        number: its value in the DataType enum.
        numpy: the numpy type of its elements; None if numpy has none, and for variants, which
            nothing but a checkpoint can hold.
    """

    name: str
    number: int
    numpy: np.dtype[Any] | None

    @property
    def size(self) -> int:
        """Bytes of one element in a file; 0 if elements have no fixed size."""
        return 0 if self.numpy is None or self.numpy.kind == "O" else self.numpy.itemsize


def _table() -> dict[str, DType]:
    table: dict[str, DType] = {}
    for label, number in schema.DATA_TYPES.items():
        if 0 < number < REF_OFFSET:
            name = label.removeprefix("DT_").lower()
            name = _NAMES.get(name, name)
            stored = _STORED_AS.get(name, name)
            scalar = getattr(np, stored, None) or getattr(ml_dtypes, stored, None)
            table[name] = DType(name, number, None if scalar is None else np.dtype(scalar))
    return table


BY_NAME: Mapping[str, DType] = MappingProxyType(_table())
_BY_NUMBER: dict[int, DType] = {dtype.number: dtype for dtype in BY_NAME.values()}
_BY_NUMPY: dict[np.dtype[Any], DType] = {
    dtype.numpy: dtype
    for dtype in BY_NAME.values()
    if dtype.numpy is not None and not dtype.name.startswith(("qint", "quint"))
}


def by_number(number: int) -> DType | None:
    """Return the data type of a number in the DataType enum; None for an unknown number.

    A ref type returns its value type.

    Example:
        >>> by_number(1).name, by_number(101).name, by_number(77)
        ('float32', 'float32', None)
    """
    return _BY_NUMBER.get(number - REF_OFFSET if number > REF_OFFSET else number)


def by_numpy(dtype: np.dtype[Any]) -> DType:
    """Return the data type whose elements numpy holds as `dtype`, in either byte order.

    Raises:
        UnsupportedError: TensorFlow has no such type.

    Example:
        >>> by_numpy(np.dtype(">f4")).name, by_numpy(np.dtype("S3")).name
        ('float32', 'string')
    """
    if dtype.kind in "SUO":
        return BY_NAME["string"]
    known = _BY_NUMPY.get(dtype if dtype.isnative else dtype.newbyteorder("="))
    if known is None:
        raise UnsupportedError(
            f"TensorFlow has no data type for numpy's {dtype}",
            advice="Convert the array first, for example with .astype('float32').",
        )
    return known
