"""Functions that become nodes: the same results, the same effects, in the same order."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compat import v1

from tfpersist.errors import GraphError, RunError
from tfpersist.formats.graphdef import parse_text, split
from tfpersist.freezer.freezer import Freezer
from tfpersist.frozen.model import FrozenModel
from tfpersist.graph.optimize.inline import inline

X = tf.TensorSpec([3], name="x")


def calls(model):
    bodies = [model.graph.proto.node, *(each.node_def for each in model.graph.functions.values())]
    return [n.op for body in bodies for n in body if n.op.endswith("PartitionedCall")]


def graph_of(function):
    return split(function.get_concrete_function().graph.as_graph_def().SerializeToString())


def same(function, x):
    """Freeze a function; check that no call is left and that the results are the same."""
    model = Freezer(function).freeze()
    assert not calls(model)
    expected = tf.nest.flatten(function(tf.constant(x)))
    found = model.run(list(model.signature.outputs.values()), {"x": x})
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    return model


class TestCalls:
    def test_functions_in_functions(self):
        weights = [tf.Variable(np.full(3, value, np.float32)) for value in (2.0, 5.0)]

        @tf.function
        def inner(x, w):
            return tf.tanh(x * w), x + tf.constant([1.0, 2.0, 3.0])

        @tf.function
        def middle(x):
            one, two = inner(x, weights[0])
            return inner(one + two, weights[1])

        @tf.function(input_signature=[X])
        def outer(x):
            first, second = middle(x)
            return first - middle(second)[1]

        model = same(outer, np.float32([0.1, -2, 3]))
        assert not model.graph.functions
        names = [node.name for node in model.graph.proto.node]
        assert "StatefulPartitionedCall/PartitionedCall/Tanh" in names or any(
            name.endswith("PartitionedCall/Tanh") for name in names
        )
        assert len(names) == len(set(names))

    def test_loops_and_branches_stay_functions(self):
        @tf.function
        def inner(x):
            for _ in tf.range(3):
                x = tf.cond(tf.reduce_sum(x) > 4, lambda x=x: x / 2.0, lambda x=x: x * 3.0)
            return x

        @tf.function(input_signature=[X])
        def outer(x):
            return inner(x) + 1.0

        model = same(outer, np.float32([0.1, 2, 3]))
        assert {"While", "StatelessWhile"} & {n.op for n in model.graph.proto.node}
        assert model.graph.functions

    def test_a_variable_read_and_gathered_in_functions(self):
        table = tf.Variable(np.arange(12, dtype=np.float32).reshape(4, 3))

        @tf.function
        def inner(x):
            return tf.nn.embedding_lookup(table, tf.constant([1, 3])) * x

        @tf.function(input_signature=[X])
        def outer(x):
            return inner(x) + inner(x + 1.0)

        same(outer, np.float32([1, 2, 3]))

    def test_a_large_constant_is_there_once(self):
        large = np.random.default_rng(0).normal(size=(600, 3)).astype(np.float32)

        @tf.function
        def inner(x):
            return tf.reduce_sum(tf.constant(large) * x, 0)

        @tf.function(input_signature=[X])
        def outer(x):
            return inner(inner(inner(x)))

        model = same(outer, np.float32([1, 2, 3]))
        assert [each.spec.nbytes for each in model.graph.payloads.values()] == [large.nbytes]

    def test_a_function_with_noinline_stays(self):
        @tf.function(experimental_attributes={"_noinline": True}, autograph=False)
        def inner(x):
            return x * 2.0

        @tf.function(input_signature=[X])
        def outer(x):
            return inner(x) + 1.0

        model = Freezer(outer).freeze()
        assert calls(model) == ["PartitionedCall"]
        np.testing.assert_array_equal(model.run(model.outputs[0], {"x": [1, 2, 3]}), [3, 5, 7])

    def test_compiled_functions_stay(self):
        inner = tf.function(lambda x: x * 2.0, jit_compile=True)
        outer = tf.function(lambda x: inner(x) + 1.0, input_signature=[X])
        assert len(calls(Freezer(outer).freeze())) == 1

    def test_names_of_outputs_stay(self, tmp_path):
        class Two(tf.Module):
            @tf.function(input_signature=[X])
            def __call__(self, x):
                return {"double": x * 2.0, "half": x / 2.0}

        module = Two()
        tf.saved_model.save(module, str(tmp_path / "two"))
        model = Freezer(tmp_path / "two").freeze()
        assert model.signature.outputs == {
            "double": "PartitionedCall:0",
            "half": "PartitionedCall:1",
        }
        assert not calls(model)
        assert [str(ref) for ref in model.outputs] == [
            "PartitionedCall:0 float32[3]",
            "PartitionedCall:1 float32[3]",
        ]
        double, half = model.run(
            ["PartitionedCall:0", "PartitionedCall:1"], {"serving_default_x": [2, 4, 6]}
        )
        np.testing.assert_array_equal((double, half), ([4, 8, 12], [1, 2, 3]))
        one = Freezer(tmp_path / "two").outputs("PartitionedCall:0").optimize().freeze()
        assert [n.op for n in one.graph.proto.node] == ["Placeholder", "Const", "Mul", "Identity"]

    def test_a_model_that_is_exported_and_optimized(self, tmp_path):
        net = tf.keras.Sequential(
            [
                tf.keras.Input((8, 8, 3)),
                tf.keras.layers.Conv2D(4, 3),
                tf.keras.layers.BatchNormalization(),
                tf.keras.layers.ReLU(),
            ]
        )
        net.export(str(tmp_path / "net"), verbose=False)
        model = Freezer(tmp_path / "net").optimize().freeze()
        ops = [node.op for node in model.graph.proto.node if node.op != "Const"]
        assert ops == ["Placeholder", "Conv2D", "BiasAdd", "Relu", "Identity"]
        image = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
        found = model.run(model.outputs[0], {model.inputs[0].name: image})
        np.testing.assert_allclose(found, net(image), atol=1e-5)


class TestEffects:
    def test_assertions_in_a_function_and_before_its_call(self):
        @tf.function
        def positive(x):
            tf.debugging.assert_positive(x)
            return tf.constant([1.0, 1.0, 1.0])

        @tf.function
        def plain(x):
            return x * 2.0, tf.constant(1.0), x

        @tf.function(input_signature=[X])
        def inside(x):
            return positive(x) + 1.0

        @tf.function(input_signature=[X])
        def before(x):
            with tf.control_dependencies([tf.raw_ops.Assert(condition=x[0] > 0, data=[x])]):
                return plain(x)

        for function in (inside, before):
            for freezer in (Freezer(function), Freezer(function).optimize()):
                model = freezer.freeze()
                assert not {op for op in calls(model) if op == "StatefulPartitionedCall"}
                for ref in model.outputs:
                    model.run(ref, {"x": [1, 1, 1]})
                    with pytest.raises(RunError, match=r"ssert|> 0"):
                        model.run(ref, {"x": [-1, 1, 1]})

    def test_writes_and_reads_in_their_order(self):
        count = tf.Variable(1.0, name="count")

        @tf.function
        def add(by):
            count.assign_add(by)

        @tf.function
        def read():
            return count * 1.0

        @tf.function
        def scale(by):
            before = count.read_value()
            count.assign(before * by)
            return before, count.read_value()

        @tf.function(input_signature=[tf.TensorSpec([], name="x")])
        def outer(x):
            add(x)
            one = read()
            two, three = scale(x + one)
            add(tf.constant(10.0))
            return one, two, three, read()

        fresh = [float(each) for each in outer(2.0)]
        count.assign(1.0)
        model = Freezer(outer).keep_variables("*").freeze()
        assert not calls(model)
        names = [ref.name for ref in model.outputs]
        assert [float(each) for each in model.run(names, {"x": 2.0})] == fresh
        again = [float(each) for each in outer(2.0)], [float(each) for each in outer(2.0)]
        assert [float(each) for each in model.run(names, {"x": 2.0})] == again[1]

    def test_a_call_in_a_branch_of_tensorflow_1(self):
        @tf.function
        def constant(x):
            del x
            return tf.constant(5.0)

        @tf.function
        def both(x, y):
            return x, y

        v1.disable_control_flow_v2()
        try:
            with tf.Graph().as_default() as graph:
                x = v1.placeholder(tf.float32, [], name="x")
                chosen = v1.cond(x > 0, lambda: constant(x), lambda: both(x, x * 2.0)[1])
                _, looped = v1.while_loop(
                    lambda i, _: i < 3,
                    lambda i, h: (i + 1, both(h + constant(h), h)[0]),
                    (0, chosen),
                )
                tf.identity(looped, name="y")
        finally:
            v1.enable_control_flow_v2()
        before = split(graph.as_graph_def().SerializeToString())
        after = inline(before)
        assert any("PartitionedCall" in node.op for node in before.proto.node)
        assert not any("PartitionedCall" in node.op for node in after.proto.node)
        # TensorFlow itself lets a constant of a call that is not reached come out of the branch.
        assert [float(FrozenModel(after).run("y", {"x": x})) for x in (1.0, -3.0)] == [20.0, 9.0]

    def test_loops_of_one_function_have_frames_of_their_own(self):
        v1.disable_control_flow_v2()
        try:
            with tf.Graph().as_default() as body:
                start = v1.placeholder(tf.float32, [], name="a")
                end = v1.while_loop(lambda h: h < 10.0, lambda h: h * 2.0, [start])
        finally:
            v1.enable_control_flow_v2()
        looped = function_def_from_graph(body, [start], [end], "looped")
        with tf.Graph().as_default() as graph:
            x = v1.placeholder(tf.float32, [], name="x")
            tf.add(x, x + 1.0, name="y")
        proto = graph.as_graph_def()
        for name, source in (("one", "x"), ("two", "add")):
            proto.node.add(name=name, op="looped", input=[source])
        proto.library.function.append(looped)
        (y,) = (node for node in proto.node if node.name == "y")
        y.input[:] = ["one", "two"]
        after = inline(split(proto.SerializeToString()))
        frames = {n.attr["frame_name"].s for n in after.proto.node if n.op == "Enter"}
        assert len(frames) == 2
        assert FrozenModel(after).run("y", {"x": 3.0}) == 12.0 + 16.0


def function_def_from_graph(graph, inputs, outputs, name):
    from tensorflow.python.framework import graph_to_function_def

    operations = [each for each in graph.get_operations() if each.type != "Placeholder"]
    found = graph_to_function_def.graph_to_function_def(graph, operations, inputs, outputs)
    found.signature.name = name
    return found


LIBRARY = b"""
library {
  function { signature { name: "deep" input_arg { name: "a" type: DT_FLOAT }
      output_arg { name: "b" type: DT_FLOAT } }
    node_def { name: "again" op: "deep" input: "a" } ret { key: "b" value: "again:b:0" } }
  function { signature { name: "any" attr { name: "T" type: "type" }
      input_arg { name: "a" type_attr: "T" } output_arg { name: "b" type_attr: "T" } }
    node_def { name: "n" op: "Neg" input: "a" input: "^a"
      attr { key: "T" value { placeholder: "T" } } }
    ret { key: "b" value: "n:y" } }
  function { signature { name: "lost" input_arg { name: "a" type: DT_FLOAT }
      output_arg { name: "b" type: DT_FLOAT } }
    node_def { name: "n" op: "Neg" input: "nowhere:y:0" attr { key: "T" value { type: DT_FLOAT } } }
    ret { key: "b" value: "n:y:0" } }
}
node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
"""


def chain_function(name, *ops):
    """Return the text of a function of one float that applies some ops, one after the other."""
    output = {"Neg": "y"}
    names = [f"n{index}" for index in range(len(ops))]
    sources = ["a", *(f"{n}:{output.get(op, 'b')}:0" for n, op in zip(names, ops, strict=True))]
    nodes = "".join(
        f"""node_def {{ name: "{n}" op: "{op}" input: "{source}"
          attr {{ key: "T" value {{ type: DT_FLOAT }} }} }}\n"""
        for n, op, source in zip(names, ops, sources, strict=False)
    )
    return f"""function {{ signature {{ name: "{name}" input_arg {{ name: "a" type: DT_FLOAT }}
      output_arg {{ name: "b" type: DT_FLOAT }} }}
      {nodes} ret {{ key: "b" value: "{sources[-1]}" }} }}\n""".encode()


class TestOddities:
    def test_a_function_that_calls_itself_stays(self):
        graph = parse_text(LIBRARY + b'node { name: "y" op: "deep" input: "x" }')
        found = inline(graph).nodes
        assert (found["y/again"].op, [*found["y/again"].input]) == ("deep", ["x"])

    @pytest.mark.parametrize("returned", ["a", "one:output:0"])
    def test_a_result_that_needs_no_work_waits_for_what_its_call_waits_for(self, returned):
        text = """
            node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
            node { name: "print" op: "PrintV2" input: "x" }
            node { name: "call" op: "give" input: "x" input: "^print" }
            node { name: "y" op: "Neg" input: "call" }
            library { function { signature { name: "give" input_arg { name: "a" type: DT_FLOAT }
                output_arg { name: "b" type: DT_FLOAT } }
              node_def { name: "one" op: "Const" attr { key: "dtype" value { type: DT_FLOAT } }
                attr { key: "value" value { tensor {
                  dtype: DT_FLOAT tensor_shape {} float_val: 1 } } } }
              ret { key: "b" value: "%s" } } }"""
        graph = inline(parse_text((text % returned).encode()))
        assert graph.nodes["y"].input == ["call"]
        assert [*graph.nodes["call"].input][1:] == ["^print"]
        assert graph.nodes["call"].op == "Identity"

    @pytest.mark.parametrize(
        ("waits", "wanted", "expected"),
        [
            (False, ["call:0"], ("Identity", "call/n")),
            (False, ["call"], ("Identity", "call/n")),
            (False, ["call:0", "call:1"], ("IdentityN", "call/n", "call/m")),
            (True, ["call:0"], ("IdentityN", "call/n", "call/m")),
        ],
    )
    def test_a_call_of_which_only_the_first_result_is_wanted(self, waits, wanted, expected):
        """A node that waits for the call waits for all that it computes."""
        text = """
            node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
            node { name: "call" op: "two" input: "x" } %s
            library { function { signature { name: "two" input_arg { name: "a" type: DT_FLOAT }
                output_arg { name: "b" type: DT_FLOAT } output_arg { name: "c" type: DT_FLOAT } }
              node_def { name: "n" op: "Neg" input: "a" attr { key: "T" value { type: DT_FLOAT } } }
              node_def { name: "m" op: "Abs" input: "a" attr { key: "T" value { type: DT_FLOAT } } }
              ret { key: "b" value: "n:y:0" } ret { key: "c" value: "m:y:0" } } }"""
        after = 'node { name: "after" op: "NoOp" input: "^call" }' if waits else ""
        call = inline(parse_text((text % after).encode()), wanted).nodes["call"]
        assert (call.op, *call.input) == expected

    def test_types_that_the_call_gives(self):
        graph = parse_text(
            LIBRARY
            + b"""node { name: "c" op: "any" input: "x" attr { key: "T" value { type: DT_FLOAT } } }
            node { name: "y" op: "Abs" input: "c:0" input: "^c" }
            node { name: "c/n" op: "NoOp" }"""
        )
        found = inline(graph).nodes
        assert [*found["c/n_1"].input] == ["x", "^x"]
        assert found["c/n_1"].attr["T"].type == 1
        assert [*found["y"].input] == ["c/n_1", "^c/n_1"]
        assert "c" not in found

    @pytest.mark.parametrize("op", ["VarHandleOp", "VariableV2", "HashTableV2"])
    def test_a_function_with_state_of_its_own_stays(self, op):
        """Values of variables and tables are known by the names of their nodes."""
        text = """
            node { name: "y" op: "own" input: "x" } node { name: "x" op: "Placeholder" }
            library { function { signature { name: "own" input_arg { name: "a" type: DT_FLOAT }
                output_arg { name: "b" type: DT_FLOAT } }
              node_def { name: "state" op: "%s" } ret { key: "b" value: "a" } } }"""
        graph = parse_text((text % op).encode())
        assert inline(graph) is graph

    @pytest.mark.parametrize("attr", ["_noinline", "_XlaMustCompile"])
    @pytest.mark.parametrize("value", [True, False])
    def test_a_call_that_is_to_stay_one(self, attr, value):
        graph = parse_text(
            LIBRARY.replace(b"library {", b"library {" + chain_function("f", "Neg"))
            + b'node { name: "y" op: "f" input: "x" }'
        )
        graph.nodes["y"].attr[attr].b = value
        assert [node.op for node in inline(graph).proto.node] == [
            "Placeholder",
            "f" if value else "Neg",
        ]

    def test_an_unset_type_attr(self):
        graph = parse_text(LIBRARY + b'node { name: "y" op: "any" input: "x" }')
        assert inline(graph) is graph

    def test_damaged_functions_and_calls_stay(self):
        graph = parse_text(
            LIBRARY
            + b"""node { name: "y" op: "lost" input: "x" } node { name: "z" op: "lost" }
            node { name: "w" op: "PartitionedCall" input: "x" }"""
        )
        assert inline(graph) is graph

    def test_functions_that_call_each_other_twice_do_not_fill_the_memory(self):
        """Inlined without a bound, this graph has 256 nodes of 1 MB."""
        functions = b"".join(chain_function(f"f{n}", *[f"f{n + 1}"] * 2) for n in range(8))
        graph = parse_text(
            LIBRARY.replace(b"library {", b"library {" + functions + chain_function("f8", "Neg"))
            + b'node { name: "y" op: "f0" input: "x" }'
        )
        (large,) = graph.functions["f8"].node_def
        large.attr["_note"].s = bytes(1 << 20)
        found = inline(graph)
        notes = [node for node in found.proto.node if "_note" in node.attr]
        assert len(notes) == 127
        assert {node.op for node in found.proto.node} == {"Placeholder", "Neg", "f8"}

    def test_calls_nested_more_than_64_deep_stay(self):
        functions = b"".join(chain_function(f"f{n}", f"f{n + 1}") for n in range(70))
        graph = parse_text(
            LIBRARY.replace(b"library {", b"library {" + functions + chain_function("f70", "Neg"))
            + b'node { name: "y" op: "f0" input: "x" }'
        )
        assert [node.op for node in inline(graph).proto.node] == ["Placeholder", "f64"]


@pytest.mark.parametrize("given", ["x", "lost"])
def test_an_edge_that_leads_nowhere_is_left_for_who_needs_it(given):
    text = """
        node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
        node { name: "call" op: "act" input: "%s" input: "^lost" }
        node { name: "y" op: "Neg" input: "x" input: "^call" }
        library { function {
          signature { name: "act" input_arg { name: "a" type: DT_FLOAT } is_stateful: true
            output_arg { name: "b" type: DT_FLOAT } }
          node_def { name: "print" op: "PrintV2" input: "a" }
          ret { key: "b" value: "a" } control_ret { key: "print" value: "print" } } }"""
    graph = inline(parse_text((text % given).encode()))
    assert [node.op for node in graph.proto.node if node.name.startswith("call")]
    with pytest.raises(GraphError, match="lost"):
        Freezer(graph).outputs("y").freeze()
