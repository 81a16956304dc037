"""Fix the batch of a graph, for runtimes that need to know every shape."""

from __future__ import annotations

import numpy as np

from tfpersist.errors import FreezeError
from tfpersist.formats import dtypes, schema
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph.describe import endpoints
from tfpersist.graph.optimize import fold
from tfpersist.graph.structure.names import TensorRef, full_name

_MOST_SHOWN = 8


def fix_batch(graph: Graph, size: int) -> Graph:
    """Set the first extent of every input that may have any.

    Other free extents stay. The shape of an input that is known then is a constant for those that
    read it.

    Args:
        graph: the graph, cut at its inputs; it is not changed.
        size: the size of the batch.

    Raises:
        FreezeError: the rank of an input is not known, or no input takes a batch of this size.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''node { name: "x" op: "Placeholder"
        ...     attr { key: "dtype" value { type: DT_FLOAT } }
        ...     attr { key: "shape" value { shape { dim { size: -1 } dim { size: 3 } } } } }''')
        >>> print(*endpoints.inputs(fix_batch(graph, 8)))
        x:0 float32[8,3]
    """
    shapes = _shapes(endpoints.inputs(graph), size)
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    for node in proto.node:
        if node.name in shapes:
            _set_shape(node, shapes[node.name])
        elif node.op == "Shape":
            source, *controls = node.input
            shape = shapes.get(full_name(source).removesuffix(":0"), (None,))
            if None not in shape:
                dtype = dtypes.by_number(node.attr["out_type"].type) or dtypes.BY_NAME["int32"]
                fold.set_constant(node, np.array(shape, dtype.numpy), controls)
    return Graph(proto, graph.payloads)


def _shapes(inputs: tuple[TensorRef, ...], size: int) -> dict[str, tuple[int | None, ...]]:
    """Return the new shapes of the inputs, by their operations."""
    shapes = {ref: ref.spec.shape if ref.spec is not None else None for ref in inputs}
    unknown = [ref for ref, shape in shapes.items() if shape is None]
    if unknown:
        raise FreezeError(
            "the rank of an input is not known, so it has no batch to fix",
            where=", ".join(str(ref) for ref in unknown[:_MOST_SHOWN]),
            advice="Cut the graph behind it with inputs(), or bake() it.",
        )
    if not any(shape[:1] in ((None,), (size,)) for shape in shapes.values() if shape is not None):
        raise FreezeError(
            "no input takes a batch of this size",
            expected=f"a first extent that is free, or {size}",
            found=", ".join(str(ref) for ref in inputs[:_MOST_SHOWN]) or "no inputs",
            advice="Leave batch() out.",
        )
    return {
        ref.operation: (size, *shape[1:]) if shape[:1] == (None,) else shape
        for ref, shape in shapes.items()
        if shape is not None
    }


def _set_shape(node: Message, shape: tuple[int | None, ...]) -> None:
    proto = schema.AttrValue()
    proto.shape.SetInParent()
    for extent in shape:
        proto.shape.dim.add(size=-1 if extent is None else extent)
    node.attr["shape"].CopyFrom(proto)
    if "_output_shapes" in node.attr:
        node.attr["_output_shapes"].list.shape[0].CopyFrom(proto.shape)
