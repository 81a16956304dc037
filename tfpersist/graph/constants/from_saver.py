"""Combine a `.meta` and a checkpoint into a graph with values, without a session.

The graph itself tells which tensor of the checkpoint belongs to which variable: the saver's restore
ops assign `RestoreV2(prefix, tensor_names, shape_and_slices)` to the variables. Where a graph has
no saver, a variable has its own name in the checkpoint, and a part of a partitioned variable has
the name that the collections hold.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import CorruptionError, TFPersistError, did_you_mean
from tfpersist.formats import schema, tensor_proto
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Array, Payload, Slice, TensorSpec
from tfpersist.graph.structure.calls import call_of
from tfpersist.graph.structure.kinds import ASSIGNS, VARIABLES, is_table
from tfpersist.graph.structure.lowered import Lowered
from tfpersist.graph.structure.names import producer

_IMPORTS = frozenset({"LookupTableImport", "LookupTableImportV2"})
_RESTORES = frozenset({"RestoreV2", "Restore", "RestoreSlice"})
_PASSES = ("Identity", "Enter", "Reshape", "Bitcast")
_MOST_STEPS = 8
_MOST_DIGITS = 10


@attrs.frozen
class Source:
    """The place of a variable's value in a checkpoint.

    Args:
        key: name of the tensor.
        part: the part of the tensor, for a partitioned variable; None for the whole tensor.
    """

    key: str
    part: Slice | None = None


@attrs.frozen
class Sources:
    """The places of values in a checkpoint, by the names of nodes.

    Args:
        variables: the place of each variable's value.
        tables: the places of the keys and of the values of each lookup table.
    """

    variables: Mapping[str, Source] = attrs.field(factory=dict)
    tables: Mapping[str, tuple[Source, Source]] = attrs.field(factory=dict)


def lower(
    graph: Graph,
    meta: Message,
    specs: Mapping[str, TensorSpec],
    payload: Callable[[str], Payload],
    bound: Sources | None = None,
) -> Lowered:
    """Combine a graph with the values of its variables.

    Args:
        graph: the graph of the `.meta`.
        meta: the MetaGraphDef, for its saver and its collections.
        specs: data type and shape of each tensor of the checkpoint.
        payload: returns a tensor of the checkpoint by its name.
        bound: sources that are known already, and go before those of the saver; None for none.

    Returns:
        The graph with its values. The problems name the variables that the checkpoint lacks.
    """
    bound = bound or Sources()
    known = {**sources(graph, meta), **bound.variables}
    values: dict[str, Payload] = {}
    problems: dict[str, str] = {}
    for node in graph.proto.node:
        if node.op not in VARIABLES:
            continue
        source = known.get(node.name) or Source(_shared_name(node))
        if source.key not in specs:
            problems[node.name] = f"the checkpoint has no tensor {source.key!r}. " + did_you_mean(
                source.key, specs
            ).rstrip(".")
        elif source.part is None:
            values[node.name] = payload(source.key)
        else:
            values[node.name] = _part(payload(source.key), source.part)
    tables: dict[str, Callable[[], tuple[Array, Array]]] = {}
    default_pairs = {
        node.name: (Source(f"{node.name}-keys"), Source(f"{node.name}-values"))
        for node in graph.proto.node
        if is_table(node.op) and f"{node.name}-keys" in specs
    }
    pairs = default_pairs | table_sources(graph, meta) | dict(bound.tables)
    for name, pair in pairs.items():
        missing = [source.key for source in pair if source.key not in specs]
        if not missing:
            tables[name] = partial(_load_both, *(payload(source.key) for source in pair))
        else:
            problems[name] = f"the checkpoint has no tensor {missing[0]!r}"
    return Lowered(graph, values, problems=problems, tables=tables)


def all_sources(graph: Graph, meta: Message) -> Sources:
    """Return where the saver of a graph finds the values of its variables and tables.

    Args:
        graph: the graph.
        meta: its MetaGraphDef.
    """
    return Sources(sources(graph, meta), table_sources(graph, meta))


def _load_both(keys: Payload, values: Payload) -> tuple[Array, Array]:
    return keys.load(), values.load()


def sources(graph: Graph, meta: Message) -> dict[str, Source]:
    """Return where the saver of a graph finds the value of each variable.

    Args:
        graph: the graph.
        meta: its MetaGraphDef.

    Returns:
        {name of the variable's node: source}; without a saver, only those that the collections
        hold.
    """
    by_name = _collected_sources(graph, meta)
    restores = _Restores(graph.nodes)
    for name in _restore_ops(graph, meta):
        node = graph.nodes[name]
        if node.op in ASSIGNS and len(node.input) > 1:
            source = restores.source(node.input[1])
            if source is not None:
                by_name[_origin(graph.nodes, node.input[0])[0]] = source
        by_name.update(_restored_by_function(graph, node, ASSIGNS, 1))
    return by_name


def table_sources(graph: Graph, meta: Message) -> dict[str, tuple[Source, Source]]:
    """Return where the saver of a graph finds the keys and the values of each lookup table.

    Args:
        graph: the graph.
        meta: its MetaGraphDef.

    Returns:
        {name of the table's node: (source of the keys, source of the values)}.
    """
    restores = _Restores(graph.nodes)
    keys: dict[str, Source] = {}
    values: dict[str, Source] = {}
    for name in _restore_ops(graph, meta):
        node = graph.nodes[name]
        for position, target_sources in enumerate((keys, values), start=1):
            if node.op in _IMPORTS and len(node.input) > position:
                source = restores.source(node.input[position])
                if source is not None:
                    target_sources[_origin(graph.nodes, node.input[0])[0]] = source
            target_sources.update(_restored_by_function(graph, node, _IMPORTS, position))
    return {name: (keys[name], values[name]) for name in keys if name in values}


def _restored_by_function(
    graph: Graph, call: Message, ops: Collection[str], position: int
) -> Iterator[tuple[str, Source]]:
    """Yield what a function restores and assigns, as the restore op of a TF2 SavedModel does.

    Args:
        graph: the graph.
        call: a node, which may call a function.
        ops: the ops that assign.
        position: the position of the restored value in their inputs.

    Yields:
        The node of the main graph that is assigned, and the source of its value.
    """
    called = call_of(call, graph.functions)
    if called is None or len(called.targets) != 1:
        return
    function = graph.functions[called.targets[0]]
    names = (argument.name for argument in function.signature.input_arg)
    arguments = dict(zip(names, call.input, strict=False))
    nodes = {node.name: node for node in function.node_def}
    restores = _Restores(nodes)
    for node in nodes.values():
        if node.op not in ops or len(node.input) <= position:
            continue
        source = restores.source(node.input[position])
        outer = arguments.get(_origin(nodes, node.input[0])[0])
        if source is not None and outer is not None:
            yield _origin(graph.nodes, outer)[0], source


def _restore_ops(graph: Graph, meta: Message) -> list[str]:
    """Return the names of the ops that the saver runs: its restore op and its control inputs."""
    start = producer(meta.saver_def.restore_op_name)
    seen = {start: None} if start in graph.nodes else {}
    pending = list(seen)
    while pending:
        for text in graph.nodes[pending.pop()].input:
            name = producer(text)
            if text.startswith("^") and name in graph.nodes and name not in seen:
                seen[name] = None
                pending.append(name)
    return list(seen)


def _origin(nodes: Mapping[str, Message], text: str) -> tuple[str, int]:
    """Return the node that makes a tensor, before any Identity, and the index of its output."""
    for _ in range(_MOST_STEPS):
        # In a function, the index comes after the name of the output: "node:output:0".
        name, index = producer(text), text.rpartition(":")[2]
        node = nodes.get(name)
        if node is None or node.op not in _PASSES or not node.input:
            break
        text = node.input[0]
    return name, int(index) if index.isdecimal() and len(index) < _MOST_DIGITS else 0


@attrs.define(eq=False)
class _Restores:
    """Reads which tensors of a checkpoint the restore ops of a body restore.

    Args:
        nodes: the nodes of the body, by name.
    """

    nodes: Mapping[str, Message]
    _strings: dict[str, Any] = attrs.field(factory=dict)

    def source(self, text: str) -> Source | None:
        """Return the source of a tensor; None where no restore op makes it."""
        name, index = _origin(self.nodes, text)
        node = self.nodes.get(name)
        if node is None or node.op not in _RESTORES or len(node.input) < 2:
            return None
        key = self._string(node.input[1], index)
        if key is None:
            return None
        part = self._string(node.input[2], index) if len(node.input) > 2 else None
        return Source(key, parse_slice(key, part) if part else None)

    def _string(self, text: str, index: int) -> str | None:
        """Return an element of a constant; its shape can claim more elements than it has."""
        name, _ = _origin(self.nodes, text)
        if name not in self._strings:
            node = self.nodes.get(name)
            self._strings[name] = ()
            if node is not None and node.op == "Const" and "value" in node.attr:
                array = tensor_proto.to_array(node.attr["value"].tensor, file=f"node {name}")
                if array.dtype.kind == "O":
                    self._strings[name] = array.reshape(-1)
        strings = self._strings[name]
        return bytes(strings[index]).decode(errors="replace") if index < len(strings) else None


def parse_slice(name: str, text: str) -> Slice:
    """Parse the text with which a saver describes a part: "full shape start,length:start,length".

    Args:
        name: name of the whole tensor.
        text: the text; "-" stands for a whole dimension.

    Raises:
        CorruptionError: the text is not such a description.

    Example:
        >>> part = parse_slice("v", "10 4 5,5:-")
        >>> part.full_shape, part.start, part.length
        ((10, 4), (5, 0), (5, 4))
    """
    try:
        *extents, spec = text.split()
        shape = tuple(int(extent) for extent in extents)
        pairs = [
            (0, extent) if part == "-" else tuple(int(number) for number in part.split(","))
            for part, extent in zip(spec.split(":"), shape, strict=True)
        ]
        start, length = zip(*((pair[0], pair[1]) for pair in pairs), strict=True)
    except (ValueError, IndexError) as error:
        raise CorruptionError(
            "a part of a variable cannot be read",
            file=f"the graph's saver, {name}",
            expected='text such as "10 4 0,5:0,4"',
            found=repr(text),
        ) from error
    return Slice(name, shape, start, length)


def _collected_sources(graph: Graph, meta: Message) -> dict[str, Source]:
    """Return the sources of the parts of partitioned variables, from the collections."""
    parts: dict[str, Source] = {}
    for collection in sorted(meta.collection_def):
        for encoded in meta.collection_def[collection].bytes_list.value:
            try:
                variable = schema.parse(schema.VariableDef, encoded, file=collection)
            except TFPersistError:
                continue
            part = variable.save_slice_info_def
            name = producer(variable.variable_name)
            if part.full_name and name in graph.nodes:
                parts[name] = Source(
                    part.full_name,
                    Slice(
                        part.full_name,
                        tuple(part.full_shape),
                        tuple(part.var_offset),
                        tuple(part.var_shape),
                    ),
                )
    return parts


def _shared_name(node: Message) -> str:
    shared_name = node.attr["shared_name"].s if "shared_name" in node.attr else b""
    if node.op == "VarHandleOp" and shared_name:
        return shared_name.decode(errors="replace")
    return str(node.name)


def _part(whole: Payload, part: Slice) -> Payload:
    def load() -> Array:
        bounds = zip(part.start, part.length, strict=True)
        values = whole.load()[tuple(slice(start, start + length) for start, length in bounds)]
        return np.ascontiguousarray(values).reshape(values.shape)

    return Payload(TensorSpec(whole.spec.dtype, part.length), load)
