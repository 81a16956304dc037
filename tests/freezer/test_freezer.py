from __future__ import annotations

import typing

import drafts
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compat import v1

from tfpersist.errors import (
    ArgumentError,
    FeedError,
    FreezeError,
    GraphError,
    NameNotFoundError,
    RunError,
    StorageError,
)
from tfpersist.formats.graphdef import parse_text
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
    def test_a_value_that_is_not_a_name_is_refused_at_once(self, step, wrong):
        with pytest.raises(ArgumentError, match=rf"^{step}\(\): .* expected .*, got .*\. .*\.$"):
            getattr(Freezer("nowhere"), step)(wrong)

    @pytest.mark.parametrize("wrong", [None, 3, "", b"y", ["y"]])
    def test_inputs_that_are_not_names_are_refused(self, wrong):
        with pytest.raises(ArgumentError, match=r"^inputs\(\): .* expected"):
            Freezer("nowhere").inputs(x=wrong)

    @pytest.mark.parametrize("step", ["bake", "parity"])
    @pytest.mark.parametrize("wrong", [None, 3, "x", ["x"], {None: 1}, {3: 1}, {"": 1}])
    def test_a_value_that_is_not_a_dict_is_refused_at_once(self, step, wrong):
        with pytest.raises(ArgumentError, match=rf"^{step}\(\): .* expected .*, got "):
            getattr(Freezer("nowhere"), step)(wrong)

    @pytest.mark.parametrize("wrong", [None, 3, 1.15, "", "1.14", [], np.ones(2)])
    def test_an_unknown_form_of_weights_is_refused_at_once(self, wrong):
        said = r"^weights\(\): .* expected 'float16' or 'int8', got "
        with pytest.raises(ArgumentError, match=said):
            Freezer("nowhere").weights(wrong)

    @pytest.mark.parametrize("wrong", [None, 3, 1.15, "", "1.3", [], np.ones(2)])
    def test_an_unknown_target_is_refused_at_once(self, wrong):
        with pytest.raises(
            FreezeError,
            match=r"expected '1\.4' to '1\.15', '2\.4', 'openvino' or 'onnx' or 'opencv'",
        ):
            Freezer("nowhere").portable(wrong)

    @pytest.mark.parametrize("step", ["signature", "tags"])
    @pytest.mark.parametrize("wrong", [None, 3, "", ["serve"]])
    def test_a_value_that_is_not_a_string_is_refused_at_once(self, step, wrong):
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

    def test_outputs_are_in_the_requested_order(self, tmp_path):
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

    def test_a_partitioned_variable_is_named_as_a_whole(self):
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

    def test_a_frozen_file_names_no_machine_or_folder(self, net):
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

    def test_a_failed_write_leaves_no_file(self, net, tmp_path):
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


def test_a_check_lists_what_portable_would_refuse():
    text = drafts.placeholder("x")
    text += drafts.node("y", "XlaSharding", "x", T="type: DT_FLOAT")
    freezer = Freezer(parse_text(text.encode()).proto).outputs("y")
    for asked in (freezer, freezer.portable("1.15"), freezer.portable("openvino")):
        assert [blocker.node for blocker in asked.check("1.15").blockers] == ["y"]
    with pytest.raises(FreezeError, match="XlaSharding"):
        freezer.portable("1.15").freeze()


def test_a_tensor_inside_of_a_session_has_its_shape():
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (None, 4), name="x")
        hidden = tf.matmul(x, variable("w", weights(4, 3)), name="hidden")
        tf.nn.relu(hidden, name="y")
    with initialized(graph) as session:
        freezer = Freezer(session).outputs("y")
        model = freezer.inputs("hidden").freeze()
        assert [str(ref) for ref in model.inputs] == ["hidden:0 float32[?,3]"]
        with pytest.raises(FeedError, match=r"hidden:0.*float32\[\?,3\].*\[2,2\]"):
            freezer.bake({"hidden": np.zeros((2, 2), np.float32)}).freeze()


class Step(tf.Module):
    """A step of a recurrent network: `state` is an input and an output."""

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, 3), name="x"),
            tf.TensorSpec((None, 3), name="state"),
        ]
    )
    def step(self, x, state):
        state = tf.tanh(x + state)
        return {"y": tf.reduce_sum(state, 1), "state": state, "x": x}


class TestANameOfAnInputAndAnOutput:
    FEEDS: typing.ClassVar = {
        "x": np.ones((1, 3), np.float32),
        "state": np.full((1, 3), 9.0, np.float32),
    }

    @pytest.fixture(params=["function", "saved", "frozen", "written"])
    def model(self, request, tmp_path):
        step = Step()
        if request.param == "function":
            return Freezer(step.step).freeze()
        tf.saved_model.save(step, str(tmp_path / "s"), signatures=step.step)
        if request.param == "saved":
            return Freezer(tmp_path / "s").freeze()
        if request.param == "written":
            return Freezer(tmp_path / "s").optimize().write(tmp_path / "m.pb")
        return Freezer(Freezer(tmp_path / "s").freeze()).freeze()

    @pytest.fixture
    def want(self):
        return {name: value.numpy() for name, value in Step().step(**self.FEEDS).items()}

    def test_run_bind_and_embed(self, model, want):
        for name, value in want.items():
            np.testing.assert_allclose(model.run(name, self.FEEDS), value, 1e-6)
            bound = model.bind(["x", "state"], {"it": name})
            np.testing.assert_allclose(bound(*self.FEEDS.values())["it"], value, 1e-6)
        module = model.as_module(["state", "x"], ["state", "y"])
        state, y = module(self.FEEDS["state"], self.FEEDS["x"])
        np.testing.assert_allclose(state, want["state"], 1e-6)
        np.testing.assert_allclose(y, want["y"], 1e-6)

        @tf.function
        def imported(x, state):
            return model.import_into(inputs={"x": x, "state": state}, outputs=["state"])

        [state] = imported(**self.FEEDS).values()
        np.testing.assert_allclose(state, want["state"], 1e-6)
        assert set(model.signature.inputs) == {"x", "state"}
        assert set(model.signature.outputs) == {"x", "y", "state"}
        assert "state" in model

    def test_freeze_again_with_other_ends(self, model, want):
        again = Freezer(model).outputs("state", "x").inputs("x", h="state").freeze()
        feeds = {"x": self.FEEDS["x"], "h": self.FEEDS["state"]}
        np.testing.assert_allclose(again.run("state", feeds), want["state"], 1e-6)
        np.testing.assert_allclose(again.run("x", feeds), want["x"], 1e-6)
        baked = Freezer(model).bake({"state": self.FEEDS["state"]}).freeze()
        np.testing.assert_allclose(baked.run("state", {"x": self.FEEDS["x"]}), want["state"], 1e-6)
        tested = Freezer(model).parity(self.FEEDS, 1e-5).freeze()
        assert tested.verify().ok

    @pytest.mark.parametrize("kind", ["function", "saved"])
    def test_a_source_itself_has_both(self, kind, want, tmp_path):
        step = Step()
        source = step.step
        if kind == "saved":
            source = tmp_path
            tf.saved_model.save(step, str(tmp_path), signatures=step.step)
        baked = Freezer(source).bake({"x": self.FEEDS["x"]}).freeze()
        feeds = {"state": self.FEEDS["state"]}
        np.testing.assert_allclose(baked.run("state", feeds), want["state"], 1e-6)
        np.testing.assert_allclose(baked.run("x", feeds), want["x"], 1e-6)
        renamed = Freezer(source).outputs("x", "state").inputs("state", given="x").freeze()
        feeds["given"] = self.FEEDS["x"]
        for name in ("x", "state"):
            np.testing.assert_allclose(renamed.run(name, feeds), want[name], 1e-6)
        Freezer(source).parity(self.FEEDS, 1e-5).freeze().verify()


def spec(name):
    return tf.TensorSpec((None, 3), name=name)


class TestNamesOfInnerOperations:
    def test_an_output_goes_before_an_operation(self):
        @tf.function(input_signature=[spec("x")])
        def function(x):
            prob = tf.sigmoid(x, name="prob")
            return {"prob": tf.round(prob * 100)}

        x = np.float32([[0.3, 0.1, -2]])
        want = function(tf.constant(x))["prob"]
        for model in (
            Freezer(function).freeze(),
            Freezer(function).outputs("prob").freeze(),
            Freezer(function).outputs("prob").parity({"x": x}, 0.0).freeze(),
        ):
            assert np.array_equal(model.run("prob", {"x": x}), want)
            np.testing.assert_allclose(model.run("prob:0", {"x": x}), tf.sigmoid(x), 1e-6)
            with pytest.raises(NameNotFoundError, match=r"'prob' may mean the output .*'prob:0'"):
                model.run("prob", {"prob": x})

    def test_an_input_goes_before_an_operation(self):
        @tf.function(input_signature=[tf.TensorSpec((None, 3), name="in")])
        def function(x):
            return {"y": tf.identity(x * 2.0, name="x") + 1.0}

        graph = Freezer(function).freeze()
        assert {"in", "x"} <= set(graph.graph.nodes)
        value = np.ones((1, 3), np.float32)
        labelled = Freezer(graph.graph).outputs("y").freeze()
        assert labelled.run("x", {"in": value}).tolist() == [[2.0] * 3]


class TestInputsThatNothingUses:
    @pytest.fixture(params=["function", "saved"])
    def source(self, request, tmp_path):
        root = tf.Module()

        @tf.function(input_signature=[spec("unused"), spec("x")])
        def function(unused, x):
            return {"y": x * 2.0}

        root.function = function
        if request.param == "function":
            return function
        tf.saved_model.save(root, str(tmp_path), signatures=function)
        return tmp_path

    def test_they_may_be_fed(self, source):
        x = np.ones((1, 3), np.float32)
        for freezer in (Freezer(source), Freezer(source).optimize()):
            model = freezer.freeze()
            assert set(model.signature.inputs) == {"unused", "x"}
            assert np.array_equal(model.run("y", {"x": x, "unused": x}), x * 2)
            assert np.array_equal(model.run("y", {"x": x}), x * 2)
            assert np.array_equal(model.bind(["unused", "x"])(x, x), x * 2)
            assert np.array_equal(model.as_layer(["unused", "x"], "y")([x, x]), x * 2)
            assert set(Freezer(model).freeze().signature.inputs) == {"unused", "x"}
        model = Freezer(source).parity({"x": x, "unused": x}, 0.0).freeze()
        assert model.verify().ok

    def test_only_what_named_outputs_need_is_there(self, source):
        assert set(Freezer(source).outputs("y").freeze().signature.inputs) == {"x"}


class TestOperationsWithoutOutputs:
    def test_a_group_is_run(self, tmp_path):
        with tf.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [], name="x")
            y = tf.multiply(x, 2.0, name="y")
            check = tf.debugging.assert_positive(y, message="must be positive")
            tf.group(y, check, name="checked")
            tf.no_op(name="nothing")
            model = Freezer(session).outputs("y", "checked", "nothing").freeze()
            alone = Freezer(session).outputs("checked").write(tmp_path / "g.pb")
        assert model.run(["y", "checked", "nothing"], {"x": 2.0}) == [4.0, None, None]
        assert [ref.name for ref in model.outputs] == ["y:0"]
        assert model.bind()(2.0) == 4.0
        assert alone.run("checked", {"x": 2.0}) is None
        assert alone.outputs == ()
        for each in (model, alone):
            with pytest.raises(RunError):
                each.run("checked", {"x": -2.0})


def old_batch_norm(producer):
    """A graph of an op that TensorFlow has removed in version 9."""
    with tf.Graph().as_default() as graph:
        v1.placeholder(tf.float32, (None, 2, 2, 3), name="x")
        for name, number in zip("mvbg", (1.0, 4.0, 0.5, 2.0), strict=True):
            tf.constant([number] * 3, tf.float32, name=name)
    proto = graph.as_graph_def()
    node = proto.node.add(name="y", op="BatchNormWithGlobalNormalization", input="xmvbg")
    node.attr["T"].type = tf.float32.as_datatype_enum
    node.attr["variance_epsilon"].f = 0.0
    node.attr["scale_after_normalization"].b = True
    proto.versions.producer = producer
    return proto


def test_an_op_that_tensorflow_has_removed(tmp_path):
    path = tmp_path / "m.pb"
    path.write_bytes(old_batch_norm(producer=8).SerializeToString())
    frozen = Freezer(path).outputs("y").write(tmp_path / "frozen.pb")
    assert (
        frozen.run("y", {"x": np.full((1, 2, 2, 3), 3, np.float32)})[0, 0, 0].tolist() == [2.5] * 3
    )

    newer = old_batch_norm(producer=9)
    path.write_bytes(newer.SerializeToString())
    with pytest.raises(tf.errors.UnimplementedError, match="removed in version 9") as theirs:
        tf.graph_util.import_graph_def(newer)
    with pytest.raises(FreezeError, match=r"node y .* before 9, got version 9") as ours:
        Freezer(path).outputs("y").freeze()
    assert ours.value.advice.removeprefix("TensorFlow says: ") in str(theirs.value)
    with pytest.raises(GraphError, match="removed in version 9"):
        FrozenModel.load(path).run("y", {"x": np.ones((1, 2, 2, 3), np.float32)})
