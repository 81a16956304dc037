"""Weights in fewer bytes: how exact they are, which stay, and how they are decoded."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import tensorflow as tf

from tfpersist.errors import FreezeError
from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph, split, with_payload
from tfpersist.formats.tensors import Payload, TensorSpec, payload_of
from tfpersist.freezer.freezer import Freezer
from tfpersist.frozen.model import FrozenModel
from tfpersist.graph.optimize import fold, simplify
from tfpersist.graph.optimize.weights import compress, expand

RNG = np.random.default_rng(5)


def weights(*shape, scale=1.0):
    return (RNG.normal(size=shape) * scale).astype(np.float32)


def graph_of(**arrays):
    nodes = []
    for name, array in arrays.items():
        node = schema.NodeDef(name=name)
        with_payload(node, TensorSpec("float32", array.shape))
        nodes.append(node)
    return Graph(
        schema.GraphDef(node=nodes), {name: payload_of(array) for name, array in arrays.items()}
    )


def ops_of(graph):
    return [node.op for node in graph.proto.node]


def back(graph):
    expanded = expand(graph)
    return {name: payload.load() for name, payload in expanded.payloads.items()}


class Net(tf.Module):
    """A convolution, a depthwise one, an embedding, a large product and its bias."""

    def __init__(self):
        self.conv = tf.Variable(weights(3, 3, 8, 64), name="conv")
        spread = np.logspace(-1, 0, 64).astype(np.float32).reshape(64, 1)
        self.depthwise = tf.Variable(weights(3, 3, 64, 2) * spread, name="depthwise")
        self.table = tf.Variable(weights(500, 30), name="table")
        self.dense = tf.Variable(weights(128, 300), name="dense")
        self.bias = tf.Variable(weights(300), name="bias")

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 6, 6, 8], name="x"),
            tf.TensorSpec([None], tf.int32, name="ids"),
        ]
    )
    def __call__(self, x, ids):
        hidden = tf.nn.relu(tf.nn.conv2d(x, self.conv, 1, "SAME"))
        deep = tf.nn.depthwise_conv2d(hidden, self.depthwise, (1, 1, 1, 1), "SAME")
        pooled = tf.reduce_mean(hidden, (1, 2)) @ self.dense[:64] + self.bias
        return {"pooled": pooled, "rows": tf.gather(self.table, ids), "deep": deep}


@pytest.fixture(scope="module")
def net():
    return Net()


FEEDS = {"x": weights(2, 6, 6, 8), "ids": np.array([3, 499], np.int32)}


class TestEncoding:
    def test_float16(self):
        array = weights(100, 30)
        array[0, :3] = [1e-7, -65504, 0]
        small = compress(graph_of(w=array), "float16")
        assert ops_of(small) == ["Const", "Cast"]
        assert {n: str(p.spec) for n, p in small.payloads.items()} == {
            "w/float16": "float16[100,30]"
        }
        error = np.abs(back(small)["w"] - array)
        assert (error <= np.maximum(np.abs(array) / 2048, 3e-8)).all()

    @pytest.mark.parametrize("shape", [(100, 30), (3, 3, 200, 1), (1, 40, 40, 2), (5000, 2)])
    def test_int8(self, shape):
        array = weights(*shape) * np.logspace(-6, 6, shape[-2]).reshape(-1, 1).astype(np.float32)
        array[..., 0, 0] = 0
        small = compress(graph_of(w=array), "int8")
        assert ops_of(small) == ["Const", "Const", "Cast", "Mul"]
        axes = (0, 1, 2) if shape[-1] > 1 else (0, 1)
        largest = np.abs(array).max(axes[: len(shape) - 1 if shape[-1] > 1 else 2], keepdims=True)
        error = np.abs(back(small)["w"] - array)
        assert (error <= largest / 254 * 1.001).all()

    @pytest.mark.parametrize("optimized", [False, True])
    def test_an_embedding_has_a_scale_for_each_row(self, optimized):
        table = weights(500, 16)
        table[7] *= 1000
        narrow, both = tf.Variable(weights(2000, 4)), tf.Variable(weights(300, 16))
        variable = tf.Variable(table)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="x")])
        def look(x):
            found = tf.nn.embedding_lookup(variable, x)
            return found, tf.gather(narrow, x), tf.gather(both, x) @ tf.transpose(both)

        freezer = Freezer(look).weights("int8")
        model = (freezer.optimize() if optimized else freezer).freeze()
        shapes = sorted(
            p.spec.shape for p in model.graph.payloads.values() if p.spec.dtype == "int8"
        )
        assert shapes == [(300, 16), (500, 16)]
        rows = np.delete(np.arange(300), 7)
        found, small, _ = model.run([ref.name for ref in model.outputs], {"x": rows})
        largest = np.abs(table[rows]).max(1, keepdims=True)
        assert (np.abs(found - table[rows]) <= largest / 254 * 1.001).all()
        np.testing.assert_array_equal(small, narrow.numpy()[rows])

    @pytest.mark.parametrize(("axis", "shape"), [(0, (500, 1)), (1, (16,))])
    def test_only_a_gather_along_the_first_axis_reads_rows(self, axis, shape):
        graph = graph_of(w=weights(500, 16))
        constant = schema.NodeDef(name="axis")
        fold.set_constant(constant, np.array(axis, np.int32))
        gather = schema.NodeDef(name="y", op="GatherV2", input=["w", "ids", "axis"])
        proto = schema.GraphDef(node=[*graph.proto.node, constant, gather])
        small = compress(Graph(proto, graph.payloads), "int8")
        scale = simplify.load_constant(small.nodes["w/scale"], small.payloads)
        assert scale.shape == shape

    def test_weights_that_grow_during_the_freeze_stay_finite(self):
        """A live source can train on between the first look at a weight and its encoding."""
        values = [np.full((50, 50), 1, np.float32), np.full((50, 50), 1e6, np.float32)]
        graph = graph_of(w=values[0])
        payload = Payload(graph.payloads["w"].spec, lambda: values.pop(0))
        small = compress(Graph(graph.proto, {"w": payload}), "float16")
        assert (small.payloads["w/float16"].load() == 65504).all()

    def test_weights_that_are_not_compressed(self):
        arrays = {
            "small": weights(30, 30),
            "infinite": np.full((50, 50), np.inf, np.float32),
            "nan": np.where(np.eye(50) > 0, np.nan, 1).astype(np.float32),
            "huge": np.full((50, 50), 7e4, np.float32),
            "tiny": np.full((50, 50), 1e-5, np.float32),
            "zero": np.zeros((50, 50), np.float32),
            "vector": weights(5000),
        }
        half, whole = (compress(graph_of(**arrays), form) for form in ("float16", "int8"))
        assert {n for n, node in half.nodes.items() if node.op == "Cast"} == {"zero", "vector"}
        assert {n for n, node in whole.nodes.items() if node.op == "Mul"} == {
            "huge",
            "tiny",
            "zero",
        }
        assert not back(whole)["zero"].any()
        assert compress(graph_of(**arrays), "int8", keep=["huge"]).nodes["huge"].op == "Const"

    @pytest.mark.parametrize("largest", [1e-40, 1e-44])
    def test_a_scale_is_never_so_small_that_a_processor_takes_it_for_zero(self, largest):
        array = np.full((50, 50), largest, np.float32)
        small = compress(graph_of(w=array), "int8")
        scale = fold.constant_value(small.nodes["w/scale"])
        assert (scale >= np.finfo(np.float32).tiny).all()
        assert (small.payloads["w/int8"].load() == 0).all()
        assert (np.abs(back(small)["w"] - array) <= largest).all()

    def test_new_nodes_avoid_names_in_use(self):
        graph = graph_of(**{"w": weights(50, 50), "w/int8": weights(2, 2), "w/cast": weights(2, 2)})
        small = compress(graph, "int8")
        assert len(small.nodes) == 6
        assert small.nodes["w"].op == "Mul"
        np.testing.assert_array_equal(back(small)["w/int8"], graph.payloads["w/int8"].load())

    def test_an_unknown_form(self):
        with pytest.raises(FreezeError, match="'float16' or 'int8'"):
            compress(graph_of(w=weights(50, 50)), "int4")

    def test_one_weight_is_in_memory_at_a_time(self):
        arrays = {f"w{number}": np.ones((512, 512), np.float32) for number in range(12)}

        def loads(value):
            return Payload(TensorSpec("float32", value.shape), value.copy)

        graph = graph_of(**arrays)
        graph = Graph(graph.proto, {name: loads(array) for name, array in arrays.items()})
        tracemalloc.start()
        small = compress(graph, "int8")
        for payload in small.payloads.values():
            payload.load()
        for payload in expand(small).payloads.values():
            payload.load()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 5 * (1 << 20)

    def test_a_second_compression_changes_nothing(self):
        small = compress(graph_of(w=weights(50, 50)), "float16")
        again = compress(small, "int8")
        assert again.proto == small.proto
        plain = graph_of(w=weights(50, 50))
        assert expand(plain) is plain


class TestDecoding:
    def test_inner_nodes_with_other_readers_stay(self):
        small = compress(graph_of(w=weights(50, 50)), "int8")
        small.proto.node.add(name="y", op="Neg", input=["w/cast"])
        small.proto.node.add(name="z", op="Identity", input=["w/int8"])
        expanded = expand(Graph(small.proto, small.payloads))
        kinds = {node.name: node.op for node in expanded.proto.node}
        assert kinds == {
            "w/int8": "Const",
            "w/cast": "Const",
            "w": "Const",
            "y": "Neg",
            "z": "Identity",
        }

    @pytest.mark.parametrize(
        "scale",
        [np.ones((2, 2, 50), "f"), np.ones(49, "f"), np.ones(50), np.ones((50, 50), "f")],
        ids=["rank", "size", "type", "no scale"],
    )
    def test_another_product_stays(self, scale):
        small = compress(graph_of(w=weights(50, 50)), "int8")
        fold.set_constant(small.nodes["w/scale"], scale)
        assert expand(Graph(small.proto, small.payloads)).nodes["w"].op == "Mul"

    def test_weights_with_control_inputs_stay(self):
        """They can be in a loop."""
        small = compress(graph_of(w=weights(50, 50)), "int8")
        small.proto.node.add(name="x", op="Placeholder")
        small.nodes["w/int8"].input.append("^x")
        graph = Graph(small.proto, small.payloads)
        assert expand(graph) is graph

    def test_weights_of_mixed_precision(self):
        half = tf.Variable(weights(40, 60).astype(np.float16), name="half")
        model = tf.function(
            lambda x: x @ tf.cast(half, tf.float32),
            input_signature=[tf.TensorSpec([1, 40], name="x")],
        )
        x = weights(1, 40)
        frozen = Freezer(model).optimize().parity({"x": x}, 1e-5).freeze()
        assert "Cast" in ops_of(frozen.graph)
        np.testing.assert_allclose(frozen.run("Identity", {"x": x}), model(x), 1e-5)


class TestFiles:
    @pytest.mark.parametrize(
        ("form", "part", "tolerance"), [("float16", 0.52, 1e-3), ("int8", 0.285, 0.02)]
    )
    def test_smaller_files(self, net, tmp_path, fresh, form, part, tolerance):
        plain = Freezer(net.__call__).write(tmp_path / "plain.pb")
        freezer = Freezer(net.__call__).weights(form)
        freezer.write(tmp_path / "small.pb")
        freezer.freeze().write(tmp_path / "again.pb")
        small = FrozenModel.load(tmp_path / "small.pb")
        assert (tmp_path / "small.pb").read_bytes() == (tmp_path / "again.pb").read_bytes()
        sizes = [(tmp_path / name).stat().st_size for name in ("small.pb", "plain.pb")]
        assert sizes[0] < part * sizes[1]
        names = [ref.name for ref in plain.outputs]
        assert [ref.name for ref in small.outputs] == names
        expected = plain.run(names, FEEDS)
        found = small.run(names, FEEDS)
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_allclose(other, one, rtol=0, atol=tolerance * np.abs(one).max())
        np.savez(
            tmp_path / "feeds.npz", names=names, **FEEDS, **dict(zip("abc", found, strict=True))
        )
        fresh(
            """
            import numpy as np, tensorflow as tf
            known = np.load("feeds.npz")
            definition = tf.compat.v1.GraphDef.FromString(open("small.pb", "rb").read())
            with tf.Graph().as_default():
                tf.graph_util.import_graph_def(definition, name="")
                with tf.compat.v1.Session() as session:
                    feeds = {"x:0": known["x"], "ids:0": known["ids"]}
                    found = session.run(list(known["names"]), feeds)
            for one, other in zip("abc", found):
                np.testing.assert_allclose(other, known[one], 1e-4, 1e-5)
            """
        )

    def test_large_ones_are_lifted(self, tmp_path):
        w = tf.Variable(weights(4300, 4000), name="w")
        model = tf.function(lambda x: x @ w, input_signature=[tf.TensorSpec([1, 4300], name="x")])
        x = weights(1, 4300)
        Freezer(model).weights("int8").write(tmp_path / "small.pb")
        assert (tmp_path / "small.pb").stat().st_size < 17_300_000
        small = FrozenModel.load(tmp_path / "small.pb")
        expected = model(x).numpy()
        error = np.abs(small.run("Identity:0", {"x": x}) - expected).max()
        assert error < 0.02 * np.abs(expected).max()
        copied = FrozenModel.load(tmp_path / "small.pb", mapped=False)
        np.testing.assert_allclose(
            copied.run("Identity:0", {"x": x}), small.run("Identity:0", {"x": x}), 1e-4, 1e-3
        )

    def test_everything_together(self, net, tmp_path):
        freezer = Freezer(net.__call__).weights("float16").optimize().portable("1.15")
        freezer = freezer.keep_variables("dense")
        names = [ref.name for ref in Freezer(net.__call__).freeze().outputs]
        model = freezer.outputs(*names).parity(FEEDS, 0.02).write(tmp_path / "all.pb", large=True)
        assert model.graph.payloads["tfpersist/init/dense/value"].spec.dtype == "float32"
        assert model.graph.payloads["table/float16"].spec.dtype == "float16"
        assert FrozenModel.load(tmp_path / "all.pb").verify().ok
        Freezer(net.__call__).weights("int8").write(tmp_path / "small.pb")
        again = Freezer(tmp_path / "small.pb").optimize().weights("float16").freeze()
        forms = {str(payload.spec.dtype) for payload in again.graph.payloads.values()}
        assert forms == {"int8", "float32"}
        small = FrozenModel.load(tmp_path / "small.pb")
        for name in names:
            np.testing.assert_allclose(again.run(name, FEEDS), small.run(name, FEEDS), 1e-4, 1e-4)

    def test_made_a_part_and_unfrozen(self, net, tmp_path):
        model = Freezer(net.__call__).weights("int8").write(tmp_path / "small.pb")
        names = [ref.name for ref in model.outputs]
        module = model.as_module(["x", "ids"], names)
        given = module(FEEDS["x"], FEEDS["ids"])
        for one, other in zip(given, model.run(names, FEEDS), strict=True):
            np.testing.assert_allclose(one, other, 1e-4, 1e-5)
        checkpoint = model.unfreeze("table", tmp_path / "unfrozen")
        np.testing.assert_allclose(checkpoint["table"], net.table, atol=0.02)
        again = FrozenModel(split((tmp_path / "small.pb").read_bytes()))
        assert again.summary().nbytes < 120_000
