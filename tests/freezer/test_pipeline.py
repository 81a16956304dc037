"""Freezing as a whole: the order of the passes, variables that stay, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from drafts import draft, node, placeholder
from google.protobuf import text_format
from tensorflow.compat import v1

import tfpersist as tfp
from tfpersist.errors import FreezeError, GraphError, TargetError
from tfpersist.freezer.freezer import Freezer
from tfpersist.freezer.options import Options
from tfpersist.freezer.pipeline import PASSES, Pass, freeze


def mutable_table(key, value, shape):
    return tf.lookup.experimental.MutableHashTable(key, value, tf.zeros(shape, value))


@pytest.mark.parametrize("kind", ["resource", "ref"])
def test_kept_variables_begin_with_their_values(kind, tmp_path, run_elsewhere):
    with tf.Graph().as_default() as graph:
        use_resource = kind == "resource"
        w = v1.get_variable("w", initializer=[[2.0, 3.0]], use_resource=use_resource)
        count = v1.get_variable("count", initializer=5, use_resource=use_resource)
        with tf.control_dependencies([v1.assign_add(count, 1)]):
            tf.identity(w * 2.0, name="y")
        tf.identity(count, name="seen")
        init = v1.global_variables_initializer()
    with v1.Session(graph=graph) as session:
        session.run(init)
        session.run("y:0")
        freezer = Freezer(session).outputs("y", "seen").keep_variables("count")
        model = freezer.freeze()
    assert model.run("seen:0") == 6
    assert model.run("y:0").tolist() == [[4.0, 6.0]]
    assert model.run("seen:0") == 7
    model.write(tmp_path / "model.pb")
    assert run_elsewhere(tmp_path / "model.pb", ["y:0"]) == [[[4.0, 6.0]]]


def test_a_kept_variable_without_a_value():
    with tf.Graph().as_default() as graph:
        tf.identity(v1.get_variable("late", [2]), name="y")
    with v1.Session(graph=graph) as session, pytest.raises(FreezeError, match=r"late.*no value"):
        Freezer(session).outputs("y").keep_variables("late").freeze()


def tally(kind):
    """A session with a table and a variable that stay, and one that counts calls."""
    with tf.Graph().as_default() as graph:
        seen = v1.get_variable("seen", initializer=5, use_resource=kind == "resource")
        count = v1.get_variable("count", initializer=7, use_resource=kind == "resource")
        table = mutable_table(tf.int64, tf.int64, ())
        asked = v1.placeholder(tf.int64, [None], name="asked")
        found = table.lookup(asked) + tf.cast(seen, tf.int64)
        with tf.control_dependencies([v1.assign_add(count, 1)]):
            tf.identity(found, name="y")
        insert = table.insert(tf.constant([3, 4], tf.int64), tf.constant([30, 40], tf.int64))
        init = v1.global_variables_initializer()
    session = v1.Session(graph=graph)
    session.run([init, insert])
    return session


@pytest.mark.parametrize("kind", ["resource", "ref"])
@pytest.mark.parametrize("given", ["model", "file"])
def test_kept_variables_stay_in_a_second_freeze(kind, given, tmp_path, same_everywhere):
    feeds = {"asked:0": [3, 9]}
    with tally(kind) as session:
        first = Freezer(session).outputs("y").keep_variables("seen", "count")
        first = first.write(tmp_path / "first.pb")
    source = first if given == "model" else tmp_path / "first.pb"
    again = Freezer(source).parity(feeds)
    same_everywhere(again, ["y:0"], feeds, [[35, 5]])
    unproven = Freezer(source).write(tmp_path / "again.pb")
    assert (tmp_path / "again.pb").read_bytes() == (tmp_path / "first.pb").read_bytes()
    assert unproven.run("y:0", feeds).tolist() == [35, 5]
    constant = Freezer(source).only_variables("seen").write(tmp_path / "constant.pb")
    assert constant.run("y:0", feeds).tolist() == [35, 5]
    kept = [node.name for node in constant.graph.proto.node if node.op[:3] == "Var"]
    assert kept == ["count"]
    with pytest.raises(FreezeError, match="needs 'count' as a variable"):
        Freezer(source).only_variables("*").freeze()


def test_a_session_on_a_frozen_graph_is_frozen_again(tmp_path, same_everywhere):
    feeds = {"asked:0": [3, 9]}
    with tally("resource") as session:
        Freezer(session).outputs("y").keep_variables("*").write(tmp_path / "first.pb")
    definition = v1.GraphDef.FromString((tmp_path / "first.pb").read_bytes())
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(definition, name="")
        (table,) = (op for op in graph.get_operations() if op.type == "MutableHashTableV2")
        tf.raw_ops.LookupTableExportV2(
            table_handle=table.outputs[0], Tkeys=tf.int64, Tvalues=tf.int64
        )
        tf.raw_ops.ReadVariableOp(resource=graph.get_tensor_by_name("count:0"), dtype=tf.int32)
    with v1.Session(graph=graph) as session:
        session.run("tfpersist/init")
        freezer = Freezer(session).outputs("y").keep_variables("*")
        same_everywhere(freezer, ["y:0"], feeds, [[35, 5]])


def test_a_kept_variable_without_an_initial_value():
    with tally("resource") as session:
        proto = Freezer(session).outputs("y").keep_variables("*").freeze().graph.proto
    broken = type(proto)()
    broken.CopyFrom(proto)
    nodes = {node.name: node for node in broken.node}
    del nodes["tfpersist/init/count/assign"].input[:]
    with pytest.raises(FreezeError, match=r"count.*no value"):
        Freezer(broken).outputs("y").keep_variables("count").freeze()
    nodes["tfpersist/init"].input.append("^elsewhere")
    with pytest.raises(tfp.errors.GraphError, match="elsewhere"):
        Freezer(broken).outputs("y").freeze()


def test_the_passes_have_names_of_their_own():
    assert len({step.name for step in PASSES}) == len(PASSES)


def test_a_pass_that_is_not_requested_is_skipped():
    skipped = Pass("fail", lambda draft: 1 / 0, lambda options: options.optimized)
    plain = draft(placeholder("x"))
    assert skipped(plain) is plain
    with pytest.raises(ZeroDivisionError):
        skipped(draft(placeholder("x"), optimized=True))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("bake values", {"baked": {"x": 1.0}}),
        ("optimize", {"optimized": True}),
        ("convert to the target", {"target": "1.15"}),
        ("compress weights", {"weights": "int8"}),
    ],
)
def test_a_requested_pass_applies(name, options):
    (step,) = (step for step in PASSES if step.name == name)
    assert step.applies(Options(**options))
    assert not step.applies(Options())


def test_endless_calls_are_refused_before_anything_follows_them():
    text = node("y", "f") + 'library { function { signature { name: "f" } node_def { op: "f" } } }'
    with pytest.raises(GraphError):
        freeze(draft(text).source, Options(outputs=("y",)))


def weights(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def variable(name, value, kind="resource"):
    return v1.get_variable(name, initializer=tf.constant(value), use_resource=kind == "resource")


def initialized(graph):
    session = v1.Session(graph=graph)
    with graph.as_default():
        session.run(v1.global_variables_initializer())
    return session


class TestRefusals:
    """A refusal names the node, its op and what to do."""

    def refused(self, build, output="y", setup=None):
        with tf.Graph().as_default() as graph:
            build()
        with initialized(graph) as session:
            if setup:
                session.run(setup)
            with pytest.raises(FreezeError) as caught:
                Freezer(session).outputs(output).freeze()
        assert caught.value.advice
        return str(caught.value)

    @pytest.mark.parametrize(
        ("kind", "op"), [("resource", "AssignAddVariableOp"), ("ref", "AssignAdd")]
    )
    def test_an_assignment_on_the_way(self, kind, op):
        def build():
            v = variable("v", weights(3), kind)
            tf.identity(v1.assign_add(v, [1.0, 1.0, 1.0]), name="y")

        message = self.refused(build)
        assert f"({op})" in message
        assert "'v'" in message
        assert "keep_variables('v')" in message

    def test_an_uninitialized_variable(self):
        with tf.Graph().as_default() as graph:
            tf.identity(variable("late", weights(3)), name="y")
        with v1.Session(graph=graph) as session, pytest.raises(FreezeError, match="variable late"):
            Freezer(session).outputs("y").freeze()

    def test_a_lookup_table_of_unknown_content(self):
        def build():
            table = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    v1.placeholder(tf.string, [1], name="fed"), np.int64([1])
                ),
                -1,
            )
            tf.identity(table.lookup(tf.constant(["a"])), name="y")

        assert "placeholder fed" in self.refused(build)

    def test_python_code(self):
        def build():
            tf.identity(v1.py_func(lambda: np.float32(1), [], tf.float32), name="y")

        assert "node PyFunc (PyFunc)" in self.refused(build)

    def test_an_iterator_that_is_initialized(self):
        def build():
            iterator = v1.data.make_initializable_iterator(tf.data.Dataset.range(3))
            tf.identity(iterator.get_next(), name="y")

        assert "(IteratorV2)" in self.refused(build)

    def test_a_queue(self):
        def build():
            queue = tf.queue.FIFOQueue(3, tf.float32)
            tf.identity(queue.dequeue(), name="y")

        assert "(FIFOQueueV2)" in self.refused(build)

    def test_a_generator_of_random_numbers(self):
        generator = tf.random.Generator.from_seed(1)
        draw = tf.function(lambda: generator.normal((2,)), input_signature=[])
        with pytest.raises(FreezeError, match=r"\(RngReadAndSkip\)"):
            Freezer(draw).freeze()

    def test_batch_norm_in_training_mode(self):
        import keras

        layer = keras.layers.BatchNormalization()
        layer.build((None, 3))

        @tf.function(input_signature=[tf.TensorSpec((4, 3))])
        def train(x):
            y = layer(x, training=True)
            return y + layer.moving_mean

        with pytest.raises(FreezeError, match=r"moving_mean.*inference"):
            Freezer(train).freeze()

    def test_a_layer_that_keeps_a_state(self):
        import keras

        x = keras.Input(batch_shape=(2, 5, 3))
        model = keras.Model(x, keras.layers.LSTM(4, stateful=True)(x))
        with pytest.raises(FreezeError, match=r"AssignVariableOp.*without assignments"):
            Freezer(model).freeze()

    def test_a_value_that_is_not_of_the_declared_shape(self):
        with tf.Graph().as_default() as graph:
            v = variable("v", weights(4, 2))
            tf.identity(v, name="y")
            assign = tf.raw_ops.AssignVariableOp(
                resource=v.handle, value=v1.placeholder_with_default(weights(3, 2), None)
            )
        with initialized(graph) as session:
            session.run(assign)
            with pytest.raises(FreezeError, match=r"variable v.*\[4,2\].*\[3, 2\]"):
                Freezer(session).outputs("y").freeze()

    @pytest.mark.parametrize("source", [3, object(), np.zeros(2)])
    def test_an_object_of_another_type_is_refused(self, source):
        with pytest.raises(TargetError, match="cannot be frozen"):
            Freezer(source).outputs("y").freeze()

    def test_a_function_of_unknown_inputs(self):
        with pytest.raises(TargetError, match="input_signature"):
            Freezer(tf.function(lambda x: x + 1)).freeze()


REMOVED = {
    "BatchMatrixInverse": (13, np.float32([[2, 0], [0, 4]]), np.float32([[0.5, 0], [0, 0.25]])),
    "SelfAdjointEig": (11, np.float32([[2, 0], [0, 4]]), np.float32([[2, 4], [1, 0], [0, 1]])),
    "BatchMatrixDiagPart": (14, np.float32([[2, 0], [0, 4]]), np.float32([2, 4])),
}


@pytest.mark.parametrize("op", REMOVED)
def test_an_op_that_tensorflow_removed_runs_in_older_graphs_only(op, tmp_path):
    version, fed, expected = REMOVED[op]
    path = tmp_path / "m.pb"
    text = f"""
      node {{ name: "x" op: "Placeholder" attr {{ key: "dtype" value {{ type: DT_FLOAT }} }} }}
      node {{ name: "y" op: "{op}" input: "x" attr {{ key: "T" value {{ type: DT_FLOAT }} }} }}"""
    graph = text_format.Parse(text, v1.GraphDef())
    graph.versions.producer = version - 1
    path.write_bytes(graph.SerializeToString())
    for freezer in (Freezer(path), Freezer(path).optimize()):
        frozen = freezer.outputs("y").freeze()
        assert frozen.as_graph_def().versions.producer == version - 1
        assert np.allclose(np.abs(frozen.run("y", {"x": fed})), np.abs(expected))

    graph.versions.producer = version
    path.write_bytes(graph.SerializeToString())
    with tf.Graph().as_default(), pytest.raises(tf.errors.UnimplementedError) as theirs:
        tf.import_graph_def(graph)
    with pytest.raises(FreezeError, match=f"removed this op.*before {version}") as ours:
        Freezer(path).outputs("y").freeze()
    advice = str(ours.value).partition("TensorFlow says: ")[2].rstrip(".")
    assert advice in str(theirs.value)
