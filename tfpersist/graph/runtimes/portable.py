"""What a graph says about the machine and the process that built it, and need not say elsewhere."""

from __future__ import annotations

from collections.abc import Collection

from tfpersist.formats import schema
from tfpersist.formats.schema import Message
from tfpersist.graph.structure import functions, ops

# Notes of TensorFlow to itself: about gradients, tracing and shapes that it infers again. Shapes
# that disagree with what a newer release infers even keep a graph from being imported.
_NOTES = frozenset(
    {
        "_gradient_op_type",
        "_output_shapes",
        "_read_only_resource_inputs",
        "_user_specified_name",
        "config_proto",
        "debug_name",
    }
)
_FUNCTION_NOTES = frozenset(
    {
        "_input_shapes",
        "_original_func_name",
        "api_implements",
        "api_preferred_device",
        "backward_function_name",
        "forward_function_name",
    }
)


def clean(graph: Message, shaped: Collection[str] = ()) -> None:
    """Remove what ties a GraphDef to where it was made.

    Args:
        graph: a GraphDef of the caller's own; it is changed. Device placements, colocations with
            nodes that are not there, attrs equal to their defaults and TensorFlow's notes go.
        shaped: names of the nodes that keep their `_output_shapes`.
    """
    names = {node.name for node in graph.node}
    for node in graph.node:
        if node.name in shaped and "_output_shapes" in node.attr:
            shapes = schema.AttrValue()
            shapes.CopyFrom(node.attr["_output_shapes"])
            _clean_node(node, names)
            node.attr["_output_shapes"].CopyFrom(shapes)
        else:
            _clean_node(node, names)
    for function in graph.library.function:
        inner = {node.name for node in function.node_def}
        for node in function.node_def:
            _clean_node(node, inner)
        for note in _FUNCTION_NOTES.intersection(function.attr):
            del function.attr[note]
        for args in function.arg_attr.values():
            for note in ("_output_shapes", "_user_specified_name"):
                args.attr.pop(note, None)
    functions.settle_names(graph)


def _clean_node(node: Message, names: Collection[str]) -> None:
    node.ClearField("device")
    node.ClearField("experimental_debug_info")
    attrs = node.attr
    for note in _NOTES.intersection(attrs):
        del attrs[note]
    if "_class" in attrs:
        groups = [
            group
            for group in node.attr["_class"].list.s
            if not group.startswith(b"loc:@") or group[5:].decode(errors="replace") in names
        ]
        del node.attr["_class"]
        if groups:
            node.attr["_class"].list.s.extend(groups)
    ops.strip_defaults(node)
