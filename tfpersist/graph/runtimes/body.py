"""The nodes of a main graph or of a function, to be rewritten in place."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cached_property

import numpy as np

from tfpersist.formats import dtypes
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Array
from tfpersist.graph.optimize import fold
from tfpersist.graph.structure import ops
from tfpersist.graph.structure.functions import unused
from tfpersist.graph.structure.names import producer

_MOST_STEPS = 64
# A constant of more elements can have them elsewhere than in the graph.
_MOST_NUMBERS = 16
_SAME_SHAPE = frozenset(
    {
        *("Abs", "Cast", "Ceil", "Floor", "Identity", "LogicalNot", "Neg", "OnesLike", "Relu"),
        *("Sigmoid", "Sign", "Sqrt", "Square", "StopGradient", "Tanh", "ZerosLike"),
    }
)
_ELEMENTWISE = frozenset(
    {
        *("Add", "AddV2", "Equal", "FloorMod", "Greater", "GreaterEqual", "Less", "LessEqual"),
        *("LogicalAnd", "LogicalOr", "Maximum", "Minimum", "Mul", "NotEqual", "RealDiv", "Sub"),
    }
)
# Tables whose values are single numbers or strings, so a lookup has the shape of its keys.
_TABLES = frozenset({"HashTable", "HashTableV2", "MutableHashTable", "MutableHashTableV2"})


class Body:
    """The nodes of a main graph or of a function.

    Args:
        proto: the NodeDefs; they are changed in place.
        function: the FunctionDef that has them; None for the main graph.
    """

    def __init__(self, proto: Message, function: Message | None = None) -> None:
        self._proto = proto
        self._function = function
        self.nodes: dict[str, Message] = {node.name: node for node in proto}

    @cached_property
    def _read(self) -> frozenset[str]:
        return frozenset(text for node in self._proto for text in node.input)

    @cached_property
    def _readers(self) -> dict[str, list[Message]]:
        readers: dict[str, list[Message]] = {}
        for node in self._proto:
            for name in {producer(text) for text in node.input if not text.startswith("^")}:
                readers.setdefault(name, []).append(node)
        return readers

    def source(self, text: str) -> Message | None:
        """Return the node that an input comes from; None for an argument of the function."""
        return None if text.startswith("^") else self.nodes.get(producer(text))

    def constant(self, text: str) -> Array | None:
        """Return the value of an input that is a small constant; None for any other."""
        source = self.source(text)
        for _ in range(_MOST_STEPS):
            if source is None or source.op != "Identity":
                break
            source = self.source(source.input[0])
        if source is None or source.op != "Const" or "value" not in source.attr:
            return None
        extents = [dim.size for dim in source.attr["value"].tensor.tensor_shape.dim]
        return fold.constant_value(source) if math.prod(extents) <= _MOST_NUMBERS else None

    def add(self, near: Message, part: str, op: str, inputs: Iterable[str]) -> str:
        """Add a node of one output, of the data type of another node; return it as an input.

        Args:
            near: the other node; the new one is called after it.
            part: what is added to the name.
            op: the op of the new node.
            inputs: its inputs.
        """
        name = unused(f"{near.name}/{part}", self.nodes)
        node = self._proto.add(name=name, op=op, input=list(inputs))
        if op == "Const":
            node.attr["dtype"].CopyFrom(near.attr["T"])
        else:
            node.attr["T"].CopyFrom(near.attr["T"])
        self.nodes[name] = node
        return name if self._function is None else f"{name}:{_first_output(op)}:0"

    def add_number(self, near: Message, part: str, number: float) -> str:
        """Add a constant of the data type of a node; return it as an input.

        It waits for the first input of the node, because in a loop of TensorFlow 1 a constant has
        to tell where it belongs.
        """
        is_main = self._function is None
        waits = [f"^{producer(near.input[0])}"] if is_main else []
        text = self.add(near, part, "Const", waits)
        node = self.nodes[producer(text)]
        dtype = dtypes.by_number(near.attr["T"].type)
        value = np.asarray(number, None if dtype is None else dtype.numpy)
        fold.set_constant(node, value, waits)
        return text

    def reads(self, name: str, output: str) -> bool:
        """Return whether a node reads an output of another one. Nodes added since do not count.

        Args:
            name: the other node.
            output: the name of the output in the definition of its op.
        """
        definition = ops.definition(self.nodes[name].op)
        names = [arg.name for arg in definition.output_arg] if definition is not None else []
        text = f"{name}:{names.index(output)}" if self._function is None else f"{name}:{output}:0"
        is_returned = self._function is not None and text in self._function.ret.values()
        return is_returned or text in self._read

    def readers(self, name: str) -> list[Message]:
        """Return the nodes that read an output of another one. Nodes added since do not count.

        Args:
            name: the other node.
        """
        return self._readers.get(name, [])

    def rename_output(self, node: Message, op: str) -> None:
        """Let the readers of a node know what its output is called now.

        Args:
            node: the node, with its new op.
            op: its op before.
        """
        old, new = _first_output(op), _first_output(node.op)
        if self._function is None or old == new:
            return
        before, after = f"{node.name}:{old}:0", f"{node.name}:{new}:0"
        for reader in self._proto:
            if before in reader.input:
                reader.input[:] = [after if text == before else text for text in reader.input]
        for key, text in self._function.ret.items():
            if text == before:
                self._function.ret[key] = after

    def is_scalar(self, text: str) -> bool:
        """Return whether an input has no dimensions: a constant, or one element of a shape."""
        node = self.source(text)
        if node is not None and node.op == "StridedSlice":
            is_element = "shrink_axis_mask" in node.attr and node.attr["shrink_axis_mask"].i == 1
            return is_element and self._is_vector(node.input[0])
        value = self.constant(text)
        return value is not None and value.ndim == 0

    def _is_vector(self, text: str) -> bool:
        source = self.source(text)
        value = self.constant(text)
        is_shape = source is not None and source.op == "Shape"
        return is_shape or (value is not None and value.ndim == 1)

    def have_one_shape(self, texts: Iterable[str]) -> bool:
        """Return whether inputs have the same shape for sure: they come from one tensor."""
        return len({self._origin(text) for text in texts}) == 1

    def _origin(self, text: str) -> str:
        """Return the tensor before the ops that keep the shape of their input."""
        for _ in range(_MOST_STEPS):
            node = self.source(text)
            if node is None:
                break
            data = [name for name in node.input if not name.startswith("^")]
            shaped = self._shaped_like(node.op, data)
            if shaped is None:
                break
            text = shaped
        return text.removesuffix(":0")

    def _shaped_like(self, op: str, data: list[str]) -> str | None:
        """Return the input that has the shape of the output of a node; None for no such input."""
        if op in _SAME_SHAPE:
            return data[0]
        if op in _ELEMENTWISE:
            others = [text for text in data if not self.is_scalar(text)]
            return others[0] if len(others) == 1 else None
        if op.startswith("LookupTableFind"):
            table = self.source(data[0])
            return data[1] if table is not None and table.op in _TABLES else None
        return None


def _first_output(op: str) -> str:
    definition = ops.definition(op)
    names = [arg.name for arg in definition.output_arg] if definition is not None else []
    return str(names[0]) if names else ""
