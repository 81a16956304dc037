"""The variables and tables that a frozen model keeps become objects of TensorFlow."""

from __future__ import annotations

import gc

import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.errors import GraphError
from tfpersist.tf.embed.state import create_state, handles_of

v1 = tf.compat.v1


@pytest.fixture(scope="module")
def graph():
    """A table, a variable that is kept, and a reference variable that is kept."""
    with tf.Graph().as_default(), v1.Session() as session:
        words = v1.placeholder(tf.string, [None], name="words")
        pairs = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([1.0, 2.0]))
        table = tf.lookup.StaticHashTable(pairs, -1.0)
        bias = v1.get_variable("net/bias", initializer=[10.0], use_resource=True)
        old = v1.get_variable("old", initializer=1.0, use_resource=False)
        tf.add(table.lookup(words), bias, name="y")
        tf.add(bias, 1.0, name="next")
        tf.add(old, 1.0, name="older")
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        freezer = tfp.Freezer(session).outputs("y", "next", "older")
        return freezer.keep_variables("net/bias", "old").freeze().graph


def test_only_what_the_outputs_need_is_created(graph):
    assert list(create_state(graph, ["next:0"])) == ["net/bias"]
    assert len(create_state(graph, ["y:0"])) == 2


def test_a_variable_has_its_first_value_and_is_not_trained(graph):
    variable = create_state(graph, ["next:0"])["net/bias"]
    assert variable.numpy().tolist() == [10.0]
    assert not variable.trainable
    assert variable.name == "net_bias:0"


def test_a_table_is_filled_and_lives_apart_from_that_of_another_call(graph):
    first, second = create_state(graph, ["y:0"]), create_state(graph, ["y:0"])
    (name,) = first.keys() - {"net/bias"}

    def size(handle):
        return int(tf.raw_ops.LookupTableSizeV2(table_handle=handle))

    kept = second[name].resource_handle
    assert (size(first[name].resource_handle), size(kept)) == (2, 2)
    del first
    gc.collect()
    assert size(kept) == 2


def test_operations_reach_each_object_by_a_resource(graph):
    owned = create_state(graph, ["y:0"])
    handles = handles_of(owned)
    assert handles.keys() == {f"{name}:0" for name in owned}
    assert {handle.dtype for handle in handles.values()} == {tf.resource}
    assert handles["net/bias:0"] is owned["net/bias"].handle


def test_a_reference_variable_is_refused(graph):
    with pytest.raises(GraphError, match=r"node old \(VariableV2\)"):
        create_state(graph, ["older:0"])
