"""What a table exports, and the lines of a file, become keys and values."""

import numpy as np
import pytest

from tfpersist.errors import FreezeError
from tfpersist.formats.graphdef import parse_text
from tfpersist.graph.constants.table_contents import (
    IMPORT,
    INITIALIZE,
    INSERT,
    parse_lines,
    sorted_contents,
    source_node,
)

DENSE = parse_text(
    b"""
    node { name: "empty" op: "Const" attr { key: "dtype" value { type: DT_INT64 } }
      attr { key: "value" value { tensor { dtype: DT_INT64 tensor_shape {} int64_val: -1 } } } }
    node { name: "deleted" op: "Const" attr { key: "dtype" value { type: DT_INT64 } }
      attr { key: "value" value { tensor { dtype: DT_INT64 tensor_shape {} int64_val: -2 } } } }
    node { name: "same" op: "Identity" input: "deleted" }
    node { name: "table" op: "MutableDenseHashTableV2" input: "empty" input: "same"
      attr { key: "value_shape" value { shape { dim { size: 2 } } } } }
    node { name: "fed" op: "MutableDenseHashTableV2" input: "empty" input: "lost" }
    """
)
LINES = b"b\t2\tx\r\na\t10\ty\nc\t-3\tz\n"


def table(op="HashTableV2", key="DT_STRING", value="DT_INT32"):
    text = f"""node {{ name: "t" op: "{op}" attr {{ key: "key_dtype" value {{ type: {key} }} }}
      attr {{ key: "value_dtype" value {{ type: {value} }} }} }}"""
    return parse_text(text.encode()).nodes["t"]


def fill(**attrs):
    node = parse_text(b'node { name: "f" op: "InitializeTableFromTextFileV2" }').nodes["f"]
    for name, value in attrs.items():
        if isinstance(value, bytes):
            node.attr[name].s = value
        else:
            node.attr[name].i = value
    return node


class TestExports:
    @pytest.mark.parametrize(
        ("op", "filled_by"), [("HashTableV2", INITIALIZE), ("MutableHashTableV2", IMPORT)]
    )
    def test_entries_are_sorted_by_their_keys(self, op, filled_by):
        keys, values = np.array([b"m", b"a", b"z"], object), np.int64([1, 2, 3])
        found = sorted_contents(DENSE, table(op), keys, values)
        assert found.keys.tolist() == [b"a", b"m", b"z"]
        assert found.values.tolist() == [2, 1, 3]
        assert found.op == filled_by

    def test_keys_that_are_vectors(self):
        keys = np.int64([[2, 1], [1, 9], [1, 2]])
        found = sorted_contents(DENSE, table("MutableHashTableOfTensorsV2"), keys, np.arange(3))
        assert found.keys.tolist() == [[1, 2], [1, 9], [2, 1]]
        assert found.values.tolist() == [2, 1, 0]

    def test_empty_and_deleted_buckets_go(self):
        buckets = np.int64([-1, 7, -2, 3])
        values = np.arange(8).reshape(4, 2)
        found = sorted_contents(DENSE, DENSE.nodes["table"], buckets, values)
        assert found.op == INSERT
        assert found.keys.tolist() == [3, 7]
        assert found.values.tolist() == [[6, 7], [2, 3]]

    def test_buckets_stay_where_the_mark_of_empty_ones_is_not_known(self):
        buckets = np.int64([-1, 7])
        found = sorted_contents(DENSE, DENSE.nodes["fed"], buckets, np.arange(2))
        assert (found.op, found.keys.tolist()) == (IMPORT, [-1, 7])


class TestLines:
    def test_columns(self):
        found = parse_lines(LINES, fill(key_index=0, value_index=1), table(), "here")
        assert found.keys.tolist() == [b"b", b"a", b"c"]
        assert found.values.tolist() == [2, 10, -3]
        assert (found.values.dtype, found.op) == (np.int32, INITIALIZE)

    def test_whole_lines_and_their_numbers(self):
        found = parse_lines(b"a b\nc\n", fill(key_index=-2, value_index=-1), table(), "here")
        assert found.keys.tolist() == [b"a b", b"c"]
        assert found.values.tolist() == [0, 1]

    def test_an_offset_and_a_size(self):
        found = parse_lines(
            LINES, fill(key_index=0, value_index=1, offset=1, vocab_size=1), table(), "here"
        )
        assert found.keys.tolist() == [b"a"]

    def test_no_line_is_lost_at_the_end(self):
        found = parse_lines(b"a\nb", fill(key_index=-2, value_index=-1), table(), "here")
        assert found.keys.tolist() == [b"a", b"b"]
        assert parse_lines(b"", fill(key_index=-2, value_index=-1), table(), "").keys.size == 0

    def test_another_delimiter_and_floats(self):
        found = parse_lines(
            b"1,2.5\n3,4\n",
            fill(key_index=0, value_index=1, delimiter=b","),
            table(key="DT_INT64", value="DT_FLOAT"),
            "here",
        )
        assert found.keys.dtype == np.int64
        assert found.values.tolist() == [2.5, 4.0]

    @pytest.mark.parametrize(
        ("index", "column"),
        [({"key_index": 5, "value_index": 1}, "key"), ({"value_index": 2}, "value")],
    )
    def test_a_line_without_a_key_or_value(self, index, column):
        with pytest.raises(FreezeError, match=rf"^table t: a line of the file has no {column}: "):
            parse_lines(LINES, fill(**index), table(), "table t")


def test_a_tensor_behind_identities():
    graph = parse_text(
        b"""node { name: "a" op: "Const" } node { name: "b" op: "Identity" input: "a:0" }
        node { name: "c" op: "Identity" input: "b" }
        node { name: "loop" op: "Identity" input: "loop" }"""
    )
    assert source_node(graph.nodes, "c:0") == "a"
    assert source_node(graph.nodes, "lost:1") == "lost"
    assert source_node(graph.nodes, "loop") == "loop"
