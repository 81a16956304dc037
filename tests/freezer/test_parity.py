"""Frozen models beside their sources, and against the golden pairs in their files."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compat import v1

from tfpersist.errors import (
    ArgumentError,
    CorruptionError,
    FeedError,
    NameNotFoundError,
    ParityError,
    UnsafeModelError,
)
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import payload_of
from tfpersist.freezer.freezer import Freezer
from tfpersist.frozen.model import FrozenModel
from tfpersist.graph.describe import golden
from tfpersist.store.model_store import ModelStore

X = np.random.default_rng(0).normal(size=(3, 40)).astype(np.float32)


def weights(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture
def net():
    """A session: y = x @ w + b, with a dropout by `keep`; noise beside it, and labels."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (None, 40), name="x")
        keep = v1.placeholder(tf.float32, (), name="keep")
        w = v1.get_variable("w", initializer=weights(40, 30))
        b = v1.get_variable("b", initializer=weights(30), use_resource=False)
        hidden = tf.identity(x @ w, name="hidden")
        y = tf.nn.dropout(hidden + b, rate=1 - keep, seed=1)
        tf.identity(y, name="y")
        tf.add(hidden, tf.random.normal(tf.shape(hidden)), name="noisy")
        tf.gather(tf.constant(["a", "bb", "ccc"]), tf.argmax(hidden, 1) % 3, name="label")
    with v1.Session(graph=graph) as session, graph.as_default():
        session.run(v1.global_variables_initializer())
        yield session


class TestBesideItsSource:
    def test_a_session_and_a_fresh_process(self, net, tmp_path, fresh):
        freezer = Freezer(net).outputs("y", "label").bake({"keep": 1.0}).parity({"x": X}, 1e-5)
        model = freezer.write(tmp_path / "model.pb")
        freezer.write(tmp_path / "again.pb")
        assert (tmp_path / "model.pb").read_bytes() == (tmp_path / "again.pb").read_bytes()
        proof = model.signature.proof
        assert (proof.tolerance, len(proof.digest)) == (1e-5, 64)
        printed = fresh(
            """
            import sys
            from tfpersist import FrozenModel
            report = FrozenModel.load(sys.argv[1]).verify()
            print(report.ok, [each.output for each in report.differences])
            import tensorflow as tf
            definition = tf.compat.v1.GraphDef.FromString(open(sys.argv[1], "rb").read())
            with tf.Graph().as_default():
                tf.graph_util.import_graph_def(definition)
            """,
            tmp_path / "model.pb",
        )
        assert printed == "True ['y:0', 'label:0']\n"

    def test_a_file_with_other_outputs_is_not_written(self, net, tmp_path):
        with pytest.raises(ParityError) as caught:
            Freezer(net).outputs("noisy").parity({"x": X}, 1e-3).write(tmp_path / "model.pb")
        (difference,) = caught.value.report.differences
        assert difference.absolute > 0.1
        assert difference.index is not None
        assert f"noisy:0 differs by at most {difference.absolute:.3g}" in str(caught.value)
        assert "the first at [0, 0]" in str(caught.value)
        assert list(tmp_path.iterdir()) == []
        assert pickle.loads(pickle.dumps(caught.value)).report == caught.value.report

    @pytest.mark.parametrize(
        "wrong", [float("nan"), float("inf"), -1e-9, 10**400, True, None, "0.1", [0.1], 1j]
    )
    def test_a_tolerance_that_tolerates_nothing_or_all(self, net, wrong):
        said = r"\(\): .* expected a finite number, 0 or more, got .*\. Pass 0 "
        with pytest.raises(ArgumentError, match="^parity" + said):
            Freezer("nowhere").parity({"x": X}, tolerance=wrong)
        model = Freezer(net).outputs("hidden").parity({"x": X}, tolerance=np.float32(0.5)).freeze()
        assert model.verify(tolerance=1).ok
        if wrong is not None:
            with pytest.raises(ArgumentError, match="^verify" + said):
                model.verify(tolerance=wrong)

    def test_feeds_that_do_not_fit(self, net):
        freezer = Freezer(net).outputs("y").bake({"keep": 1.0})
        with pytest.raises(FeedError, match=r"x:0: the fetches need this placeholder"):
            freezer.parity({}).freeze()
        with pytest.raises(FeedError, match="wrong shape"):
            freezer.parity({"x": X[:, 1:]}).freeze()
        with pytest.raises(NameNotFoundError, match="keep"):
            freezer.parity({"x": X, "keep": 1.0}).freeze()
        with pytest.raises(FeedError, match="not an input of the frozen model"):
            freezer.parity({"x": X, "hidden": X}).freeze()
        with pytest.raises(FeedError, match="fed twice"):
            freezer.parity({"x": X, "x:0": X}).freeze()

    def test_inputs_by_their_old_and_new_names(self, net):
        freezer = Freezer(net).outputs("y").bake({"keep": 1.0}).inputs(deep="hidden")
        deep = weights(2, 30, seed=3)
        for name in ("deep", "hidden", "hidden:0", net.graph.get_tensor_by_name("hidden:0")):
            model = freezer.parity({name: deep}).freeze()
            assert [held.name for held in golden.attached(model.graph).feeds] == ["deep:0"]
            assert model.verify().exact

    def test_kept_variables_and_an_older_release(self, net, tmp_path):
        freezer = Freezer(net).outputs("y").bake({"keep": 1.0}).keep_variables("w")
        model = freezer.portable("1.15").parity({"x": X}, 1e-5).write(tmp_path / "kept.pb")
        assert model.signature.init == "tfpersist/init"
        assert FrozenModel.load(tmp_path / "kept.pb").verify().ok

    def test_training_on_does_not_come_between(self, net):
        model = Freezer(net).outputs("y").bake({"keep": 1.0}).parity({"x": X}, 1e-5).freeze()
        assign = next(op for op in net.graph.get_operations() if op.type == "AssignVariableOp")
        net.run(assign, {assign.inputs[1]: np.zeros((40, 30), np.float32)})
        assert model.verify().ok

    def test_a_file_has_the_values_that_were_compared(self, tmp_path):
        """The session goes on training after it computed what is compared, before the write."""

        class Training(v1.Session):
            def run(self, fetches, feed_dict=None, **options):
                results = super().run(fetches, feed_dict, **options)
                if feed_dict:
                    super().run(zeros)
                return results

        with tf.Graph().as_default() as graph:
            x = v1.placeholder(tf.float32, (None, 40), name="x")
            w = v1.get_variable("w", initializer=weights(40, 30))
            zeros, init = w.assign(tf.zeros((40, 30))).op, w.initializer
            tf.matmul(x, w, name="y")
        with Training(graph=graph) as session:
            session.run(init)
            freezer = Freezer(session).outputs("y").parity({"x": X}, 1e-5)
            model = freezer.write(tmp_path / "model.pb")
            assert not session.run(w).any()
        assert model.verify().ok


class TestFiles:
    def test_a_checkpoint_with_its_meta(self, net, tmp_path):
        prefix = ModelStore(tmp_path / "run").save(net, step=5).prefix
        freezer = Freezer(prefix).outputs("y", "label").bake({"keep": 1.0})
        model = freezer.parity({"x": X}, 1e-5).write(tmp_path / "model.pb")
        expected = net.run(["y:0", "label:0"], {"x:0": X, "keep:0": 1.0})
        held = golden.attached(model.graph).outputs
        np.testing.assert_allclose(held[0].values, expected[0], 1e-5)
        np.testing.assert_array_equal(held[1].values, expected[1])
        definition = net.graph.as_graph_def()
        beside = Freezer(definition, checkpoint=prefix).outputs("hidden").inputs("x")
        assert beside.parity({"x": X}, 1e-5).freeze().verify().ok
        frozen = Freezer(model).outputs("y").parity({"x": X}).freeze()
        assert frozen.verify().ok

    def test_an_output_that_is_requested_twice(self):
        with tf.Graph().as_default() as graph:
            tf.negative(v1.placeholder(tf.float32, [None], name="x"), name="y")
        freezer = Freezer(graph.as_graph_def()).outputs("y", "y:0").parity({"x": [1.0, 2.0]})
        model = freezer.freeze()
        assert [ref.name for ref in model.outputs] == ["y:0"]
        assert model.verify().exact

    def test_a_checkpoint_that_is_cut(self, net, tmp_path):
        prefix = ModelStore(tmp_path / "run").save(net, step=5).prefix
        freezer = Freezer(prefix).outputs("y").bake({"keep": 1.0}).inputs(deep="hidden")
        deep = weights(2, 30, seed=3)
        for name in ("deep", "hidden"):
            model = freezer.parity({name: deep}, 1e-6).freeze()
            (held,) = golden.attached(model.graph).outputs
            np.testing.assert_allclose(held.values, deep + weights(30), 1e-6)

        @tf.function(input_signature=[tf.TensorSpec([None, 30], name="x")])
        def function(x):
            return tf.nn.relu(tf.negative(x, name="inner"))

        cut = Freezer(function).inputs("inner").parity({"inner": deep}).freeze()
        assert [ref.name for ref in cut.inputs] == ["inner:0"]
        assert cut.verify().exact

    def test_a_saved_model_with_a_table(self, tmp_path):
        class Words(tf.Module):
            def __init__(self):
                self.w = tf.Variable(weights(4, 5))
                keys = tf.constant(["a", "b", "c"])
                values = tf.constant([1, 2, 3])
                initializer = tf.lookup.KeyValueTensorInitializer(keys, values)
                self.table = tf.lookup.StaticHashTable(initializer, 0)

            @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])
            def embed(self, words):
                return tf.gather(self.w, self.table.lookup(words))

        words = Words()
        tf.saved_model.save(words, str(tmp_path / "export"), signatures=words.embed)
        for source in (tmp_path / "export", words.embed):
            freezer = Freezer(source).parity({"words": ["c", "a", "?"]})
            model = freezer.write(tmp_path / "words.pb")
            assert FrozenModel.load(tmp_path / "words.pb").verify().exact
            (held,) = golden.attached(model.graph).outputs
            np.testing.assert_array_equal(held.values, words.w.numpy()[[3, 1, 0]])

    def test_a_source_that_the_policy_forbids_is_not_run(self, tmp_path):
        with tf.Graph().as_default() as graph:
            path = v1.placeholder(tf.string, (), name="path")
            tf.io.read_file(path, name="content")
        (tmp_path / "reads.pb").write_bytes(graph.as_graph_def().SerializeToString())
        freezer = Freezer(tmp_path / "reads.pb").outputs("content")
        with pytest.raises(UnsafeModelError, match="content"):
            freezer.parity({"path": str(tmp_path / "reads.pb")}).freeze()


class TestFunctions:
    def test_a_function_is_called_itself(self):
        inside = tf.Variable(2.0)

        @tf.function
        def model(pair, *, scale, flag):
            return {"b": pair[0] * inside * scale, "a": (pair[1] if flag else pair[0]) - 1.0}

        spec = tf.TensorSpec([None], tf.float32)
        concrete = model.get_concrete_function((spec, spec), scale=tf.TensorSpec([]), flag=True)
        names = [tensor.name for tensor in concrete.inputs[:3]]
        feeds = dict(zip(names, ([1.0, 2.0], [3.0], 3.0), strict=True))
        frozen = Freezer(concrete).parity(feeds).freeze()
        first, second = golden.attached(frozen.graph).outputs
        np.testing.assert_array_equal(first.values, [2.0])
        np.testing.assert_array_equal(second.values, [6.0, 12.0])

    def test_parts_of_a_function_run_as_its_graph(self):
        w = tf.Variable(weights(40, 30), name="w")

        @tf.function(input_signature=[tf.TensorSpec([None, 40], name="x"), tf.TensorSpec([])])
        def model(x, scale):
            return tf.nn.relu(tf.matmul(x, w, name="inner")) * scale

        frozen = Freezer(model).outputs("inner").parity({"x": X}, 1e-5).freeze()
        (held,) = golden.attached(frozen.graph).outputs
        np.testing.assert_allclose(held.values, X @ w.numpy(), 1e-4)

    def test_a_keras_model(self, tmp_path):
        tf.keras.utils.set_random_seed(1)
        inputs = [tf.keras.Input((40,), name="x"), tf.keras.Input((2,), name="more")]
        hidden = tf.keras.layers.Dropout(0.5)(tf.keras.layers.Dense(8)(inputs[0]))
        joined = tf.keras.layers.Concatenate(name="joined")([hidden, inputs[1]])
        keras = tf.keras.Model(inputs, joined)
        feeds = {"x": X, "more": weights(3, 2)}
        model = Freezer(keras).parity(feeds, 1e-5).write(tmp_path / "keras.pb")
        (held,) = golden.attached(model.graph).outputs
        np.testing.assert_allclose(held.values, keras.predict(feeds, verbose=0), 1e-5)


class TestAnywhere:
    def test_large_feeds_must_be_passed_and_large_outputs_are_sampled(self, tmp_path):
        @tf.function(input_signature=[tf.TensorSpec([None, 512], name="x")])
        def model(x):
            return tf.nn.relu(x), tf.reduce_sum(x)

        x = weights(200, 512)
        Freezer(model).parity({"x": x}).write(tmp_path / "model.pb")
        assert (tmp_path / "model.pb").stat().st_size < 40_000
        frozen = FrozenModel.load(tmp_path / "model.pb")
        with pytest.raises(FeedError, match=r"x:0: .* too large .*verify\("):
            frozen.verify()
        with pytest.raises(FeedError, match="feeds are not those of the golden pair"):
            frozen.verify({"x": x + 1})
        assert frozen.verify({"x": x.astype(np.float64)}).exact
        (held, _) = golden.attached(frozen.graph).outputs
        assert held.stride > 1
        np.testing.assert_array_equal(held.values, np.maximum(x, 0).reshape(-1)[:: held.stride])

    def test_every_element_of_a_large_output_is_compared(self):
        @tf.function(input_signature=[tf.TensorSpec([None], name="x")])
        def model(x):
            return x + tf.random.uniform(tf.shape(x), 1.0, 2.0)

        x = weights(1 << 16)
        # With a global seed, as another test sets it, both would draw the same numbers.
        tf.random.set_seed(None)
        with pytest.raises(ParityError) as caught:
            Freezer(model).parity({"x": x}, 1e-6).freeze()
        (difference,) = caught.value.report.differences
        assert difference.beyond > 60_000

    def test_a_model_that_has_changed(self):
        w = tf.Variable(weights(40, 30), name="w")
        model = tf.function(lambda x: x @ w, input_signature=[tf.TensorSpec([None, 40], name="x")])
        frozen = Freezer(model).parity({"x": X}, 1e-5).freeze()
        payload = frozen.graph.payloads["w"]
        changed = payload.load().copy()
        changed[7, 9] += 1
        graph = Graph(frozen.graph.proto, {"w": payload_of(changed)})
        with pytest.raises(ParityError, match=r"3 elements are beyond the tolerance.*\[0, 9\]"):
            FrozenModel(graph, "changed.pb").verify()
        assert FrozenModel(graph).verify(tolerance=10).differences[0].beyond == 0

    def test_a_model_without_a_golden_pair(self):
        model = tf.function(lambda x: -x, input_signature=[tf.TensorSpec([], name="x")])
        frozen = Freezer(model).freeze()
        with pytest.raises(ParityError, match=r"golden pair.*parity\(feeds\)"):
            frozen.verify()
        proven = Freezer(model).parity({"x": 1.0}).freeze()
        assert Freezer(proven).freeze().signature.proof is None
        broken = type(proven.graph.proto)()
        data = proven.graph.proto.SerializeToString()
        at = data.rindex(b"digest") + 12
        broken.ParseFromString(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises((CorruptionError, ParityError)):
            FrozenModel(Graph(broken)).verify()
