"""Replace tensors of a graph with placeholders, so that the graph begins there."""

from __future__ import annotations

from collections.abc import Mapping

from tfpersist.errors import FreezeError
from tfpersist.formats import dtypes, schema
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph.constants.refusals import is_live
from tfpersist.graph.structure import functions
from tfpersist.graph.structure.kinds import PLACEHOLDERS
from tfpersist.graph.structure.names import TensorRef, full_name
from tfpersist.graph.structure.prune import needed


def cut(graph: Graph, refs: Mapping[str, TensorRef]) -> tuple[Graph, dict[str, str]]:
    """Replace tensors with placeholders.

    Args:
        graph: the graph; it is not changed.
        refs: {name of the placeholder: tensor}. Under the tensor's own name, the placeholder gets
            the name of the tensor's operation; where other outputs of this operation are read, it
            gets the name `operation_index`.

    Returns:
        The graph, and the new names of the tensors. The nodes that computed the tensors are still
        in it.

    Raises:
        FreezeError: the data type of a tensor is not known, or an operation has the name of the
            placeholder.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> from tfpersist.graph.structure.names import find_tensor
        >>> graph = parse_text(b'''node { name: "deep" op: "RandomUniform" input: "shape"
        ...       attr { key: "dtype" value { type: DT_FLOAT } } }
        ...     node { name: "y" op: "Neg" input: "deep" }''')
        >>> graph, renamed = cut(graph, {"x": find_tensor(graph, "deep")})
        >>> graph.nodes["y"].input, graph.nodes["x"].op, renamed
        (['x'], 'Placeholder', {'deep:0': 'x:0'})
    """
    if not refs:
        return graph, {}
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    used_names = set(graph.nodes)
    renamed: dict[str, str] = {}
    added: list[Message] = []
    in_place: dict[str, Message] = {}
    inputs = (text.partition(":") for node in graph.proto.node for text in node.input)
    other_outputs_read = {name for name, _, index in inputs if index.strip("0")}
    for wanted_name, ref in refs.items():
        node = graph.nodes[ref.operation]
        is_placeholder = node.op in PLACEHOLDERS and not _has_live_default(graph, node)
        if is_placeholder and wanted_name in (ref.name, ref.operation):
            renamed[ref.name] = ref.name
            continue
        is_only_output = ref.index == 0 and ref.operation not in other_outputs_read
        if wanted_name != ref.name:
            name = wanted_name
        elif is_only_output:
            name = ref.operation
        else:
            name = functions.unused(f"{ref.operation}_{ref.index}", used_names)
        if name in used_names and not (is_only_output and name == ref.operation):
            raise FreezeError(
                "another operation has the name of this input",
                where=f"input {name}",
                found=f"{graph.nodes[name].op} {name}" if name in graph.nodes else "the name twice",
                advice="Give the input another name.",
            )
        used_names.add(name)
        placeholder = _placeholder(name, ref)
        if name == ref.operation:
            in_place[name] = placeholder
        else:
            added.append(placeholder)
        renamed[ref.name] = f"{name}:0"
    for node in proto.node:
        if node.name in in_place:
            node.CopyFrom(in_place[node.name])
        else:
            node.input[:] = [_renamed(text, renamed) for text in node.input]
    nodes = [*added, *proto.node]
    proto.ClearField("node")
    proto.node.extend(nodes)
    payloads = {name: p for name, p in graph.payloads.items() if name not in in_place}
    return Graph(proto, payloads), renamed


def _has_live_default(graph: Graph, node: Message) -> bool:
    """Return whether the default value of a placeholder comes from an iterator or the like."""
    if node.op != "PlaceholderWithDefault":
        return False
    return any(is_live(graph.nodes[name].op) for name in needed(graph, node.input[:1]))


def _renamed(text: str, renamed: Mapping[str, str]) -> str:
    if text.startswith("^"):
        # A control input from the operation becomes one from its placeholder.
        source = text[1:]
        new = (name for tensor, name in renamed.items() if tensor.partition(":")[0] == source)
        return "^" + next(new, source).partition(":")[0]
    name = full_name(text)
    return renamed[name].removesuffix(":0") if name in renamed else text


def _placeholder(name: str, ref: TensorRef) -> Message:
    dtype = dtypes.BY_NAME.get(ref.spec.dtype) if ref.spec is not None else None
    if dtype is None or ref.spec is None:
        raise FreezeError(
            "the data type of this tensor is not known, so it cannot become a placeholder",
            where=ref.name,
            advice="Cut the graph at another tensor.",
        )
    node = schema.NodeDef(name=name, op="Placeholder")
    node.attr["dtype"].type = dtype.number
    shape = node.attr["shape"].shape
    shape.SetInParent()
    shape.unknown_rank = ref.spec.shape is None
    for extent in ref.spec.shape or ():
        shape.dim.add(size=-1 if extent is None else extent)
    return node
