"""The values of a TF2 SavedModel are those that its own loader would restore."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from drafts import draft, negative, placeholder

import tfpersist as tfp
from tfpersist.errors import CorruptionError
from tfpersist.formats import schema
from tfpersist.freezer.sources.bound_inputs import bound_sources
from tfpersist.graph.constants.from_saver import Source, Sources

SPEC = tf.TensorSpec((None, 4), name="x")


def sequential():
    net = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()]
    )
    for number, weight in enumerate(net.weights):
        weight.assign(weight + number)
    return net


def frozen_result(folder, value):
    model = tfp.Freezer(folder).freeze()
    return model.run(model.outputs[0], {model.inputs[0]: value})


@pytest.fixture
def value():
    return np.random.default_rng(0).random((2, 4)).astype("f4")


class TestSavedByTensorFlow:
    def test_a_keras_model(self, tmp_path, value):
        net = sequential()
        tf.saved_model.save(net, str(tmp_path))
        assert np.allclose(frozen_result(tmp_path, value), net(value), atol=1e-6)

    def test_a_module_that_holds_keras_models_in_a_list(self, tmp_path, value):
        root = tf.Module()
        root.nets = [sequential(), sequential()]
        root.call = tf.function(lambda x: root.nets[0](x) - root.nets[1](x) * 3.0, [SPEC])
        tf.saved_model.save(root, str(tmp_path), signatures=root.call)
        want = root.call(tf.constant(value))
        assert np.allclose(frozen_result(tmp_path, value), want, atol=1e-5)

    def test_variables_of_one_name(self, tmp_path, value):
        root = tf.Module()
        root.variables_of_root = {
            str(number): tf.Variable(float(number), name="same") for number in range(12)
        }

        @tf.function(input_signature=[SPEC])
        def call(x):
            total = x
            for key in sorted(root.variables_of_root):
                total = total * 2.0 + root.variables_of_root[key]
            return total

        root.call = call
        tf.saved_model.save(root, str(tmp_path), signatures=call)
        assert np.array_equal(frozen_result(tmp_path, value), call(tf.constant(value)))

    def test_variables_and_tables_and_constants(self, tmp_path):
        root = tf.Module()
        root.scale = tf.Variable([2.0, 3.0])
        root.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
        root.table.insert(tf.constant(["a", "b"]), tf.constant([3, 4], tf.int64))
        fixed = tf.constant([5.0, 6.0])

        @tf.function(input_signature=[tf.TensorSpec((2,), tf.string, name="words")])
        def call(words):
            return tf.cast(root.table.lookup(words), tf.float32) * root.scale + fixed

        root.call = call
        tf.saved_model.save(root, str(tmp_path), signatures=call)
        frozen = tfp.Freezer(tmp_path).freeze()
        got = frozen.run(frozen.outputs[0], {"words": ["b", "c"]})
        assert got.tolist() == call(tf.constant(["b", "c"])).numpy().tolist()

    def test_a_variable_that_no_object_holds_is_named(self, tmp_path):
        root = tf.Module()
        root.v = tf.Variable(1.0)
        root.call = tf.function(lambda: root.v + 1.0, [])
        tf.saved_model.save(root, str(tmp_path), signatures=root.call)
        file = tmp_path / "saved_model.pb"
        saved = schema.SavedModel.FromString(file.read_bytes())
        objects = saved.meta_graphs[0].object_graph_def
        for function in objects.concrete_functions.values():
            function.bound_inputs[:] = [0] * len(function.bound_inputs)
        for function in saved.meta_graphs[0].graph_def.library.function:
            for node in function.node_def:
                if node.op == "RestoreV2":
                    node.op = "OtherRestore"
        file.write_bytes(saved.SerializeToString())
        with pytest.raises(tfp.FreezeError, match="the checkpoint has no tensor"):
            tfp.Freezer(tmp_path).freeze()


class TestWithoutObjects:
    def test_a_v1_graph_has_no_bound_inputs(self):
        graph = draft(placeholder("x") + negative("y", "x")).graph
        found = bound_sources(graph, schema.MetaGraphDef(), schema.TrackableObjectGraph(), ())
        assert found == Sources()

    def test_a_checkpoint_by_name_has_no_objects(self):
        meta = schema.MetaGraphDef()
        meta.object_graph_def.nodes.add()
        assert bound_sources(draft(placeholder("x")).graph, meta, None, ()) == Sources()

    def test_an_edge_to_nowhere(self):
        meta = schema.MetaGraphDef()
        meta.object_graph_def.nodes.add().children.add(node_id=7, local_name="v")
        saved = schema.TrackableObjectGraph()
        with pytest.raises(CorruptionError, match="does not exist"):
            bound_sources(draft(placeholder("x")).graph, meta, saved, ())

    def test_an_object_that_does_not_exist_is_not_bound(self):
        graph = draft(
            'node { name: "v" op: "VarHandleOp" } node { name: "call" op: "f" input: "v" }'
            'library { function { signature { name: "f" input_arg { name: "a" } } } }'
        ).graph
        meta = schema.MetaGraphDef()
        meta.object_graph_def.nodes.add().children.add(node_id=1, local_name="v")
        meta.object_graph_def.nodes.add()
        saved = schema.TrackableObjectGraph()
        saved.nodes.add().children.add(node_id=1, local_name="v")
        saved.nodes.add().attributes.add(name="VARIABLE_VALUE", checkpoint_key="v/value")
        bound = meta.object_graph_def.concrete_functions["f"].bound_inputs
        bound.append(1)
        assert bound_sources(graph, meta, saved, ()).variables == {"v": Source("v/value")}
        bound[0] = 9
        assert bound_sources(graph, meta, saved, ()).variables == {}
