"""Turn the values that a user feeds into arrays, or refuse them, before TensorFlow runs."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from tfpersist.errors import FeedError
from tfpersist.formats import dtypes
from tfpersist.formats.tensors import TensorSpec

_NUMBERS = {"bool", "integer", "float", "complex"}
# A number of Python has no data type of its own. So it also fits a wider kind, as in numpy.
_ALSO_TAKES = {"float": ("integer",), "complex": ("float", "integer")}


def _ml_types(names: tuple[str, ...]) -> frozenset[np.dtype[Any]]:
    types = (dtypes.BY_NAME[name].numpy for name in names if name in dtypes.BY_NAME)
    return frozenset(dtype for dtype in types if dtype is not None)


# numpy itself gives most of these the kind "V", void.
_SMALL_INTEGERS = _ml_types(("int4", "uint4", "int2", "uint2"))
_SMALL_FLOATS = _ml_types(
    tuple(name for name in dtypes.BY_NAME if name.startswith(("bfloat", "float8", "float4")))
)


def fit(value: Any, spec: TensorSpec, name: str) -> np.ndarray[Any, Any]:
    """Return the array to feed to a tensor.

    Values are cast within their kind: from float64 to float32, but not from integer to float.

    Args:
        value: an array, a number, a string, or nested lists of them.
        spec: data type and shape of the tensor.
        name: the name of the tensor, for the error.

    Returns:
        A C-contiguous array in the byte order of the machine; strings as an object array of bytes.
        It is `value` itself if that needs no change. Quantized types are the integers that store
        them.

    Raises:
        FeedError: the value has another kind or shape, or does not fit into the data type.

    Example:
        >>> fit([1.0, 2.0], TensorSpec("float32", (None,)), "feed:0")
        array([1., 2.], dtype=float32)
        >>> fit(np.array([True]), TensorSpec("float32", (None,)), "feed:0")
        Traceback (most recent call last):
        tfpersist.errors.FeedError: feed:0: the feed has the wrong data type; expected \
float32[?], got bool[1]. Convert it first, for example with .astype('float32').
    """
    target = dtypes.BY_NAME[spec.dtype].numpy
    if target is None:
        raise FeedError(
            f"a tensor of type {spec.dtype} cannot be fed",
            where=name,
            advice="Feed the tensors that are computed from it.",
        )
    array = _as_array(value, spec, name)
    weak = isinstance(value, (int, float, complex, list, tuple)) and _is_weak(value)
    target_kind, array_kind = _kind(target), _kind(array.dtype)
    empty_list = weak and array.size == 0
    fits = array_kind == target_kind or (weak and array_kind in _ALSO_TAKES.get(target_kind, ()))
    if not fits and not empty_list:
        raise FeedError(
            "the feed has the wrong data type",
            where=name,
            expected=spec,
            found=_describe(array),
            advice=f"Convert it first, for example with .astype('{target}')."
            if {array_kind, target_kind} <= _NUMBERS
            else None,
        )
    if not spec.accepts(TensorSpec(spec.dtype, array.shape)):
        raise FeedError(
            "the feed has the wrong shape", where=name, expected=spec, found=_describe(array)
        )
    return _encoded(array, name) if target_kind == "string" else _cast(array, target, spec, name)


def _as_array(value: Any, spec: TensorSpec, name: str) -> np.ndarray[Any, Any]:
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise FeedError(
            "a masked array has elements without a value",
            where=name,
            advice="Fill it first with .filled(value).",
        )
    strings = spec.dtype == "string" and not hasattr(value, "dtype")
    try:
        # numpy's own byte strings lose their trailing zero bytes, objects keep them.
        return np.array(value, dtype=object) if strings else np.asarray(value)
    except (ValueError, TypeError, NotImplementedError, OverflowError) as error:
        raise FeedError(
            f"the feed cannot become an array: {error}",
            where=name,
            expected=spec,
            found=type(value).__name__,
        ) from error


def _is_weak(value: Any) -> bool:
    """Return whether a value consists of Python's own numbers, by its first element."""
    while isinstance(value, (list, tuple)):
        if not value:
            return True
        value = value[0]
    return isinstance(value, (int, float, complex)) and not isinstance(value, np.generic)


def _kind(dtype: np.dtype[Any]) -> str:
    """Return the kind of a data type; data types of one kind are cast to each other."""
    named = {"b": "bool", "i": "integer", "u": "integer", "f": "float", "c": "complex"}
    if dtype.kind in named:
        return named[dtype.kind]
    if dtype.kind in "OSU":
        return "string"
    if dtype in _SMALL_INTEGERS:
        return "integer"
    return "float" if dtype in _SMALL_FLOATS else dtype.name


def _describe(array: np.ndarray[Any, Any]) -> str:
    dtype = "string" if array.dtype.kind in "SUO" else array.dtype.name
    if array.dtype.kind == "O":
        odd = next((type(item).__name__ for item in array.flat if not _is_text(item)), None)
        dtype = f"objects such as {odd}" if odd else dtype
    return f"{dtype}[{','.join(map(str, array.shape))}]"


def _is_text(item: Any) -> bool:
    return isinstance(item, (str, bytes))


def _encoded(array: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    result = np.empty(array.shape, dtype=object)
    for position, item in enumerate(array.astype(object, copy=False).flat):
        if not _is_text(item):
            raise FeedError(
                "a string tensor takes only strings",
                where=name,
                expected="str or bytes",
                found=f"{type(item).__name__} at element {position}",
            )
        result.flat[position] = item.encode() if isinstance(item, str) else bytes(item)
    return result


def _cast(
    array: np.ndarray[Any, Any], target: np.dtype[Any], spec: TensorSpec, name: str
) -> np.ndarray[Any, Any]:
    if array.dtype == target and array.dtype.isnative and array.flags.c_contiguous:
        return np.asarray(array)
    if _kind(target) == "integer" and array.size and _kind(array.dtype) == "integer":
        limits: Any = ml_dtypes.iinfo
        least, most = int(limits(target).min), int(limits(target).max)
        low, high = int(array.min()), int(array.max())
        if low < least or high > most:
            raise FeedError(
                f"the feed does not fit into {spec.dtype}",
                where=name,
                expected=f"integers from {least} to {most}",
                found=f"{low} to {high}",
            )
    with np.errstate(over="ignore", invalid="ignore"):
        result = np.array(array, dtype=target, order="C")
    if _kind(target) in ("float", "complex") and _kind(array.dtype) in ("float", "complex"):
        lost = np.isfinite(array) & ~np.isfinite(result)
        if lost.any():
            raise FeedError(
                f"the feed does not fit into {spec.dtype}",
                where=name,
                expected="values that stay finite",
                found=str(array[lost].flat[0]),
            )
    return result
