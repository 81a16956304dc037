"""The steps of a recipe: what can be done to a tensor on its way into a variable. Pure.

A step is a named value with checked arguments, never code, since plans may come from strangers.

A `Step` changes one tensor; where there are several, it changes each. `spec(spec)` returns the spec
of the result, or raises a SelectionError if the step does not fit. `apply(array)` returns the
result for a tensor that fits. `inverse(spec)` returns the step that leads back to a tensor of this
spec, or None if something is lost.

A `Join` makes one tensor of several. It has the same methods for lists of specs and arrays;
`inverses(specs)` returns for each tensor the steps that lead back to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, get_args

import attrs
import numpy as np

from tfpersist.errors import SelectionError, value_text
from tfpersist.formats import dtypes
from tfpersist.formats.tensors import MOST_DIMENSIONS, Array, TensorSpec

# Larger numbers cannot be sizes of anything; numpy itself has no larger ones.
_MOST = 2**62
_MOST_BLOCKS = 4096
FLOATS = ("float16", "bfloat16", "float32", "float64")


def misfit(problem: str, expected: object, found: object) -> SelectionError:
    """Return the error for a step that does not fit its tensor or has a wrong argument."""
    return SelectionError(problem, expected=expected, found=found)


def _require(fits: object, problem: str, expected: object, found: object) -> None:
    if not fits:
        raise misfit(problem, expected, found)


_Check = Callable[[object, "attrs.Attribute[Any]", Any], None]


def _number(low: int, high: int = _MOST) -> _Check:
    def check(_owner: object, field: attrs.Attribute[Any], value: object) -> None:
        fits = type(value) is int and low <= value <= high
        _require(fits, f"{field.name}= is wrong", f"an int from {low} to {high}", _shown(value))

    return check


def _numbers(low: int, high: int, most: int) -> _Check:
    def check(_owner: object, field: attrs.Attribute[Any], value: object) -> None:
        fits = isinstance(value, tuple) and len(value) <= most
        wanted = f"at most {most} ints from {low} to {high}"
        _require(fits, f"{field.name}= is wrong", wanted, value_text(value))
        assert isinstance(value, tuple)
        for one in value:
            fits = type(one) is int and low <= one <= high
            _require(fits, f"{field.name}= is wrong", wanted, _shown(one))

    return check


def _shown(value: object) -> str:
    # An int from a file may have so many digits that Python refuses to print it.
    return "an int that is too large" if _is_huge(value) else value_text(value)


def _is_huge(value: object) -> bool:
    return isinstance(value, int) and abs(value) > _MOST


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


_AXIS = _number(0, MOST_DIMENSIONS - 1)


def _permutation(_owner: object, field: attrs.Attribute[Any], value: tuple[int, ...]) -> None:
    expected = f"each number from 0 to {len(value) - 1} once"
    _require(
        sorted(value) == list(range(len(value))), f"{field.name}= is wrong", expected, list(value)
    )


def _some(_owner: object, field: attrs.Attribute[Any], value: tuple[int, ...]) -> None:
    _require(value, f"{field.name}= is wrong", "at least one number", "none")


def _size(spec: TensorSpec, axis: int) -> int:
    shape = spec.known_shape
    _require(axis < len(shape), "the tensor has no such axis", f"more than {axis} axes", spec)
    return shape[axis]


def _resized(spec: TensorSpec, axis: int, size: int) -> TensorSpec:
    shape = spec.known_shape
    return TensorSpec(spec.dtype, (*shape[:axis], size, *shape[axis + 1 :]))


def _block(spec: TensorSpec, axis: int, blocks: int) -> int:
    size = _size(spec, axis)
    fits = size % blocks == 0
    _require(fits, f"axis {axis} has no equal blocks", f"a multiple of {blocks}", size)
    return size // blocks


def _require_float(spec: TensorSpec) -> None:
    _require(spec.dtype in FLOATS, "this data type cannot be computed with", "a float type", spec)


@attrs.frozen
class Slice:
    """Take a part of an axis.

    Args:
        axis: the axis.
        start: the first index; a negative one counts from the end.
        stop: the index after the last one; None for the end.

    Example:
        >>> Slice(0, 1, 3).apply(np.arange(4)), Slice(0, -1).apply(np.arange(4))
        (array([1, 2]), array([3]))
    """

    name: ClassVar[str] = "slice"
    axis: int = attrs.field(validator=_AXIS)
    start: int = attrs.field(validator=_number(-_MOST))
    stop: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_number(-_MOST))
    )

    def spec(self, spec: TensorSpec) -> TensorSpec:
        size = _size(spec, self.axis)
        start, stop = self._ends(size)
        fits = 0 <= start <= stop <= size
        _require(fits, f"the slice is outside of axis {self.axis}", f"a part of 0:{size}", self)
        return _resized(spec, self.axis, stop - start)

    def _ends(self, size: int) -> tuple[int, int]:
        ends = self.start, size if self.stop is None else self.stop
        start, stop = (end + size if end < 0 else end for end in ends)
        return start, stop

    def apply(self, array: Array) -> Array:
        ends = slice(*self._ends(array.shape[self.axis]))
        result: Array = array[(slice(None),) * self.axis + (ends,)]
        return result

    def inverse(self, spec: TensorSpec) -> Step | None:
        return self if self.spec(spec) == spec else None


@attrs.frozen
class Pad:
    """Add zeros before and after an axis.

    Args:
        axis: the axis.
        before: how many zeros go before it.
        after: how many zeros go after it.

    Example:
        >>> Pad(0, 0, 2).apply(np.float32([1, 2]))
        array([1., 2., 0., 0.], dtype=float32)
    """

    name: ClassVar[str] = "pad"
    axis: int = attrs.field(validator=_AXIS)
    before: int = attrs.field(validator=_number(0))
    after: int = attrs.field(validator=_number(0))

    def spec(self, spec: TensorSpec) -> TensorSpec:
        _require_float(spec)
        return _resized(spec, self.axis, _size(spec, self.axis) + self.before + self.after)

    def apply(self, array: Array) -> Array:
        ends = [(0, 0)] * array.ndim
        ends[self.axis] = self.before, self.after
        return np.pad(array, ends)

    def inverse(self, spec: TensorSpec) -> Step | None:
        return Slice(self.axis, self.before, self.before + _size(spec, self.axis))


@attrs.frozen
class Reorder:
    """Put the equal blocks of an axis into another order, such as the gates of a cell.

    Args:
        axis: the axis.
        order: for each block of the result, which block of the tensor it is.

    Example:
        >>> Reorder(0, (0, 2, 1)).apply(np.array([10, 11, 20, 21, 30, 31]))
        array([10, 11, 30, 31, 20, 21])
    """

    name: ClassVar[str] = "reorder"
    axis: int = attrs.field(validator=_AXIS)
    order: tuple[int, ...] = attrs.field(
        converter=_tuple,
        validator=[_numbers(0, _MOST_BLOCKS - 1, _MOST_BLOCKS), _some, _permutation],
    )

    def spec(self, spec: TensorSpec) -> TensorSpec:
        _block(spec, self.axis, len(self.order))
        return spec

    def apply(self, array: Array) -> Array:
        blocks = np.split(array, len(self.order), self.axis)
        return np.concatenate([blocks[at] for at in self.order], self.axis)

    def inverse(self, spec: TensorSpec) -> Step | None:
        order = sorted(range(len(self.order)), key=self.order.__getitem__)
        return Reorder(self.axis, tuple(order))


@attrs.frozen
class Transpose:
    """Put the axes into another order.

    Args:
        axes: for each axis of the result, which axis of the tensor it is.

    Example:
        >>> Transpose((1, 0)).apply(np.zeros((2, 3))).shape
        (3, 2)
    """

    name: ClassVar[str] = "transpose"
    axes: tuple[int, ...] = attrs.field(
        converter=_tuple,
        validator=[_numbers(0, MOST_DIMENSIONS - 1, MOST_DIMENSIONS), _permutation],
    )

    def spec(self, spec: TensorSpec) -> TensorSpec:
        shape = spec.known_shape
        fits = len(shape) == len(self.axes)
        _require(fits, "the tensor has another rank", f"{len(self.axes)} axes", spec)
        return TensorSpec(spec.dtype, tuple(shape[axis] for axis in self.axes))

    def apply(self, array: Array) -> Array:
        return np.transpose(array, self.axes)

    def inverse(self, spec: TensorSpec) -> Step | None:
        return Transpose(tuple(sorted(range(len(self.axes)), key=self.axes.__getitem__)))


@attrs.frozen
class Reshape:
    """Reshape the elements.

    Args:
        shape: the new shape.

    Example:
        >>> Reshape((2, 3)).apply(np.arange(6)).shape
        (2, 3)
    """

    name: ClassVar[str] = "reshape"
    shape: tuple[int, ...] = attrs.field(
        converter=_tuple, validator=_numbers(0, _MOST, MOST_DIMENSIONS)
    )

    def spec(self, spec: TensorSpec) -> TensorSpec:
        fits = math.prod(spec.known_shape) == math.prod(self.shape)
        wanted = TensorSpec(spec.dtype, self.shape)
        _require(fits, "the number of elements differs", f"as many as {wanted} has", spec)
        return wanted

    def apply(self, array: Array) -> Array:
        return array.reshape(self.shape)

    def inverse(self, spec: TensorSpec) -> Step | None:
        return Reshape(spec.known_shape)


def _float(_owner: object, field: attrs.Attribute[Any], value: object) -> None:
    fits = value in FLOATS
    _require(fits, f"{field.name}= is wrong", " or ".join(FLOATS), value_text(value))


@attrs.frozen
class Cast:
    """Cast the elements to another float type.

    Args:
        dtype: the name of the type.

    Example:
        >>> Cast("float16").apply(np.float32([1.5, 1e9]))
        array([1.5, inf], dtype=float16)
    """

    name: ClassVar[str] = "cast"
    dtype: str = attrs.field(validator=_float)

    def spec(self, spec: TensorSpec) -> TensorSpec:
        _require_float(spec)
        return TensorSpec(self.dtype, spec.shape)

    def apply(self, array: Array) -> Array:
        with np.errstate(over="ignore", under="ignore"):
            return array.astype(dtypes.BY_NAME[self.dtype].numpy)

    def inverse(self, spec: TensorSpec) -> Step | None:
        keeps = spec.dtype == self.dtype or (spec.dtype, self.dtype) in _WIDER
        return Cast(spec.dtype) if keeps else None


# A type, and one that holds each of its values.
_WIDER = {
    ("float16", "float32"),
    ("float16", "float64"),
    ("bfloat16", "float32"),
    ("bfloat16", "float64"),
    ("float32", "float64"),
}


def _finite(_owner: object, field: attrs.Attribute[Any], value: Any) -> None:
    fits = type(value) in (int, float) and not _is_huge(value) and math.isfinite(value)
    _require(fits, f"{field.name}= is wrong", "a finite number", _shown(value))


@attrs.frozen
class AddToBlock:
    """Add a number to one of the equal blocks of an axis, such as the bias of a forget gate.

    Args:
        axis: the axis.
        blocks: how many equal blocks it has.
        block: the block that is changed.
        value: the number.

    Example:
        >>> AddToBlock(0, 2, 1, 1.0).apply(np.zeros(4))
        array([0., 0., 1., 1.])
    """

    name: ClassVar[str] = "add_to_block"
    axis: int = attrs.field(validator=_AXIS)
    blocks: int = attrs.field(validator=_number(1, _MOST_BLOCKS))
    block: int = attrs.field(validator=_number(0, _MOST_BLOCKS - 1))
    value: float = attrs.field(validator=_finite)

    def __attrs_post_init__(self) -> None:
        fits = self.block < self.blocks
        _require(fits, "block= is wrong", f"less than {self.blocks}, the blocks", self.block)

    def spec(self, spec: TensorSpec) -> TensorSpec:
        _require_float(spec)
        _block(spec, self.axis, self.blocks)
        return spec

    def apply(self, array: Array) -> Array:
        size = array.shape[self.axis] // self.blocks
        changed = slice(self.block * size, (self.block + 1) * size)
        result = array.copy()
        with np.errstate(over="ignore"):
            result[(slice(None),) * self.axis + (changed,)] += array.dtype.type(self.value)
        return result

    def inverse(self, spec: TensorSpec) -> Step | None:
        return AddToBlock(self.axis, self.blocks, self.block, -self.value)


@attrs.frozen
class Sum:
    """Add up along an axis, which goes away, such as two biases that a cell adds.

    Args:
        axis: the axis.

    Example:
        >>> Sum(0).apply(np.array([[1., 2.], [10., 20.]]))
        array([11., 22.])
    """

    name: ClassVar[str] = "sum"
    axis: int = attrs.field(validator=_AXIS)

    def spec(self, spec: TensorSpec) -> TensorSpec:
        _require_float(spec)
        _size(spec, self.axis)
        shape = spec.known_shape
        return TensorSpec(spec.dtype, (*shape[: self.axis], *shape[self.axis + 1 :]))

    def apply(self, array: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(array.sum(self.axis, dtype=array.dtype))

    def inverse(self, spec: TensorSpec) -> Step | None:
        if _size(spec, self.axis) != 1:
            return None
        return Reshape(spec.known_shape)


@attrs.frozen
class Concat:
    """Put tensors one after the other along an axis.

    Args:
        axis: the axis.

    Example:
        >>> Concat(0).apply([np.array([1, 2]), np.array([3])])
        array([1, 2, 3])
    """

    name: ClassVar[str] = "concat"
    axis: int = attrs.field(validator=_AXIS)

    def spec(self, specs: Sequence[TensorSpec]) -> TensorSpec:
        first = specs[0]
        sizes = [_size(spec, self.axis) for spec in specs]
        for spec, size in zip(specs, sizes, strict=True):
            like = _resized(first, self.axis, size)
            _require(spec == like, "the tensors do not fit together", like, spec)
        return _resized(first, self.axis, sum(sizes))

    def apply(self, arrays: Sequence[Array]) -> Array:
        return np.concatenate(arrays, self.axis)

    def inverses(self, specs: Sequence[TensorSpec]) -> list[list[Step]]:
        steps: list[list[Step]] = []
        start = 0
        for spec in specs:
            stop = start + _size(spec, self.axis)
            steps.append([Slice(self.axis, start, stop)])
            start = stop
        return steps


@attrs.frozen
class Stack:
    """Put tensors of one shape one after the other along a new axis.

    Args:
        axis: the new axis.

    Example:
        >>> Stack(1).apply([np.array([1, 2]), np.array([3, 4])])
        array([[1, 3],
               [2, 4]])
    """

    name: ClassVar[str] = "stack"
    axis: int = attrs.field(validator=_AXIS)

    def spec(self, specs: Sequence[TensorSpec]) -> TensorSpec:
        first = specs[0]
        for spec in specs:
            _require(spec == first, "the tensors do not fit together", first, spec)
        shape = first.known_shape
        fits = self.axis <= len(shape) < MOST_DIMENSIONS
        _require(fits, "the tensor cannot have such an axis", f"at least {self.axis} axes", first)
        return TensorSpec(first.dtype, (*shape[: self.axis], len(specs), *shape[self.axis :]))

    def apply(self, arrays: Sequence[Array]) -> Array:
        return np.stack(arrays, self.axis)

    def inverses(self, specs: Sequence[TensorSpec]) -> list[list[Step]]:
        return [
            [Slice(self.axis, at, at + 1), Reshape(spec.known_shape)]
            for at, spec in enumerate(specs)
        ]


Step = Slice | Pad | Reorder | Transpose | Reshape | Cast | AddToBlock | Sum
Join = Concat | Stack

# All steps, by their names.
KINDS: dict[str, type[Step] | type[Join]] = {
    kind.name: kind for kind in (*get_args(Step), *get_args(Join))
}
