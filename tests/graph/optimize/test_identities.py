"""Arithmetic that changes nothing goes, and the control inputs of a graph keep their effect."""

import contextlib
import math

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compat import v1

from tfpersist.errors import RunError
from tfpersist.formats.graphdef import parse_text
from tfpersist.freezer.freezer import Freezer
from tfpersist.graph.optimize.dead_branches import remove_dead_branches

KERNEL = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


@contextlib.contextmanager
def flow(version):
    (v1.enable_control_flow_v2 if version == 2 else v1.disable_control_flow_v2)()
    try:
        yield
    finally:
        v1.enable_control_flow_v2()


def folded(x):
    return x + tf.constant([1.0, 2.0, 3.0]) * tf.constant(2.0)


def branch(version):
    def build(x):
        with flow(version):
            return v1.cond(tf.constant(True), lambda: x * 2.0, lambda: x * 3.0)

    return build


def which(x):
    with flow(1):
        return v1.cond(tf.constant(False), lambda: tf.constant([1.0]), lambda: tf.constant([2.0]))


def select(x):
    return tf.raw_ops.Select(condition=tf.constant(True), x=x, y=tf.zeros_like(x))


def normalized(x):
    ones = [np.linspace(0.5, 2, 4, dtype=np.float32) for _ in range(4)]
    image = tf.reshape(x, (1, 1, 1, 3))
    hidden = tf.nn.conv2d(image, KERNEL[None, None], 1, "SAME")
    return v1.nn.fused_batch_norm(hidden, *ones, is_training=False)[0]


FORMS = {
    "product": lambda x: x * 1.0,
    "product the other way": lambda x: 1.0 * x,
    "quotient": lambda x: x / 1.0,
    "sum": lambda x: x + 0.0,
    "If": branch(2),
    "Switch": branch(1),
    "branches of constants": which,
    "Case": lambda x: tf.switch_case(tf.constant(1), [lambda: x, lambda: x * 2.0]),
    "SelectV2": lambda x: tf.where(tf.constant(True), x, 0.0),
    "Select": select,
    "identity": tf.identity,
    "constants": folded,
    "product of constants": lambda x: tf.constant(2.0) * 3.0,
    "dropout": lambda x: v1.nn.dropout(x, rate=tf.constant(0.0)),
    "normalization": normalized,
    "product with channels": lambda x: (x[None] @ KERNEL) * tf.constant([1.0, 2.0, 3.0, 4.0]),
}


def built(form, kind):
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [3], name="x")
        factor = v1.placeholder(tf.float32, [], name="factor")
        count = v1.get_variable("count", initializer=0.0)
        waited = count.assign_add(1.0) if kind == "assign" else None
        if waited is None:
            waited = tf.raw_ops.Assert(condition=tf.reduce_all(x > 0), data=[x])
        with tf.control_dependencies([waited]):
            y = FORMS[form](x)
        tf.multiply(y, factor, name="y")
        with tf.control_dependencies([y]):
            tf.identity(count.read_value(), name="after")
        session = v1.Session(graph=graph)
        session.run(count.initializer)
    return session


def steps(freezer, how):
    return freezer.bake({"factor": 2.0}) if how == "bake" else freezer.optimize()


@pytest.mark.parametrize("how", ["bake", "optimize"])
@pytest.mark.parametrize("form", FORMS)
class TestControlInputs:
    def test_an_assertion_still_fails(self, form, how):
        freezer = Freezer(built(form, "assert")).outputs("y")
        model = steps(freezer, how).freeze()
        feeds = {"factor": 2.0} if how == "optimize" else {}
        needed = {ref.operation for ref in model.inputs}
        assert "x" in needed
        model.run("y", {"x": [1.0, 2.0, 3.0], **feeds})
        with pytest.raises(RunError, match="ssert"):
            model.run("y", {"x": [-1.0, 2.0, 3.0], **feeds})

    def test_a_variable_is_still_written(self, form, how):
        freezer = Freezer(built(form, "assign")).outputs("y", "after").keep_variables("count")
        model = steps(freezer, how).freeze()
        given = {"x": [1.0, 2.0, 3.0], "factor": 2.0}
        feeds = {ref.operation: given[ref.operation] for ref in model.inputs}
        assert [float(model.run("after", feeds)) for _ in range(3)] == [1.0, 2.0, 3.0]


def test_control_inputs_of_a_mask_stay():
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None], name="x")
        keep = v1.placeholder(tf.float32, [], name="keep")
        ways = [tf.raw_ops.Assert(condition=x[i] > 0, data=[tf.constant(i)]) for i in range(5)]
        with tf.control_dependencies(ways[:1]):
            same = tf.identity(x)
        with tf.control_dependencies(ways[1:2]):
            shape = tf.shape(same)
        with tf.control_dependencies(ways[2:3]):
            drawn = tf.random.uniform(shape)
        with tf.control_dependencies(ways[3:4]):
            mask = tf.floor(keep + drawn)
        with tf.control_dependencies(ways[4:]):
            tf.multiply(x / keep, mask, name="y")
    model = Freezer(graph.as_graph_def()).outputs("y").bake({"keep": 1.0}).freeze()
    assert "RandomUniform" not in model.summary().operations
    np.testing.assert_array_equal(model.run("y", {"x": np.ones(5)}), np.ones(5))
    for place in range(5):
        x = np.ones(5)
        x[place] = -math.pi
        with pytest.raises(RunError, match="ssert"):
            model.run("y", {"x": x})


def test_a_control_input_is_there_once():
    nodes = remove_dead_branches(
        parse_text(
            b"""
            node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
            node { name: "wait" op: "NoOp" }
            node { name: "one" op: "Const" input: "^wait"
              attr { key: "dtype" value { type: DT_FLOAT } }
              attr { key: "value" value { tensor {
                dtype: DT_FLOAT tensor_shape {} float_val: 1 } } } }
            node { name: "y" op: "Mul" input: "x" input: "one" input: "^wait"
              attr { key: "T" value { type: DT_FLOAT } } }"""
        )
    ).nodes
    assert (nodes["y"].op, *nodes["y"].input) == ("Identity", "x", "^wait")


NODE = 'node { name: "%s" op: "%s" %s attr { key: "%s" value { type: %s } } } '
CONST = """node { name: "%s" op: "Const" attr { key: "dtype" value { type: DT_FLOAT } }
  attr { key: "value" value { tensor {
    dtype: DT_FLOAT tensor_shape { %s } float_val: %s } } } } """
X = NODE % ("x", "Placeholder", "", "dtype", "DT_FLOAT")


def node(name, op, *inputs, kind="DT_FLOAT"):
    return NODE % (name, op, " ".join(f'input: "{text}"' for text in inputs), "T", kind)


def op_of_y(*nodes):
    """Return the op of node y after dead branches and identities are removed."""
    return remove_dead_branches(parse_text("".join(nodes).encode())).nodes["y"].op


RANDOM = (
    node("shape", "Shape", "x")
    + """node { name: "u" op: "RandomUniform" input: "shape"
      attr { key: "dtype" value { type: DT_FLOAT } }
      attr { key: "T" value { type: DT_INT32 } } } """
)


class TestArithmetic:
    """Only what does not change its input, whatever that is, becomes an Identity."""

    @pytest.mark.parametrize(
        ("op", "inputs", "dims", "expected"),
        [
            ("Mul", ("x", "one"), "", "Identity"),
            ("Mul", ("one", "x"), "", "Identity"),
            ("RealDiv", ("x", "one"), "", "Identity"),
            ("RealDiv", ("one", "x"), "", "RealDiv"),
            ("Add", ("x", "one"), "", "Add"),
            ("Mul", ("x", "one"), "dim { size: 3 }", "Mul"),
        ],
    )
    def test_a_factor_of_one(self, op, inputs, dims, expected):
        assert op_of_y(X, CONST % ("one", dims, "1"), node("y", op, *inputs)) == expected

    @pytest.mark.parametrize(
        ("terms", "expected"),
        [
            (("1",), "Identity"),
            (("0.5", "0.5"), "Mul"),
            (("0.5",), "Mul"),
            (("0", "1"), "Identity"),
        ],
    )
    def test_a_mask_that_is_rounded_down(self, terms, expected):
        """The largest random number plus a half is rounded up: with two halves it is 2, not 1."""
        sums = ["u"]
        nodes = X + RANDOM
        for number, term in enumerate(terms):
            nodes += CONST % (f"c{number}", "", term)
            nodes += node(f"s{number}", "Add", sums[-1], f"c{number}")
            sums.append(f"s{number}")
        nodes += node("floor", "Floor", sums[-1])
        assert op_of_y(nodes, node("y", "Mul", "x", "floor")) == expected

    @pytest.mark.parametrize(
        ("inputs", "rate", "expected"),
        [
            (("u", "rate"), "0", "Identity"),
            (("u", "rate"), "0.1", "Mul"),
            (("rate", "u"), "0", "Mul"),
        ],
    )
    def test_a_mask_that_is_compared(self, inputs, rate, expected):
        nodes = X + RANDOM + CONST % ("rate", "", rate) + node("kept", "GreaterEqual", *inputs)
        nodes += """node { name: "mask" op: "Cast" input: "kept"
          attr { key: "SrcT" value { type: DT_BOOL } }
          attr { key: "DstT" value { type: DT_FLOAT } } } """
        assert op_of_y(nodes, node("y", "Mul", "x", "mask")) == expected


def training(form, version):
    """Build a graph with a tensor that switches training on, in one of the ways that people use."""
    with flow(version), tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 3], name="x")
        steps = v1.get_variable("steps", initializer=3)
        mean = v1.get_variable("mean", initializer=np.float32([1, 2, 3]))

        def chosen(train, value):
            return v1.cond(
                train,
                lambda: value + tf.cast(v1.assign_add(mean, [1.0] * 3), tf.float32),
                lambda: value - mean,
            )

        if form == "mode":
            mode = v1.placeholder(tf.string, [], name="mode")
            y = chosen(tf.equal(mode, "train"), x)
        elif form == "loop":
            train = v1.placeholder(tf.bool, [], name="mode")
            y = v1.while_loop(
                lambda i, _: i < 3,
                lambda i, h: (i + 1, chosen(train, h)),
                [0, x],
                shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, 3])],
            )[1]
        else:
            train = v1.placeholder(tf.bool, [], name="mode")
            y = chosen(tf.logical_and(train, steps > 2), x)
            if form == "or":
                y = chosen(~tf.logical_or(tf.less(steps, 2), ~train), x)
        tf.identity(y, name="y")
        session = v1.Session(graph=graph)
        session.run([steps.initializer, mean.initializer])
    return session


@pytest.mark.parametrize(
    ("form", "version"),
    [(f, v) for f in ("mode", "and", "or", "loop") for v in (1, 2) if (f, v) != ("loop", 2)],
)
def test_training_branches_are_removed_for_every_switch(form, version):
    session = training(form, version)
    value = b"eval" if form == "mode" else False
    x = np.ones((2, 3), np.float32)
    expected = session.run("y:0", {"x:0": x, "mode:0": value})
    model = Freezer(session).outputs("y").bake({"mode": value}).freeze()
    assert not {"AssignAdd", "AssignAddVariableOp", "If", "Assign"} & {*model.summary().operations}
    np.testing.assert_array_equal(model.run("y", {"x": x}), expected)


@pytest.mark.parametrize("how", ["keep_prob", "rate", "rate of a branch"])
@pytest.mark.parametrize("layer", [tf.identity, tf.nn.relu])
@pytest.mark.parametrize("shape", [(2, 3), (None, 3)])
def test_a_dropout_that_keeps_everything_goes(how, layer, shape):
    with tf.Graph().as_default() as graph:
        x = layer(v1.placeholder(tf.float32, shape, name="x"))
        asked = v1.placeholder(tf.bool if "branch" in how else tf.float32, [], name="asked")
        if how == "keep_prob":
            y = v1.nn.dropout(x, keep_prob=asked)
        else:
            y = tf.nn.dropout(x, tf.cond(asked, lambda: 0.5, lambda: 0.0) if "br" in how else asked)
        tf.identity(y, name="y")
    value = {"keep_prob": 1.0, "rate": 0.0}.get(how, False)
    model = Freezer(graph.as_graph_def()).outputs("y").bake({"asked": value}).optimize().freeze()
    assert {"Placeholder", "Relu", "Identity", "Const"} >= {*model.summary().operations}
    np.testing.assert_array_equal(model.run("y", {"x": np.ones((2, 3))}), np.ones((2, 3)))


def test_a_dropout_in_a_loop_goes():
    with flow(1), tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 3], name="x")
        keep = v1.placeholder(tf.float32, [], name="keep")
        loop = v1.while_loop(
            lambda i, _: i < 3,
            lambda i, h: (i + 1, tf.tanh(v1.nn.dropout(h, keep_prob=keep)) @ np.eye(3, dtype="f")),
            [0, x],
            shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, 3])],
        )
        tf.identity(loop[1], name="y")
    x = np.float32([[0.1, 0.2, -0.3]])
    model = Freezer(graph.as_graph_def()).outputs("y").bake({"keep": 1.0}).freeze()
    assert not {"RandomUniform", "Floor", "SelectV2"} & {*model.summary().operations}
    np.testing.assert_allclose(model.run("y", {"x": x}), np.tanh(np.tanh(np.tanh(x))), rtol=1e-6)
