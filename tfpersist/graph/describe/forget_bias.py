"""Find the forget bias that LSTM cells of TensorFlow 1 add when they run.

A cell adds its bias to a product, splits the sum into the gates i, j, f, o, and adds a constant to
f. The ops that compute a whole cell have the constant as an attribute.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from tfpersist.formats import dtypes, tensor_proto
from tfpersist.formats.schema import Message
from tfpersist.graph.structure.kinds import VARIABLES
from tfpersist.graph.structure.names import full_name, producer

_READS = {"Identity", "Enter", "RefEnter", "ReadVariableOp"}
_ADDITIONS = {"BiasAdd", "BiasAddV1", "Add", "AddV2"}
_SPLITS = {"Split", "SplitV"}
# The bias is their last input.
_WHOLE_CELLS = {"LSTMBlockCell", "BlockLSTM", "BlockLSTMV2"}
_GATES, _FORGET = 4, 2
_FLOATS = {"float16", "bfloat16", "float32", "float64"}


def forget_biases(graph: Message) -> dict[str, float]:
    """Return the forget biases of the cells in a graph, by the names of their bias variables.

    Args:
        graph: a GraphDef.

    Returns:
        The numbers that are added. A variable to which several are added is left out.

    Raises:
        CorruptionError: such a number is damaged.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> forget_biases(parse_text(b'node { name: "x" op: "NoOp" }').proto)
        {}
    """
    nodes = {node.name: node for node in graph.node}
    consumers: dict[str, list[Message]] = {}
    for node in graph.node:
        for text in node.input:
            consumers.setdefault(full_name(text), []).append(node)
    found: dict[str, set[float]] = {}
    for node in graph.node:
        for variable, value in _added(node, nodes, consumers):
            found.setdefault(variable, set()).add(value)
    return {name: values.pop() for name, values in found.items() if len(values) == 1}


def _added(
    node: Message, nodes: Mapping[str, Message], consumers: Mapping[str, list[Message]]
) -> Iterator[tuple[str, float]]:
    """Yield the bias variable and the forget bias of each cell that a node is a part of."""
    if node.op in _WHOLE_CELLS and node.input:
        variable = _variable(node.input[-1], nodes)
        value = node.attr["forget_bias"].f if "forget_bias" in node.attr else 1.0
        if variable and math.isfinite(value):
            yield variable, value
    if node.op not in _ADDITIONS:
        return
    variables = {_variable(text, nodes) for text in node.input} - {""}
    for split in consumers.get(full_name(node.name), ()) if len(variables) == 1 else ():
        if split.op not in _SPLITS or _parts(split) != _GATES:
            continue
        gate = f"{split.name}:{_FORGET}"
        for addition in consumers.get(gate, ()):
            others = [text for text in addition.input if full_name(text) != gate]
            value = _constant(others[0], nodes) if len(others) == 1 else None
            if addition.op in _ADDITIONS and value is not None:
                yield next(iter(variables)), value


def _parts(split: Message) -> int:
    parts: int = split.attr["num_split"].i
    return parts


def _resolved(text: str, nodes: Mapping[str, Message]) -> Message | None:
    """Return the node whose value an input is, through nodes that pass it on."""
    seen = set()
    node = nodes.get(producer(text))
    while node is not None and node.op in _READS and node.input and node.name not in seen:
        seen.add(node.name)
        node = nodes.get(producer(node.input[0]))
    return node


def _variable(text: str, nodes: Mapping[str, Message]) -> str:
    node = _resolved(text, nodes)
    return node.name if node is not None and node.op in VARIABLES else ""


def _constant(text: str, nodes: Mapping[str, Message]) -> float | None:
    node = _resolved(text, nodes)
    if node is None or node.op != "Const":
        return None
    tensor = node.attr["value"].tensor
    dtype = dtypes.by_number(tensor.dtype)
    if dtype is None or dtype.name not in _FLOATS or tensor.tensor_shape.dim:
        return None
    value = float(tensor_proto.to_array(tensor, file=f"node {node.name}"))
    return value if math.isfinite(value) else None
