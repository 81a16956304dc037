"""A written graph equals the one of protobuf; payloads are aligned; 2 GB are a limit."""

from __future__ import annotations

import mmap

import numpy as np
import pytest
from graph_protos import PLAIN, Memory, graph_def, joined, without_padding
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.errors import GraphError, UnsupportedError
from tfpersist.formats import graphdef, schema, wire
from tfpersist.formats.graphdef import Graph, split
from tfpersist.formats.graphdef_writer import join, size
from tfpersist.formats.tensors import Payload, TensorSpec, payload_of


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

    def test_tensorflow_reads_the_same_graph(self):
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

    @pytest.mark.parametrize("length", range(66))
    def test_padding_of_every_length(self, length):
        """Padding takes six bytes at least."""
        node = schema.NodeDef(name="n" * (length + 1))
        graphdef.with_payload(node, TensorSpec("float32", (300,)))
        payload = payload_of(np.full(300, 7, np.float32))
        data = joined(Graph(graph_def(node), {node.name: payload}))
        assert data.index(payload.load().tobytes()) % 64 == 0
        assert without_padding(data).node[0].name == node.name
        # Some readers refuse a GraphDef with a field that is not TensorFlow's.
        assert {field.number for field in wire.fields(memoryview(data), 0, len(data), "")} <= {1, 4}
        assert joined(split(data)) == data

    def test_a_payload_is_released_when_it_is_written(self):
        events = []

        class Log(Memory):
            def write(self, data):
                super().write(data)
                events.append("write")

        nodes, payloads = [schema.NodeDef(name=name) for name in "ab"], {}
        spec = TensorSpec("float32", (300,))
        for node in nodes:
            graphdef.with_payload(node, spec)
            payloads[node.name] = Payload(
                spec,
                lambda name=node.name: events.append(f"load {name}") or np.zeros(300, np.float32),
                lambda name=node.name: events.append(f"release {name}"),
            )
        join(Graph(graph_def(*nodes), payloads), Log())
        assert [event for event in events if event != "write"] == [
            *("load a", "release a", "load b", "release b")
        ]
        for name in "ab":
            assert events[events.index(f"release {name}") - 1] == "write"

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

    def test_the_limit_is_that_of_protobuf_parsers(self):
        def graph(elements):
            proto, spec = schema.GraphDef(), TensorSpec("int8", (elements,))
            graphdef.with_payload(proto.node.add(name="a"), spec)
            return Graph(proto, {"a": Payload(spec, lambda: np.zeros(0, np.int8))})

        elements = graphdef.LARGEST - 1000
        elements += graphdef.LARGEST - size(graph(elements))
        assert size(graph(elements)) == graphdef.LARGEST
        with pytest.raises(UnsupportedError, match="2,147,483,647 bytes, got 2,147,483,648"):
            size(graph(elements + 1))

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
