"""Arithmetic that changes nothing: a product with one, a dropout that keeps everything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

import attrs

from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph.optimize.fold import Array
from tfpersist.graph.structure import ops
from tfpersist.graph.structure.kinds import CONTROL_FLOW, HANDLES, declared_spec
from tfpersist.graph.structure.names import full_name, producer, tensor_spec

_UNIFORM = frozenset({"RandomUniform", "StatelessRandomUniform", "StatelessRandomUniformV2"})

_SAME_SHAPE = frozenset(
    {"Relu", "Relu6", "Elu", "Selu", "LeakyRelu", "Tanh", "Sigmoid", "Softplus", "Neg", "BiasAdd"}
)
_ELEMENTWISE = frozenset(
    {
        *("Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual"),
        *("LogicalAnd", "LogicalOr", "LogicalNot", "Cast", "Add", "AddV2", "Sub", "Mul"),
    }
)
_FARTHEST = 6


@attrs.frozen
class _Range:
    """Where all elements of a tensor lie.

    Args:
        low: the least that they can be.
        high: what they are less than; the same as `low` for what they all are.
        shape: the tensor that tells their shape.
        waits: what was waited for on the way, as "^name".
    """

    low: float
    high: float
    shape: str
    waits: tuple[str, ...]

    def after(self, controls: Iterable[str]) -> _Range:
        """Add what a later node waits for."""
        return attrs.evolve(self, waits=tuple(dict.fromkeys([*self.waits, *controls])))


@attrs.define(eq=False)
class Arithmetic:
    """What is known of the tensors of a graph, and what follows from it.

    Args:
        graph: a graph of the caller's own.
        known: values of tensors, which the caller adds to.
        moved: other names of tensors, by their old ones; the same.
        ranges: tensors whose elements all lie between two numbers.
    """

    graph: Graph
    known: dict[str, Array] = attrs.field(factory=dict)
    moved: dict[str, str] = attrs.field(factory=dict)
    ranges: dict[str, _Range] = attrs.field(factory=dict)

    def waits(self, data: list[str]) -> Iterator[str]:
        """Name what the constants behind a node wait for: it tells in which loop they are."""
        for text in data:
            source = self.graph.nodes[producer(text)]
            if source.op == "Enter":
                yield f"^{source.name}"
            yield from (each for each in source.input if each.startswith("^"))

    def same(self, node: Message, data: list[str], controls: list[str]) -> bool:
        """Let a node pass on what it would give unchanged, once what it waited for is done."""
        same, waits = None, None
        if node.op in ("Mul", "RealDiv", "Div") and len(data) == 2:
            pairs = [(data[0], data[1])]
            pairs += [(data[1], data[0])] if node.op == "Mul" else []
            for one, by in pairs:
                same, waits = one, self._is(by, 1, one)
                if waits is not None:
                    break
        elif node.op in ("Select", "SelectV2") and len(data) == 3:
            other = self._unread(data[2], scalar=node.op == "SelectV2")
            chosen = self._is(data[0], 1, data[1])
            if other is not None and chosen is not None:
                same, waits = data[1], [*chosen, *other]
        if same is None or waits is None:
            return False
        number = (ops.output_types(node, self.graph.functions) or [0])[0]
        node.op = "Identity"
        node.ClearField("attr")
        node.attr["T"].type = number
        set_inputs(node, [same], list(dict.fromkeys([*controls, *waits])))
        return True

    def _unread(self, tensor: str, *, scalar: bool) -> list[str] | None:
        """Say what to wait for instead of reading a tensor; None where it has to be read."""
        value = self.known.get(tensor)
        if value is not None:
            return list(self.waits([tensor])) if not scalar or not value.ndim else None
        source = self.graph.nodes.get(producer(tensor))
        # An edge from a Switch does not tell which branch is taken.
        if scalar or source is None or source.op in CONTROL_FLOW:
            return None
        return [f"^{source.name}"]

    def _is(self, tensor: str, number: float, like: str) -> list[str] | None:
        """Find out if a tensor is that number everywhere, and no larger than another tensor.

        Returns:
            What was waited for to compute it; None if it may be anything else.
        """
        value = self.known.get(tensor)
        if value is not None:
            same = value.ndim == 0 and bool(value == number)
            return list(self.waits([tensor])) if same else None
        known = self.ranges.get(tensor)
        if known is None or not known.low == known.high == number:
            return None
        source = self.graph.nodes.get(producer(known.shape))
        if source is None or source.op != "Shape":
            extents = self.known.get(known.shape)
            told = self.shape(like) if extents is not None else None
            if extents is None or told is None or tuple(extents.reshape(-1)) != told:
                return None
            return [*known.waits, *self.waits([known.shape])]
        root, waits = self._root(full_name(source.input[0]))
        if root != self._root(like)[0]:
            return None
        own = [text for text in source.input if text.startswith("^")]
        return [*known.waits, *own, *waits]

    def shape(self, tensor: str, depth: int = 0) -> tuple[int | None, ...] | None:
        """Tell the shape of a tensor; None where neither its node nor those before it do."""
        if tensor in self.known:
            return tuple(self.known[tensor].shape)
        tensor = self._root(tensor)[0]
        node = self.graph.nodes.get(producer(tensor))
        if node is None or depth > _FARTHEST:
            return None
        types = ops.output_types(node, self.graph.functions)
        spec = tensor_spec(node, int(tensor.partition(":")[2] or 0), types)
        data = [full_name(text) for text in node.input if not text.startswith("^")]
        found = spec.shape if spec is not None else None
        if found is None and node.op == "ReadVariableOp" and data:
            handle = self.graph.nodes.get(producer(data[0]))
            found = declared_spec(handle).shape if handle and handle.op in HANDLES else None
        elif found is None and node.op in _SAME_SHAPE and data:
            found = self.shape(data[0], depth + 1)
        elif found is None and node.op in _ELEMENTWISE and data:
            found = () if all(self.shape(text, depth + 1) == () for text in data) else None
        return found

    def _root(self, tensor: str) -> tuple[str, list[str]]:
        """Name the tensor that another one has its shape from, and what was waited for between."""
        waits: list[str] = []
        for _ in range(64):
            tensor = self.moved.get(tensor, tensor)
            node = self.graph.nodes.get(producer(tensor))
            if node is None or not node.input:
                break
            data = [full_name(text) for text in node.input if not text.startswith("^")]
            scalar = len(data) == 2 and [
                text in self.known and self.known[text].ndim == 0 for text in data
            ]
            if node.op == "Identity":
                tensor = data[0]
            elif node.op in ("Mul", "RealDiv") and scalar and any(scalar) and not all(scalar):
                tensor = data[scalar.index(False)]
                waits += self.waits([data[scalar.index(True)]])
            else:
                break
            waits += (text for text in node.input if text.startswith("^"))
        return tensor, waits

    def follow(self, node: Message, data: list[str], controls: list[str]) -> None:
        here = f"{node.name}:0"
        if node.op in _UNIFORM:
            self.ranges[here] = _Range(0.0, 1.0, data[0], tuple(controls))
            return
        if node.op in ("Floor", "Identity", "Cast") and data[0] in self.ranges:
            known = self.ranges[data[0]].after(controls)
            if node.op == "Floor":
                if (known.low, known.high) != (1.0, 2.0):
                    return
                known = attrs.evolve(known, high=1.0)
            self.ranges[here] = known
            return
        if len(data) != 2:
            return
        ranged = [text for text in data if text in self.ranges]
        others = [t for t in data if t in self.known and self.known[t].dtype.kind in "biuf"]
        if len(ranged) != 1 or len(others) != 1 or self.known[others[0]].ndim:
            return
        known = self.ranges[ranged[0]].after([*controls, *self.waits(others)])
        found = _RANGES.get(node.op, _unknown)(
            known.low, known.high, float(self.known[others[0]]), data[0] == ranged[0]
        )
        if found is not None:
            self.ranges[here] = attrs.evolve(known, low=found[0], high=found[1])


_Bounds = tuple[float, float] | None


def _unknown(low: float, high: float, other: float, first: bool) -> _Bounds:
    del low, high, other, first
    return None


def _plus(low: float, high: float, other: float, first: bool) -> _Bounds:
    # Sums of other numbers may be rounded up to the end that is no part of the range.
    del first
    return (low + other, high + other) if other in (0.0, 1.0) else None


def _times(low: float, high: float, other: float, first: bool) -> _Bounds:
    del first
    return (low, high) if other == 1.0 else None


def _at_least(low: float, high: float, other: float, first: bool) -> _Bounds:
    return (1.0, 1.0) if first and high > low >= other else None


_RANGES: Mapping[str, Callable[[float, float, float, bool], _Bounds]] = MappingProxyType(
    {"Add": _plus, "AddV2": _plus, "Mul": _times, "GreaterEqual": _at_least}
)


def set_inputs(node: Message, data: list[str], controls: list[str]) -> None:
    """Give a node of the caller's own other inputs."""
    node.ClearField("input")
    node.input.extend([*(text.removesuffix(":0") for text in data), *controls])
