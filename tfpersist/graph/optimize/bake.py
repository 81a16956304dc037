"""Tensors that are fed become constants."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph
from tfpersist.graph.optimize import fold
from tfpersist.graph.optimize.dead_branches import decide
from tfpersist.graph.optimize.fold import Array
from tfpersist.graph.optimize.inline import inline
from tfpersist.graph.structure import functions
from tfpersist.graph.structure.names import TensorRef

_MOST_ROUNDS = 16


def bake(graph: Graph, values: Mapping[TensorRef, Array], wanted: Collection[str] = ()) -> Graph:
    """Fix some tensors of a graph, and take the decisions that follow.

    Functions that are called become nodes of the graph, so that decisions are taken in them too.

    Args:
        graph: the graph, which stays as it is.
        values: a value of each tensor's own type and shape.
        wanted: names of tensors and operations whose names stay.

    Returns:
        The graph with constants in place of the tensors, without the branches that are never taken.

    Example:
        >>> import numpy as np
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''
        ...     node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
        ...     node { name: "y" op: "Neg" input: "x"
        ...       attr { key: "T" value { type: DT_FLOAT } } }''')
        >>> baked = bake(graph, {TensorRef("x"): np.array(2, np.float32)})
        >>> baked.nodes["x"].op, baked.nodes["y"].op
        ('Const', 'Const')
    """
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    nodes = {node.name: node for node in proto.node}
    payloads = dict(graph.payloads)
    taken = set(nodes)
    moved: dict[str, str] = {}
    added = []
    for ref, value in values.items():
        node = nodes[ref.operation]
        several = any(
            text.startswith(f"{ref.operation}:") and not text.endswith(":0")
            for other in proto.node
            for text in other.input
        )
        if ref.index or several:
            name = functions.unused(f"{ref.operation}_{ref.index}_baked", taken)
            taken.add(name)
            node = schema.NodeDef(name=name)
            added.append(node)
            moved[ref.name] = name
        else:
            payloads.pop(ref.operation, None)
        fold.become_constant(node, value)
    for node in proto.node if moved else ():
        inputs = [moved.get(text if ":" in text else f"{text}:0", text) for text in node.input]
        node.ClearField("input")
        node.input.extend(inputs)
    proto.node.extend(added)
    baked = Graph(proto, payloads)
    for _ in range(_MOST_ROUNDS):
        decided = decide(baked)
        baked = inline(decided, wanted)
        if baked is decided:
            break
    return baked
