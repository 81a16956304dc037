"""Graphs from `.meta` files reach no file: Savers go, the rest is refused before it is imported."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.errors import GraphError, NameNotFoundError, UnsafeModelError
from tfpersist.safety import Policy
from tfpersist.storage import open_storage
from tfpersist.tf.open_graph import import_meta

v1 = tf.compat.v1


def saved(location, build):
    """Save a graph of a variable and of what `build` adds to it."""
    graph = tf.Graph()
    with graph.as_default():
        v = v1.get_variable("v", initializer=[1.0, 2.0])
        tf.add(v, 1.0, name="add")
        build()
    with v1.Session(graph=graph) as session:
        session.run(v.initializer)
        tfp.ModelStore(location).save(session)
    return tfp.ModelStore(location)


def ops(model):
    return {op.type for op in model.graph.get_operations()}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("scope", [None, "S"])
def test_a_saver_is_removed_without_a_note(version, sharded, scope):
    def build():
        v1.get_variable("w", initializer=[3.0])
        v1.train.Saver(write_version=version, sharded=sharded)

    location = f"memory://left_out/saver/{version}/{sharded}"
    graph = tf.Graph()
    with graph.as_default():
        v = v1.get_variable("v", initializer=[1.0, 2.0])
        tf.add(v, 1.0, name="add")
        build()
    with v1.Session(graph=graph) as session:
        session.run(v1.global_variables_initializer())
        tfp.ModelStore(location).save(session)
    with tfp.ModelStore(location).open_graph(scope=scope) as model:
        assert model.notes == ()
        assert model.run("add").tolist() == [2.0, 3.0]
        assert not any("Save" in op or op.startswith(("Restore", "Merge")) for op in ops(model))
        assert model.graph.get_collection("savers") == []
        with pytest.raises(NameNotFoundError):
            model.run("save/control_dependency")
    with tfp.ModelStore(location).open_graph(scope=scope, policy=Policy.trusted()) as model:
        assert {op for op in ops(model) if op.startswith("Save")}


def test_tensorflow_restores_what_such_a_graph_saves(tmp_path):
    with saved("memory://left_out/again", v1.train.Saver).open_graph() as model:
        checkpoint = tfp.ModelStore(tmp_path).save(model.session)
    with v1.Session(graph=tf.Graph()) as session:
        v1.train.import_meta_graph(f"{checkpoint.prefix}.meta").restore(session, checkpoint.prefix)
        assert session.run("add:0").tolist() == [2.0, 3.0]


def test_a_variable_that_a_checkpoint_initializes_is_restored(tmp_path):
    def build():
        restored = tf.raw_ops.RestoreV2(
            prefix=str(tmp_path / "gone"),
            tensor_names=["a", "b"],
            shape_and_slices=["", ""],
            dtypes=[tf.float32, tf.float32],
        )
        for name, value in zip("ab", restored, strict=True):
            first = tf.reshape(value, [2])
            v1.get_variable(name, initializer=first, use_resource=name == "a")

    graph = tf.Graph()
    with graph.as_default():
        build()
        tf.add(*(v.read_value() for v in v1.global_variables()), name="sum")
        [a, b] = v1.global_variables()
    store = tfp.ModelStore(tmp_path)
    with v1.Session(graph=graph) as session:
        values = {"Reshape:0": [1.0, 2.0], "Reshape_1:0": [3.0, 4.0]}
        feeds = {graph.get_tensor_by_name(name): value for name, value in values.items()}
        session.run([a.initializer, b.initializer], feeds)
        store.save(session)
    with store.open_graph() as model:
        assert model.run("sum").tolist() == [4.0, 6.0]
        assert model.notes == ()


def test_a_variable_of_any_shape_takes_the_value_that_only_its_saver_fits():
    graph = tf.Graph()
    with graph.as_default():
        v = v1.Variable([1.0], validate_shape=False, use_resource=False, name="v")
        grow = v1.assign(v, [1.0, 2.0, 3.0], validate_shape=False)
        tf.identity(v, name="out")
        v1.train.Saver()
    store = tfp.ModelStore("memory://left_out/shapes")
    with v1.Session(graph=graph) as session:
        session.run(grow)
        store.save(session)
    with store.open_graph() as model:
        assert model.run("out").tolist() == [1.0, 2.0, 3.0]


def test_functions_that_save_go_with_their_calls():
    def build():
        @tf.function(input_signature=[tf.TensorSpec((), tf.string)])
        def keep(path):
            tf.io.write_file(path, "")
            tf.raw_ops.SaveV2(
                prefix=path, tensor_names=["a"], shape_and_slices=[""], tensors=[tf.constant(1.0)]
            )
            return path

        tf.identity(keep(v1.placeholder_with_default("x", ())), name="kept")

    with saved("memory://left_out/functions", build).open_graph() as model:
        assert model.run("add").tolist() == [2.0, 3.0]
        [note] = model.notes
        assert "left out" in note
        assert "kept" in note
        with pytest.raises(NameNotFoundError):
            model.run("kept")


def pipeline(tmp_path, *, harmful=True):
    """Build a dataset that reads a file in a function, and a queue that a reader fills."""

    def build():
        files = tf.data.Dataset.from_tensor_slices([str(tmp_path / "a.txt")])
        lines = files.map(tf.io.read_file) if harmful else files.map(tf.strings.length)
        iterator = v1.data.make_initializable_iterator(lines)
        tf.identity(iterator.get_next(), name="line")
        queue = v1.FIFOQueue(4, tf.string, name="queue")
        if harmful:
            reader = v1.TextLineReader()
            _, value = reader.read(v1.train.string_input_producer([str(tmp_path / "a.txt")]))
            queue.enqueue(value, name="fill")
        tf.identity(queue.dequeue(), name="word")

    return build


def test_input_pipelines_that_read_files_are_left_out_and_what_they_feed_is_fed(tmp_path):
    store = saved("memory://left_out/pipeline", pipeline(tmp_path))
    with store.open_graph() as model:
        assert model.run("add").tolist() == [2.0, 3.0]
        [note] = model.notes
        assert "could access files" in note
        assert model.run("word", {"queue_Dequeue:0": "fed"}) == b"fed"
        assert model.run("line", {"IteratorGetNext:0": "fed"}) == b"fed"
        assert not model.graph.as_graph_def().library.function
    with store.open_graph(policy=Policy(allow="file read")) as model:
        assert model.notes == ()
        (tmp_path / "a.txt").write_text("read")
        model.session.run("MakeIterator")
        assert model.run("line") == b"read"
    with saved("memory://left_out/harmless", pipeline(tmp_path, harmful=False)).open_graph() as one:
        assert one.notes == ()


def test_a_table_from_a_file_needs_leave(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("a\nb\n")

    def build():
        initializer = tf.lookup.TextFileInitializer(
            str(words), tf.string, 0, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        )
        table = tf.lookup.StaticHashTable(initializer, -1)
        tf.identity(table.lookup(tf.constant("b")), name="known")
        v1.add_to_collection(v1.GraphKeys.TABLE_INITIALIZERS, table._init_op)

    store = saved(tmp_path / "run", build)
    with pytest.raises(UnsafeModelError, match=r"allow=\['file read'\]") as refused:
        store.open_graph()
    assert "InitializeTableFromTextFileV2" in str(refused.value)
    assert str(tmp_path / "run") in str(refused.value)
    with store.open_graph(policy=Policy(allow="file read")) as model:
        assert model.run("known") == 1


def write_in_an_initializer(path):
    v1.add_to_collection(v1.GraphKeys.TABLE_INITIALIZERS, v1.io.write_file(path, "harm"))


def write_in_a_function(path):
    @tf.function
    def harm():
        tf.io.write_file(path, "harm")
        return 1

    with tf.control_dependencies([harm()]):
        v1.add_to_collection(v1.GraphKeys.TABLE_INITIALIZERS, tf.no_op())


def write_in_a_branch(path):
    proto = v1.GraphDef()
    node = proto.node.add(name="if", op="If", input=["condition", "path", "text"])
    node.attr["Tcond"].type = tf.bool.as_datatype_enum
    node.attr["Tin"].list.type.extend([tf.string.as_datatype_enum] * 2)
    node.attr["Tout"].list.SetInParent()
    node.attr["then_branch"].func.name = node.attr["else_branch"].func.name = "WriteFile"
    node.attr["_lower_using_switch_merge"].b = True
    for name, value in (("condition", True), ("path", path), ("text", "harm")):
        const = proto.node.add(name=name, op="Const")
        const.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        const.attr["dtype"].type = const.attr["value"].tensor.dtype
    tf.graph_util.import_graph_def(proto, name="")
    write = v1.get_default_graph().get_operation_by_name("if")
    v1.add_to_collection(v1.GraphKeys.TABLE_INITIALIZERS, write)


HOSTILE = [write_in_an_initializer, write_in_a_function, write_in_a_branch]


@pytest.mark.parametrize("hide", HOSTILE)
@pytest.mark.parametrize("scope", [None, "S"])
def test_a_hostile_graph_is_refused_before_it_is_imported(tmp_path, hide, scope):
    target = tmp_path / "harmed"
    store = saved(tmp_path / "run", lambda: hide(str(target)))
    with v1.Session(graph=tf.Graph()) as session:
        for policy in (None, Policy(allow="file read")):
            with pytest.raises(UnsafeModelError, match="file write: WriteFile"):
                store.open_graph(scope=scope, session=session, policy=policy)
        assert session.graph.get_operations() == []
    assert not target.exists()
    store.open_graph(scope=scope, policy=Policy.trusted()).close()
    assert target.exists(), "the attack is none, so nothing is proven"


def test_an_invalid_graph_is_refused_before_it_is_imported():
    store = saved("memory://left_out/unsound", lambda: None)
    storage = open_storage("memory://left_out/unsound")
    meta = v1.MetaGraphDef.FromString(bytes(storage.read("model.ckpt.meta")))
    meta.graph_def.node[0].attr["dtype"].type = 67
    # Without the facts that tell a changed file from the one that was saved.
    storage.remove(["model.ckpt.tfpersist.json"])
    with storage.publish(durable=False) as publication:
        publication.create("model.ckpt.meta").write(meta.SerializeToString())
    with pytest.raises(GraphError, match="is invalid"):
        store.open_graph()


def test_an_op_of_ones_own_is_let_through_by_name():
    meta = v1.MetaGraphDef()
    meta.graph_def.node.add(name="a", op="WriteFile")
    meta.graph_def.node.add(name="b", op="NoOp", input=["^a"])
    with pytest.raises(UnsafeModelError):
        import_meta.import_meta(meta.SerializeToString(), scope="")
    with pytest.raises(GraphError):
        import_meta.import_meta(meta.SerializeToString(), scope="", policy=Policy(ops="WriteFile"))


def test_nodes_beside_a_removed_one_stay():
    graph = tf.Graph()
    with graph.as_default():
        v1.get_variable("v", initializer=np.zeros(2, np.float32), use_resource=False)
        saver = v1.train.Saver()
        save = graph.get_operation_by_name(
            saver.saver_def.save_tensor_name.rpartition("/")[0] + "/SaveV2"
        )
        with v1.colocate_with(save):
            tf.constant(1.0, name="beside")
        meta = v1.train.export_meta_graph(graph=graph, saver_def=saver.as_saver_def())
    imported = import_meta.import_meta(meta.SerializeToString(), scope="")
    assert imported.graph.get_operation_by_name("beside").colocation_groups() == [b"loc:@beside"]
    assert imported.notes == ()
