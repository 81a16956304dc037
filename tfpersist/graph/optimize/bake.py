"""Replace fed tensors with constants."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import Array
from tfpersist.graph.optimize import fold
from tfpersist.graph.optimize.dead_branches import remove_dead_branches
from tfpersist.graph.optimize.inline import inline
from tfpersist.graph.structure import functions
from tfpersist.graph.structure.names import TensorRef, full_name

_MOST_ROUNDS = 16


def bake(graph: Graph, values: Mapping[TensorRef, Array], wanted: Collection[str] = ()) -> Graph:
    """Replace some tensors with constants, and remove the branches that then never run.

    Function calls are inlined, because functions can contain such branches too.

    Args:
        graph: the graph; it is not changed.
        values: the value of each tensor, of its data type and shape.
        wanted: names of tensors and operations whose names stay.

    Returns:
        The graph with constants in place of the tensors.

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
    used_names = set(nodes)
    renamed: dict[str, str] = {}
    added = []
    for ref, value in values.items():
        node = nodes[ref.operation]
        others_are_read = any(
            text.startswith(f"{ref.operation}:") and not text.endswith(":0")
            for other in proto.node
            for text in other.input
        )
        if ref.index or others_are_read:
            name = functions.unused(f"{ref.operation}_{ref.index}_baked", used_names)
            used_names.add(name)
            node = schema.NodeDef(name=name)
            added.append(node)
            renamed[ref.name] = name
        else:
            payloads.pop(ref.operation, None)
        fold.set_constant(node, value)
    for node in proto.node if renamed else ():
        node.input[:] = [renamed.get(full_name(text), text) for text in node.input]
    proto.node.extend(added)
    baked = Graph(proto, payloads)
    for _ in range(_MOST_ROUNDS):
        without_dead = remove_dead_branches(baked)
        baked = inline(without_dead, wanted)
        if baked is without_dead:
            break
    return baked
