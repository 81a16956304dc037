from __future__ import annotations

import mmap
import tracemalloc

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.errors import CorruptionError, GraphError, UnsupportedError
from tfpersist.formats import graphdef, schema, varint
from tfpersist.formats.graphdef import Graph, split
from tfpersist.formats.graphdef_writer import join, size
from tfpersist.formats.tensors import Payload, TensorSpec, payload_of


class Memory:
    """A sink that holds its caller to what was reserved."""

    def __init__(self):
        self.data = bytearray()
        self.reserved = None

    def reserve(self, size):
        assert self.reserved is None
        self.reserved = size

    def write(self, data):
        assert self.reserved is not None
        self.data += data


def joined(graph):
    sink = Memory()
    join(graph, sink)
    assert len(sink.data) == sink.reserved == size(graph)
    return bytes(sink.data)


def const(name, array, **facts):
    node = schema.NodeDef(name=name, op="Const", **facts)
    node.attr["dtype"].type = 1
    tensor = node.attr["value"].tensor
    tensor.dtype = 1
    for extent in array.shape:
        tensor.tensor_shape.dim.add(size=extent)
    tensor.tensor_content = array.tobytes()
    return node


def graph_def(*nodes):
    return schema.GraphDef(node=nodes, versions={"producer": 1395})


def without_padding(data):
    proto = schema.GraphDef.FromString(data)
    proto.DiscardUnknownFields()
    return proto


BIG = np.arange(1000, dtype=np.float32).reshape(10, 100)
PLAIN = graph_def(
    schema.NodeDef(name="x", op="Placeholder"),
    const("w", BIG, device="/cpu:0"),
    schema.NodeDef(name="y", op="MatMul", input=["x", "w"]),
    const("b", np.float32([1, 2])),
    const("k", BIG + 1, input=["^x"]),
)


class TestSplit:
    def test_large_constants_are_looked_at_and_small_ones_kept(self):
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
    expected = schema.GraphDef.FromString(data)
    expected.DiscardUnknownFields()
    mine = schema.GraphDef()
    mine.CopyFrom(graph.proto)
    mine.DiscardUnknownFields()
    for node in mine.node:
        if node.name in graph.payloads:
            content = graph.payloads[node.name].load().tobytes()
            node.attr["value"].tensor.tensor_content = content
    assert mine == expected


class TestJoin:
    def test_split_undoes_it(self):
        graph = split(PLAIN.SerializeToString())
        again = split(joined(graph))
        assert again == graph
        assert joined(again) == joined(graph)

    def test_it_means_what_protobuf_writes(self):
        data = joined(split(PLAIN.SerializeToString()))
        assert without_padding(data) == PLAIN
        assert [node.name for node in without_padding(data).node] == ["x", "w", "y", "b", "k"]

    def test_tensorflow_reads_it_alike(self):
        from tensorflow.compat import v1

        data = joined(split(PLAIN.SerializeToString()))
        read = v1.GraphDef.FromString(data)
        read.DiscardUnknownFields()
        assert read == v1.GraphDef.FromString(PLAIN.SerializeToString())

    @given(st.lists(st.tuples(st.integers(0, 80), st.integers(0, 700)), max_size=6))
    def test_payloads_are_aligned(self, parts):
        nodes, payloads = [], {}
        for number, (length, elements) in enumerate(parts):
            name = f"{number}{'n' * length}"
            array = np.random.default_rng(number).random(elements).astype(np.float32)
            node = schema.NodeDef(name=name)
            graphdef.with_payload(node, TensorSpec("float32", (elements,)))
            nodes.append(node)
            payloads[name] = payload_of(array)
        graph = Graph(graph_def(*nodes), payloads)
        data = joined(graph)
        for payload in payloads.values():
            if payload.spec.nbytes >= 1024:
                assert data.index(payload.load().tobytes()) % 64 == 0
        again = split(data, larger_than=0)
        for name, payload in again.payloads.items():
            np.testing.assert_array_equal(payload.load(), payloads[name].load())

    def test_one_payload_at_a_time(self):
        alive = []

        class Watched(np.ndarray):
            def __del__(self):
                if self.base is None:
                    alive.append(-1)

        def load():
            alive.append(1)
            assert sum(alive) <= 2
            return np.zeros(4096, np.float32).view(Watched).copy()

        nodes = [schema.NodeDef(name=f"w{i}") for i in range(5)]
        spec = TensorSpec("float32", (4096,))
        for node in nodes:
            graphdef.with_payload(node, spec)
        joined(Graph(graph_def(*nodes), {node.name: Payload(spec, load) for node in nodes}))
        assert alive.count(1) == 5

    def test_more_than_a_parser_reads_is_refused_before_the_first_byte(self):
        spec = TensorSpec("float32", (1 << 28,))
        nodes = [schema.NodeDef(name=name) for name in ("big", "bigger")]
        for node in nodes:
            graphdef.with_payload(node, spec)

        def load():
            raise AssertionError

        graph = Graph(graph_def(*nodes), {node.name: Payload(spec, load) for node in nodes})
        sink = Memory()
        with pytest.raises(UnsupportedError, match=r"2,147,483,\d+.*big float32.* 1,073,741,824"):
            join(graph, sink)
        assert sink.reserved is None

    def test_a_payload_that_does_not_fill_its_constant_is_refused(self):
        node = schema.NodeDef(name="w")
        spec = TensorSpec("float32", (3,))
        graphdef.with_payload(node, spec)
        graph = Graph(graph_def(node), {"w": Payload(spec, lambda: np.zeros(2, np.float32))})
        with pytest.raises(GraphError, match="node w"):
            joined(graph)

    def test_elements_of_the_other_byte_order_are_turned(self):
        node = schema.NodeDef(name="w")
        graphdef.with_payload(node, TensorSpec("float32", (2,)))
        array = np.array([1, 2], ">f4")
        data = joined(Graph(graph_def(node), {"w": payload_of(array)}))
        assert np.float32([1, 2]).tobytes() in data

    def test_the_caller_s_nodes_stay_as_they_are(self):
        graph = split(PLAIN.SerializeToString())
        before = graph.proto.SerializeToString(deterministic=True)
        joined(graph)
        assert graph.proto.SerializeToString(deterministic=True) == before


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

    def test_the_corpus(self, corpus):
        for path in sorted(corpus.rglob("graph.pbtxt")):
            assert len(graphdef.parse_text(path.read_bytes(), path.name).proto.node) > 100


class TestCorpus:
    def test_frozen_graphs_survive(self, corpus):
        paths = sorted(corpus.rglob("*frozen*.pb"))
        assert len(paths) > 10
        for path in paths:
            data = path.read_bytes()
            graph = split(memoryview(data), path.name, larger_than=100)
            assert without_padding(joined(graph)) == schema.GraphDef.FromString(data)

    def test_meta_files_and_saved_models_are_read(self, corpus):
        for path in sorted(corpus.rglob("*.meta")):
            meta = graphdef.parse_meta(path.read_bytes(), path.name)
            assert split(meta.graph_def.SerializeToString()).proto.node
        for path in sorted(corpus.rglob("saved_model.pb")):
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


class _Sparse:
    """A file sink that leaves holes where large payloads of zeros belong."""

    def __init__(self, file):
        self.file, self.reserved, self.written = file, 0, 0

    def reserve(self, size):
        self.reserved = size

    def write(self, data):
        if len(data) > 1 << 24:
            self.file.seek(len(data), 1)
        else:
            self.file.write(data)
        self.written += len(data)


class TestMoreThanTwoGigabytes:
    SHAPE = (450, 1 << 20)

    @pytest.fixture
    def graph(self):
        spec = TensorSpec("float32", self.SHAPE)
        proto = schema.GraphDef()
        payloads = {}
        for name in ("a", "b"):
            graphdef.with_payload(proto.node.add(name=name), spec)
            # The zeros are never touched, so that no memory is behind them.
            payloads[name] = Payload(spec, lambda: np.zeros(self.SHAPE, np.float32))
        proto.node.add(name="end", op="NoOp", input=["^a", "^b"])
        return Graph(proto, payloads)

    def test_it_is_refused_with_sizes_before_a_byte_is_written(self, graph, tmp_path):
        with open(tmp_path / "large.pb", "wb") as file:
            sink = _Sparse(file)
            with pytest.raises(UnsupportedError, match=r"a float32.* 1,887,436,800") as refused:
                join(graph, sink)
        assert str(refused.value).endswith(
            'Store float32 weights in a half or a quarter of the bytes with weights("float16") or'
            ' weights("int8"), or write it with large=True: then only tfpersist reads it.'
        )
        assert (sink.reserved, sink.written) == (0, 0)

    def test_it_is_written_on_wish_and_read_again(self, graph, tmp_path):
        with open(tmp_path / "large.pb", "wb") as file:
            sink = _Sparse(file)
            join(graph, sink, large=True)
            file.truncate()
        assert sink.written == sink.reserved == size(graph, large=True)
        assert (tmp_path / "large.pb").stat().st_size == sink.written > graphdef.LARGEST
        with open(tmp_path / "large.pb", "rb") as file:
            again = split(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        assert [node.name for node in again.proto.node] == ["a", "b", "end"]
        assert again.payloads["b"].spec == TensorSpec("float32", self.SHAPE)
        assert again.payloads["b"].load()[-1, -1] == 0


def test_an_attribute_that_protobuf_takes_for_none_is_no_hole():
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
