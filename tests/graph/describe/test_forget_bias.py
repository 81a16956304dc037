"""The forget biases of cells in graphs of TensorFlow 1."""

from __future__ import annotations

import pytest
import tensorflow as tf
from tf_keras.src.layers.rnn import legacy_cells

from tfpersist.errors import CorruptionError
from tfpersist.formats.graphdef import parse_text
from tfpersist.graph.describe.forget_bias import forget_biases

v1 = tf.compat.v1


def biases_of(build):
    """Return the forget biases of a graph of TensorFlow 1 with loops of that time."""
    with tf.Graph().as_default() as graph:
        v1.disable_control_flow_v2()
        try:
            build(v1.placeholder(tf.float32, [2, 5, 4]))
        finally:
            v1.enable_control_flow_v2()
        return forget_biases(graph.as_graph_def())


@pytest.mark.parametrize("resource", [True, False])
@pytest.mark.parametrize("kind", [legacy_cells.BasicLSTMCell, legacy_cells.LSTMCell])
def test_a_cell_in_a_loop(kind, resource):
    def build(x):
        for scope, value in (("one", 0.25), ("other", 0.0)):
            with v1.variable_scope(scope, use_resource=resource):
                v1.nn.dynamic_rnn(kind(3, forget_bias=value, name="cell"), x, dtype=tf.float32)

    assert biases_of(build) == {"one/rnn/cell/bias": 0.25, "other/rnn/cell/bias": 0.0}


def test_a_cell_step_by_step():
    def build(x):
        cell = legacy_cells.BasicLSTMCell(3, forget_bias=1.5, name="cell")
        v1.nn.static_rnn(cell, tf.unstack(x, axis=1), dtype=tf.float32)

    assert biases_of(build) == {"rnn/cell/bias": 1.5}


def test_a_cell_of_one_op():
    def build(x):
        with v1.variable_scope("cell", use_resource=False):
            w, b = v1.get_variable("w", [7, 12]), v1.get_variable("b", [12])
        state, peephole = tf.zeros([2, 3]), tf.zeros([3])
        for value in (0.5, 0.5):
            tf.raw_ops.BlockLSTM(
                seq_len_max=5, x=tf.transpose(x, [1, 0, 2]), cs_prev=state, h_prev=state, w=w, b=b,
                wci=peephole, wcf=peephole, wco=peephole, forget_bias=value,
            )  # fmt: skip

    assert biases_of(build) == {"cell/b": 0.5}


CELL = """
node {{ name: "b" op: "VariableV2" }}
node {{ name: "read" op: "Identity" input: "b" }}
node {{ name: "x" op: "Placeholder" }}
node {{ name: "sum" op: "BiasAdd" input: "x" input: "read" }}
node {{ name: "axis" op: "Const" }}
node {{ name: "split" op: "Split" input: "axis" input: "sum"
       attr {{ key: "num_split" value {{ i: {parts} }} }} }}
node {{ name: "c" op: "Const" attr {{ key: "value" value {{ tensor {{ {tensor} }} }} }} }}
node {{ name: "add" op: "Add" input: "split:{gate}" input: "c" }}
"""
ONE = "dtype: DT_FLOAT tensor_shape { } float_val: 1.0"


def biases_in(parts=4, gate=2, tensor=ONE, more=""):
    text = CELL.format(parts=parts, gate=gate, tensor=tensor) + more
    return forget_biases(parse_text(text.encode()).proto)


def test_only_a_number_for_the_third_of_four_gates_counts():
    assert biases_in() == {"b": 1.0}
    assert biases_in(parts=3) == {}
    assert biases_in(gate=1) == {}
    assert biases_in(tensor="dtype: DT_INT32 tensor_shape { } int_val: 1") == {}
    assert biases_in(tensor="dtype: DT_FLOAT tensor_shape { dim { size: 1 } } float_val: 1") == {}
    assert biases_in(tensor="dtype: DT_FLOAT tensor_shape { } float_val: nan") == {}
    assert biases_in(tensor="") == {}


def test_two_numbers_for_one_variable_say_nothing():
    more = """
    node { name: "d" op: "Const" attr { key: "value" value { tensor {
        dtype: DT_FLOAT tensor_shape { } float_val: 2.0 } } } }
    node { name: "again" op: "AddV2" input: "d" input: "split:2" }
    """
    assert biases_in(more=more) == {}


def test_a_sum_of_two_variables_is_no_cell():
    more = """
    node { name: "w" op: "VarHandleOp" }
    node { name: "both" op: "Add" input: "b" input: "w" }
    node { name: "parts" op: "Split" input: "axis" input: "both"
           attr { key: "num_split" value { i: 4 } } }
    node { name: "last" op: "Add" input: "parts:2" input: "c" }
    """
    assert biases_in(more=more) == {"b": 1.0}


def test_a_cycle_and_inputs_that_are_not_there_end():
    text = """
    node { name: "a" op: "Identity" input: "b" }
    node { name: "b" op: "Identity" input: "a" }
    node { name: "sum" op: "Add" input: "a" input: "nowhere" }
    node { name: "cell" op: "BlockLSTM" }
    """
    assert forget_biases(parse_text(text.encode()).proto) == {}


def test_a_damaged_number_is_an_error():
    with pytest.raises(CorruptionError):
        biases_in(tensor=r'dtype: DT_FLOAT tensor_shape { } tensor_content: "\001"')
