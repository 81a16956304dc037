"""Read the content of a lookup table: exported by its owner, or from the lines of a file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import FreezeError
from tfpersist.formats import dtypes, tensor_proto
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Array
from tfpersist.graph.structure.names import producer

# The ops that fill a table; a suffix V2 goes with that of the table's op. INITIALIZE fills a table
# once, IMPORT replaces its content, INSERT adds entries.
INITIALIZE = "InitializeTable"
IMPORT = "LookupTableImport"
INSERT = "LookupTableInsert"
_DENSE = "MutableDense"
# Values of key_index and value_index that are no column of the file.
_WHOLE_LINE, _LINE_NUMBER = -2, -1
# {attr of the filling op, the index of a column: attr of the table, the column's data type}
_COLUMN_ATTRS = MappingProxyType({"key_index": "key_dtype", "value_index": "value_dtype"})
_MOST_STEPS = 16


@attrs.frozen
class Contents:
    """The content of a table.

    Args:
        keys: the keys. If `op` is IMPORT, these can be the buckets of a dense table, some of them
            empty.
        values: the value of each key.
        op: the op that fills the table with them.
    """

    keys: Array
    values: Array
    op: str


def sorted_contents(graph: Graph, table: Message, keys: Array, values: Array) -> Contents:
    """Sort the exported entries of a table by their keys: equal tables give equal files.

    A table exports its entries in the order of their hashes. This order differs between processes,
    and depends on the order of the insertions.

    Args:
        graph: the graph of the table.
        table: its NodeDef.
        keys: its keys; for a dense table, the keys in its buckets.
        values: the value of each.
    """
    op = _fill_op(table)
    if table.op.startswith(_DENSE):
        # The keys that mark buckets as empty or deleted.
        marks = [mark for text in table.input if (mark := _constant(graph, text)) is not None]
        if len(marks) < len(table.input):
            return Contents(keys, values, IMPORT)
        for mark in marks:
            is_filled = np.any(_rows(keys) != mark.reshape(1, -1), axis=1)
            keys, values = keys[is_filled], values[is_filled]
        keys = keys.reshape(len(keys), *marks[0].shape)
        extents = [dim.size for dim in table.attr["value_shape"].shape.dim]
        values, op = values.reshape(len(keys), *extents), INSERT
    order = _sort_order(_rows(keys))
    return Contents(keys[order], values[order], op)


def _fill_op(table: Message) -> str:
    # A HashTable is filled once, a mutable table at any time.
    return INITIALIZE if table.op.startswith("Hash") else IMPORT


def _rows(keys: Array) -> Array:
    """Return one row for each key."""
    return keys.reshape(len(keys), int(np.prod(keys.shape[1:])))


def _sort_order(rows: Array) -> Array:
    if rows.dtype.kind == "O":
        return np.array(sorted(range(len(rows)), key=lambda row: tuple(rows[row])), np.intp)
    return np.lexsort(rows.T[::-1])


def _constant(graph: Graph, text: str) -> Array | None:
    node = graph.nodes.get(source_node(graph.nodes, text))
    if node is None or node.op != "Const":
        return None
    payload = graph.payloads.get(node.name)
    if payload is not None:
        return payload.load()
    return tensor_proto.to_array(node.attr["value"].tensor, file=f"node {node.name}")


def source_node(nodes: Mapping[str, Message], text: str) -> str:
    """Return the name of the node that a tensor comes from, before any Identity.

    Args:
        nodes: the nodes by name.
        text: the tensor, as an input of a node.
    """
    name = producer(text)
    for _ in range(_MOST_STEPS):
        node = nodes.get(name)
        if node is None or node.op != "Identity" or not node.input:
            break
        name = producer(node.input[0])
    return name


def parse_lines(text: bytes, fill: Message, table: Message, where: str) -> Contents:
    """Read keys and values from the lines of a file, as InitializeTableFromTextFileV2 does.

    Args:
        text: the file.
        fill: the NodeDef of that op.
        table: the NodeDef of the table.
        where: the table and the file, for the error.

    Raises:
        FreezeError: a line has no key or no value of the table's data type.
    """
    columns = {name: fill.attr[name].i if name in fill.attr else 0 for name in _COLUMN_ATTRS}
    size = fill.attr["vocab_size"].i if "vocab_size" in fill.attr else -1
    offset = fill.attr["offset"].i if "offset" in fill.attr else 0
    delimiter = fill.attr["delimiter"].s if "delimiter" in fill.attr else b"\t"
    lines = text.replace(b"\r", b"").split(b"\n")
    lines = lines[offset : len(lines) - (not lines[-1])]
    lines = lines[:size] if size >= 0 else lines
    arrays = []
    for column_attr, dtype_attr in _COLUMN_ATTRS.items():
        dtype = dtypes.by_number(table.attr[dtype_attr].type)
        try:
            arrays.append(_column(lines, columns[column_attr], delimiter, dtype))
        except (IndexError, OverflowError, ValueError) as error:
            raise FreezeError(
                f"a line of the file has no {column_attr.partition('_')[0]}: {error}",
                where=where,
                expected=dtype.name if dtype else None,
            ) from error
    return Contents(arrays[0], arrays[1], _fill_op(table))


def _column(lines: list[bytes], index: int, delimiter: bytes, dtype: dtypes.DType | None) -> Array:
    if index == _LINE_NUMBER:
        cells: list[Any] = list(range(len(lines)))
    elif index == _WHOLE_LINE:
        cells = list(lines)
    else:
        cells = [line.split(delimiter)[index] for line in lines]
    is_number = dtype is not None and dtype.name != "string"
    if dtype is not None and is_number:
        cells = [float(cell) if "float" in dtype.name else int(cell) for cell in cells]
    array = np.empty(len(cells), object)
    array[:] = cells
    return array.astype(dtype.numpy) if dtype is not None and is_number else array
