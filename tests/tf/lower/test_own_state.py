"""State that is in the nodes of a function: signatures of loaded SavedModels of TensorFlow 1."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.errors import FreezeError
from tfpersist.formats.graphdef import parse_text
from tfpersist.tf.lower.own_state import own_state

v1 = tf.compat.v1


def loaded_signature(folder, build, **variable):
    """Save a graph as a SavedModel of TensorFlow 1 and load it in TensorFlow 2."""
    with tf.Graph().as_default(), v1.Session() as session:
        inputs, outputs = build(**variable)
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        main_op = v1.group(v1.tables_initializer(), v1.local_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        signature = v1.saved_model.predict_signature_def(inputs, outputs)
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}, main_op=main_op
        )
        builder.save()
    return tf.saved_model.load(str(folder)).signatures["serving_default"]


def scaled(**kind):
    x = v1.placeholder(tf.float32, [None, 2], name="x")
    w = v1.get_variable("w", initializer=[[1.0, 2.0], [3.0, 4.0]], **kind)
    words = v1.get_variable("words", initializer=["a", "b"], **kind)
    return {"x": x}, {"y": x @ w, "words": tf.identity(words)}


@pytest.mark.parametrize(
    "kind",
    [
        {"use_resource": False},
        {"use_resource": True},
        {"use_resource": True, "collections": ["mine", v1.GraphKeys.GLOBAL_VARIABLES]},
    ],
)
def test_variables_of_any_kind(tmp_path, kind):
    signature = loaded_signature(tmp_path / "s", scaled, **kind)
    model = tfp.Freezer(signature).freeze()
    x = np.float32([[1, 1]])
    want = signature(x=tf.constant(x))
    assert np.array_equal(model.run("y", {"x": x}), want["y"])
    assert model.run("words").tolist() == want["words"].numpy().tolist()


def test_an_input_has_its_name_in_the_signature(tmp_path):
    def build():
        x = v1.placeholder(tf.float32, [None], name="deep/x")
        return {"image": x}, {"label": x * v1.get_variable("v", initializer=3.0)}

    signature = loaded_signature(tmp_path / "s", build)
    model = tfp.Freezer(signature).freeze()
    assert list(model.signature.inputs) == ["image"]
    assert model.run("label", {"image": [2.0]}).tolist() == [6.0]


def test_two_loaded_models_do_not_share_variables(tmp_path):
    signatures = [
        loaded_signature(
            tmp_path / str(number),
            lambda number=number: (
                {"x": v1.placeholder(tf.float32, [], name="x")},
                {"y": tf.identity(v1.get_variable("v", initializer=number, use_resource=False))},
            ),
        )
        for number in (1.0, 2.0)
    ]
    frozen = [tfp.Freezer(signature).freeze() for signature in signatures]
    assert [float(model.run("y")) for model in frozen] == [1.0, 2.0]


def test_a_table(tmp_path):
    def build():
        x = v1.placeholder(tf.string, [None], name="x")
        filled = tf.lookup.KeyValueTensorInitializer(["a", "b"], [3, 4], value_dtype=tf.int64)
        table = tf.lookup.StaticHashTable(filled, -1)
        return {"x": x}, {"y": table.lookup(x)}

    signature = loaded_signature(tmp_path / "s", build)
    model = tfp.Freezer(signature).freeze()
    assert model.run("y", {"x": ["b", "a", "c"]}).tolist() == [4, 3, -1]


def test_a_variable_without_a_value_is_named():
    def build():
        v = tf.raw_ops.VariableV2(shape=[2], dtype=tf.float32, shared_name="never", name="empty")
        return tf.identity(v, name="y")

    wrapped = v1.wrap_function(build, [])
    with pytest.raises(FreezeError, match="no value yet") as caught:
        tfp.Freezer(wrapped).freeze()
    assert "empty" in str(caught.value)


def test_a_table_that_nothing_reads_is_left_alone():
    graph = parse_text(b'node { name: "t" op: "HashTableV2" } node { name: "u" op: "HashTable" }')
    state = own_state(graph)
    assert (dict(state.variables), dict(state.tables)) == ({}, {})
