"""Fold the reciprocal square roots of constants.

A batch normalization divides by `sqrt(variance + epsilon)`. Where no convolution or product stands
before it, one product and one sum are left of it, once the other constants are folded too.
TensorFlow approximates the root by an instruction of the processor, so its last bit differs between
machines. Here it is rounded correctly, which is why `fold` does not have it.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Array
from tfpersist.graph.optimize import simplify
from tfpersist.graph.optimize.edit import Edit


def fold_rsqrt(graph: Graph, keep: Collection[str]) -> Graph:
    """Replace each Rsqrt of a constant by its value.

    Args:
        graph: the graph; it is not changed.
        keep: names of nodes that stay computed, because a user reads them.

    Returns:
        A graph that computes the same up to the last bit of these roots.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''node { name: "c" op: "Const"
        ...     attr { key: "dtype" value { type: DT_FLOAT } } attr { key: "value" value { tensor {
        ...       dtype: DT_FLOAT tensor_shape {} float_val: 4 } } } }
        ...   node { name: "y" op: "Rsqrt" input: "c" }''')
        >>> simplify.load_constant(fold_rsqrt(graph, ()).nodes["y"], {})
        array(0.5, dtype=float32)
    """
    if not any(node.op == "Rsqrt" for node in graph.proto.node):
        return graph
    edit = Edit(graph)
    for node in graph.proto.node:
        if node.op == "Rsqrt" and node.name not in keep and len(node.input) == 1:
            source = graph.nodes.get(simplify.first_output_source(node.input[0]))
            root = None if source is None else _root(source, graph)
            if root is not None:
                simplify.store_constant(edit.change(node.name), root, edit.payloads)
    return edit.result()


def rsqrt(value: Array) -> Array | None:
    """Return `1 / sqrt(value)`; None where it is no finite number for each element.

    Example:
        >>> rsqrt(np.float32([4.0])), rsqrt(np.float32([0.0]))
        (array([0.5], dtype=float32), None)
    """
    if value.dtype.name not in ("float32", "float64") or not np.all(value > 0):
        return None
    root = np.asarray(1.0 / np.sqrt(value.astype(np.float64)), value.dtype)
    return root if np.isfinite(root).all() else None


def _root(source: Message, graph: Graph) -> Array | None:
    value = simplify.load_constant(source, graph.payloads)
    return None if value is None else rsqrt(value)
