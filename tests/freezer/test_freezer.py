from __future__ import annotations

import os
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compat import v1

import tfpersist as tfp
from tfpersist.errors import (
    ArgumentError,
    FreezeError,
    NameNotFoundError,
    StorageError,
    TargetError,
)
from tfpersist.freezer.freezer import Freezer
from tfpersist.frozen.model import FrozenModel


def weights(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def variable(name, value, kind="resource"):
    return v1.get_variable(name, initializer=tf.constant(value), use_resource=kind == "resource")


def initialized(graph):
    session = v1.Session(graph=graph)
    with graph.as_default():
        session.run(v1.global_variables_initializer())
    return session


@pytest.fixture
def net():
    """A session: y = x @ net/w + net/b, and counter beside it."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (None, 40), name="x")
        y = x @ variable("net/w", weights(40, 30)) + variable("net/b", weights(30), "ref")
        tf.add(y, variable("counter", np.float32(3)), name="y")
        tf.split(y, 3, axis=1, name="parts")
    with initialized(graph) as session:
        yield session


class TestChoosing:
    def test_steps_return_changed_copies(self):
        freezer = Freezer("runs/mnist")
        assert freezer.outputs("a") != freezer
        assert freezer == Freezer("runs/mnist")

    @pytest.mark.parametrize("step", ["outputs", "inputs", "only_variables", "keep_variables"])
    @pytest.mark.parametrize(
        "wrong", [None, 3, 1.5, "", b"y", [None], ["y", ""], np.ones(2), tf.constant([1.0])]
    )
    def test_what_is_no_name_is_refused_at_once(self, step, wrong):
        with pytest.raises(ArgumentError, match=rf"^{step}\(\): .* expected .*, got .*\. .*\.$"):
            getattr(Freezer("nowhere"), step)(wrong)

    @pytest.mark.parametrize("wrong", [None, 3, "", b"y", ["y"]])
    def test_what_is_no_name_of_a_placeholder_s_source(self, wrong):
        with pytest.raises(ArgumentError, match=r"^inputs\(\): .* expected"):
            Freezer("nowhere").inputs(x=wrong)

    @pytest.mark.parametrize("step", ["bake", "parity"])
    @pytest.mark.parametrize("wrong", [None, 3, "x", ["x"], {None: 1}, {3: 1}, {"": 1}])
    def test_what_is_no_dict_of_values_is_refused_at_once(self, step, wrong):
        with pytest.raises(ArgumentError, match=rf"^{step}\(\): .* expected .*, got "):
            getattr(Freezer("nowhere"), step)(wrong)

    @pytest.mark.parametrize("wrong", [None, 3, 1.15, "", "1.14", [], np.ones(2)])
    def test_what_is_no_form_of_weights_is_refused_at_once(self, wrong):
        said = r"^weights\(\): .* expected 'float16' or 'int8', got "
        with pytest.raises(ArgumentError, match=said):
            Freezer("nowhere").weights(wrong)

    @pytest.mark.parametrize("wrong", [None, 3, 1.15, "", "1.14", [], np.ones(2)])
    def test_what_is_no_target_is_refused_at_once(self, wrong):
        with pytest.raises(
            FreezeError, match=r"expected '1\.15' or '2\.4' or 'openvino' or 'onnx'"
        ):
            Freezer("nowhere").portable(wrong)

    @pytest.mark.parametrize("step", ["signature", "tags"])
    @pytest.mark.parametrize("wrong", [None, 3, "", ["serve"]])
    def test_what_is_no_text_is_refused_at_once(self, step, wrong):
        with pytest.raises(ArgumentError, match=rf"^{step}\(\): .* expected a name, got "):
            getattr(Freezer("nowhere"), step)(wrong)

    def test_names_may_come_in_lists(self, net):
        named = Freezer(net).outputs("y", "parts:1").inputs("x").keep_variables("counter")
        listed = Freezer(net).outputs(["y", "parts:1"]).inputs(("x",)).keep_variables({"counter"})
        assert named == listed
        assert Freezer(net).outputs(iter(["y"]), "x") == Freezer(net).outputs("y", "x")
        only = Freezer(net).only_variables("net/w", "net/b")
        assert Freezer(net).only_variables(["net/w", "net/b"]) == only
        assert only._options.only == ("net/w", "net/b")
        tensor, held = net.graph.get_tensor_by_name("y:0"), net.graph.get_collection("variables")[0]
        assert Freezer(net).outputs([tensor]) == Freezer(net).outputs("y:0")
        assert Freezer(net).keep_variables([held])._options.keep[0] is held

    def test_an_unknown_output_names_its_neighbours(self, net):
        with pytest.raises(NameNotFoundError, match="parts"):
            Freezer(net).outputs("part:1").freeze()
        with pytest.raises(NameNotFoundError, match="3 outputs"):
            Freezer(net).outputs("parts:3").freeze()

    def test_no_outputs_lists_the_likely_ones(self, net):
        with pytest.raises(FreezeError, match=r"y:0 float32\[\?,30\].*parts:0"):
            Freezer(net).freeze()
        with pytest.raises(FreezeError) as caught:
            Freezer(v1.GraphDef()).freeze()
        assert str(caught.value).endswith("Name them: Freezer(...).outputs(...).")

    def test_outputs_are_those_asked_for_in_that_order(self, tmp_path):
        """Though one feeds another, one is an input and one a variable."""
        graph = tf.Graph()
        with graph.as_default():
            x = v1.placeholder(tf.float32, [None, 3], name="x")
            w = v1.get_variable("w", initializer=tf.ones([3, 2]))
            tf.nn.relu(tf.matmul(x, w, name="mid"), name="last")
        asked = ("last", "mid", "w", "x", "w/Read/ReadVariableOp")
        with v1.Session(graph=graph) as session:
            session.run(w.initializer)
            Freezer(session).outputs(*asked).write(tmp_path / "m.pb")
        model = FrozenModel.load(tmp_path / "m.pb")
        assert [str(ref) for ref in model.outputs] == [
            "last:0 float32[?,2]",
            "mid:0 float32[?,2]",
            "w:0 float32[3,2]",
            "x:0 float32[?,3]",
            "w/Read/ReadVariableOp:0 float32[3,2]",
        ]
        assert model.summary().outputs == model.outputs
        x = np.ones((4, 3), np.float32)
        shapes = [(4, 2), (4, 2), (3, 2), (4, 3), (3, 2)]
        found = model.bind()(x)
        assert [each.shape for each in found] == shapes
        assert not np.shares_memory(found[3], x)
        assert [each.shape for each in model.as_module()(x)] == shapes
        made = model.import_into(tf.Graph(), {"x": x})
        assert list(made) == [ref.name for ref in model.outputs]

    def test_outputs_may_be_tensors(self, net):
        y = net.graph.get_tensor_by_name("parts:1")
        x = weights(2, 40)
        model = Freezer(net).outputs(y).freeze()
        np.testing.assert_allclose(model.run("parts:1", {"x:0": x}), net.run(y, {"x:0": x}), 1e-5)

    @pytest.mark.parametrize("step", ["keep_variables", "only_variables"])
    def test_an_unknown_variable_names_its_neighbours(self, net, step):
        with pytest.raises(NameNotFoundError, match="'net/w'"):
            getattr(Freezer(net).outputs("y"), step)("net/v").freeze()

    def test_kept_variables_stay_variables(self, net):
        proto = Freezer(net).outputs("y").keep_variables("net/w:0").freeze().graph.proto
        ops = {node.name: node.op for node in proto.node}
        assert ops["net/w"] == "VarHandleOp"
        assert (ops["net/b"], ops["counter"]) == ("Const", "Const")
        assert "ReadVariableOp" in ops.values()

    def test_only_these_become_constants(self, net):
        w = next(op for op in net.graph.get_operations() if op.name == "net/w")
        for names in (("net/*",), (w, "net/b")):
            proto = Freezer(net).outputs("y").only_variables(*names).freeze().graph.proto
            ops = {node.name: node.op for node in proto.node}
            assert (ops["net/w"], ops["net/b"]) == ("Const", "Const")
            assert ops["counter"] == "VarHandleOp"

    def test_a_partitioned_variable_goes_by_its_name(self):
        with tf.Graph().as_default() as graph:
            whole = v1.get_variable(
                "parts", (10, 3), partitioner=v1.fixed_size_partitioner(2), use_resource=True
            )
            tf.identity(tf.convert_to_tensor(whole), name="y")
        with initialized(graph) as session:
            proto = Freezer(session).outputs("y").keep_variables("parts").freeze().graph.proto
        kept = [node.name for node in proto.node if node.op == "VarHandleOp"]
        assert kept == ["parts/part_0", "parts/part_1"]


class TestResult:
    def test_training_on_does_not_change_a_frozen_model(self, net):
        model = Freezer(net).outputs("y").freeze()
        x = weights(2, 40)
        before = model.run("y:0", {"x:0": x})
        initial = next(op for op in net.graph.get_operations() if op.type == "AssignVariableOp")
        net.run(initial, {initial.inputs[1]: np.zeros((40, 30), np.float32)})
        again = FrozenModel(model.graph).run("y:0", {"x:0": x})
        np.testing.assert_array_equal(before, again)

    def test_same_source_same_bytes(self, net, tmp_path):
        Freezer(net).outputs("y").write(tmp_path / "a.pb")
        Freezer(net).outputs("y:0").freeze().write(tmp_path / "b.pb")
        assert (tmp_path / "a.pb").read_bytes() == (tmp_path / "b.pb").read_bytes()

    def test_same_function_same_bytes_in_any_process(self, fresh, tmp_path):
        script = """
            import sys
            import tensorflow as tf
            from tfpersist.freezer.freezer import Freezer

            for number in range(int(sys.argv[2])):
                tf.function(lambda x: x + number)(1)
            w = tf.Variable(tf.reshape(tf.range(400.), (20, 20)), name="w")

            table = tf.lookup.experimental.MutableHashTable(tf.string, tf.float32, [0.0] * 20)
            for key in sorted(range(30), reverse=int(sys.argv[2])):
                table.insert([str(key)], [[key] * 20])

            def step(row, x):
                more = tf.reduce_sum(x) > 0
                return row + 1, tf.cond(more, lambda: x @ w, lambda: x - tf.gather(w, row))

            @tf.function
            def inner(x):
                return tf.while_loop(lambda row, x: row < 3, step, (0, x))[1]

            @tf.function(input_signature=[tf.TensorSpec((20, 20), name="x")])
            def outer(x):
                return inner(x) + inner(x + 1) + table.lookup(["3", "40"])[:1]

            Freezer(outer).write(sys.argv[1])
        """
        for name, count in (("a.pb", 0), ("b.pb", 7)):
            fresh(script, tmp_path / name, count)
        assert (tmp_path / "a.pb").read_bytes() == (tmp_path / "b.pb").read_bytes()

    def test_it_says_nothing_of_where_it_was_made(self, net):
        x, w = net.graph.get_tensor_by_name("x:0"), net.graph.get_operation_by_name("net/w")
        place = tf.device("/job:worker/task:1")
        with net.graph.as_default(), place, v1.colocate_with(w):
            tf.matmul(x, tf.zeros((40, 2)), name="z")
        proto = Freezer(net).outputs("z").freeze().graph.proto
        ops = sorted(node.op for node in proto.node)
        assert ops == ["Const", "MatMul", "Placeholder"]
        for node in proto.node:
            assert not node.device
            assert "_class" not in node.attr
            assert "grad_a" not in node.attr
        assert proto.versions.producer > 1000

    def test_only_reachable_functions_stay(self):
        with tf.Graph().as_default() as graph:
            limit = tf.function(lambda y: tf.while_loop(lambda z: z < 2, lambda z: z + 1.0, [y]))
            used = tf.function(lambda x: limit(x)[0] * 2.0)
            unused = tf.function(lambda x: x - 1.0)
            tf.identity(used(tf.constant(1.0)), name="y")
            unused(tf.constant(1.0))
        with v1.Session(graph=graph) as session:
            model = Freezer(session).outputs("y").freeze()
        assert len(model.graph.functions) == 2
        assert model.run("y:0") == 4

    def test_freezing_again_changes_nothing(self, net, tmp_path):
        model = Freezer(net).outputs("y").write(tmp_path / "a.pb")
        Freezer(model).outputs("y").write(tmp_path / "b.pb")
        Freezer(str(tmp_path / "a.pb")).outputs("y").write(tmp_path / "c.pb")
        files = [(tmp_path / name).read_bytes() for name in ("a.pb", "b.pb", "c.pb")]
        assert files[0] == files[1] == files[2]

    def test_a_graph_def(self, net, tmp_path):
        model = Freezer(net).outputs("y").write(tmp_path / "m.pb")
        proto = v1.GraphDef.FromString((tmp_path / "m.pb").read_bytes())
        assert Freezer(proto).outputs("y").freeze().graph == model.graph
        raw = net.graph.as_graph_def()
        with pytest.raises(FreezeError, match=r"variable net/w.*no value"):
            Freezer(raw).outputs("y").freeze()

    def test_two_frozen_models_share_a_graph(self, tmp_path):
        def make(factor):
            inner = tf.function(lambda x: tf.cond(x > 0, lambda: x * factor, lambda: x))
            return tf.function(inner, input_signature=[tf.TensorSpec((), name="x")])

        with tf.Graph().as_default() as graph:
            for number, factor in enumerate((2.0, 3.0)):
                Freezer(make(factor)).write(tmp_path / "m.pb")
                proto = v1.GraphDef.FromString((tmp_path / "m.pb").read_bytes())
                v1.import_graph_def(proto, name=f"m{number}")
        with v1.Session(graph=graph) as session:
            feeds = {"m0/x:0": 1.0, "m1/x:0": 1.0}
            assert session.run(["m0/Identity:0", "m1/Identity:0"], feeds) == [2, 3]

    def test_the_user_s_graph_is_left_alone(self, net):
        net.graph.finalize()
        before = net.graph.as_graph_def()
        Freezer(net).outputs("y").freeze()
        assert net.graph.as_graph_def() == before

    def test_a_monitored_session(self, net):
        graph = net.graph
        with graph.as_default(), v1.train.MonitoredTrainingSession() as session:
            x = weights(2, 40)
            model = Freezer(session).outputs("y").freeze()
            np.testing.assert_allclose(
                model.run("y:0", {"x:0": x}), session.run("y:0", {"x:0": x}), 1e-5
            )

    def test_nothing_is_left_of_a_failed_write(self, net, tmp_path):
        with net.graph.as_default():
            late = variable("late", np.float32(1))
            tf.add(net.graph.get_tensor_by_name("y:0"), late, name="sum")
        with pytest.raises(FreezeError, match=r"variable late: the variable has no value yet"):
            Freezer(net).outputs("sum").write(tmp_path / "m.pb")
        assert list(tmp_path.iterdir()) == []

    def test_a_missing_folder_is_made_and_a_bad_one_refused(self, net, tmp_path):
        model = Freezer(net).outputs("y").write(tmp_path / "new" / "m.pb")
        assert model["y"].name == "y:0"
        (tmp_path / "file").write_text("")
        with pytest.raises(StorageError):
            Freezer(net).outputs("y").write(tmp_path / "file" / "m.pb")

    def test_it_agrees_with_tensorflow_s_own_freezer(self, net, tmp_path):
        theirs = v1.graph_util.convert_variables_to_constants(net, net.graph.as_graph_def(), ["y"])
        Freezer(net).outputs("y").write(tmp_path / "m.pb")
        ours = v1.GraphDef.FromString((tmp_path / "m.pb").read_bytes())
        values = [
            {n.name: tf.make_ndarray(n.attr["value"].tensor) for n in g.node if n.op == "Const"}
            for g in (theirs, ours)
        ]
        assert set(values[1]) == set(values[0])
        for name, value in values[0].items():
            np.testing.assert_array_equal(values[1][name], value)

    def test_it_agrees_with_tensorflow_s_freezer_of_functions(self, tmp_path):
        from tensorflow.python.framework.convert_to_constants import (
            convert_variables_to_constants_v2,
        )

        w = tf.Variable(weights(30, 30))

        @tf.function(input_signature=[tf.TensorSpec((None, 30), name="x")])
        def predict(x):
            return tf.while_loop(lambda i, h: i < 3, lambda i, h: (i + 1, h @ w), (0, x))[1]

        x = tf.constant(weights(2, 30))
        theirs = convert_variables_to_constants_v2(predict.get_concrete_function())
        model = Freezer(predict).write(tmp_path / "m.pb")
        np.testing.assert_allclose(model.run("Identity:0", {"x:0": x}), theirs(x)[0], 1e-4)


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
    def test_something_else(self, source):
        with pytest.raises(TargetError, match="cannot be frozen"):
            Freezer(source).outputs("y").freeze()

    def test_a_function_of_unknown_inputs(self):
        with pytest.raises(TargetError, match="input_signature"):
            Freezer(tf.function(lambda x: x + 1)).freeze()


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
