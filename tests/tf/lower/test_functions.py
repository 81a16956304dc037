"""A tf.function or a ConcreteFunction becomes a graph with its variables."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfpersist.errors import TargetError
from tfpersist.freezer.freezer import Freezer
from tfpersist.tf.lower.live_model import lower_live_model


def weights(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_variables_keep_their_names_and_arguments_too():
    w, w2 = tf.Variable(weights(3, 2), name="kernel"), tf.Variable(weights(2), name="kernel")
    scale = tf.constant(weights(400))

    @tf.function(input_signature=[tf.TensorSpec((None, 3), name="batch")])
    def predict(batch):
        return tf.reduce_sum(scale) * (batch @ w + w2)

    lowered = lower_live_model(predict)
    assert lowered.inputs == ("batch:0",)
    assert lowered.outputs == ("Identity:0",)
    assert list(lowered.variables) == ["kernel", "kernel_1"]
    assert {lowered.graph.nodes[name].op for name in lowered.variables} == {"VarHandleOp"}
    assert len(lowered.graph.payloads) == 1
    np.testing.assert_array_equal(lowered.variables["kernel"].load(), w.numpy())


def test_a_called_function_is_frozen_for_its_arguments(tmp_path):
    class Net(tf.Module):
        @tf.function
        def __call__(self, x, factor=2.0):
            if not hasattr(self, "w"):
                self.w = tf.Variable([3.0, 4.0])
            return {"y": x["a"] * self.w * factor}

    net = Net()
    with pytest.raises(TargetError, match=r"inputs of this tf\.function are not known.*Call"):
        Freezer(net.__call__).freeze()
    for _ in range(2):
        net({"a": tf.constant([1.0, 2.0])})
    tf.saved_model.save(net, str(tmp_path))
    for owner in (net, tf.saved_model.load(str(tmp_path))):
        model = Freezer(owner.__call__).parity({"a": [2.0, 1.0]}).freeze()
        assert model.run("y", {"a": [2.0, 1.0]}).tolist() == [12.0, 8.0]


def test_several_that_it_was_called_for():
    double = tf.function(lambda x, power=1: (x + x) ** power)
    for size in range(1, 10):
        double(tf.zeros(size), power=2)
    listed = r"got \(x: TensorSpec\(shape=\(1,\).*Literal\[2\]\);.* and 1 more\. Choose one"
    with pytest.raises(TargetError, match=listed):
        Freezer(double).freeze()
    chosen = double.get_concrete_function(tf.TensorSpec(3), power=2)
    assert Freezer(chosen).freeze().outputs[0].spec.shape == (3,)


def test_values_are_views_that_training_leaves_alone():
    v = tf.Variable(weights(300))
    lowered = lower_live_model(tf.function(lambda: v * 2.0, input_signature=[]))
    array = lowered.variables["Variable"].load()
    before = array.copy()
    v.assign(v * 0.0)
    np.testing.assert_array_equal(array, before)
    assert not lowered.variables["Variable"].load().any()


def test_dicts_tell_what_their_tensors_are_called():
    v = tf.Variable([1.0, 2.0])
    rest = {"k": tf.TensorSpec(()), "more": [tf.TensorSpec(())]}

    @tf.function(input_signature=[tf.TensorSpec((None, 2), name="x"), rest])
    def f(x, d):
        return {"b": [x + 1.0, d["more"][0]], "a": x * v * d["k"]}

    model = Freezer(f).freeze()
    assert str(model.signature) == (
        "x = x:0, k = d:0, more_0 = d_1:0 -> a = Identity:0, b_0 = Identity_1:0, b_1 = Identity_2:0"
    )
    feeds = {"x": [[1.0, 1.0]], "k": 3.0, "more_0": 7.0}
    found = model.run({"first": "a", "last": "b_1"}, feeds)
    assert found["first"].tolist() == [[3.0, 6.0]]
    assert found["last"] == 7.0
    assert [each.shape for each in model.bind()([[1.0, 1.0]], 3.0, 7.0)] == [(1, 2), (1, 2), ()]
    assert Freezer(f).outputs("b_0").freeze().run("b_0", {"x": [[1.0, 1.0]]}).tolist() == [
        [2.0, 2.0]
    ]


def test_an_error_of_the_function_itself_is_reported():
    @tf.function(input_signature=[tf.TensorSpec((2,))])
    def f(x):
        return tf.reshape(x, [3])

    with pytest.raises(TargetError, match="Cannot reshape a tensor with 2 elements"):
        lower_live_model(f)


def test_a_concrete_function():
    v = tf.Variable(2.0)
    concrete = tf.function(lambda x: x * v).get_concrete_function(tf.TensorSpec((), name="x"))
    assert Freezer(concrete).freeze().run("Identity:0", {"x:0": 3.0}) == 6


def test_kept_variables_become_handles_of_their_names():
    v, w = tf.Variable(2.0, name="v"), tf.Variable(3.0, name="w")
    double = tf.function(lambda: v * w, input_signature=[])
    proto = Freezer(double).keep_variables(v).freeze().graph.proto
    ops = {node.name: node for node in proto.node}
    assert ops["v"].op == "VarHandleOp"
    assert ops["v"].attr["shared_name"].s == b"v"
    assert ops["w"].op == "Const"


def test_variables_of_one_name_get_different_names():
    import keras

    a, b = tf.Variable(2.0, name="v"), tf.Variable(3.0, name="v")
    product = tf.function(lambda: a - b, input_signature=[])
    for chosen, names in ((a, {"v": "VarHandleOp", "v_1": "Const"}),
                          (b, {"v": "Const", "v_1": "VarHandleOp"})):  # fmt: skip
        proto = Freezer(product).keep_variables(chosen).freeze().graph.proto
        assert {n.name: n.op for n in proto.node if n.name in names} == names
    layer = keras.layers.Dense(2, name="d")
    layer.build((None, 3))
    call = tf.function(layer, input_signature=[tf.TensorSpec((None, 3))])
    for chosen in (layer.bias, layer.bias.path):
        proto = Freezer(call).keep_variables(chosen).freeze().graph.proto
        kept = [node.name for node in proto.node if node.op == "VarHandleOp"]
        assert kept == ["d/bias"]


def test_variables_that_are_gone():
    class Net(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(1.0)

        @tf.function(input_signature=[])
        def __call__(self):
            return self.w + 1.0

    net = Net()
    call = net.__call__
    concrete = call.get_concrete_function()
    del net
    try:
        understood = bool(lower_live_model(concrete).variables)
    except TargetError as error:
        understood = "Keep a reference to the object that owns them" in str(error)
    assert understood


def test_bodies_keep_other_arguments():
    v = tf.Variable(weights(3))

    @tf.function
    def inner(x, flag):
        return tf.cond(flag, lambda: x + v, lambda: x - tf.gather(v, [0]))

    @tf.function(input_signature=[tf.TensorSpec((3,), name="x"), tf.TensorSpec((), tf.bool)])
    def outer(x, flag):
        return inner(x, flag) * inner(x, tf.logical_not(flag))

    model = Freezer(outer).freeze()
    kinds = {
        arg.type
        for function in model.graph.functions.values()
        for arg in function.signature.input_arg
    }
    assert tf.resource.as_datatype_enum not in kinds
    x = weights(3, seed=4)
    result = model.run("Identity:0", {"x:0": x, "flag:0": True})
    np.testing.assert_allclose(result, outer(x, tf.constant(True)), 1e-6)
