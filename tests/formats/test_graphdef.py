from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from graph_protos import BIG, PLAIN, const, graph_def, joined, without_padding
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.errors import CorruptionError
from tfpersist.formats import graphdef, schema, varint
from tfpersist.formats.graphdef import split


class TestSplit:
    def test_large_constants_become_payloads_and_small_ones_stay(self):
        data = memoryview(PLAIN.SerializeToString())
        graph = split(data)
        assert list(graph.payloads) == ["w", "k"]
        array = graph.payloads["w"].load()
        np.testing.assert_array_equal(array, BIG)
        assert not array.flags.writeable
        assert np.shares_memory(array, np.frombuffer(data, np.uint8))
        assert not graph.nodes["w"].attr["value"].tensor.tensor_content
        assert graph.nodes["b"].attr["value"].tensor.tensor_content
        assert len(graph.proto.SerializeToString()) < 300

    def test_a_large_constant_is_not_copied(self):
        nodes = [const(f"w{i}", np.zeros(1 << 20, np.float32)) for i in range(8)]
        data = memoryview(graph_def(*nodes).SerializeToString())
        tracemalloc.start()
        graph = split(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(graph.payloads) == 8
        assert peak < 1 << 20

    @pytest.mark.parametrize(
        "change",
        [
            lambda node: node.attr["value"].tensor.float_val.append(1),
            lambda node: node.attr["value"].tensor.tensor_shape.dim.add(size=2),
            lambda node: node.attr["value"].tensor.tensor_shape.dim.add(size=-1),
            lambda node: setattr(node.attr["value"].tensor, "dtype", 7),
            lambda node: setattr(node.attr["value"].tensor, "dtype", 99),
            lambda node: setattr(node, "op", "HostConst"),
            lambda node: setattr(node, "name", ""),
        ],
    )
    def test_an_unusual_constant_stays_as_it_is(self, change):
        node = const("w", BIG)
        change(node)
        proto = graph_def(node)
        graph = split(proto.SerializeToString())
        assert not graph.payloads
        assert graph.proto == proto

    def test_a_field_that_comes_twice_stays_as_it_is(self):
        data = PLAIN.SerializeToString()
        node = const("w", BIG).SerializeToString()
        twice = node + const("w2", BIG).SerializeToString()
        encoded = data + b"\x0a" + _varint(len(twice)) + twice
        if any(n.name == "w2" for n in split(encoded).proto.node):
            assert "w2" not in split(encoded).payloads
        assert split(encoded).proto.node[-1] == schema.GraphDef.FromString(encoded).node[-1]

    def test_two_nodes_of_one_name_are_refused(self):
        for extra in (const("w", BIG), schema.NodeDef(name="y", op="NoOp")):
            data = PLAIN.SerializeToString() + graph_def(extra).SerializeToString()
            with pytest.raises(CorruptionError, match="two nodes"):
                split(data)

    def test_every_byte_flipped_cut_and_extended(self):
        data = joined(split(PLAIN.SerializeToString()))
        head = data.index(BIG.tobytes())
        places = [*range(head + 8), *range(head + BIG.nbytes - 8, head + BIG.nbytes + 90)]
        for at in places:
            for bit in range(8):
                damaged = bytearray(data)
                damaged[at] ^= 1 << bit
                agrees(bytes(damaged))
            agrees(data[:at])
            agrees(data[:at] + data[at + 1 :])
            agrees(data[:at] + b"\xff" + data[at:])

    @given(st.binary(max_size=200))
    def test_any_bytes(self, data):
        agrees(data)

    def test_nesting(self):
        inside = b""
        for _ in range(300):
            for tag in (b"\x12", b"\x12", b"\x52"):
                inside = tag + _varint(len(inside)) + inside
        value = b"\x0a\x05value\x12" + _varint(len(inside)) + inside
        node = b"\x0a\x01n\x12\x05Const\x2a" + _varint(len(value)) + value
        with pytest.raises(CorruptionError):
            split(b"\x0a" + _varint(len(node)) + node)

    def test_a_length_beyond_the_file(self):
        with pytest.raises(CorruptionError, match="beyond the end"):
            split(b"\x0a" + _varint(1 << 40) + b"abc")


def _varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def agrees(data):
    """Either the bytes are refused, or they mean what protobuf says they mean."""
    refused = None
    try:
        graph = split(data, "file.pb", larger_than=64)
    except CorruptionError as error:
        refused = error.file
    if refused is not None:
        assert refused == "file.pb"
        return
    expected = without_padding(data)
    mine = without_padding(graph.proto.SerializeToString())
    for node in mine.node:
        if node.name in graph.payloads:
            content = graph.payloads[node.name].load().tobytes()
            node.attr["value"].tensor.tensor_content = content
    assert mine == expected


class TestText:
    def test_it_is_read(self):
        graph = graphdef.parse_text(b'node { name: "a" op: "NoOp" } unknown_field: 3')
        assert graph.nodes["a"].op == "NoOp"

    @pytest.mark.parametrize(
        "text",
        [b"node {", b"\xff\xfe", b'node { name: "a" } node { name: "a" }', b"node: 3", b"\0" * 40,
         b'node { attr { value { list { func ' + b"{ attr { value { func " * 3000],
    )  # fmt: skip
    def test_anything_else_is_refused(self, text):
        with pytest.raises(CorruptionError):
            graphdef.parse_text(text, "g.pbtxt")

    def test_graphs_of_old_releases(self, old_files):
        paths = sorted(old_files.rglob("graph.pbtxt"))
        assert paths
        for path in paths:
            assert len(graphdef.parse_text(path.read_bytes(), path.name).proto.node) > 30


class TestFilesOfOldReleases:
    def test_frozen_graphs_survive(self, old_files):
        paths = sorted(old_files.rglob("*frozen*.pb"))
        assert len(paths) > 10
        for path in paths:
            data = path.read_bytes()
            graph = split(memoryview(data), path.name, larger_than=100)
            assert without_padding(joined(graph)) == schema.GraphDef.FromString(data)

    def test_meta_files_and_saved_models_are_read(self, old_files):
        metas, models = sorted(old_files.rglob("*.meta")), sorted(old_files.rglob("saved_model.pb"))
        assert len(metas) > 10
        assert len(models) > 3
        for path in metas:
            meta = graphdef.parse_meta(path.read_bytes(), path.name)
            assert split(meta.graph_def.SerializeToString()).proto.node
        for path in models:
            assert graphdef.parse_saved_model(path.read_bytes(), path.name).meta_graphs

    def test_other_bytes_are_refused(self):
        for parse in (graphdef.parse_meta, graphdef.parse_saved_model):
            with pytest.raises(CorruptionError):
                parse(b"\xff\xff\xff", "x")


def test_protobuf_refuses_what_split_refuses():
    with pytest.raises(DecodeError):
        schema.GraphDef.FromString(b"\x0a\x05abc")
    with pytest.raises(CorruptionError):
        split(b"\x0a\x05abc")


def test_an_attribute_with_unknown_bytes_is_not_a_payload():
    """An entry of a map that has a third field is kept as unknown bytes."""
    node = const("w", np.ones((40, 10), np.float32)).SerializeToString(deterministic=True)
    entry = node.rindex(b"*", 0, node.index(b"\x0a\x05value"))
    at = entry + 1
    size, body = varint.read(node, at, len(node), file="")
    whole = node[body : body + size] + b"\x88\x01\x05"
    node = node[:entry] + b"*" + varint.encode(len(whole)) + whole + node[body + size :]
    data = b"\x0a" + varint.encode(len(node)) + node
    graph = split(data)
    assert not graph.payloads
    assert "value" not in graph.proto.node[0].attr
    assert without_padding(joined(graph)) == without_padding(data)


def test_a_constant_that_waits_for_very_many_nodes_stays_in_the_skeleton():
    waiting = const("w", np.ones((40, 10), np.float32))
    waiting.input.extend(["^x"] * 1000)
    graph = split(graph_def(waiting).SerializeToString())
    assert not graph.payloads
    assert len(graph.nodes["w"].attr["value"].tensor.tensor_content) == 1600
