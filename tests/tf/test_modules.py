"""Modules that own the variables and tables that a frozen model keeps."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import tfpersist as tfp
from tfpersist.errors import FeedError, GraphError

tf = pytest.importorskip("tensorflow")
v1 = tf.compat.v1

WORDS = np.array([b"a", b"b", b"unknown"], object)
EXPECTED = np.float32([13, 16, 7])


@pytest.fixture(scope="module")
def model():
    """A table, a variable that is kept and one that is not."""
    with tf.Graph().as_default(), v1.Session() as session:
        words = v1.placeholder(tf.string, [None], name="words")
        pairs = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([1.0, 2.0]))
        table = tf.lookup.StaticHashTable(pairs, -1.0)
        bias = v1.get_variable("bias", initializer=[10.0], use_resource=True)
        scale = v1.get_variable("scale", initializer=[3.0], use_resource=True)
        tf.add(table.lookup(words) * scale, bias, name="y")
        tf.add(bias, 1.0, name="next")
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        freezer = tfp.Freezer(session).outputs("y", "next").keep_variables("bias")
        return freezer.freeze()


def test_a_module_sets_up_what_the_model_keeps(model):
    module = model.as_module("words", "y")
    np.testing.assert_array_equal(module(WORDS), EXPECTED)
    (bias,) = module.variables
    bias.assign([0.0])
    np.testing.assert_array_equal(module(WORDS), EXPECTED - 10)


def test_modules_share_nothing_with_each_other(model):
    first, second = model.as_module("words", "y"), model.as_module("words", "y")
    first.variables[0].assign([0.0])
    del first
    gc.collect()
    np.testing.assert_array_equal(second(WORDS), EXPECTED)


def test_only_what_the_outputs_need_is_set_up(model):
    module = model.as_module([], "next")
    assert float(module()[0]) == 11
    assert [type(each).__name__ for each in module.state] == ["ResourceVariable"]


def test_state_is_saved_with_the_module(model, tmp_path):
    module = model.as_module("words", "y")
    module.variables[0].assign([20.0])
    tf.saved_model.save(module, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_array_equal(loaded(tf.constant(WORDS)), EXPECTED + 10)


def test_a_graph_sets_up_each_part_with_its_tables(model):
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        v1.get_variable("bias", initializer=[-1.0])
        parts = [
            model.import_into(inputs={"words": WORDS}, outputs=["y"], prefix=prefix)["y:0"]
            for prefix in ("one", "two")
        ]
        session.run(v1.tables_initializer())
        handles = [op for op in graph.get_operations() if op.type == "VarHandleOp"]
        assert len({op.get_attr("shared_name") for op in handles}) == 3
        for found in session.run(parts):
            np.testing.assert_array_equal(found, EXPECTED)
        assert model.import_into(inputs={"y": EXPECTED}, outputs=["y"])
    assert len(graph.get_collection(v1.GraphKeys.TABLE_INITIALIZERS)) == 2


def test_a_function_has_state_from_a_module_alone(model):
    @tf.function(autograph=False)
    def refused():
        return model.import_into(outputs=["next"])["next:0"]

    with pytest.raises(GraphError, match=r"node bias \(VarHandleOp\): .*as_module"):
        refused()
    module = model.as_module([], "next")
    assert float(tf.function(module)()[0]) == 11


def test_references_of_tensorflow_1_are_refused():
    with tf.Graph().as_default(), v1.Session() as session:
        counter = v1.get_variable("counter", initializer=1.0, use_resource=False)
        tf.add(counter, 1.0, name="next")
        session.run(counter.initializer)
        model = tfp.Freezer(session).outputs("next").keep_variables("counter").freeze()
    with pytest.raises(GraphError, match=r"node counter \(VariableV2\)"):
        model.as_module([], "next")
    assert model.run("next") == 2


def test_what_does_not_fit_is_refused_before_tensorflow(model):
    module = model.as_module("words", "y")
    with pytest.raises(FeedError, match="words:0: a string tensor takes str"):
        module([1.0])
    with pytest.raises(FeedError, match="words:0: an input of another data type"):
        module(tf.constant([1.0]))
    with pytest.raises(FeedError, match="words:0: an input of another shape"):
        module(tf.constant("a"))
    with pytest.raises(FeedError, match="another number of values; expected 1: words:0, found 0"):
        module()
