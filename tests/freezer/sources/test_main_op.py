"""Assignments of a SavedModel at load time count, or are refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from drafts import draft, node

import tfpersist as tfp
from tfpersist.errors import FreezeError
from tfpersist.formats import schema
from tfpersist.freezer.sources.main_op import main_op, with_main_op

v1 = tf.compat.v1


def save(folder, build, **kind):
    """Save the graph that `build` makes; it returns the operation to run when it is loaded."""
    with tf.Graph().as_default(), v1.Session() as session:
        operation = build()
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        arguments = {kind.get("argument", "main_op"): operation}
        builder.add_meta_graph_and_variables(session, ["serve"], **arguments)
        builder.save()


def loaded(folder):
    """Return what TensorFlow computes after it has loaded the SavedModel."""
    with tf.Graph().as_default(), v1.Session() as session:
        v1.saved_model.load(session, ["serve"], str(folder))
        return session.run("y:0")


def variables(resource):
    options = {"use_resource": resource}
    v = v1.get_variable("v", initializer=[1.0, 2.0], **options)
    other = v1.get_variable("other", initializer=[5.0, 6.0], **options)
    tf.identity(v * 2.0, name="y")
    return v, other


def a_constant(resource):
    v, _ = variables(resource)
    return v1.assign(v, [7.0, 8.0]).op


def another_variable(resource):
    v, other = variables(resource)
    return v1.group(v1.assign(v, tf.identity(other)), v1.tables_initializer())


def arithmetic(resource):
    v, other = variables(resource)
    return v1.group(v1.assign(v, other * 2.0 + 1.0))


def a_local_variable(resource):
    v = v1.get_variable(
        "local", initializer=[1.0, 2.0], use_resource=resource, collections=["local_variables"]
    )
    v1.get_variable("v", initializer=0.0, use_resource=resource)
    tf.identity(v * 2.0, name="y")
    return v1.group(v1.local_variables_initializer(), v1.tables_initializer())


@pytest.mark.parametrize("resource", [False, True])
@pytest.mark.parametrize(
    ("build", "argument"),
    [
        (a_constant, "main_op"),
        (a_constant, "legacy_init_op"),
        (another_variable, "main_op"),
        (arithmetic, "main_op"),
        (a_local_variable, "main_op"),
    ],
)
def test_what_is_assigned_counts(tmp_path, build, argument, resource):
    save(tmp_path / "s", lambda: build(resource), argument=argument)
    assert np.array_equal(
        tfp.Freezer(tmp_path / "s").outputs("y").freeze().run("y"), loaded(tmp_path / "s")
    )


def a_random_value(v, other):
    return v1.assign(v, tf.random.normal([2])).op


def an_increment(v, other):
    return v1.assign_add(v, [1.0, 1.0]).op


def two_assignments(v, other):
    return v1.group(v1.assign(v, [7.0, 8.0]), v1.assign(v, [9.0, 8.0]))


def a_swap(v, other):
    first, second = tf.identity(v), tf.identity(other)
    return v1.group(v1.assign(v, second), v1.assign(other, first))


def a_branch(v, other):
    return v1.cond(
        tf.reduce_sum(other) > 0.0, lambda: v1.assign(v, [3.0, 3.0]), lambda: tf.identity(v)
    ).op


def a_function(v, other):
    @tf.function
    def change():
        v.assign([3.0, 3.0])

    with tf.control_dependencies([other.initializer]):
        change()
    return v1.group(*[op for op in v.graph.get_operations() if "PartitionedCall" in op.type])


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (a_random_value, "Assign"),
        (an_increment, "AssignAdd"),
        (two_assignments, "Assign_1"),
        (a_swap, "Assign"),
    ],
)
def test_a_value_that_cannot_be_computed_is_refused(tmp_path, build, named):
    save(tmp_path, lambda: build(*variables(False)))
    with pytest.raises(FreezeError, match=r"the main op .* changes the variable") as caught:
        tfp.Freezer(tmp_path).outputs("y").freeze()
    assert named in str(caught.value)
    assert "variable v " in str(caught.value)
    # An output that does not need the variable is not touched.
    if build is not a_swap:
        model = tfp.Freezer(tmp_path).outputs("other/read").freeze()
        assert model.run("other/read").tolist() == [5.0, 6.0]


@pytest.mark.parametrize(("build", "named"), [(a_branch, "If"), (a_function, "PartitionedCall")])
def test_a_function_that_writes_is_refused(tmp_path, build, named):
    save(tmp_path, lambda: build(*variables(True)))
    with pytest.raises(FreezeError, match=f"the main op .* changes the variable .*{named}"):
        tfp.Freezer(tmp_path).outputs("y").freeze()


@pytest.mark.parametrize("resource", [False, True])
def test_a_branch_of_tensorflow_1_is_refused(tmp_path, resource):
    v1.disable_control_flow_v2()
    try:
        save(tmp_path, lambda: a_branch(*variables(resource)))
    finally:
        v1.enable_control_flow_v2()
    with pytest.raises(FreezeError, match=r"the main op .* changes the variable"):
        tfp.Freezer(tmp_path).outputs("y").freeze()


def test_a_function_that_only_reads_is_not_in_the_way(tmp_path):
    def build():
        v, _ = variables(True)

        @tf.function
        def read():
            return v + 1.0

        return v1.group(read())

    save(tmp_path, build)
    assert np.array_equal(tfp.Freezer(tmp_path).outputs("y").freeze().run("y"), loaded(tmp_path))


class TestName:
    def test_the_signature_goes_before_the_collections(self):
        meta = schema.MetaGraphDef()
        assert main_op(meta) is None
        meta.collection_def["legacy_init_op"].node_list.value.append("legacy")
        assert main_op(meta) == "legacy"
        meta.collection_def["saved_model_main_op"].node_list.value.append("main:0")
        assert main_op(meta) == "main"
        key = "__saved_model_init_op"
        meta.signature_def[key].outputs[key].name = "init"
        assert main_op(meta) == "init"

    def test_a_main_op_that_is_not_there_changes_nothing(self):
        lowered = draft(node("y", "NoOp")).lowered
        assert with_main_op(lowered, "gone") is lowered
        assert with_main_op(lowered, None) is lowered
