"""Large constants become variables, so that their bytes need not go through a GraphDef."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from tfpersist.formats import dtypes, schema
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Payload
from tfpersist.graph.structure.aliasing import WRITERS

# Below this total, TensorFlow's work on constants (folding, weights laid out for convolutions) is
# worth more than what it costs to copy them.
LIFTED_FROM = 64 << 20
# Smaller ones stay: shapes, axes and whatever else TensorFlow wants to know before it runs.
_SMALLEST = 64 << 10
_LIFTED = frozenset(
    {"float16", "bfloat16", "float32", "float64", "complex64", "complex128", "bool"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)


@attrs.frozen
class Lifted:
    """A graph some of whose constants are variables.

    Args:
        graph: the graph. What read a constant reads a variable of the same value by the same name.
        values: what to feed to give the variables their values, by name of a placeholder.
        initializers: names of the operations to run for that.
    """

    graph: Graph
    values: Mapping[str, Payload] = attrs.field(factory=dict)
    initializers: tuple[str, ...] = ()


def lift(graph: Graph, *, least: int = LIFTED_FROM) -> Lifted:
    """Make variables of the large constants of a graph.

    Args:
        graph: the graph, which stays as it is.
        least: leave it alone where this would move fewer bytes.

    Example:
        >>> import numpy as np
        >>> from tfpersist.formats import graphdef
        >>> from tfpersist.formats.tensors import TensorSpec, payload_of
        >>> node = schema.NodeDef(name="w")
        >>> graphdef.with_payload(node, TensorSpec("float32", (256, 256)))
        >>> weights = {"w": payload_of(np.zeros((256, 256), np.float32))}
        >>> lifted = lift(Graph(schema.GraphDef(node=[node]), weights), least=0)
        >>> lifted.graph.nodes["w"].op, *lifted.values
        ('ReadVariableOp', 'tfpersist_weights/0/value')
    """
    chosen = _chosen(graph)
    total = sum(payload.spec.nbytes or 0 for payload in chosen.values())
    if not chosen or total < least:
        return Lifted(graph)
    scope = "tfpersist_weights"
    while any(name.startswith(scope) for name in graph.nodes):
        scope += "_"
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    values: dict[str, Payload] = {}
    initializers = []
    for node in list(proto.node):
        payload = chosen.get(node.name)
        if payload is None:
            continue
        prefix = f"{scope}/{len(values)}"
        _read_variable(node, f"{prefix}/handle", payload, proto)
        values[f"{prefix}/value"] = payload
        initializers.append(f"{prefix}/assign")
    rest = {name: payload for name, payload in graph.payloads.items() if name not in chosen}
    return Lifted(Graph(proto, rest), values, tuple(initializers))


def _chosen(graph: Graph) -> dict[str, Payload]:
    bodies = [graph.proto.node, *(function.node_def for function in graph.proto.library.function)]
    if any(node.op in WRITERS for body in bodies for node in body):
        return {}
    return {
        name: payload
        for name, payload in graph.payloads.items()
        # One that waits for another node may stand in a loop, where no handle can be read.
        if not graph.nodes[name].input
        and (payload.spec.nbytes or 0) >= _SMALLEST
        and payload.spec.dtype in _LIFTED
    }


def _read_variable(node: Message, handle: str, payload: Payload, proto: Message) -> None:
    """Turn a Const into the reading of a variable, and add the variable and its assignment."""
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
    for each in (variable, value):
        each.attr["shape"].CopyFrom(shape)
    for each in (variable, value, assign, node):
        each.attr["dtype"].type = number
