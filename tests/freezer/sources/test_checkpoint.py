"""A checkpoint with its graph: what is needed of it, and what it says of the values."""

from __future__ import annotations

import hashlib
import os
import tracemalloc

import keras
import numpy as np
import pytest
import tensorflow as tf
from drafts import draft, negative, placeholder
from tensorflow.compat import v1

import tfpersist as tfp
from tfpersist.errors import (
    FreezeError,
    UnsafeModelError,
)
from tfpersist.formats import schema
from tfpersist.formats.graphdef import split
from tfpersist.freezer.freezer import Freezer
from tfpersist.freezer.sources.checkpoint import lower_checkpoint, newest, origin_of
from tfpersist.graph.describe import signature
from tfpersist.graph.structure.lowered import Origin
from tfpersist.safety import Policy

CHAIN = placeholder("x") + negative("y", "x")


@pytest.fixture
def checkpoint(tmp_path):
    """Return a checkpoint of step 3 with a graph, and words beside it."""
    tfp.ModelStore(tmp_path / "run").save({"v": np.zeros(1)}, step=3)
    meta = schema.MetaGraphDef(graph_def=draft(CHAIN).graph.proto)
    meta.meta_info_def.tensorflow_version = "1.4.0"
    (tmp_path / "run/model.ckpt-3.meta").write_bytes(meta.SerializeToString())
    (tmp_path / "run/words.txt").write_bytes(b"own")
    (tmp_path / "secret").write_bytes(b"secret")
    return tfp.Checkpoint(tmp_path / "run")


def test_the_graph_and_where_the_values_are_from(checkpoint, tmp_path):
    lowered = lower_checkpoint(checkpoint, Policy.default())
    assert list(lowered.graph.nodes) == ["x", "y"]
    index = (tmp_path / "run/model.ckpt-3.index").read_bytes()
    assert lowered.origin == Origin(hashlib.sha256(index).hexdigest(), 3, "1.4.0")


def test_files_beside_it_fill_tables(checkpoint, tmp_path):
    read = lower_checkpoint(checkpoint, Policy.default()).read
    assert read(f"{tmp_path}/run/words.txt", "table") == b"own"
    with pytest.raises(UnsafeModelError):
        read(f"{tmp_path}/secret", "table")
    trusted = lower_checkpoint(checkpoint, Policy.trusted()).read
    assert trusted(f"{tmp_path}/secret", "table") == b"secret"


def test_a_checkpoint_without_a_graph(tmp_path):
    checkpoint = tfp.ModelStore(tmp_path).save({"v": np.zeros(1)})
    with pytest.raises(FreezeError, match=r"model\.ckpt: there is no graph.*a \.meta file"):
        lower_checkpoint(checkpoint, Policy.default())


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_a_file_of_keras_has_no_graph(name, tmp_path):
    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    (net.save if name == "m.keras" else net.save_weights)(tmp_path / name)
    with pytest.raises(FreezeError, match=r"of Keras has weights, and no graph.*load_model\(\)"):
        Freezer(tmp_path / name).freeze()


def test_the_newest_of_a_store_or_the_one_that_it_chose(tmp_path):
    store = tfp.ModelStore(tmp_path)
    with pytest.raises(FreezeError, match="there is no checkpoint"):
        newest(store)
    for step in (1, 2):
        store.save({"v": np.zeros(1)}, step=step)
    assert newest(store).step == 2
    assert newest(store.at(1)).step == 1


def test_a_checkpoint_without_an_index_has_no_digest(checkpoint):
    meta = schema.MetaGraphDef()
    checkpoint.storage.remove(["model.ckpt-3.index"])
    assert origin_of(checkpoint, meta) == Origin(None, 3, None)


def weights(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def variable(name, value, kind="resource"):
    return v1.get_variable(name, initializer=tf.constant(value), use_resource=kind == "resource")


def initialized(graph):
    session = v1.Session(graph=graph)
    with graph.as_default():
        session.run(v1.global_variables_initializer())
    return session


PREFIXES = ("plain_v1.ckpt", "plain_v2.ckpt", "bntrain_v1.ckpt", "bntrain_v2.ckpt",
            "shard2_v1.ckpt", "shard2_v2.ckpt", "model_v1.ckpt-5", "model_v2.ckpt-5",
            "model_v2_sharded.ckpt-5")  # fmt: skip


class TestCheckpoints:
    def test_real_ones_compute_what_they_did(self, tensorflow_1, tmp_path):
        asked = [(p, o) for p in PREFIXES for o in ("output", "loop_out")]
        asked = [(p, o) for p, o in asked if o == "output" or p.startswith("model")]
        frozen = 0
        for prefix, output in asked:
            freezer = self.freezer(tensorflow_1, prefix)
            if freezer is None:
                continue
            frozen += 1
            kind = "" if prefix.startswith("model") else prefix.partition("_")[0] + "_"
            golden = np.load(tensorflow_1 / f"{kind}golden.npz", allow_pickle=True)
            path = tmp_path / f"{prefix}.{output}.pb"
            freezer.outputs(output).write(path, durable=False)
            result = self.plain(path, output, golden["input"])
            np.testing.assert_allclose(result, golden[output], rtol=1e-5, atol=1e-6)
            own = {"": "frozen_output.pb" if output == "output" else "frozen_loop.pb"}
            theirs = tensorflow_1 / own.get(kind, f"{kind}frozen.pb")
            np.testing.assert_array_equal(result, self.plain(theirs, output, golden["input"]))
        assert frozen == (4 if tensorflow_1.name == "0.12.1" else 12)

    @staticmethod
    def freezer(folder, prefix):
        """Freeze a checkpoint with its graph, or with the graph of the same model beside it."""
        if (folder / f"{prefix}.meta").exists():
            return Freezer(folder / prefix)
        for meta in folder.glob(f"{prefix.partition('_')[0]}_v*.meta"):
            graph = tfp.Checkpoint(meta).meta.graph_def
            return Freezer(graph, checkpoint=folder / prefix)
        return None

    @staticmethod
    def plain(path, output, value):
        graph_def = v1.GraphDef.FromString(path.read_bytes())
        with tf.Graph().as_default() as graph:
            v1.import_graph_def(graph_def, name="")
        with v1.Session(graph=graph) as session:
            return session.run(f"{output}:0", {"input:0": value})

    def test_the_first_op_of_that_name(self, golden, tmp_path):
        meta = golden / "0.12.1" / "session_bundle" / "00000123" / "export.meta"
        assert "Variable" in {node.op for node in tfp.Checkpoint(meta).meta.graph_def.node}
        model = Freezer(meta).outputs("y").write(tmp_path / "m.pb")
        assert "Variable" not in {node.op for node in model.graph.proto.node}
        result = self.plain_feed(tmp_path / "m.pb", "y:0", {"x:0": np.float32([[0], [4]])})
        np.testing.assert_array_equal(result, [[2], [4]])

    @staticmethod
    def plain_feed(path, output, feeds):
        with tf.Graph().as_default() as graph:
            v1.import_graph_def(v1.GraphDef.FromString(path.read_bytes()), name="")
        with v1.Session(graph=graph) as session:
            return session.run(output, feeds)

    def test_tensorflow_is_not_imported(self, golden, fresh, tmp_path):
        prefix = golden / "1.15.5" / "model_v2.ckpt-5"
        printed = fresh(
            """
            import sys
            from tfpersist.freezer.freezer import Freezer
            model = Freezer(sys.argv[1]).outputs("output").write("m.pb")
            print(model.summary())
            assert "tensorflow" not in sys.modules
            """,
            prefix,
        )
        assert "output" in printed

    def test_one_variable_is_in_memory_at_a_time(self, tmp_path):
        with tf.Graph().as_default() as graph:
            random = v1.random_normal_initializer()
            parts = [v1.get_variable(f"v{i}", (1 << 18,), initializer=random) for i in range(16)]
            tf.add_n(parts, name="y")
            saver = v1.train.Saver()
        with initialized(graph) as session:
            prefix = saver.save(session, str(tmp_path / "model.ckpt"))
        Freezer(prefix).outputs("y").write(tmp_path / "warm.pb")
        tracemalloc.start()
        Freezer(prefix).outputs("y").write(tmp_path / "m.pb")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (tmp_path / "m.pb").stat().st_size > 16 << 20
        assert peak < 4 << 20

    @pytest.mark.parametrize("names", ["renamed", "own"])
    def test_a_saver_s_own_names(self, names, tmp_path):
        with tf.Graph().as_default() as graph:
            a, b = variable("a", weights(2, 3)), variable("b", weights(2, 3, seed=1), "ref")
            tf.subtract(a, b, name="y")
            saver = v1.train.Saver({"b": a, "a": b} if names == "renamed" else None)
        with initialized(graph) as session:
            expected = session.run("y:0")
            prefix = saver.save(session, str(tmp_path / "model.ckpt"), 3)
        for spelling in (prefix, f"{prefix}.meta", f"{prefix}.index", tmp_path):
            model = Freezer(spelling).outputs("y").freeze()
            np.testing.assert_array_equal(model.run("y:0"), expected)

    def test_parts_of_partitioned_variables(self, tmp_path):
        with tf.Graph().as_default() as graph:
            for kind in ("resource", "ref"):
                whole = v1.get_variable(
                    kind, (11, 4), partitioner=v1.variable_axis_size_partitioner(60, axis=0),
                    use_resource=kind == "resource",
                )  # fmt: skip
                tf.identity(tf.convert_to_tensor(whole), name=f"{kind}_")
            saver = v1.train.Saver()
        with initialized(graph) as session:
            expected = session.run(["resource_:0", "ref_:0"])
            prefix = saver.save(session, str(tmp_path / "model.ckpt"))
        model = Freezer(prefix).outputs("resource_", "ref_").freeze()
        for result, value in zip(model.run(["resource_:0", "ref_:0"]), expected, strict=True):
            np.testing.assert_array_equal(result, value)

    def test_a_variable_that_the_checkpoint_lacks(self, tmp_path):
        with tf.Graph().as_default() as graph:
            a, b = variable("net/a", weights(3)), variable("net/b", weights(3))
            tf.add(a, b, name="y")
            saver = v1.train.Saver([a])
        with initialized(graph) as session:
            prefix = saver.save(session, str(tmp_path / "model.ckpt"))
        with pytest.raises(FreezeError, match=r"net/b.*no tensor 'net/b'.*'net/a'"):
            Freezer(prefix).outputs("y").freeze()

    def test_no_graph_beside_it(self, tmp_path):
        path = tf.train.Checkpoint(v=tf.Variable(1.0)).write(os.fspath(tmp_path / "ckpt"))
        with pytest.raises(FreezeError, match=r"\.meta"):
            Freezer(path).outputs("y").freeze()


def _needed(graph, name):
    found, pending = set(), [name]
    while pending:
        for text in graph.nodes[pending.pop()].input:
            if text not in found:
                found.add(text)
                pending.append(text.removeprefix("^").partition(":")[0])
    return found


def test_a_graph_that_reads_from_an_iterator_begins_behind_it(old_files):
    """The `.meta` of a BERT has ops that no TensorFlow has any more, before the iterator."""
    (meta,) = old_files.rglob("bert_model.ckpt.meta")
    folder = meta.parent
    freezer = Freezer(folder).outputs("bert/pooler/dense/Tanh")
    with pytest.raises(FreezeError, match="IteratorV2"):
        freezer.freeze()
    names = [f"IteratorGetNext:{n}" for n in range(7)]
    graph = split(tfp.Checkpoint(folder).meta.graph_def.SerializeToString())
    used = {text for node in graph.proto.node for text in node.input if "IteratorGetNext" in text}
    pooler = _needed(graph, "bert/pooler/dense/Tanh")
    wanted = [name for name in names if name.removesuffix(":0") in used & pooler]
    model = freezer.inputs(*wanted).freeze()
    assert len(model.inputs) == len(wanted) == 3
    feeds = {ref.name: np.ones(ref.spec.shape, "int32") for ref in model.inputs}
    pooled = model.run("bert/pooler/dense/Tanh", feeds)
    assert np.isfinite(pooled).all()
    assert pooled.shape[1] == 4
    named = freezer.inputs(**{f"in{n}": name for n, name in enumerate(wanted)}).freeze()
    assert [ref.operation for ref in named.inputs] == ["in0", "in1", "in2"]
    again = {f"in{n}:0": feeds[model.inputs[n].name] for n in range(3)}
    # It was saved in training: dropout makes each run another.
    assert named.run("bert/pooler/dense/Tanh", again).shape == pooled.shape
    with pytest.raises(FreezeError, match="do not depend on this input"):
        freezer.inputs(*wanted, "bert/pooler/dense/kernel/Initializer/truncated_normal").freeze()


def test_the_signature_tells_the_step(golden):
    freezer = Freezer(golden / "1.15.5/model_v2.ckpt-5").outputs("loop_out")
    said = signature.Signature.of(freezer.inputs(image="input").freeze().graph)
    assert said.inputs == {"image": "image:0", "training": "training:0"}
    assert said.outputs == {"loop_out": "loop_out:0"}
    keras = Freezer(golden / "2.4.4/keras_savedmodel").freeze()
    assert keras["d"].name == "StatefulPartitionedCall:0"
    assert keras["c1_input"].name == "serving_default_c1_input:0"
    assert (said.origin.step, said.origin.tensorflow) == (5, "1.15.5")
    v1 = Freezer(golden / "1.15.5/shard2_v1.ckpt").outputs("output").freeze()
    assert signature.Signature.of(v1.graph).origin.checkpoint is None


@pytest.mark.parametrize("location", ["memory://sources-store", "memory://sources/deep/store"])
def test_a_store_and_a_place_in_memory_stand_for_their_checkpoint(location):
    import tensorflow as tf

    store = tfp.ModelStore(location)
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session() as session:
        v = tf.compat.v1.get_variable("v", initializer=1.0)
        tf.add(v, 0.0, name="y")
        for step in (1, 2):
            session.run(v.initializer)
            v.load(float(step), session)
            store.save(session, step=step)
    for source in (location, store, store.latest(), store.at(2)):
        model = tfp.Freezer(source).outputs("y").freeze()
        assert model.run("y") == 2.0
        assert model.policy == tfp.FrozenModel.load(model.write(f"{location}/y.pb").file).policy
    assert tfp.Freezer(store.at(1)).outputs("y").freeze().run("y") == 1.0


def test_a_store_without_a_checkpoint_is_refused():
    with pytest.raises(FreezeError, match="memory://sources-empty: there is no checkpoint"):
        tfp.Freezer(tfp.ModelStore("memory://sources-empty")).outputs("y").freeze()
