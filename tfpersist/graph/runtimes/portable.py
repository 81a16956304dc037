"""Remove what ties a graph to the machine and the process that built it."""

from __future__ import annotations

from collections.abc import Collection

from tfpersist.formats import schema
from tfpersist.formats.schema import Message
from tfpersist.graph.runtimes.default_attrs import settle_defaults

# TensorFlow writes these for itself: for gradients, tracing and shapes that it infers again. Old
# shapes that differ from what a newer release infers make the import of the graph fail.
_INTERNAL_ATTRS = frozenset(
    {
        "_gradient_op_type",
        "_output_shapes",
        "_read_only_resource_inputs",
        "_user_specified_name",
        "config_proto",
        "debug_name",
    }
)
_INTERNAL_FUNCTION_ATTRS = frozenset(
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

    This removes device placements, colocations with nodes that are not in the graph, and attrs that
    TensorFlow writes for itself. `default_attrs` says what happens to attrs with default values.

    Args:
        graph: the GraphDef; it is changed in place.
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
        body_names = {node.name for node in function.node_def}
        for node in function.node_def:
            _clean_node(node, body_names)
        for name in _INTERNAL_FUNCTION_ATTRS.intersection(function.attr):
            del function.attr[name]
        for argument in function.arg_attr.values():
            for name in ("_output_shapes", "_user_specified_name"):
                argument.attr.pop(name, None)


def _clean_node(node: Message, names: Collection[str]) -> None:
    node.ClearField("device")
    node.ClearField("experimental_debug_info")
    for name in _INTERNAL_ATTRS.intersection(node.attr):
        del node.attr[name]
    if "_class" in node.attr:
        groups = [
            group
            for group in node.attr["_class"].list.s
            if not group.startswith(b"loc:@") or group[5:].decode(errors="replace") in names
        ]
        del node.attr["_class"]
        if groups:
            node.attr["_class"].list.s.extend(groups)
    settle_defaults(node)
