"""Golden pairs travel in the bytes of a graph, whole, as samples or as digests."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.errors import CorruptionError
from tfpersist.formats import schema, varint
from tfpersist.formats.graphdef import Graph, split
from tfpersist.graph.describe import golden, own_fields
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


def test_large_tensors_are_a_digest_or_a_sample():
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
def test_damage_is_an_error(noise, at, flip):
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


def test_all_values_are_kept_up_to_a_size_together():
    half = np.zeros(golden.MOST_BYTES // 2, np.uint8)
    kept = golden.pair({"a:0": half, "b:0": half}, {"y:0": half, "z:0": half})
    assert all(tensor.values is not None for tensor in kept.feeds)
    assert all(tensor.stride == 1 for tensor in kept.outputs)
    more = np.zeros(golden.MOST_BYTES // 2 + 1, np.uint8)
    sampled = golden.pair({"a:0": half, "b:0": more}, {"y:0": half, "z:0": more})
    assert all(tensor.values is None for tensor in sampled.feeds)
    assert [tensor.stride for tensor in sampled.outputs] == [16, 17]
    assert [tensor.values.shape for tensor in sampled.outputs] == [(4096,), (3856,)]


def test_strings_are_sampled_if_the_samples_are_small():
    texts = np.array([b"x" * 20] * 8192, object)
    (tensor,) = golden.pair({}, {"t:0": texts}).outputs
    assert (tensor.stride, tensor.values.shape) == (2, (4096,))
    (tensor,) = golden.pair({}, {"t:0": np.array([b"x" * 40] * 8192, object)}).outputs
    assert (tensor.stride, tensor.values) == (1, None)


def test_the_digest_is_of_names_roles_and_tensors():
    one, two = np.float32([1]), np.float32([2])
    digests = {
        golden.pair(feeds, outputs).digest
        for feeds, outputs in (
            ({"a:0": one}, {"b:0": two}),
            ({"a:0": one, "b:0": two}, {}),
            ({"a:0": one}, {"b:0": one}),
            ({"a:0": one}, {"c:0": two}),
        )
    }
    assert len(digests) == 4
    assert (
        golden.pair({"a:0": one, "b:0": two}, {}).digest
        == golden.pair({"b:0": two, "a:0": one}, {}).digest
    )


def node_of(value):
    """Return the graph of a golden pair with one output, and the node of that."""
    graph = Graph(schema.GraphDef())
    golden.attach(graph, golden.pair({}, {"y:0": value}))
    proto = schema.GraphDef.FromString(own_fields.read_field(graph, golden.FIELD))
    return proto, proto.node[0]


def reread_proto(proto):
    graph = Graph(schema.GraphDef())
    own_fields.add_field(graph, golden.FIELD, proto.SerializeToString())
    return golden.attached(graph, "model.pb")


DAMAGE = {
    "a value": lambda node: setattr(node.attr["value"].tensor, "tensor_content", b"\0" * 16),
    "the digest": lambda node: setattr(node.attr["digest"], "s", b"\0" * 32),
    "the shape": lambda node: node.attr["shape"].shape.dim.add(size=1),
    "the shape of the value": lambda node: node.attr["value"].tensor.tensor_shape.dim.add(size=1),
    "a negative extent": lambda node: setattr(node.attr["shape"].shape.dim[0], "size", -2),
    "the type": lambda node: setattr(node.attr["dtype"], "type", 3),
    "an unknown type": lambda node: setattr(node.attr["dtype"], "type", 67),
    "no stride": lambda node: setattr(node.attr["stride"], "i", 0),
    "another stride": lambda node: setattr(node.attr["stride"], "i", 2),
    "the role": lambda node: setattr(node, "op", "Neg"),
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
def test_a_change_is_damage(change):
    proto, node = node_of(np.float32([[1, 2], [3, 4]]))
    assert reread_proto(proto).outputs[0].values.tolist() == [[1, 2], [3, 4]]
    change(node)
    with pytest.raises(CorruptionError, match="golden pair"):
        reread_proto(proto)


def test_a_few_bytes_do_not_become_many_elements():
    proto, node = node_of(np.zeros(2 * 4_194_304, np.float32))
    tensor = node.attr["value"].tensor
    tensor.tensor_content = b""
    tensor.float_val.append(1)
    for elements, stride in ((4_194_304, 2), (4_194_305, 2)):
        tensor.tensor_shape.dim[0].size = elements
        node.attr["shape"].shape.dim[0].size = elements * stride
        node.attr["stride"].i = stride
        if elements == 4_194_304:
            assert reread_proto(proto).outputs[0].values.size == elements
        else:
            with pytest.raises(CorruptionError, match="'y:0' of the golden pair is damaged"):
                reread_proto(proto)
