"""Find arithmetic that does not change its input: a product with one, a dropout that keeps all.

A dropout multiplies by a mask: random numbers from 0 to 1, plus the probability to keep an element,
rounded down; or 1 where a random number is at least the rate. To see that the mask is 1 everywhere,
this module follows between which two numbers the elements of a random tensor lie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

import attrs

from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Array
from tfpersist.graph.optimize.edit import Edit
from tfpersist.graph.structure import ops
from tfpersist.graph.structure.kinds import CONTROL_FLOW, HANDLES, declared_spec
from tfpersist.graph.structure.names import full_name, producer, tensor_spec

_UNIFORM = frozenset({"RandomUniform", "StatelessRandomUniform", "StatelessRandomUniformV2"})

# The output of these ops has the shape of their first input.
_SAME_SHAPE = frozenset(
    {"Relu", "Relu6", "Elu", "Selu", "LeakyRelu", "Tanh", "Sigmoid", "Softplus", "Neg", "BiasAdd"}
)
_ELEMENTWISE = frozenset(
    {
        *("Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual"),
        *("LogicalAnd", "LogicalOr", "LogicalNot", "Cast", "Add", "AddV2", "Sub", "Mul"),
    }
)
_MOST_SHAPE_STEPS = 6
_MOST_SOURCE_STEPS = 64


@attrs.frozen
class _Range:
    """Two numbers between which all elements of a tensor lie.

    Args:
        low: no element is less.
        high: every element is less; where it equals `low`, every element is that number.
        shape: name of the tensor that holds the shape of these elements.
        controls: the control inputs, as "^name", of the nodes between the random op and here.
    """

    low: float
    high: float
    shape: str
    controls: tuple[str, ...]

    def with_controls(self, controls: Iterable[str]) -> _Range:
        return attrs.evolve(self, controls=tuple(dict.fromkeys([*self.controls, *controls])))


@attrs.define(eq=False)
class IdentityFinder:
    """Finds nodes that only pass on one of their inputs.

    Args:
        edit: the changes to the graph.
        known: values of tensors; the caller adds to it.
        renamed: {name of a tensor: its new name}; the caller adds to it.
        ranges: the ranges of tensors whose elements are random.
    """

    edit: Edit
    known: dict[str, Array] = attrs.field(factory=dict)
    renamed: dict[str, str] = attrs.field(factory=dict)
    ranges: dict[str, _Range] = attrs.field(factory=dict)

    def controls_of(self, constants: Iterable[str]) -> Iterator[str]:
        """Return the control inputs of constants, as "^name".

        Who no longer reads a constant waits for these instead: they tell in which loop or branch it
        is.
        """
        for tensor in constants:
            source = self.edit.nodes[producer(tensor)]
            if source.op == "Enter":
                yield f"^{source.name}"
            yield from (text for text in source.input if text.startswith("^"))

    def replace(self, node: Message, data: list[str], controls: list[str]) -> bool:
        """Turn a node into an Identity where it does not change one of its inputs.

        Args:
            node: the node.
            data: its data inputs, as full names of tensors.
            controls: its control inputs.

        Returns:
            Whether the node is an Identity now.
        """
        passed, more_controls = None, None
        if node.op in ("Mul", "RealDiv", "Div") and len(data) == 2:
            pairs = [(data[0], data[1])]
            pairs += [(data[1], data[0])] if node.op == "Mul" else []
            for value, factor in pairs:
                passed, more_controls = value, self._is_all(factor, 1, value)
                if more_controls is not None:
                    break
        elif node.op in ("Select", "SelectV2") and len(data) == 3:
            unread = self._unread(data[2], scalar_only=node.op == "SelectV2")
            condition = self._is_all(data[0], 1, data[1])
            if unread is not None and condition is not None:
                passed, more_controls = data[1], [*condition, *unread]
        if passed is None or more_controls is None:
            return False
        number = (ops.output_types(node, self.edit.functions) or [0])[0]
        node = self.edit.change(node.name)
        node.op = "Identity"
        node.ClearField("attr")
        node.attr["T"].type = number
        set_inputs(node, [passed], list(dict.fromkeys([*controls, *more_controls])))
        return True

    def _unread(self, tensor: str, *, scalar_only: bool) -> list[str] | None:
        """Return the control inputs that replace the read of a tensor; None where it must stay."""
        value = self.known.get(tensor)
        if value is not None:
            is_free = not scalar_only or not value.ndim
            return list(self.controls_of([tensor])) if is_free else None
        source = self.edit.nodes.get(producer(tensor))
        # A control input from a Switch does not tell which of its outputs is live.
        if scalar_only or source is None or source.op in CONTROL_FLOW:
            return None
        return [f"^{source.name}"]

    def _is_all(self, tensor: str, number: float, like: str) -> list[str] | None:
        """Find out whether every element of a tensor is a number.

        Args:
            tensor: the tensor; it must be a scalar, or have the shape of `like`.
            number: the number.
            like: another tensor.

        Returns:
            The control inputs of what computes it; None where it can be something else.
        """
        value = self.known.get(tensor)
        if value is not None:
            is_number = value.ndim == 0 and bool(value == number)
            return list(self.controls_of([tensor])) if is_number else None
        filled = self.ranges.get(tensor)
        if filled is None or not filled.low == filled.high == number:
            return None
        source = self.edit.nodes.get(producer(filled.shape))
        if source is None or source.op != "Shape":
            extents = self.known.get(filled.shape)
            shape = self.shape(like) if extents is not None else None
            if extents is None or shape is None or tuple(extents.reshape(-1)) != shape:
                return None
            return [*filled.controls, *self.controls_of([filled.shape])]
        origin, controls = self._shape_origin(full_name(source.input[0]))
        if origin != self._shape_origin(like)[0]:
            return None
        shape_controls = [text for text in source.input if text.startswith("^")]
        return [*filled.controls, *shape_controls, *controls]

    def shape(self, tensor: str, depth: int = 0) -> tuple[int | None, ...] | None:
        """Return the shape of a tensor; None where neither its node nor those before it tell.

        Args:
            tensor: full name of the tensor.
            depth: the number of nodes between the tensor that was asked for and this one.
        """
        if tensor in self.known:
            return tuple(self.known[tensor].shape)
        tensor = self._shape_origin(tensor)[0]
        node = self.edit.nodes.get(producer(tensor))
        if node is None or depth > _MOST_SHAPE_STEPS:
            return None
        types = ops.output_types(node, self.edit.functions)
        spec = tensor_spec(node, int(tensor.partition(":")[2] or 0), types)
        if spec is not None and spec.shape is not None:
            return spec.shape
        return self._shape_by_inputs(node, depth)

    def _shape_by_inputs(self, node: Message, depth: int) -> tuple[int | None, ...] | None:
        data = [full_name(text) for text in node.input if not text.startswith("^")]
        shape = None
        if node.op == "ReadVariableOp" and data:
            handle = self.edit.nodes.get(producer(data[0]))
            shape = declared_spec(handle).shape if handle and handle.op in HANDLES else None
        elif node.op in _SAME_SHAPE and data:
            shape = self.shape(data[0], depth + 1)
        elif node.op in _ELEMENTWISE and data:
            shape = () if all(self.shape(text, depth + 1) == () for text in data) else None
        return shape

    def _shape_origin(self, tensor: str) -> tuple[str, list[str]]:
        """Go back over nodes that keep the shape of their input.

        Returns:
            The first tensor, and the control inputs of the nodes after it.
        """
        controls: list[str] = []
        for _ in range(_MOST_SOURCE_STEPS):
            tensor = self.renamed.get(tensor, tensor)
            node = self.edit.nodes.get(producer(tensor))
            if node is None or not node.input:
                break
            data = [full_name(text) for text in node.input if not text.startswith("^")]
            is_scalar = [text in self.known and self.known[text].ndim == 0 for text in data]
            if node.op == "Identity":
                tensor = data[0]
            elif node.op in ("Mul", "RealDiv") and sorted(is_scalar) == [False, True]:
                tensor = data[is_scalar.index(False)]
                controls += self.controls_of([data[is_scalar.index(True)]])
            else:
                break
            controls += (text for text in node.input if text.startswith("^"))
        return tensor, controls

    def record_range(self, node: Message, data: list[str], controls: list[str]) -> None:
        """Record the range of a node's output, if its elements are random.

        Args:
            node: the node.
            data: its data inputs, as full names of tensors.
            controls: its control inputs.
        """
        output = f"{node.name}:0"
        if node.op in _UNIFORM:
            self.ranges[output] = _Range(0.0, 1.0, data[0], tuple(controls))
            return
        if node.op in ("Floor", "Identity", "Cast") and data[0] in self.ranges:
            result = self.ranges[data[0]].with_controls(controls)
            if node.op == "Floor":
                if (result.low, result.high) != (1.0, 2.0):
                    return
                result = attrs.evolve(result, high=1.0)
            self.ranges[output] = result
            return
        if len(data) != 2 or node.op not in _BOUNDS:
            return
        random = [text for text in data if text in self.ranges]
        numbers = [t for t in data if t in self.known and self.known[t].dtype.kind in "biuf"]
        if len(random) != 1 or len(numbers) != 1 or self.known[numbers[0]].ndim:
            return
        result = self.ranges[random[0]].with_controls([*controls, *self.controls_of(numbers)])
        number = float(self.known[numbers[0]])
        bounds = _BOUNDS[node.op](result.low, result.high, number, data[0] == random[0])
        if bounds is not None:
            self.ranges[output] = attrs.evolve(result, low=bounds[0], high=bounds[1])


_Pair = tuple[float, float] | None


def _add(low: float, high: float, number: float, random_is_first: bool) -> _Pair:
    # A sum with another number can be rounded up to `high`, which no element may equal.
    del random_is_first
    return (low + number, high + number) if number in (0.0, 1.0) else None


def _multiply(low: float, high: float, number: float, random_is_first: bool) -> _Pair:
    del random_is_first
    return (low, high) if number == 1.0 else None


def _greater_equal(low: float, high: float, number: float, random_is_first: bool) -> _Pair:
    return (1.0, 1.0) if random_is_first and high > low >= number else None


# The range of an op's output: (low and high of the random input, the other input, whether the
# random input is the first) -> low and high; None where nothing is known.
_BOUNDS: Mapping[str, Callable[[float, float, float, bool], _Pair]] = MappingProxyType(
    {"Add": _add, "AddV2": _add, "Mul": _multiply, "GreaterEqual": _greater_equal}
)


def set_inputs(node: Message, data: list[str], controls: list[str]) -> None:
    """Replace the inputs of a node, in place.

    Args:
        node: the NodeDef.
        data: full names of tensors.
        controls: the control inputs, as "^name".
    """
    node.input[:] = [*(text.removesuffix(":0") for text in data), *controls]
