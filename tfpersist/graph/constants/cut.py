"""Tensors inside of a graph become its placeholders."""

from __future__ import annotations

from collections.abc import Mapping

from tfpersist.errors import FreezeError
from tfpersist.formats import dtypes, schema
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph.structure import functions
from tfpersist.graph.structure.kinds import PLACEHOLDERS
from tfpersist.graph.structure.names import TensorRef


def cut(graph: Graph, refs: Mapping[str, TensorRef]) -> tuple[Graph, dict[str, str]]:
    """Let placeholders take the places of some tensors.

    Args:
        graph: the graph, which stays as it is.
        refs: the tensors, by the name that the placeholder is to have; by that of the tensor itself
            for the name of its operation where this is free, and one with the index elsewhere.

    Returns:
        The graph, with what computed those tensors still in it, and the new names of the tensors.

    Raises:
        FreezeError: the type of a tensor is not known, or a name is taken.

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
    taken = set(graph.nodes)
    renamed: dict[str, str] = {}
    added: list[Message] = []
    in_place: dict[str, Message] = {}
    edges = (text.partition(":") for node in graph.proto.node for text in node.input)
    several = {name for name, _, index in edges if index.strip("0")}
    for wanted, ref in refs.items():
        node = graph.nodes[ref.operation]
        if node.op in PLACEHOLDERS and wanted in (ref.name, ref.operation):
            renamed[ref.name] = ref.name
            continue
        alone = ref.index == 0 and ref.operation not in several
        if wanted == ref.name:
            name = ref.operation if alone else f"{ref.operation}_{ref.index}"
            name = name if alone else functions.unused(name, taken)
        else:
            name = wanted
        if name in taken and not (alone and name == ref.operation):
            raise FreezeError(
                "an operation of the graph has the name of this input",
                where=f"input {name}",
                found=f"{graph.nodes[name].op} {name}" if name in graph.nodes else "twice",
                advice="Call the input something else.",
            )
        taken.add(name)
        placeholder = _placeholder(name, ref)
        if name == ref.operation:
            in_place[name] = placeholder
        else:
            added.append(placeholder)
        renamed[ref.name] = f"{name}:0"
    for node in proto.node:
        if node.name in in_place:
            node.CopyFrom(in_place[node.name])
            continue
        inputs = [_renamed(text, renamed) for text in node.input]
        node.ClearField("input")
        node.input.extend(inputs)
    nodes = [*added, *proto.node]
    proto.ClearField("node")
    proto.node.extend(nodes)
    payloads = {name: each for name, each in graph.payloads.items() if name not in in_place}
    return Graph(proto, payloads), renamed


def _renamed(text: str, renamed: Mapping[str, str]) -> str:
    if text.startswith("^"):
        # Waiting for what computed a tensor is waiting for what is fed instead.
        source = text[1:]
        new = (name for tensor, name in renamed.items() if tensor.partition(":")[0] == source)
        return "^" + next(new, source).partition(":")[0]
    full = text if ":" in text else f"{text}:0"
    return renamed[full].removesuffix(":0") if full in renamed else text


def _placeholder(name: str, ref: TensorRef) -> Message:
    dtype = dtypes.BY_NAME.get(ref.spec.dtype) if ref.spec is not None else None
    if dtype is None or ref.spec is None:
        raise FreezeError(
            "the type of this tensor is not known, so no placeholder can take its place",
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
