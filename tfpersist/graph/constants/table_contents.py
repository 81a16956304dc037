"""What is in a lookup table: what its owner exports, by the order of keys, or lines of a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import FreezeError
from tfpersist.formats import dtypes, tensor_proto
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph.structure.lowered import Array
from tfpersist.graph.structure.names import producer

# What fills a table: once, as a whole, or entry by entry.
INITIALIZE = "InitializeTable"
IMPORT = "LookupTableImport"
INSERT = "LookupTableInsert"
_DENSE = "MutableDense"
_LINE, _NUMBER = -2, -1
_MOST_STEPS = 16


@attrs.frozen
class Contents:
    """What is in a table.

    Args:
        keys: the keys; in the buckets of a dense table, which may be empty, if `op` is IMPORT.
        values: the value of each.
        op: what fills the table with them; its name has to go on as that of the table's op does.
    """

    keys: Array
    values: Array
    op: str


def exported(graph: Graph, table: Message, keys: Array, values: Array) -> Contents:
    """Put into order what a table has given.

    A table gives its entries in the order of their hashes, which is another one in each process
    and depends on the order in which they came in.

    Args:
        graph: the graph of the table.
        table: its NodeDef.
        keys: its keys, or the buckets of a dense table with what lies in them.
        values: the value of each.
    """
    op = _fill_of(table)
    if table.op.startswith(_DENSE):
        # The keys that mark buckets as empty, or emptied.
        marks = [mark for text in table.input if (mark := _constant(graph, text)) is not None]
        if len(marks) < len(table.input):
            return Contents(keys, values, IMPORT)
        for mark in marks:
            filled = np.any(_rows(keys) != mark.reshape(1, -1), axis=1)
            keys, values = keys[filled], values[filled]
        keys = keys.reshape(len(keys), *marks[0].shape)
        extents = [dim.size for dim in table.attr["value_shape"].shape.dim]
        values, op = values.reshape(len(keys), *extents), INSERT
    order = _order(_rows(keys))
    return Contents(keys[order], values[order], op)


def _fill_of(table: Message) -> str:
    # A HashTable is filled once; a mutable one at any time.
    return INITIALIZE if table.op.startswith("Hash") else IMPORT


def _rows(keys: Array) -> Array:
    return keys.reshape(len(keys), int(np.prod(keys.shape[1:])))


def _order(rows: Array) -> Array:
    if rows.dtype.kind == "O":
        return np.array(sorted(range(len(rows)), key=lambda row: tuple(rows[row])), np.intp)
    return np.lexsort(rows.T[::-1])


def _constant(graph: Graph, text: str) -> Array | None:
    node = graph.nodes.get(origin(graph.nodes, text))
    if node is None or node.op != "Const":
        return None
    payload = graph.payloads.get(node.name)
    if payload is not None:
        return payload.load()
    return tensor_proto.to_array(node.attr["value"].tensor, file=f"node {node.name}")


def origin(nodes: Mapping[str, Message], text: str) -> str:
    """Name the node that a tensor comes from, through those that pass it on.

    Args:
        nodes: the nodes, by name.
        text: the tensor, as an input names it.
    """
    name = producer(text)
    for _ in range(_MOST_STEPS):
        node = nodes.get(name)
        if node is None or node.op != "Identity" or not node.input:
            break
        name = producer(node.input[0])
    return name


def parsed(text: bytes, fill: Message, table: Message, where: str) -> Contents:
    """Read keys and values from the lines of a file, as InitializeTableFromTextFileV2 does.

    Args:
        text: the file.
        fill: the NodeDef of that op.
        table: the NodeDef of the table.
        where: which table and file it is, for the error.

    Raises:
        FreezeError: a line gives no key or value of the table's type.
    """
    numbers = {n: fill.attr[n].i if n in fill.attr else 0 for n in ("key_index", "value_index")}
    size = fill.attr["vocab_size"].i if "vocab_size" in fill.attr else -1
    offset = fill.attr["offset"].i if "offset" in fill.attr else 0
    delimiter = fill.attr["delimiter"].s if "delimiter" in fill.attr else b"\t"
    lines = text.replace(b"\r", b"").split(b"\n")
    lines = lines[offset : len(lines) - (not lines[-1])]
    lines = lines[:size] if size >= 0 else lines
    columns = []
    for attr, index_attr in (("key_dtype", "key_index"), ("value_dtype", "value_index")):
        index = numbers[index_attr]
        dtype = dtypes.by_number(table.attr[attr].type)
        try:
            if index == _NUMBER:
                column: list[Any] = list(range(len(lines)))
            elif index == _LINE:
                column = list(lines)
            else:
                column = [line.split(delimiter)[index] for line in lines]
            if dtype is not None and dtype.name != "string":
                column = [float(c) if "float" in dtype.name else int(c) for c in column]
            array = np.empty(len(column), object)
            array[:] = column
            typed = dtype is not None and dtype.numpy is not None and dtype.name != "string"
            columns.append(array.astype(dtype.numpy) if typed and dtype else array)
        except (IndexError, OverflowError, ValueError) as error:
            raise FreezeError(
                f"a line of the file gives no {attr.partition('_')[0]}: {error}", where=where
            ) from error
    return Contents(columns[0], columns[1], _fill_of(table))
