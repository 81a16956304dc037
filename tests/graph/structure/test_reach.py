"""Reachable functions of a SavedModel, and those that run only if a user names them."""

from __future__ import annotations

import keras
import pytest
import tensorflow as tf

from tfpersist.errors import UnsafeModelError
from tfpersist.formats import schema
from tfpersist.graph.structure.reach import reach_of
from tfpersist.safety import Policy, scan

v1 = tf.compat.v1
SPEC = tf.TensorSpec((None, 4), name="x")
HARMFUL = {"file read", "file write"}


def check(folder):
    Policy.default().check(scan(folder))


def edit(folder, change):
    """Change the only graph of a SavedModel."""
    file = folder / "saved_model.pb"
    saved = schema.SavedModel.FromString(file.read_bytes())
    change(saved.meta_graphs[0])
    file.write_bytes(saved.SerializeToString())


class TestPlainExports:
    def test_keras(self, tmp_path):
        net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        net.export(str(tmp_path), verbose=False)
        check(tmp_path)
        report = scan(tmp_path)
        unreachable = [finding for finding in report.findings if not finding.reachable]
        assert {finding.capability for finding in unreachable} >= HARMFUL
        assert not report.capabilities & HARMFUL
        assert "SaveV2 at node 'SaveV2' in function '__inference__traced_save" in str(report)
        assert "(unreachable)" in str(report)

    def test_a_module_with_a_table(self, tmp_path):
        root = tf.Module()
        root.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
        root.scale = tf.Variable(2.0)

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="words")])
        def call(words):
            return tf.cast(root.table.lookup(words), tf.float32) * root.scale

        root.call = call
        tf.saved_model.save(root, str(tmp_path), signatures=call)
        check(tmp_path)

    @pytest.mark.parametrize("resource", [False, True])
    def test_tensorflow_1(self, tmp_path, resource):
        folder = tmp_path / "s"
        with tf.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [], name="x")
            v = v1.get_variable("v", initializer=3.0, use_resource=resource)
            session.run(v.initializer)
            v1.saved_model.simple_save(session, str(folder), {"x": x}, {"y": x * v})
        check(folder)

    def test_files_of_older_releases(self, keras_2, golden):
        check(keras_2 / "keras_savedmodel")
        # An asset fills a table of these.
        for name in ("1.4.1", "1.15.5"):
            assert scan(golden / name / "saved_model").capabilities & HARMFUL == {"file read"}


def writing():
    with tf.control_dependencies([tf.io.write_file("leak", "x")]):
        return tf.constant(1.0)


class TestWhatRuns:
    def test_a_signature(self, tmp_path):
        root = tf.Module()

        @tf.function(input_signature=[SPEC])
        def call(x):
            with tf.control_dependencies([writing()]):
                return x * 2.0

        root.call = call
        tf.saved_model.save(root, str(tmp_path), signatures=call)
        with pytest.raises(UnsafeModelError, match="WriteFile"):
            check(tmp_path)

    def test_a_function_that_is_no_signature(self, tmp_path):
        root = tf.Module()
        root.call = tf.function(lambda x: x * 2.0, [SPEC])
        root.other = tf.function(writing, [])
        tf.saved_model.save(root, str(tmp_path), signatures=root.call)
        with pytest.raises(UnsafeModelError, match="WriteFile"):
            check(tmp_path)

    @pytest.mark.parametrize("place", ["main_op", "restore", "nothing"])
    def test_what_a_loader_runs(self, tmp_path, place):
        folder = tmp_path / "s"
        with tf.Graph().as_default(), v1.Session() as session:
            v = v1.get_variable("v", initializer=3.0)
            session.run(v.initializer)
            write = writing()
            saver = v1.train.Saver()
            if place == "restore":
                restore = session.graph.get_operation_by_name(saver.saver_def.restore_op_name)
                restore._add_control_input(write.op)
            builder = v1.saved_model.Builder(str(folder))
            main_op = v1.group(write) if place == "main_op" else None
            x = v1.placeholder(tf.float32, [], name="x")
            signature = v1.saved_model.predict_signature_def({"x": x}, {"y": x * v})
            builder.add_meta_graph_and_variables(
                session, ["serve"], {"s": signature}, main_op=main_op, saver=saver
            )
            builder.save()
        if place == "nothing":
            check(folder)
        else:
            with pytest.raises(UnsafeModelError, match="WriteFile"):
                check(folder)

    def test_a_restore_of_another_file(self, tmp_path):
        """Only the checkpoint that the loader names is the model's own."""
        folder = tmp_path / "s"
        with tf.Graph().as_default(), v1.Session() as session:
            v = v1.get_variable("v", initializer=3.0)
            session.run(v.initializer)
            x = v1.placeholder(tf.float32, [], name="x")
            v1.saved_model.simple_save(session, str(folder), {"x": x}, {"y": x * v})
        check(folder)

        def change(meta):
            [node] = [node for node in meta.graph_def.node if node.op == "RestoreV2"]
            node.input[0] = node.input[1]

        edit(folder, change)
        with pytest.raises(UnsafeModelError, match="RestoreV2"):
            check(folder)

    def test_a_restore_of_another_file_in_a_function(self, tmp_path):
        root = tf.Module()
        root.v = tf.Variable(1.0)
        root.call = tf.function(lambda: root.v * 2.0, [])
        tf.saved_model.save(root, str(tmp_path), signatures=root.call)
        check(tmp_path)

        def change(meta):
            for function in meta.graph_def.library.function:
                for node in function.node_def:
                    if node.op == "RestoreV2":
                        node.input[0] = node.input[1]

        edit(tmp_path, change)
        with pytest.raises(UnsafeModelError, match="RestoreV2"):
            check(tmp_path)


class TestFunctions:
    @staticmethod
    def meta(called, other, **attrs):
        """Return a graph that calls a function `called`; `other` writes a file."""
        meta = schema.MetaGraphDef()
        meta.graph_def.node.add(name="y", op="called").attr.get_or_create("f").func.name = called
        for name in ("called", "other"):
            meta.graph_def.library.function.add().signature.name = name
        function = meta.graph_def.library.function[1]
        function.node_def.add(name="w", op="WriteFile")
        meta.signature_def["s"].outputs["y"].name = "y:0"
        other(meta.graph_def.library)
        return meta

    @pytest.mark.parametrize(
        "lead",
        [
            lambda library: library.function[0].node_def.add(name="n", op="other"),
            lambda library: library.gradient.add(function_name="called", gradient_func="other"),
            lambda library: setattr(
                library.function[0].attr["forward_function_name"], "s", b"other"
            ),
            lambda library: setattr(library.function[0].attr["b"].func, "name", "other"),
            lambda library: [
                setattr(function.attr["api_implements"], "s", b"one")
                for function in library.function
            ],
        ],
        ids=["call", "gradient", "text", "func", "interface"],
    )
    def test_a_function_leads_to_another(self, lead):
        reach = reach_of(self.meta("called", lead))
        assert reach.functions == {"called", "other"}
        assert reach.includes("other", "w")

    def test_a_function_that_nothing_leads_to(self):
        reach = reach_of(self.meta("called", lambda library: None))
        assert reach.functions == {"called"}
        assert not reach.includes("other", "w")
        assert reach.includes("", "y")
        assert not reach.includes("", "z")

    def test_signatures_of_sparse_and_composite_tensors(self):
        meta = schema.MetaGraphDef()
        for name in ("a", "b", "c", "d", "unused"):
            meta.graph_def.node.add(name=name, op="Placeholder")
        outputs = meta.signature_def["s"].outputs
        outputs["sparse"].coo_sparse.values_tensor_name = "a:0"
        outputs["sparse"].coo_sparse.indices_tensor_name = "b:0"
        outputs["sparse"].coo_sparse.dense_shape_tensor_name = "c:0"
        outputs["ragged"].composite_tensor.components.add(name="d:0")
        assert reach_of(meta).nodes == {"a", "b", "c", "d"}


def test_a_graph_alone_may_run_as_a_whole(tmp_path):
    graph = schema.GraphDef()
    graph.node.add(name="w", op="WriteFile")
    (tmp_path / "g.pb").write_bytes(graph.SerializeToString())
    with pytest.raises(UnsafeModelError, match="WriteFile"):
        check(tmp_path / "g.pb")
    meta = schema.MetaGraphDef(graph_def=graph)
    assert scan(meta).capabilities == {"file write"}
    assert scan(schema.SavedModel(meta_graphs=[meta])).capabilities == {"file write"}
