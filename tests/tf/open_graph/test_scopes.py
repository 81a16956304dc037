"""Scopes of one graph share nothing."""

from __future__ import annotations

import pytest
import tensorflow as tf
from saved_graphs import saved

import tfpersist as tfp
from tfpersist.errors import TargetError

v1 = tf.compat.v1


@pytest.mark.parametrize("resource", [True, False], ids=["resource", "ref"])
def test_two_scopes_of_one_session_share_nothing(resource):
    name = f"memory://open/scopes/{resource}"
    first = saved(f"{name}/a", values=(1.0, 2.0), resource=resource, table=True)
    second = saved(f"{name}/b", values=(10.0, 20.0), resource=resource, table=True)
    graph = tf.Graph()
    with v1.Session(graph=graph) as session:
        one = first.open_graph(scope="A", session=session)
        other = second.open_graph(scope="B", session=session)
        again = first.open_graph(scope="A", session=session)
        assert one.run("add:0", {"x": [0]}).tolist() == [3.0]
        assert other.run("add:0", {"x": [0]}).tolist() == [30.0]
        assert other.run(["B/add", "known"], {"B/x:0": [0]}) == [[30.0], 10]
        assert again.scope == "A_1"
        session.run(graph.get_operation_by_name("A/v1/Assign"))
        session.run(f"B/v2/{'Read/ReadVariableOp' if resource else 'read'}:0")
        with tf.Graph().as_default():
            assert one.run({"sum": "add", "word": "known"}, {"x": [0]}) == {"sum": [3.0], "word": 1}
        other.close()
        assert again.run("known") == 1


@pytest.mark.parametrize("resource", [True, False], ids=["resource", "ref"])
def test_without_a_scope_nothing_of_the_sessions_own_is_overwritten(resource):
    name = f"memory://open/shared/{resource}"
    store = saved(f"{name}/a", values=(1.0, 2.0), resource=resource)
    other = saved(f"{name}/b", values=(10.0, 20.0), resource=resource)
    with v1.Session(graph=tf.Graph()) as session:
        one = store.open_graph(session=session)
        version = one.graph.version
        with pytest.raises(TargetError, match=r"(?s)'x', .*'v1'.*Pass scope=") as caught:
            other.open_graph(session=session)
        assert " more: the session's graph" in str(caught.value)
        assert one.graph.version == version
        assert one.run("add", {"x": [0]}) == [3.0]
        assert other.open_graph("B", session=session).run("add", {"x": [0]}) == [30.0]
        assert one.run("add", {"x": [0]}) == [3.0]


def test_names_that_differ_may_share_a_variable_even_so():
    store = saved("memory://open/handles")
    graph = tf.Graph()
    with graph.as_default():
        own = tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[1], shared_name="v2", name="own")
        start = tf.raw_ops.AssignVariableOp(resource=own, value=[9.0])
        value = tf.raw_ops.ReadVariableOp(resource=own, dtype=tf.float32)
    with v1.Session(graph=graph) as session:
        session.run(start)
        with pytest.raises(TargetError, match="'v2': the session's graph has these names"):
            store.open_graph(session=session)
        store.open_graph("S", session=session)
        assert session.run(value) == [9.0]


def test_a_scope_in_use_gets_a_number():
    store = saved("memory://open/used")
    graph = tf.Graph()
    # An import of TensorFlow's own does not note the scopes of its names.
    definition = v1.GraphDef()
    definition.node.add(name="A/v1", op="NoOp")
    definition.node.add(name="B/deep/er", op="NoOp")
    with graph.as_default():
        tf.graph_util.import_graph_def(definition, name="")
    with v1.Session(graph=graph) as session:
        for wanted, given in (("A", "A_1"), ("A", "A_2"), ("B/deep", "B/deep_1"), ("C", "C")):
            model = store.open_graph(wanted, session=session)
            assert model.scope == given
            assert bool(model.notes) == (wanted != given)
            assert model.run("add", {"x": [0]}) == [3.0]
            assert session.run(f"{given}/add:0", {f"{given}/x:0": [0]}) == [3.0]


@pytest.mark.parametrize("scope", ["2nd", "1", "_x", "A\\1", "é", "a b", "/", "A//b", 3])
def test_an_invalid_scope_is_refused(scope):
    store = saved("memory://open/names")
    with v1.Session(graph=tf.Graph()) as session:
        with pytest.raises(TargetError, match="cannot be imported under the name scope"):
            store.open_graph(scope, session=session)
        assert not session.graph.get_operations()


def test_a_slash_at_the_end_of_a_scope_changes_nothing():
    with saved("memory://open/slash").open_graph("A/") as model:
        assert model.scope == "A"
        assert model.run(["add", "A/add"], {"x": [1]}) == [[4.0], [4.0]]


def counting(location, step):
    """Save a graph with a function that keeps a count and a table of its own."""
    from tensorflow.python.framework import function

    graph = tf.Graph()
    with graph.as_default():

        @function.Defun(func_name="bump")
        def bump():
            count = tf.raw_ops.VarHandleOp(dtype=tf.int64, shape=[], shared_name="count")
            table = tf.raw_ops.MutableHashTableV2(
                key_dtype=tf.int64, value_dtype=tf.int64, use_node_name_sharing=True
            )
            write = tf.raw_ops.AssignAddVariableOp(
                resource=count, value=tf.constant(step, tf.int64)
            )
            with tf.control_dependencies([write]):
                now = tf.raw_ops.ReadVariableOp(resource=count, dtype=tf.int64)
            insert = tf.raw_ops.LookupTableInsertV2(table_handle=table, keys=[now], values=[now])
            with tf.control_dependencies([insert]):
                size = tf.raw_ops.LookupTableSizeV2(table_handle=table)
            return now, size

        @function.Defun(func_name="start")
        def start():
            count = tf.raw_ops.VarHandleOp(dtype=tf.int64, shape=[], shared_name="count")
            first = tf.raw_ops.AssignVariableOp(resource=count, value=tf.constant(0, tf.int64))
            with tf.control_dependencies([first]):
                return tf.constant(0)

        v = v1.get_variable("v", initializer=[1.0])
        tf.identity_n(bump(), name="count")
        tf.identity(start(), name="start")
    with v1.Session(graph=graph) as session:
        session.run(v.initializer)
        tfp.ModelStore(location).save(session)
    return tfp.ModelStore(location)


def test_state_of_functions_is_not_shared_between_scopes():
    """Nor are the functions: these have one name and different bodies."""
    with v1.Session(graph=tf.Graph()) as session:
        models = [
            counting(f"memory://open/counting/{step}", step).open_graph(scope="A", session=session)
            for step in (1, 10)
        ]
        assert [model.scope for model in models] == ["A", "A_1"]
        assert [model.run("start") for model in models] == [0, 0]
        counts = [[each.run(["count:0", "count:1"]) for _ in range(2)] for each in models]
        assert counts == [[[1, 1], [2, 2]], [[10, 1], [20, 2]]]


def test_a_variable_of_the_session_is_not_shared_by_a_name_of_its_handle():
    graph = tf.Graph()
    with graph.as_default():
        handle = tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[1], shared_name="mine", name="own")
        start = tf.raw_ops.AssignVariableOp(resource=handle, value=[9.0])
        tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32, name="value")
    store = tfp.ModelStore("memory://open/shared_name")
    with v1.Session(graph=graph) as session:
        session.run(start)
        store.save(session)
    with tf.Graph().as_default() as graph, v1.Session() as session:
        mine = v1.get_variable("mine", initializer=[7.0], use_resource=True)
        session.run(mine.initializer)
        with pytest.raises(TargetError, match="'mine': the session's graph has these names"):
            store.open_graph(session=session)
        assert store.open_graph("S", session=session).run("value") == [9.0]
        assert session.run(mine) == [7.0]
