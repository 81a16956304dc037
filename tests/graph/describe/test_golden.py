"""Golden pairs travel in the bytes of a graph, whole, as samples or as digests."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.errors import CorruptionError
from tfpersist.formats import schema, varint
from tfpersist.formats.graphdef import Graph, split
from tfpersist.graph.describe import golden
from tfpersist.graph.describe.parity import compare


def reread(pair):
    graph = Graph(schema.GraphDef(node=[schema.NodeDef(name="x")]))
    golden.attach(graph, pair)
    return golden.attached(split(graph.proto.SerializeToString()))


VALUES = {
    "f:0": np.float32([[1, np.nan], [-0.0, np.inf]]),
    "half:1": np.array([1.5], ml_dtypes.bfloat16),
    "whole:0": np.int64(3).reshape(()),
    "flag:0": np.array([True, False]),
    "text:0": np.array([b"", b"\x00\xff"], object),
    "empty:0": np.zeros((0, 3), np.float64),
    "complex:0": np.array([1 + 2j], np.complex64),
}


def test_a_pair_travels_in_the_bytes_of_a_graph():
    pair = golden.pair(VALUES, VALUES)
    found = reread(pair)
    assert found.digest == pair.digest
    assert [held.name for held in found.feeds] == sorted(VALUES)
    for held in (*found.feeds, *found.outputs):
        assert held.digest == golden.digest(VALUES[held.name])
        np.testing.assert_array_equal(held.values, VALUES[held.name])


def test_what_is_large_is_a_digest_or_a_sample():
    numbers = np.arange(100_001, dtype=np.float32)
    texts = np.array([b"x" * 1000] * 5000, object)
    found = reread(golden.pair({"x:0": numbers}, {"y:0": numbers, "t:0": texts}))
    assert found.feeds[0].values is None
    y, t = found.outputs
    assert y.values.shape == (4001,)
    np.testing.assert_array_equal(y.values, numbers[:: y.stride])
    assert t.values is None
    assert compare(t, texts, 1.0).exact
    texts[7] = b"y"
    assert not compare(t, texts, 1.0).exact
    other = numbers.copy()
    other[y.stride * 9] = -1
    assert compare(y, other, 0.1).index == (y.stride * 9,)
    other[y.stride * 9] = numbers[y.stride * 9]
    other[1] = 5
    assert compare(y, other, 0.1).beyond == 0


@given(st.binary(max_size=60), st.integers(0, 400), st.integers(1, 255))
def test_damage_is_told(noise, at, flip):
    for data in (noise, flipped(at, flip)):
        tag = varint.encode(golden.FIELD << 3 | 2)
        graph = split(tag + varint.encode(len(data)) + data)
        try:
            found = golden.attached(graph)
        except CorruptionError:
            continue
        for held in (*found.feeds, *found.outputs):
            assert held.values is None or held.values.size <= 1 << 22


def flipped(at, flip):
    graph = Graph(schema.GraphDef())
    golden.attach(graph, golden.pair({"x:0": VALUES["f:0"]}, {"y:0": VALUES["text:0"]}))
    data = bytearray(graph.proto.SerializeToString()[5:])
    data[at % len(data)] ^= flip
    return bytes(data)
