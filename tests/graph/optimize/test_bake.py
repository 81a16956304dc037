"""Baked inputs: what is removed, what stays, and that a plain TensorFlow computes the same."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compat import v1

from tfpersist.errors import FeedError, NameNotFoundError
from tfpersist.freezer.freezer import Freezer

PLAIN = """
import json, sys
import numpy as np
from tensorflow.compat import v1
import tensorflow as tf
config = v1.ConfigProto()
config.graph_options.rewrite_options.disable_meta_optimizer = True
config.graph_options.optimizer_options.opt_level = -1
with tf.Graph().as_default() as graph:
    v1.import_graph_def(v1.GraphDef.FromString(open(sys.argv[1], "rb").read()), name="")
with v1.Session(graph=graph, config=config) as session:
    np.save(sys.argv[3], session.run("out:0", {"x:0": np.load(sys.argv[2])}))
"""


def net(flow, resource):
    """A convolution, batch norm with an is_training tensor, dropout and a combined condition."""
    (v1.enable_control_flow_v2 if flow == "v2" else v1.disable_control_flow_v2)()
    rng = np.random.default_rng(0)
    try:
        with tf.Graph().as_default() as graph:
            x = v1.placeholder(tf.float32, [None, 6, 6, 3], name="x")
            training = v1.placeholder(tf.bool, [], name="is_training")
            keep = v1.placeholder_with_default(np.float32(0.5), [], name="keep_prob")

            def variable(name, *shape):
                value = rng.uniform(0.5, 2, shape).astype(np.float32)
                return v1.get_variable(name, initializer=value, use_resource=resource)

            kernel = variable("kernel", 3, 3, 3, 4)
            gamma, beta, mean, variance = (variable(name, 4) for name in "gbmv")
            hidden = tf.nn.conv2d(x, kernel, 1, "SAME")

            def train():
                y, m, _ = v1.nn.fused_batch_norm(hidden, gamma, beta, is_training=True)
                update = [] if not resource and flow == "v2" else [v1.assign(mean, m)]
                with tf.control_dependencies(update):
                    return tf.identity(y)

            def infer():
                return v1.nn.fused_batch_norm(
                    hidden, gamma, beta, mean=mean, variance=variance, is_training=False
                )[0]

            hidden = tf.nn.relu(tf.cond(training, train, infer))
            hidden = v1.nn.dropout(hidden, keep_prob=keep)
            both = tf.logical_and(training, tf.greater(keep, 0.5))
            hidden = tf.cond(both, lambda: hidden * 2, lambda: hidden + 1.0)
            tf.identity(hidden, name="out")
            init = v1.global_variables_initializer()
    finally:
        v1.enable_control_flow_v2()
    config = v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = -1
    session = v1.Session(graph=graph, config=config)
    session.run(init)
    return session


@pytest.mark.parametrize("resource", [True, False])
@pytest.mark.parametrize("flow", ["v1", "v2"])
def test_training_is_gone_and_the_rest_computes_the_same(flow, resource, fresh, tmp_path):
    session = net(flow, resource)
    x = np.random.default_rng(1).normal(size=(2, 6, 6, 3)).astype(np.float32)
    feeds = {"x:0": x, "is_training:0": False, "keep_prob:0": 1.0}
    live = session.run("out:0", feeds)
    freezer = Freezer(session).outputs("out").bake({"is_training": False, "keep_prob:0": 1})
    model = freezer.write(tmp_path / "baked.pb")
    assert [ref.name for ref in model.inputs] == ["x:0"]
    operations = model.summary().operations
    unwanted = {"Switch", "Merge", "If", "StatelessIf", "RandomUniform", "AssignVariableOp"}
    assert not unwanted & set(operations)
    assert operations["FusedBatchNormV3"] == 1
    np.save(tmp_path / "x.npy", x)
    fresh(PLAIN, tmp_path / "baked.pb", tmp_path / "x.npy", tmp_path / "out.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), live)


class TestChoosing:
    def test_steps_join_and_leave_the_first_as_it_was(self):
        first = Freezer("runs").bake({"a": 1})
        assert first.bake({"b": 2}) == Freezer("runs").bake({"a": 1, "b": 2})
        assert first == Freezer("runs").bake({"a": 1}) != Freezer("runs").bake({"a": 2})

    def test_an_unknown_name_names_its_neighbours(self):
        with pytest.raises(NameNotFoundError, match="is_training"):
            Freezer(net("v1", True)).outputs("out").bake({"is_trainin": False}).freeze()

    def test_a_value_of_another_kind_or_shape(self):
        freezer = Freezer(net("v1", True)).outputs("out")
        with pytest.raises(FeedError, match="is_training:0"):
            freezer.bake({"is_training": 0.5}).freeze()
        with pytest.raises(FeedError, match="keep_prob:0"):
            freezer.bake({"keep_prob": [1.0, 1.0]}).freeze()

    def test_a_dropout_that_drops_stays(self):
        freezer = Freezer(net("v1", True)).outputs("out")
        model = freezer.bake({"is_training": False, "keep_prob": 0.5}).freeze()
        assert model.summary().operations["RandomUniform"] == 1

    def test_one_output_of_several(self):
        with tf.Graph().as_default() as graph:
            x = v1.placeholder(tf.float32, [4], name="x")
            left, right = tf.split(x, 2, name="split")
            tf.add(left, right, name="out")
        freezer = Freezer(graph.as_graph_def()).outputs("out")
        second = freezer.bake({"split:1": [1, 2]}).freeze()
        np.testing.assert_array_equal(second.run("out", {"x": [10, 20, 30, 40]}), [11, 22])
        first = freezer.bake({"split": [1, 2]}).freeze()
        np.testing.assert_array_equal(first.run("out", {"x": [10, 20, 30, 40]}), [31, 42])

    def test_a_case_is_one_branch(self):
        with tf.Graph().as_default() as graph:
            x = v1.placeholder(tf.float32, [], name="x")
            which = v1.placeholder(tf.int32, [], name="which")
            branches = [lambda: x + 1.0, lambda: x * 2.0, lambda: x - 3.0]
            tf.identity(tf.switch_case(which, branches), name="out")
        for value, expected in ((0, 11), (1, 20), (2, 7), (9, 7), (-1, 7), (-2, 7)):
            model = Freezer(graph.as_graph_def()).bake({"which": value}).outputs("out").freeze()
            assert model.run("out", {"x": 10}) == expected
            assert not model.graph.functions
