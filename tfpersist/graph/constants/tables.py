"""Lookup tables: the ops that fill them go with the graph, under one operation to be run once.

What fills a table is in the graph already (its initializer, with constant keys and values or the
name of a text file), or a source knows the contents: a session or a function exports them, a
checkpoint has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import attrs

from tfpersist.errors import FreezeError
from tfpersist.formats import dtypes, schema, tensor_proto
from tfpersist.formats.graphdef import Graph, with_payload
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Payload, payload_of
from tfpersist.graph.constants import table_contents
from tfpersist.graph.constants.table_contents import IMPORT, INITIALIZE, INSERT, Contents, origin
from tfpersist.graph.structure.calls import call_of
from tfpersist.graph.structure.kinds import INIT, is_table
from tfpersist.graph.structure.lowered import Lowered
from tfpersist.graph.structure.names import producer
from tfpersist.graph.structure.prune import needed

_FILLS = re.compile(r"InitializeTable(V2)?|LookupTableImport(V2)?")
_FILE_FILLS = re.compile(r"InitializeTableFromTextFile(V2)?")
_ENTRIES = re.compile(r"LookupTable(Find|Insert|Import)(V2)?")
_EXPORTS = re.compile(r"LookupTableExport(V2)?")
_COUNTS = re.compile(r"LookupTableSize(V2)?")
_ASSIGNS = ("Assign", "AssignVariableOp")
_READS = ("Identity", "ReadVariableOp")
_MOST_STEPS = 16


@attrs.frozen
class _Fill:
    """One operation of the graph that fills a table.

    Args:
        name: of the operation in the main graph, which may call a function.
        op: the NodeDef that fills, perhaps in that function.
        file: the tensor of the main graph that names the text file it reads; None where it has
            keys and values.
    """

    name: str
    op: Message
    file: str | None = None


def fill_tables(lowered: Lowered, outputs: Sequence[str]) -> tuple[Lowered, list[str]]:
    """See to it that every table that some outputs need is filled.

    Args:
        lowered: the whole graph and its values.
        outputs: names of the tensors.

    Returns:
        The graph, perhaps with operations added, and the names of the operations that fill.

    Raises:
        FreezeError: it is not known what is in a table.
        UnsafeModelError: it is in a file that the source may not read.
    """
    graph = lowered.graph
    tables = [name for name, node in graph.nodes.items() if is_table(node.op)]
    if tables:
        tables = sorted(needed(graph, outputs).intersection(tables))
    if not tables:
        return lowered, []
    fills: dict[str, _Fill] = {}
    for table, each in _fills(graph):
        fills.setdefault(table, each)
    added: list[Message] = []
    payloads = dict(graph.payloads)
    run: list[str] = []
    for name in tables:
        fill = fills.get(name)
        where = f"table {name} ({graph.nodes[name].op})"
        if name in lowered.tables:
            found = table_contents.exported(graph, graph.nodes[name], *lowered.tables[name]())
        elif fill is None:
            raise FreezeError(
                lowered.problems.get(name, "it is not known what is in this lookup table"),
                where=where,
                advice="Freeze an output behind the lookup and feed what the table gives.",
            )
        elif fill.file is None:
            _refuse_fed(graph, fill, where)
            run.append(fill.name)
            continue
        else:
            path = _path(lowered, fill.file, where)
            text = lowered.read(path, where) if lowered.read else b""
            found = table_contents.parsed(text, fill.op, graph.nodes[name], f"{where}, file {path}")
        run.append(_import(graph.nodes[name], found, added, payloads))
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    proto.node.extend(added)
    return attrs.evolve(lowered, graph=Graph(proto, payloads)), list(dict.fromkeys(run))


def table_types(graph: Graph, name: str) -> tuple[int, int] | None:
    """Tell the types of keys and values of a table that some node of the main graph stands for.

    Args:
        graph: the graph.
        name: of the node.

    Returns:
        Data type numbers, taken from what reads or writes entries of the table; None where nothing
        does.
    """
    for node in _uses(graph, name):
        if _ENTRIES.fullmatch(node.op):
            return node.attr["Tin"].type, node.attr["Tout"].type
        if _EXPORTS.fullmatch(node.op):
            return node.attr["Tkeys"].type, node.attr["Tvalues"].type
    return None


def size_is_read(graph: Graph, name: str) -> bool:
    """Tell whether something asks for the size of a table that a node of the main graph stands for.

    Args:
        graph: the graph.
        name: of the node.
    """
    return any(_COUNTS.fullmatch(node.op) for node in _uses(graph, name))


def _uses(graph: Graph, name: str) -> Iterator[Message]:
    """Find the nodes that a resource flows to, over calls of functions too."""
    pending: list[tuple[str, str]] = [("", name)]
    met = set(pending)
    while pending:
        function, held = pending.pop()
        body = graph.functions[function].node_def if function else graph.proto.node
        for node in body:
            inputs = [producer(text) for text in node.input]
            if held not in inputs:
                continue
            if inputs[0] == held:
                yield node
            found = [(function, node.name)] if node.op == "Identity" else []
            call = call_of(node, graph.functions)
            for target in call.targets if call else ():
                arguments = graph.functions[target].signature.input_arg
                passed = inputs[call.skip :] if call else []
                found += [
                    (target, arg.name)
                    for arg, text in zip(arguments, passed, strict=False)
                    if text == held
                ]
            for each in found:
                if each not in met:
                    met.add(each)
                    pending.append(each)


def constant(name: str, payload: Payload, payloads: dict[str, Payload]) -> Message:
    """Make a Const; its elements go to `payloads` where they can be kept apart."""
    node = schema.NodeDef(name=name)
    if payload.spec.nbytes:
        with_payload(node, payload.spec)
        payloads[name] = payload
    else:
        node.op = "Const"
        node.attr["dtype"].type = dtypes.BY_NAME[payload.spec.dtype].number
        proto = tensor_proto.from_array(payload.load(), payload.spec.dtype)
        node.attr["value"].tensor.CopyFrom(proto)
    return node


def _import(
    table: Message, found: Contents, added: list[Message], payloads: dict[str, Payload]
) -> str:
    prefix = f"{INIT}/{table.name}"
    types = [dtypes.by_number(table.attr[attr].type) for attr in ("key_dtype", "value_dtype")]
    arrays = (found.keys, found.values)
    for part, array, dtype in zip(("keys", "values"), arrays, types, strict=True):
        payload = payload_of(array, dtype.name if dtype else None)
        added.append(constant(f"{prefix}/{part}", payload, payloads))
    suffix = "V2" if table.op.endswith("V2") else ""
    node = schema.NodeDef(name=f"{prefix}/fill", op=found.op + suffix)
    inputs = [f"{prefix}/keys", f"{prefix}/values"]
    if found.op == IMPORT and found.keys.ndim > 1:
        # The op takes a dense table's buckets, though it is said to take keys of rank 1 alone.
        inputs = [_of_any_shape(text, added) for text in inputs]
    node.input.extend([table.name, *inputs])
    for attr, source in zip(
        ("Tkey", "Tval") if found.op == INITIALIZE else ("Tin", "Tout"),
        ("key_dtype", "value_dtype"),
        strict=True,
    ):
        node.attr[attr].type = table.attr[source].type
    added.append(node)
    return str(node.name)


def _of_any_shape(name: str, added: list[Message]) -> str:
    dtype = next(node for node in added if node.name == name).attr["dtype"]
    hidden = schema.NodeDef(name=f"{name}/any", op="PlaceholderWithDefault", input=[name])
    hidden.attr["dtype"].CopyFrom(dtype)
    hidden.attr["shape"].shape.unknown_rank = True
    added.append(hidden)
    return str(hidden.name)


def _refuse_fed(graph: Graph, fill: _Fill, where: str) -> None:
    for name in sorted(needed(graph, [fill.name])):
        if graph.nodes[name].op == "Placeholder":
            raise FreezeError(
                "what fills this lookup table has to be fed",
                where=where,
                found=f"placeholder {name}",
                advice="Freeze an output behind the lookup and feed what the table gives.",
            )


def _fills(graph: Graph) -> Iterator[tuple[str, _Fill]]:
    """Find what fills tables: in the main graph, and in functions that it calls with a table."""
    for node in graph.proto.node:
        found = _fill(node)
        if found and node.input:
            table = origin(graph.nodes, node.input[0])
            if not _restored(graph.nodes, node):
                yield table, _Fill(node.name, node, node.input[1] if found == "file" else None)
            continue
        call = call_of(node, graph.functions)
        if call is None or len(call.targets) != 1:
            continue
        function = graph.functions[call.targets[0]]
        outer = dict(zip((a.name for a in function.signature.input_arg), node.input, strict=False))
        nodes = {inner.name: inner for inner in function.node_def}
        for inner in function.node_def:
            found = _fill(inner)
            table = origin(nodes, inner.input[0]) if found else ""
            if table in outer and not _restored(nodes, inner):
                file = outer.get(origin(nodes, inner.input[1])) if found == "file" else None
                if file is not None or found == "values":
                    yield origin(graph.nodes, outer[table]), _Fill(node.name, inner, file)


def _fill(node: Message) -> str:
    ours = node.op.startswith(INSERT) and node.name.startswith(f"{INIT}/")
    if (ours or _FILLS.fullmatch(node.op)) and len(node.input) > 2:
        return "values"
    return "file" if _FILE_FILLS.fullmatch(node.op) and len(node.input) > 1 else ""


def _restored(nodes: Mapping[str, Message], node: Message) -> bool:
    source = nodes.get(origin(nodes, node.input[1]))
    return source is not None and source.op.startswith("Restore")


def _path(lowered: Lowered, tensor: str, where: str) -> str:
    """Find the path that a tensor of the main graph holds."""
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
            writers = (n for n in nodes.values() if n.op in _ASSIGNS and len(n.input) > 1)
            name = next((producer(n.input[1]) for n in writers if producer(n.input[0]) == name), "")
        elif (node.op in _READS or node.op == "PlaceholderWithDefault") and node.input:
            name = producer(node.input[0])
        else:
            break
    raise FreezeError(
        "it is not known which file fills this lookup table",
        where=where,
        found=f"tensor {tensor}",
        advice="Freeze an output behind the lookup and feed what the table gives.",
    )
