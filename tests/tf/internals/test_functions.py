"""Functions are listed, registered and traced as TensorFlow does it."""

from __future__ import annotations

import tensorflow as tf
from tensorflow.core.framework import function_pb2
from tensorflow.python.eager import context

from tfpersist.tf.internals.functions import definitions, note_use, register, traces_of, unconverted


def test_a_function_has_one_trace_for_each_signature():
    double = tf.function(lambda x: x + x)
    assert traces_of(double) == []
    for value in ([1.0], [2.0], [1.0, 2.0]):
        double(tf.constant(value))
    assert len(traces_of(double)) == 2


def test_names_of_inputs_make_no_other_signature():
    double = tf.function(lambda x: x + x)
    double.get_concrete_function(tf.TensorSpec([2]))
    double.get_concrete_function(tf.TensorSpec([2], name="named"))
    assert len(traces_of(double)) == 1


def test_a_function_that_creates_variables_uses_its_second_trace():
    class Net(tf.Module):
        @tf.function
        def __call__(self, x):
            if not hasattr(self, "w"):
                self.w = tf.Variable(2.0)
            return x * self.w

    net = Net()
    net(tf.constant(1.0))
    (trace,) = traces_of(net.__call__)
    assert float(trace(tf.constant(3.0))) == 6


def test_the_functions_of_a_graph_are_listed():
    concrete = tf.function(lambda x: x + 1.0).get_concrete_function(tf.TensorSpec([]))
    graph = tf.Graph()
    with graph.as_default():
        concrete.add_to_graph(graph)
    names = {function.signature.name for function in definitions(graph)}
    assert names == {function.signature.name for function in graph.as_graph_def().library.function}
    assert len(names) >= 1


def test_the_eager_context_has_a_registered_function():
    library = function_pb2.FunctionDefLibrary()
    function = library.function.add()
    function.signature.name = "registered_in_this_test"
    function.signature.output_arg.add(name="y", type=tf.int32.as_datatype_enum)
    node = function.node_def.add(name="c", op="Const")
    node.attr["dtype"].type = tf.int32.as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(7))
    function.ret["y"] = "c:output:0"
    for _ in range(2):  # a name that is registered is no error
        register(library)
    assert context.context().has_function("registered_in_this_test")
    assert not context.context().has_function("never_registered")


def test_a_use_is_noted_only_while_a_function_is_traced():
    variable = tf.Variable(1.0)

    @tf.function
    def traced():
        note_use(variable)
        return tf.constant(1.0)

    assert traced.get_concrete_function().graph.variables == (variable,)
    with tf.Graph().as_default():
        note_use(variable)


def test_autograph_leaves_a_function_as_it_is(capfd):
    @unconverted
    def branch(x):
        return x if isinstance(x, tf.Tensor) else None

    assert branch.autograph_info__ == {}
    assert float(tf.function(branch)(tf.constant(2.0))) == 2
    assert "AutoGraph" not in "".join(capfd.readouterr())
