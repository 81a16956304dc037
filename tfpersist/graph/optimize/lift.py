"""Replace large constants with variables, so that TensorFlow need not parse their bytes."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from tfpersist.formats import dtypes, schema
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Payload
from tfpersist.graph.structure.aliasing import WRITERS

# Where constants have fewer bytes in total, a graph with constants is faster: TensorFlow folds them
# and lays out the weights of convolutions, which is worth the copy.
LIFT_THRESHOLD = 64 << 20
# Smaller constants stay: TensorFlow needs shapes, axes and the like before it runs.
_SMALLEST_BYTES = 64 << 10
_LIFTED_DTYPES = frozenset(
    {"float16", "bfloat16", "float32", "float64", "complex64", "complex128", "bool"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)


@attrs.frozen
class Lifted:
    """A graph in which variables replace some constants.

    Args:
        graph: the graph. The read of a variable has the name of the constant that it replaces.
        values: the initial values of the variables, by name of the placeholder to feed.
        initializers: names of the operations that assign these values.
    """

    graph: Graph
    values: Mapping[str, Payload] = attrs.field(factory=dict)
    initializers: tuple[str, ...] = ()


def lift(graph: Graph, *, min_bytes: int = LIFT_THRESHOLD) -> Lifted:
    """Replace the large constants of a graph with variables.

    Args:
        graph: the graph; it is not changed.
        min_bytes: the graph stays as it is where its large constants have fewer bytes in total.

    Example:
        >>> import numpy as np
        >>> from tfpersist.formats import graphdef
        >>> from tfpersist.formats.tensors import TensorSpec, payload_of
        >>> node = schema.NodeDef(name="w")
        >>> graphdef.with_payload(node, TensorSpec("float32", (256, 256)))
        >>> weights = {"w": payload_of(np.zeros((256, 256), np.float32))}
        >>> lifted = lift(Graph(schema.GraphDef(node=[node]), weights), min_bytes=0)
        >>> lifted.graph.nodes["w"].op, *lifted.values
        ('ReadVariableOp', 'tfpersist_weights/0/value')
    """
    large = _large_constants(graph)
    total = sum(payload.spec.nbytes or 0 for payload in large.values())
    if not large or total < min_bytes:
        return Lifted(graph)
    scope = "tfpersist_weights"
    while any(name.startswith(scope) for name in graph.nodes):
        scope += "_"
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    values: dict[str, Payload] = {}
    initializers = []
    for node in list(proto.node):
        payload = large.get(node.name)
        if payload is None:
            continue
        prefix = f"{scope}/{len(values)}"
        _read_variable(node, f"{prefix}/handle", payload, proto)
        values[f"{prefix}/value"] = payload
        initializers.append(f"{prefix}/assign")
    rest = {name: payload for name, payload in graph.payloads.items() if name not in large}
    return Lifted(Graph(proto, rest), values, tuple(initializers))


def _large_constants(graph: Graph) -> dict[str, Payload]:
    bodies = [graph.proto.node, *(function.node_def for function in graph.proto.library.function)]
    if any(node.op in WRITERS for body in bodies for node in body):
        return {}
    return {
        name: payload
        for name, payload in graph.payloads.items()
        # A constant with control inputs can be in a loop, where a variable outside of the loop
        # cannot be read.
        if not graph.nodes[name].input
        and (payload.spec.nbytes or 0) >= _SMALLEST_BYTES
        and payload.spec.dtype in _LIFTED_DTYPES
    }


def _read_variable(node: Message, handle: str, payload: Payload, proto: Message) -> None:
    """Turn a Const into the read of a variable, and add the variable and its assignment."""
    number = dtypes.BY_NAME[payload.spec.dtype].number
    shape = schema.AttrValue()
    for extent in payload.spec.shape or ():
        shape.shape.dim.add(size=extent)
    shape.shape.SetInParent()
    prefix = handle.rpartition("/")[0]
    variable = proto.node.add(name=handle, op="VarHandleOp")
    variable.attr["shared_name"].s = handle.encode()
    value = proto.node.add(name=f"{prefix}/value", op="Placeholder")
    assign = proto.node.add(
        name=f"{prefix}/assign", op="AssignVariableOp", input=[handle, value.name]
    )
    node.op = "ReadVariableOp"
    node.input.append(handle)
    node.attr.clear()
    for shaped in (variable, value):
        shaped.attr["shape"].CopyFrom(shape)
    for typed in (variable, value, assign, node):
        typed.attr["dtype"].type = number
