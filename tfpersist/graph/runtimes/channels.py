"""Count the channels of an image in a graph, as far as the constants around it say."""

from __future__ import annotations

from tfpersist.formats.schema import Message
from tfpersist.graph.runtimes.body import Body

_MOST_STEPS = 64
_SAME = frozenset(
    {
        *("AvgPool", "BatchToSpaceND", "BiasAdd", "Cast", "Elu", "Identity", "LeakyRelu"),
        *("MaxPool", "Neg", "Relu", "Relu6", "ResizeBilinear", "ResizeNearestNeighbor", "Rsqrt"),
        *("Selu", "Sigmoid", "Softplus", "SpaceToBatchND", "Sqrt", "Square", "StopGradient"),
        "Tanh",
    }
)
_OF_TWO = frozenset(
    {"Add", "AddV2", "Maximum", "Minimum", "Mul", "RealDiv", "SquaredDifference", "Sub"}
)
_BATCH_NORM = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})


def channels(text: str, body: Body, axis: int) -> int | None:
    """Return how many channels a tensor has; None if that is not known.

    Args:
        text: the tensor, as an input of a node.
        body: the nodes that it is among.
        axis: the axis of the channels: 1, or -1 for the last.
    """
    for _ in range(_MOST_STEPS):
        node = body.source(text)
        if node is None:
            return None
        if node.op in _OF_TWO:
            # A constant vector, as of a bias, has one number for each channel.
            sizes = [_extent(shape_of(name, body), axis) for name in node.input[:2]]
            known = [size for size in sizes if size is not None and size > 1]
            if known:
                return known[0]
            is_second = shape_of(node.input[0], body) is not None
            text = node.input[is_second]
        elif node.op in _SAME:
            text = node.input[0]
        else:
            return _made(node, body, axis)
    return None


def _made(node: Message, body: Body, axis: int) -> int | None:
    """Return the channels of the output of a node that says them itself."""
    if node.op == "Placeholder":
        dims = node.attr["shape"].shape.dim if "shape" in node.attr else ()
        return _extent([dim.size for dim in dims], axis)
    if node.op in _BATCH_NORM:
        return _extent(shape_of(node.input[1], body), -1)
    if node.op in ("Conv2D", "Conv2DBackpropInput", "DepthwiseConv2dNative"):
        filters = shape_of(node.input[1], body) or []
        if len(filters) == 4 and min(filters) > 0:
            third, last = filters[2:]
            return {"Conv2D": last, "Conv2DBackpropInput": third}.get(node.op, third * last)
    return None


def shape_of(text: str, body: Body) -> list[int] | None:
    """Return the shape of a constant, also behind a Cast of fewer bits; None for any other tensor.

    Args:
        text: the tensor, as an input of a node.
        body: the nodes that it is among.
    """
    node = body.source(text)
    for _ in range(_MOST_STEPS):
        if node is None or node.op not in ("Cast", "Identity"):
            break
        node = body.source(node.input[0])
    if node is None or node.op != "Const" or "value" not in node.attr:
        return None
    return [dim.size for dim in node.attr["value"].tensor.tensor_shape.dim]


def _extent(shape: list[int] | None, axis: int) -> int | None:
    """Return the extent of an axis, if the shape has it and it is known."""
    # A shape of fewer dimensions is aligned at its end, so that axis 1 of four is the third of it.
    at = axis - 4 if axis > 0 else axis
    return shape[at] if shape and -at <= len(shape) and shape[at] > 0 else None
