from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compat import v1

from tfpersist.errors import FreezeError, TargetError
from tfpersist.freezer.freezer import Freezer
from tfpersist.tf.lower.functions import lower


def weights(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class TestFunctions:
    def test_variables_keep_their_names_and_arguments_too(self):
        w, w2 = tf.Variable(weights(3, 2), name="kernel"), tf.Variable(weights(2), name="kernel")
        scale = tf.constant(weights(400))

        @tf.function(input_signature=[tf.TensorSpec((None, 3), name="batch")])
        def predict(batch):
            return tf.reduce_sum(scale) * (batch @ w + w2)

        lowered = lower(predict)
        assert lowered.inputs == ("batch:0",)
        assert lowered.outputs == ("Identity:0",)
        assert list(lowered.variables) == ["kernel", "kernel_1"]
        assert {lowered.graph.nodes[name].op for name in lowered.variables} == {"VarHandleOp"}
        assert len(lowered.graph.payloads) == 1
        np.testing.assert_array_equal(lowered.variables["kernel"].load(), w.numpy())

    def test_what_it_was_called_for(self, tmp_path):
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

    def test_several_that_it_was_called_for(self):
        double = tf.function(lambda x, power=1: (x + x) ** power)
        for size in range(1, 10):
            double(tf.zeros(size), power=2)
        listed = r"got \(x: TensorSpec\(shape=\(1,\).*Literal\[2\]\);.* and 1 more\. Choose one"
        with pytest.raises(TargetError, match=listed):
            Freezer(double).freeze()
        chosen = double.get_concrete_function(tf.TensorSpec(3), power=2)
        assert Freezer(chosen).freeze().outputs[0].spec.shape == (3,)

    def test_values_are_views_that_training_leaves_alone(self):
        v = tf.Variable(weights(300))
        lowered = lower(tf.function(lambda: v * 2.0, input_signature=[]))
        array = lowered.variables["Variable"].load()
        before = array.copy()
        v.assign(v * 0.0)
        np.testing.assert_array_equal(array, before)
        assert not lowered.variables["Variable"].load().any()

    def test_dicts_tell_what_their_tensors_are_called(self):
        v = tf.Variable([1.0, 2.0])
        rest = {"k": tf.TensorSpec(()), "more": [tf.TensorSpec(())]}

        @tf.function(input_signature=[tf.TensorSpec((None, 2), name="x"), rest])
        def f(x, d):
            return {"b": [x + 1.0, d["more"][0]], "a": x * v * d["k"]}

        model = Freezer(f).freeze()
        assert str(model.signature) == (
            "x = x:0, k = d:0, more_0 = d_1:0 -> a = Identity:0, b_0 = Identity_1:0,"
            " b_1 = Identity_2:0"
        )
        feeds = {"x": [[1.0, 1.0]], "k": 3.0, "more_0": 7.0}
        found = model.run({"first": "a", "last": "b_1"}, feeds)
        assert found["first"].tolist() == [[3.0, 6.0]]
        assert found["last"] == 7.0
        assert [each.shape for each in model.bind()([[1.0, 1.0]], 3.0, 7.0)] == [(1, 2), (1, 2), ()]
        assert Freezer(f).outputs("b_0").freeze().run("b_0", {"x": [[1.0, 1.0]]}).tolist() == [
            [2.0, 2.0]
        ]

    def test_an_error_of_the_function_itself_is_told(self):
        @tf.function(input_signature=[tf.TensorSpec((2,))])
        def f(x):
            return tf.reshape(x, [3])

        with pytest.raises(TargetError, match="Cannot reshape a tensor with 2 elements"):
            lower(f)

    def test_a_concrete_function(self):
        v = tf.Variable(2.0)
        concrete = tf.function(lambda x: x * v).get_concrete_function(tf.TensorSpec((), name="x"))
        assert Freezer(concrete).freeze().run("Identity:0", {"x:0": 3.0}) == 6

    def test_kept_variables_become_handles_of_their_names(self):
        v, w = tf.Variable(2.0, name="v"), tf.Variable(3.0, name="w")
        double = tf.function(lambda: v * w, input_signature=[])
        proto = Freezer(double).keep_variables(v).freeze().graph.proto
        ops = {node.name: node for node in proto.node}
        assert ops["v"].op == "VarHandleOp"
        assert ops["v"].attr["shared_name"].s == b"v"
        assert ops["w"].op == "Const"

    def test_variables_of_one_name_are_told_apart(self):
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

    def test_variables_that_are_gone(self):
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
            understood = bool(lower(concrete).variables)
        except TargetError as error:
            understood = "Keep the object that owns them alive" in str(error)
        assert understood

    def test_bodies_keep_other_arguments(self):
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


class TestKeras:
    def build(self):
        import keras

        return keras

    def test_names_of_inputs_and_outputs(self):
        keras = self.build()
        image, other = keras.Input((4,), name="image"), keras.Input((4,))
        y = keras.layers.Dense(2, name="head")(keras.layers.Add()([image, other]))
        z = keras.layers.Dense(3, name="tail")(image)
        lowered = lower(keras.Model([image, other], [y, z]))
        assert lowered.inputs == ("image:0", "input:0")
        assert lowered.outputs == ("head:0", "tail:0")
        assert "head/kernel" in lowered.variables
        lowered = lower(keras.Model({"a": image, "b": other}, {"q": y, "p": z}))
        assert lowered.outputs == ("p:0", "q:0")

    def test_an_output_keeps_its_name_when_frozen(self):
        keras = self.build()
        layers = [keras.Input((4,), name="x"), keras.layers.Dense(2, name="y")]
        model = keras.Sequential(layers)
        frozen = Freezer(model).freeze()
        assert [ref.name for ref in frozen.inputs] == ["x:0"]
        assert [ref.name for ref in frozen.outputs] == ["y:0"]
        x = weights(3, 4)
        np.testing.assert_allclose(frozen.run("y:0", {"x:0": x}), model(x), 1e-6)

    def test_inputs_and_outputs_are_in_the_order_of_the_model(self):
        import keras

        i, j = keras.Input((3,), name="zz"), keras.Input((2,), name="aa")
        hidden = keras.layers.Dense(2, name="hidden")(i)
        total = keras.layers.Add(name="total")([hidden, j])
        net = keras.Model([i, j], [total, hidden])
        model = Freezer(net).freeze()
        values = np.ones((1, 3), np.float32), np.ones((1, 2), np.float32)
        for made in (model, Freezer(model).freeze(), Freezer(model).outputs("total").freeze()):
            assert [ref.name for ref in made.inputs] == ["zz:0", "aa:0"]
            assert made.outputs[0].name == "total:0"
        for found, wanted in zip(model.bind()(*values), net(values), strict=True):
            np.testing.assert_allclose(found, wanted)

    def test_a_layer_whose_name_tensorflow_refuses(self):
        import keras

        x = keras.Input((3,))
        net = keras.Model(x, keras.layers.ReLU(name="é")(x))
        with pytest.raises(TargetError, match=r"^'é' is not a valid scope name"):
            lower(net)

    def test_a_model_that_does_not_tell_its_inputs(self):
        keras = self.build()

        class Net(keras.Model):
            def call(self, x):
                return x

        with pytest.raises(TargetError, match="get_concrete_function"):
            lower(Net())


class TestSessions:
    def test_small_variables_are_fetched_together(self):
        with tf.Graph().as_default() as graph:
            parts = [v1.get_variable(f"v{i}", initializer=float(i)) for i in range(20)]
            big = v1.get_variable("big", initializer=tf.zeros((600, 600)))
            tf.add(tf.add_n(parts), tf.reduce_sum(big), name="y")
            init = v1.global_variables_initializer()
        runs = []

        class Counting(v1.Session):
            def run(self, *arguments, **facts):
                runs.append(arguments)
                return super().run(*arguments, **facts)

        with Counting(graph=graph) as session:
            session.run(init)
            runs.clear()
            model = Freezer(session).outputs("y").freeze()
        assert len(runs) == 2
        assert model.run("y:0") == sum(range(20))

    def test_one_variable_without_a_value_is_the_one_that_is_named(self):
        with tf.Graph().as_default() as graph:
            parts = [v1.get_variable(f"v{i}", initializer=float(i)) for i in range(5)]
            tf.add_n(parts, name="y")
        with v1.Session(graph=graph) as session:
            session.run([v.initializer for v in parts if v.op.name != "v3"])
            with pytest.raises(FreezeError, match="variable v3: the variable has no value yet"):
                Freezer(session).outputs("y").freeze()

    def test_a_shape_that_the_graph_leaves_open_is_asked_for(self):
        for resource in (True, False):
            with tf.Graph().as_default() as graph:
                start = v1.placeholder_with_default(weights(3, 2), (None, 2))
                v = v1.get_variable(
                    "v", initializer=start, validate_shape=False, use_resource=resource
                )
                tf.identity(v, name="y")
            with v1.Session(graph=graph) as session:
                session.run(v.initializer)
                model = Freezer(session).outputs("y").freeze()
                np.testing.assert_array_equal(model.run("y:0"), weights(3, 2))

    def test_a_variable_that_is_read_nowhere(self):
        with tf.Graph().as_default() as graph:
            handle = tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=(2,), shared_name="v")
            tf.raw_ops.ResourceGather(resource=handle, indices=[1], dtype=tf.float32, name="y")
        with v1.Session(graph=graph) as session, pytest.raises(FreezeError, match="nowhere"):
            Freezer(session).outputs("y").freeze()
