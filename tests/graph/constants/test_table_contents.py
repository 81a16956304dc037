"""Exports of tables, and lines of files, become keys and values."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compat import v1

from tfpersist.errors import FreezeError
from tfpersist.formats.graphdef import parse_text
from tfpersist.freezer.freezer import Freezer
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
    def test_columns_of_a_file(self):
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


def dense_table(*marks, **options):
    def make(key, value, shape):
        empty, deleted = (tf.constant(mark, key) for mark in marks)
        default = tf.zeros(shape, value)
        return tf.lookup.experimental.DenseHashTable(key, value, default, empty, deleted, **options)

    return make


def mutable_table(key, value, shape):
    return tf.lookup.experimental.MutableHashTable(key, value, tf.zeros(shape, value))


TABLES = {
    "strings": (mutable_table, tf.string, tf.int64, (), [b"b", b"a", b"", b"\xff", b"ab"]),
    "integers": (mutable_table, tf.int64, tf.float32, (3,), [7, -1, 2**40, 0, 5]),
    "short integers": (mutable_table, tf.int32, tf.float64, (), [7, -(2**31), 0]),
    "dense": (dense_table(-1, -2), tf.int64, tf.int64, (), [7, 2**40, 0, 5]),
    "dense strings": (dense_table("", "?"), tf.string, tf.float32, (2,), [b"b", b"a", b"\xff"]),
    "few buckets": (
        dense_table(4, 8, initial_num_buckets=4),
        tf.int64,
        tf.float32,
        (2,),
        [0, 1, 2],
    ),
    "keys of two": (
        dense_table((-1, -1), (-1, -2)),
        tf.int64,
        tf.int64,
        (),
        [(7, 1), (-1, 5), (0, 2**40), (0, 0)],
    ),
}


@pytest.mark.parametrize("kind", TABLES)
def test_the_order_in_which_a_table_was_filled_leaves_no_trace(kind, tmp_path, run_elsewhere):
    make, key_dtype, value_dtype, shape, keys = TABLES[kind]
    with tf.Graph().as_default() as graph:
        table = make(key_dtype, value_dtype, shape)
        key = v1.placeholder(key_dtype, np.shape(keys[:1]), name="key")
        asked = v1.placeholder(key_dtype, np.shape(keys), name="asked")
        value = v1.placeholder(value_dtype, (1, *shape))
        tf.identity(table.lookup(asked), name="y")
        insert, remove = table.insert(key, value), table.remove(key)
    written = []
    for order in (keys, keys[::-1]):
        with v1.Session(graph=graph) as session:
            for one in (*order, order[0]):
                session.run(remove, {key: [one]})
                held = np.full((1, *shape), keys.index(one) + 1)
                session.run(insert, {key: [one], value: held})
            expected = session.run("y:0", {asked: keys}).tolist()
            path = tmp_path / f"{len(written)}.pb"
            model = Freezer(session).outputs("y").write(path)
        assert model.run("y:0", {"asked:0": keys}).tolist() == expected
        written.append(path.read_bytes())
    assert written[0] == written[1]
    assert len(written[0]) < 4000
    again = Freezer(model).freeze()
    assert again.run("y:0", {"asked:0": keys}).tolist() == expected
    if key_dtype != tf.string:
        assert run_elsewhere(tmp_path / "0.pb", ["y:0"], {"asked:0": keys}) == [expected]
