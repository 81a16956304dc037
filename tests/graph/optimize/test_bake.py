"""Fixed inputs: what is cut away, what stays, and that a plain TensorFlow computes the same."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compat import v1

from tfpersist.errors import FeedError, NameNotFoundError
from tfpersist.formats.graphdef import parse_text
from tfpersist.freezer.freezer import Freezer
from tfpersist.graph.optimize.dead_branches import remove_dead_branches

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
        model = Freezer(graph.as_graph_def()).bake({"split:1": [1, 2]}).outputs("out").freeze()
        np.testing.assert_array_equal(model.run("out", {"x": [10, 20, 30, 40]}), [11, 22])

    def test_a_case_is_one_branch(self):
        with tf.Graph().as_default() as graph:
            x = v1.placeholder(tf.float32, [], name="x")
            which = v1.placeholder(tf.int32, [], name="which")
            branches = [lambda: x + 1.0, lambda: x * 2.0, lambda: x - 3.0]
            tf.identity(tf.switch_case(which, branches), name="out")
        for value, expected in ((0, 11), (1, 20), (2, 7), (9, 7), (-1, 7)):
            model = Freezer(graph.as_graph_def()).bake({"which": value}).outputs("out").freeze()
            assert model.run("out", {"x": 10}) == expected
            assert not model.graph.functions


def node(name, op, *inputs, **attrs):
    lines = "".join(f' attr {{ key: "{key}" value {{ {text} }} }}' for key, text in attrs.items())
    return (
        f"node {{ name: {json.dumps(name)} op: {json.dumps(op)}"
        + "".join(f" input: {json.dumps(one)}" for one in inputs)
        + f"{lines} }}\n"
    )


FLOAT = {"T": "type: DT_FLOAT"}
TRUE = node(
    "p",
    "Const",
    dtype="type: DT_BOOL",
    value="tensor { dtype: DT_BOOL tensor_shape {} bool_val: true }",
)
ONE = node(
    "one",
    "Const",
    dtype="type: DT_FLOAT",
    value="tensor { dtype: DT_FLOAT tensor_shape {} float_val: 1 }",
)
X = node("x", "Placeholder", dtype="type: DT_FLOAT")


def decided(*nodes):
    return {
        each.name: (each.op, *each.input)
        for each in remove_dead_branches(parse_text("".join(nodes).encode())).proto.node
    }


class TestDecisions:
    def test_a_merge_tells_which_branch_it_was(self):
        found = decided(
            TRUE,
            X,
            node("s", "Switch", "x", "p", **FLOAT),
            node("a", "Neg", "s", **FLOAT),
            node("b", "Abs", "s:1", **FLOAT),
            node("m", "Merge", "a", "b", **FLOAT),
            node("which", "Neg", "m:1", T="type: DT_INT32"),
            node("after", "NoOp", "^a"),
        )
        assert found["m"] == ("Identity", "b")
        assert found["which"] == ("Neg", "m/value_index")
        assert found["m/value_index"] == ("Const", "^m")
        assert not {"a", "after"} & set(found)

    def test_a_loop_in_a_branch_never_taken_goes_as_a_whole(self):
        found = decided(
            TRUE,
            X,
            node("s", "Switch", "x", "p", **FLOAT),
            node("enter", "Enter", "s", **FLOAT),
            node("turn", "Merge", "enter", "next", **FLOAT),
            node("on", "LoopCond", "asks"),
            node("asks", "Less", "turn", "turn", **FLOAT),
            node("loop", "Switch", "turn", "on", **FLOAT),
            node("next", "NextIteration", "loop:1", **FLOAT),
            node("exit", "Exit", "loop", **FLOAT),
            node("m", "Merge", "exit", "s:1", **FLOAT),
        )
        assert set(found) == {"p", "x", "s", "m"}

    def test_a_living_loop_stays(self):
        loop = (
            X,
            node("enter", "Enter", "x", **FLOAT),
            node("turn", "Merge", "enter", "next", **FLOAT),
            node("on", "LoopCond", "asks"),
            node("asks", "Less", "turn", "turn", **FLOAT),
            node("loop", "Switch", "turn", "on", **FLOAT),
            node("next", "NextIteration", "loop:1", **FLOAT),
            node("exit", "Exit", "loop", **FLOAT),
        )
        assert decided(*loop)["turn"] == ("Merge", "enter", "next")
        assert len(decided(*loop)) == len(loop)

    def test_the_dropout_of_old_releases(self):
        nodes = (
            X,
            ONE,
            node("shape", "Shape", "x", **FLOAT),
            node("u", "RandomUniform", "shape", dtype="type: DT_FLOAT", T="type: DT_INT32"),
            node("sum", "Add", "one", "u", **FLOAT),
            node("floor", "Floor", "sum", **FLOAT),
            node("scaled", "RealDiv", "x", "one", **FLOAT),
            node("y", "Mul", "scaled", "floor", **FLOAT),
        )
        assert decided(*nodes)["y"] == ("Identity", "scaled")
        assert decided(*nodes)["scaled"] == ("Identity", "x")

    def test_a_mask_of_another_shape_stays(self):
        found = decided(
            X,
            ONE,
            node("other", "Placeholder", dtype="type: DT_FLOAT"),
            node("shape", "Shape", "other", **FLOAT),
            node("u", "RandomUniform", "shape", dtype="type: DT_FLOAT", T="type: DT_INT32"),
            node("sum", "Add", "one", "u", **FLOAT),
            node("floor", "Floor", "sum", **FLOAT),
            node("y", "Mul", "x", "floor", **FLOAT),
        )
        assert found["y"] == ("Mul", "x", "floor")

    def test_the_graph_is_left_alone(self):
        graph = parse_text((TRUE + node("n", "LogicalNot", "p")).encode())
        before = graph.proto.SerializeToString(deterministic=True)
        assert remove_dead_branches(graph).nodes["n"].op == "Const"
        assert graph.proto.SerializeToString(deterministic=True) == before
