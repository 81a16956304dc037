"""Fill the lookup tables of a frozen graph: the ops that fill them become part of the graph.

The content of a table can come from the graph itself: its initializer has constant keys and values,
or the name of a text file. Or a source has the content: a session or a function exports it, and a
checkpoint stores it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import attrs

from tfpersist.errors import FreezeError
from tfpersist.formats import dtypes, schema, tensor_proto
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Payload, payload_of
from tfpersist.graph.constants import table_contents
from tfpersist.graph.constants.nodes import set_constant
from tfpersist.graph.constants.table_contents import (
    IMPORT,
    INITIALIZE,
    INSERT,
    Contents,
    source_node,
)
from tfpersist.graph.structure.calls import call_of
from tfpersist.graph.structure.kinds import ASSIGNS, INIT, is_table
from tfpersist.graph.structure.lowered import Lowered
from tfpersist.graph.structure.names import producer
from tfpersist.graph.structure.prune import needed

FEED_THE_RESULT = "Feed the result of the lookup instead: name it with inputs()."
_FILLS = re.compile(r"InitializeTable(V2)?|LookupTableImport(V2)?")
_FILE_FILLS = re.compile(r"InitializeTableFromTextFile(V2)?")
_ENTRIES = re.compile(r"LookupTable(Find|Insert|Import)(V2)?")
_EXPORTS = re.compile(r"LookupTableExport(V2)?")
_SIZES = re.compile(r"LookupTableSize(V2)?")
_READS = ("Identity", "ReadVariableOp")
_MOST_STEPS = 16


@attrs.frozen
class _Fill:
    """An operation of the graph that fills a table.

    Args:
        name: name of the operation in the main graph; it can be the call of a function.
        op: the NodeDef that fills the table; it can be in that function.
        file: the tensor of the main graph that holds the path of the text file; None where the
            operation has keys and values.
    """

    name: str
    op: Message
    file: str | None = None


def fill_tables(lowered: Lowered, outputs: Sequence[str]) -> tuple[Lowered, list[str]]:
    """Find, or add, an operation that fills each table that some outputs need.

    Args:
        lowered: the whole graph and its values.
        outputs: names of the tensors.

    Returns:
        The graph, and the names of the operations that fill its tables.

    Raises:
        FreezeError: the content of a table is not known.
        UnsafeModelError: it is in a file that the source must not read.
    """
    graph = lowered.graph
    tables = [name for name, node in graph.nodes.items() if is_table(node.op)]
    if tables:
        tables = sorted(needed(graph, outputs).intersection(tables))
    if not tables:
        return lowered, []
    fills: dict[str, _Fill] = {}
    for table, source in _find_fills(graph):
        fills.setdefault(table, source)
    added: list[Message] = []
    payloads = dict(graph.payloads)
    operations: list[str] = []
    for name in tables:
        node = graph.nodes[name]
        fill = fills.get(name)
        where = f"table {name} ({node.op})"
        if name in lowered.tables:
            contents = table_contents.sorted_contents(graph, node, *lowered.tables[name]())
        elif fill is None:
            raise FreezeError(
                lowered.problems.get(name, "the content of this lookup table is not known"),
                where=where,
                advice=FEED_THE_RESULT,
            )
        elif fill.file is None:
            _refuse_fed(graph, fill, where)
            operations.append(fill.name)
            continue
        else:
            path = _path(lowered, fill.file, where)
            text = lowered.read(path, where) if lowered.read else b""
            contents = table_contents.parse_lines(text, fill.op, node, f"{where}, file {path}")
        operations.append(_add_fill(node, contents, added, payloads))
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    proto.node.extend(added)
    return attrs.evolve(lowered, graph=Graph(proto, payloads)), list(dict.fromkeys(operations))


def table_types(graph: Graph, name: str) -> tuple[int, int] | None:
    """Return the data types of the keys and values of a table, from the ops that use it.

    Args:
        graph: the graph.
        name: name of the node of the main graph that stands for the table.

    Returns:
        The two data type numbers; None where no op reads or writes entries.
    """
    for node in _users(graph, name):
        if _ENTRIES.fullmatch(node.op):
            return node.attr["Tin"].type, node.attr["Tout"].type
        if _EXPORTS.fullmatch(node.op):
            return node.attr["Tkeys"].type, node.attr["Tvalues"].type
    return None


def size_is_read(graph: Graph, name: str) -> bool:
    """Return whether a node reads the size of a table.

    Args:
        graph: the graph.
        name: name of the node of the main graph that stands for the table.
    """
    return any(_SIZES.fullmatch(node.op) for node in _users(graph, name))


def _users(graph: Graph, name: str) -> Iterator[Message]:
    """Yield the nodes whose first input is a resource, in the functions that it is passed to."""
    # (function, node or argument that is the resource); the function "" is the main graph.
    pending: list[tuple[str, str]] = [("", name)]
    seen = set(pending)
    while pending:
        function, resource = pending.pop()
        body = graph.functions[function].node_def if function else graph.proto.node
        for node in body:
            inputs = [producer(text) for text in node.input]
            if resource not in inputs:
                continue
            if inputs[0] == resource:
                yield node
            passed = [(function, node.name)] if node.op == "Identity" else []
            call = call_of(node, graph.functions)
            for target in call.targets if call is not None else ():
                arguments = graph.functions[target].signature.input_arg
                texts = inputs[call.skip :] if call is not None else []
                passed += [
                    (target, argument.name)
                    for argument, text in zip(arguments, texts, strict=False)
                    if text == resource
                ]
            for place in passed:
                if place not in seen:
                    seen.add(place)
                    pending.append(place)


def _add_fill(
    table: Message, contents: Contents, added: list[Message], payloads: dict[str, Payload]
) -> str:
    """Add the nodes that fill a table with contents, and return the name of the operation."""
    prefix = f"{INIT}/{table.name}"
    for part, array, attr in (
        ("keys", contents.keys, "key_dtype"),
        ("values", contents.values, "value_dtype"),
    ):
        dtype = dtypes.by_number(table.attr[attr].type)
        constant = schema.NodeDef(name=f"{prefix}/{part}")
        set_constant(constant, payload_of(array, dtype.name if dtype else None), payloads)
        added.append(constant)
    suffix = "V2" if table.op.endswith("V2") else ""
    node = schema.NodeDef(name=f"{prefix}/fill", op=contents.op + suffix)
    inputs = [f"{prefix}/keys", f"{prefix}/values"]
    if contents.op == IMPORT and contents.keys.ndim > 1:
        # The kernel takes the buckets of a dense table; the shape function wants keys of rank 1.
        inputs = [_without_shape(text, added) for text in inputs]
    node.input.extend([table.name, *inputs])
    type_attrs = ("Tkey", "Tval") if contents.op == INITIALIZE else ("Tin", "Tout")
    for attr, source in zip(type_attrs, ("key_dtype", "value_dtype"), strict=True):
        node.attr[attr].type = table.attr[source].type
    added.append(node)
    return str(node.name)


def _without_shape(name: str, added: list[Message]) -> str:
    """Add a node that passes a constant on and does not declare its shape; return its name."""
    dtype = next(node for node in added if node.name == name).attr["dtype"]
    unknown = schema.NodeDef(name=f"{name}/any", op="PlaceholderWithDefault", input=[name])
    unknown.attr["dtype"].CopyFrom(dtype)
    unknown.attr["shape"].shape.unknown_rank = True
    added.append(unknown)
    return str(unknown.name)


def _refuse_fed(graph: Graph, fill: _Fill, where: str) -> None:
    for name in sorted(needed(graph, [fill.name])):
        if graph.nodes[name].op == "Placeholder":
            raise FreezeError(
                "the content of this lookup table must be fed",
                where=where,
                found=f"placeholder {name}",
                advice=FEED_THE_RESULT,
            )


def _find_fills(graph: Graph) -> Iterator[tuple[str, _Fill]]:
    """Yield the operations that fill tables, and the tables.

    An operation can be the call of a function that takes the table as an argument.
    """
    for node in graph.proto.node:
        source = _fill_source(node)
        if source and node.input:
            table = source_node(graph.nodes, node.input[0])
            if not _is_restored(graph.nodes, node):
                yield table, _Fill(node.name, node, node.input[1] if source == "file" else None)
            continue
        call = call_of(node, graph.functions)
        if call is None or len(call.targets) != 1:
            continue
        function = graph.functions[call.targets[0]]
        arguments = (argument.name for argument in function.signature.input_arg)
        outer = dict(zip(arguments, node.input, strict=False))
        nodes = {inner.name: inner for inner in function.node_def}
        for inner in function.node_def:
            source = _fill_source(inner)
            table = source_node(nodes, inner.input[0]) if source else ""
            if table in outer and not _is_restored(nodes, inner):
                argument = source_node(nodes, inner.input[1])
                file = outer.get(argument) if source == "file" else None
                if file is not None or source == "values":
                    yield source_node(graph.nodes, outer[table]), _Fill(node.name, inner, file)


def _fill_source(node: Message) -> str:
    """Return "values" or "file" for a node that fills a table from these; "" for any other."""
    is_own_insert = node.op.startswith(INSERT) and node.name.startswith(f"{INIT}/")
    if (is_own_insert or _FILLS.fullmatch(node.op)) and len(node.input) > 2:
        return "values"
    return "file" if _FILE_FILLS.fullmatch(node.op) and len(node.input) > 1 else ""


def _is_restored(nodes: Mapping[str, Message], node: Message) -> bool:
    """Return whether a node fills a table from a checkpoint."""
    source = nodes.get(source_node(nodes, node.input[1]))
    return source is not None and source.op.startswith("Restore")


def _path(lowered: Lowered, tensor: str, where: str) -> str:
    """Return the path that a string tensor of the main graph holds."""
    nodes = lowered.graph.nodes
    name = producer(tensor)
    for _ in range(_MOST_STEPS):
        if f"{name}:0" in lowered.assets:
            return lowered.assets[f"{name}:0"]
        node = nodes.get(name)
        if node is None:
            break
        if node.op == "Const":
            value = tensor_proto.to_array(node.attr["value"].tensor, file=f"node {name}")
            if value.dtype.kind != "O" or not value.size:
                break
            path = bytes(value.reshape(-1)[0]).decode(errors="surrogateescape")
            return lowered.assets.get(re.split(r"[\\/]", path)[-1], path)
        if node.op == "VarHandleOp":
            writers = (n for n in nodes.values() if n.op in ASSIGNS and len(n.input) > 1)
            name = next((producer(n.input[1]) for n in writers if producer(n.input[0]) == name), "")
        elif (node.op in _READS or node.op == "PlaceholderWithDefault") and node.input:
            name = producer(node.input[0])
        else:
            break
    raise FreezeError(
        "the file that fills this lookup table is not known",
        where=where,
        found=f"tensor {tensor}",
        advice=FEED_THE_RESULT,
    )
