"""A `.meta` and a checkpoint become a graph with values, without a session.

The graph itself tells which tensor of the checkpoint belongs to which variable: the saver's
restore ops assign `RestoreV2(prefix, tensor_names, shape_and_slices)` to the variables. Where a
graph has no saver, a variable goes by its own name, and a part of a partitioned one by what the
collections say.
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
from tfpersist.formats.tensors import Payload, Slice, TensorSpec
from tfpersist.graph.structure.calls import call_of
from tfpersist.graph.structure.kinds import VARIABLES, is_table
from tfpersist.graph.structure.lowered import Lowered
from tfpersist.graph.structure.names import producer

_ASSIGNS = frozenset({"Assign", "AssignVariableOp"})
_IMPORTS = frozenset({"LookupTableImport", "LookupTableImportV2"})
_RESTORES = frozenset({"RestoreV2", "Restore", "RestoreSlice"})
_MOST_STEPS = 8
_MOST_DIGITS = 10


@attrs.frozen
class Source:
    """Where the value of a variable lies in a checkpoint.

    Args:
        key: name of the tensor.
        part: which part of it, for a partitioned variable.
    """

    key: str
    part: Slice | None = None


def lower(
    graph: Graph,
    meta: Message,
    specs: Mapping[str, TensorSpec],
    payload: Callable[[str], Payload],
) -> Lowered:
    """Bring a graph together with a checkpoint of its variables.

    Args:
        graph: the graph of the `.meta`.
        meta: the MetaGraphDef itself, for its saver and collections.
        specs: data type and shape of each tensor in the checkpoint.
        payload: gives one of those tensors.

    Returns:
        The graph with its values; a variable that the checkpoint lacks is among the problems.
    """
    known = sources(graph, meta)
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
    tables = {}
    pairs = {
        node.name: (Source(f"{node.name}-keys"), Source(f"{node.name}-values"))
        for node in graph.proto.node
        if is_table(node.op) and f"{node.name}-keys" in specs
    }
    for name, pair in (pairs | table_sources(graph, meta)).items():
        if all(source.key in specs for source in pair):
            tables[name] = partial(_contents, *(payload(source.key) for source in pair))
        else:
            problems[name] = f"the checkpoint has no tensor {pair[0].key!r}"
    return Lowered(graph, values, problems=problems, tables=tables)


def _contents(keys: Payload, values: Payload) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    return keys.load(), values.load()


def sources(graph: Graph, meta: Message) -> dict[str, Source]:
    """Tell where the saver of a graph finds the value of each variable.

    Args:
        graph: the graph.
        meta: the MetaGraphDef that it is from.

    Returns:
        The sources by name of the variable's node; empty where there is no saver.
    """
    found = _collected(graph, meta)
    reads = _Reads(graph.nodes)
    for name in _restore_ops(graph, meta):
        node = graph.nodes[name]
        if node.op in _ASSIGNS and len(node.input) > 1:
            source = reads.source(node.input[1])
            if source is not None:
                found[_walk(graph.nodes, node.input[0])[0]] = source
        found.update(_restored_by_function(graph, node, _ASSIGNS, 1))
    return found


def table_sources(graph: Graph, meta: Message) -> dict[str, tuple[Source, Source]]:
    """Tell where the saver of a graph finds the keys and the values of each lookup table.

    Args:
        graph: the graph.
        meta: the MetaGraphDef that it is from.

    Returns:
        The sources of keys and values by name of the table's node.
    """
    reads = _Reads(graph.nodes)
    both: list[dict[str, Source]] = [{}, {}]
    for name in _restore_ops(graph, meta):
        node = graph.nodes[name]
        for index, found in enumerate(both, start=1):
            if node.op in _IMPORTS and len(node.input) > index:
                source = reads.source(node.input[index])
                if source is not None:
                    found[_walk(graph.nodes, node.input[0])[0]] = source
            found.update(_restored_by_function(graph, node, _IMPORTS, index))
    keys, values = both
    return {name: (keys[name], values[name]) for name in keys if name in values}


def _restored_by_function(
    graph: Graph, call: Message, ops: Collection[str], index: int
) -> Iterator[tuple[str, Source]]:
    """What a TF2 SavedModel does: its restore op calls a function that restores and assigns."""
    called = call_of(call, graph.functions)
    if called is None or len(called.targets) != 1:
        return
    function = graph.functions[called.targets[0]]
    arguments = dict(zip((a.name for a in function.signature.input_arg), call.input, strict=False))
    nodes = {node.name: node for node in function.node_def}
    reads = _Reads(nodes)
    for node in nodes.values():
        if node.op not in ops or len(node.input) <= index:
            continue
        source = reads.source(node.input[index])
        outer = arguments.get(_walk(nodes, node.input[0])[0])
        if source is not None and outer is not None:
            yield _walk(graph.nodes, outer)[0], source


def _restore_ops(graph: Graph, meta: Message) -> list[str]:
    """Name what the saver runs to restore: ops over control edges from its restore op."""
    start = producer(meta.saver_def.restore_op_name)
    met = {start: None} if start in graph.nodes else {}
    pending = list(met)
    while pending:
        for text in graph.nodes[pending.pop()].input:
            name = producer(text)
            if text.startswith("^") and name in graph.nodes and name not in met:
                met[name] = None
                pending.append(name)
    return list(met)


def _walk(nodes: Mapping[str, Message], text: str) -> tuple[str, int]:
    """Go back over Identity ops to the node that makes a tensor."""
    for _ in range(_MOST_STEPS):
        # In a function the index comes after the name of the output.
        name, index = producer(text), text.rpartition(":")[2]
        node = nodes.get(name)
        if (
            node is None
            or node.op not in ("Identity", "Enter", "Reshape", "Bitcast")
            or not node.input
        ):
            break
        text = node.input[0]
    return name, int(index) if index.isdecimal() and len(index) < _MOST_DIGITS else 0


@attrs.define(eq=False)
class _Reads:
    nodes: Mapping[str, Message]
    _texts: dict[str, Any] = attrs.field(factory=dict)

    def source(self, text: str) -> Source | None:
        name, index = _walk(self.nodes, text)
        node = self.nodes.get(name)
        if node is None or node.op not in _RESTORES or len(node.input) < 2:
            return None
        key = self._string(node.input[1], index)
        if key is None:
            return None
        part = self._string(node.input[2], index) if len(node.input) > 2 else None
        return Source(key, parse_slice(key, part) if part else None)

    def _string(self, text: str, index: int) -> str | None:
        """Read an element of a constant, which may claim more of them than memory holds."""
        name, _ = _walk(self.nodes, text)
        if name not in self._texts:
            node = self.nodes.get(name)
            self._texts[name] = ()
            if node is not None and node.op == "Const" and "value" in node.attr:
                array = tensor_proto.to_array(node.attr["value"].tensor, file=f"node {name}")
                if array.dtype.kind == "O":
                    self._texts[name] = array.reshape(-1)
        texts = self._texts[name]
        return bytes(texts[index]).decode(errors="replace") if index < len(texts) else None


def parse_slice(name: str, text: str) -> Slice:
    """Read a saver's note of which part a tensor is, "full shape start,length:start,length ...".

    Raises:
        CorruptionError: this is no such note.

    Example:
        >>> part = parse_slice("v", "10 4 5,5:-")
        >>> part.full_shape, part.start, part.length
        ((10, 4), (5, 0), (5, 4))
    """
    try:
        *extents, spec = text.split()
        shape = tuple(int(extent) for extent in extents)
        pairs = [
            (0, full) if one == "-" else tuple(int(n) for n in one.split(","))
            for one, full in zip(spec.split(":"), shape, strict=True)
        ]
        start, length = zip(*((pair[0], pair[1]) for pair in pairs), strict=True)
    except (ValueError, IndexError) as error:
        raise CorruptionError(
            f"{text!r} is no part of a variable", file=f"the graph's saver, {name}"
        ) from error
    return Slice(name, shape, start, length)


def _collected(graph: Graph, meta: Message) -> dict[str, Source]:
    """What the collections say of partitioned variables, and of resource variables' names."""
    found: dict[str, Source] = {}
    for collection in sorted(meta.collection_def):
        for encoded in meta.collection_def[collection].bytes_list.value:
            try:
                variable = schema.parse(schema.VariableDef, encoded, file=collection)
            except TFPersistError:
                continue
            info = variable.save_slice_info_def
            name = producer(variable.variable_name)
            if info.full_name and name in graph.nodes:
                found[name] = Source(
                    info.full_name,
                    Slice(
                        info.full_name,
                        tuple(info.full_shape),
                        tuple(info.var_offset),
                        tuple(info.var_shape),
                    ),
                )
    return found


def _shared_name(node: Message) -> str:
    shared = node.attr["shared_name"].s if "shared_name" in node.attr else b""
    handle = node.op == "VarHandleOp" and shared
    return shared.decode(errors="replace") if handle else node.name


def _part(whole: Payload, part: Slice) -> Payload:
    def load() -> np.ndarray[Any, Any]:
        bounds = zip(part.start, part.length, strict=True)
        cut = whole.load()[tuple(slice(start, start + length) for start, length in bounds)]
        return np.ascontiguousarray(cut).reshape(cut.shape)

    return Payload(TensorSpec(whole.spec.dtype, part.length), load)
