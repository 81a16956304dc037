"""Constants become trainable variables again: a graph as a MetaGraphDef, and their values."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping

import attrs

from tfpersist.errors import NameNotFoundError, did_you_mean
from tfpersist.formats import dtypes, graphdef_writer, schema, tensor_proto
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Payload, payload_of

_TRAINABLE = ("float", "bfloat", "complex")
_COLLECTIONS = ("variables", "trainable_variables")


@attrs.frozen
class Unfrozen:
    """A graph with variables.

    Args:
        meta: the MetaGraphDef.
        values: the value of each variable, by its name.
    """

    meta: Message
    values: Mapping[str, Payload]


def unfreeze(graph: Graph, patterns: Iterable[str]) -> Unfrozen:
    """Make variables of constants, under their names.

    What read the constant reads the variable. Its initializer wants a placeholder to be fed, so
    that nothing but a checkpoint, or a value given on purpose, gives it a value.

    Args:
        graph: the graph, which stays as it is.
        patterns: names of constants, or globs.

    Raises:
        NameNotFoundError: a pattern matches no constant.
        UnsupportedError: what remains is larger than 2 GB.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''
        ...     node { name: "w" op: "Const" attr { key: "dtype" value { type: DT_FLOAT } }
        ...       attr { key: "value" value { tensor { dtype: DT_FLOAT float_val: 3
        ...         tensor_shape { dim { size: 2 } } } } } }
        ...     node { name: "y" op: "Neg" input: "w" }''')
        >>> unfrozen = unfreeze(graph, ["w*"])
        >>> unfrozen.values["w"].load()
        array([3., 3.], dtype=float32)
        >>> unfrozen.meta.graph_def.node[1].input
        ['w/read_value']
    """
    chosen = _chosen(graph, patterns)
    rest = {name: payload for name, payload in graph.payloads.items() if name not in chosen}
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    values: dict[str, Payload] = {}
    reads: dict[str, str] = {}
    definitions = []
    taken = set(graph.nodes)
    for node in list(proto.node):
        if node.name in chosen:
            tensor = node.attr["value"].tensor
            held = graph.payloads.get(node.name)
            values[node.name] = held or payload_of(
                tensor_proto.to_array(tensor), dtypes.BY_NAME[_dtype(node)].name
            )
            definition = _variable(node, proto, taken)
            reads[node.name] = definition.snapshot_name.partition(":")[0]
            definitions.append(definition.SerializeToString())
    for node in proto.node:
        if node.op != "AssignVariableOp" and node.name not in reads.values():
            _rewire(node, reads)
    graphdef_writer.size(Graph(proto, rest))
    meta = schema.MetaGraphDef(graph_def=proto)
    meta.meta_info_def.tags.append("train")
    for node in meta.graph_def.node:
        if node.name in rest:
            node.attr["value"].tensor.tensor_content = rest[node.name].load().tobytes()
    for collection in _COLLECTIONS:
        meta.collection_def[collection].bytes_list.value.extend(definitions)
    return Unfrozen(meta, values)


def _chosen(graph: Graph, patterns: Iterable[str]) -> set[str]:
    constants = [
        node.name
        for node in graph.proto.node
        if node.op == "Const" and not node.input and _dtype(node).startswith(_TRAINABLE)
    ]
    chosen: set[str] = set()
    for pattern in patterns:
        found = {name for name in constants if fnmatch.fnmatchcase(name, pattern)}
        found |= {pattern} & set(constants)
        if not found:
            raise NameNotFoundError(
                f"no constant of a trainable type is called {pattern!r}",
                advice=did_you_mean(pattern, constants),
            )
        chosen |= found
    return chosen


def _dtype(node: Message) -> str:
    dtype = dtypes.by_number(node.attr["dtype"].type)
    return dtype.name if dtype else ""


def _variable(node: Message, proto: Message, taken: set[str]) -> Message:
    """Turn a Const into a variable, and add what reads and assigns it."""

    def unique(suffix: str) -> str:
        name = f"{node.name}/{suffix}"
        while name in taken:
            name += "_"
        taken.add(name)
        return name

    number = node.attr["dtype"].type
    shape = schema.AttrValue()
    shape.shape.CopyFrom(node.attr["value"].tensor.tensor_shape)
    shape.shape.SetInParent()
    value = proto.node.add(name=unique("its_value_is_in_the_checkpoint"), op="Placeholder")
    read = proto.node.add(name=unique("read_value"), op="ReadVariableOp", input=[node.name])
    assign = proto.node.add(
        name=unique("assign"), op="AssignVariableOp", input=[node.name, value.name]
    )
    node.op = "VarHandleOp"
    node.attr.clear()
    node.attr["shared_name"].s = node.name.encode()
    for each in (node, value):
        each.attr["shape"].CopyFrom(shape)
    for each in (node, value, read, assign):
        each.attr["dtype"].type = number
    return schema.VariableDef(
        variable_name=f"{node.name}:0",
        initial_value_name=f"{value.name}:0",
        initializer_name=assign.name,
        snapshot_name=f"{read.name}:0",
        is_resource=True,
        trainable=True,
    )


def _rewire(node: Message, reads: Mapping[str, str]) -> None:
    for position, text in enumerate(node.input):
        mark = "^" if text.startswith("^") else ""
        source = text.removeprefix("^").removesuffix(":0")
        if source in reads:
            node.input[position] = mark + reads[source]
