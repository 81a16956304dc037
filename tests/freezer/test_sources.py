"""Sources that are files: SavedModels of every age, graphs with a checkpoint."""

from __future__ import annotations

import hashlib
import shutil

import numpy as np
import pytest

import tfpersist as tfp
from tfpersist.errors import FreezeError, NameNotFoundError, TargetError
from tfpersist.formats import schema
from tfpersist.formats.graphdef import split
from tfpersist.freezer.freezer import Freezer
from tfpersist.graph.describe import signature


def half_plus_two(folder):
    """Return the SavedModels of TensorFlow 1 below a folder that make half an input plus two."""
    found = sorted(folder.glob("*/saved_model")) + sorted(folder.glob("*/*half_plus_two*/00000123"))
    found = [path for path in found if (path / "variables").is_dir()]
    assert len(found) == 2
    return found


def test_a_keras_saved_model_that_tensorflow_cannot_load(keras_2):
    golden = np.load(keras_2 / "golden.npz")
    model = Freezer(keras_2 / "keras_savedmodel").freeze()
    side = golden["conv_in"].shape[1]
    expected = f"serving_default_c1_input:0 float32[?,{side},{side},1]"
    assert [str(ref) for ref in model.inputs] == [expected]
    result = model.run("StatefulPartitionedCall:0", {model.inputs[0].name: golden["conv_in"]})
    np.testing.assert_allclose(result, golden["conv_out"], rtol=1e-5, atol=1e-6)
    assert "VarHandleOp" not in model.summary().operations


def test_a_saved_model_without_tensorflow(golden, fresh):
    printed = fresh(
        """
        import sys, tfpersist as tfp
        model = tfp.Freezer(sys.argv[1]).freeze()
        print(model.outputs[0], "tensorflow" in sys.modules)
        """,
        golden / "2.4.4/keras_savedmodel",
    )
    assert printed == "StatefulPartitionedCall:0 float32[?,3] False\n"


@pytest.mark.parametrize("number", [0, 1])
def test_every_signature_of_a_tf1_saved_model(old_files, number):
    folder = half_plus_two(old_files)[number]
    x = np.float32([[1], [2]])
    assert Freezer(folder).freeze().run("y:0", {"x:0": x}).tolist() == [[2.5], [3]]
    other = Freezer(folder / "saved_model.pb").signature("regress_x2_to_y3").freeze()
    assert other.run("y3", {"x2:0": x}).tolist() == [[3.5], [4]]
    labelled = Freezer(folder).signature("classify_x_to_y").outputs("scores").freeze()
    assert labelled.run("y", {"x:0": x}).tolist() == [[2.5], [3]]
    with pytest.raises(NameNotFoundError, match="there is no signature 'nope'"):
        Freezer(folder).signature("nope").freeze()
    with pytest.raises(FreezeError, match="one graph with these tags"):
        Freezer(folder).tags("serve", "gpu").freeze()


@pytest.mark.parametrize("release", ["1.4.1", "1.15.5"])
def test_a_table_of_a_tf1_saved_model_is_in_the_frozen_graph(golden, tmp_path, release):
    path = tmp_path / "words.pb"
    Freezer(golden / release / "saved_model").signature("look_up").write(path)
    found = tfp.FrozenModel.load(path).run("index", {"word": ["three", "one", "?"]})
    assert found.tolist() == [2, 0, 3]


def test_a_saved_model_and_a_checkpoint_of_one_model(golden):
    folder = golden / "1.4.1/regression"
    values = np.load(golden / "1.4.1/regression.npz")
    from_model = Freezer(folder / "saved_model").freeze()
    assert [ref.name for ref in from_model.outputs] == ["pred:0"]
    from_checkpoint = Freezer(folder / "checkpoint").outputs("pred").freeze()
    for model in (from_model, from_checkpoint):
        found = model.run("pred:0", {"X:0": values["X"]})
        np.testing.assert_allclose(found, values["pred"], rtol=1e-6)


def test_a_saved_model_of_another_project(corpus):
    folder = corpus / "tensorflow-onnx/regression"
    from_model = Freezer(folder / "saved_model").freeze()
    assert [ref.name for ref in from_model.outputs] == ["pred:0"]
    from_checkpoint = Freezer(folder / "checkpoint").outputs("pred").freeze()
    feeds = {"X:0": np.float32([1, 2, 3])}
    assert np.isfinite(from_model.run("pred:0", feeds)).all()
    assert from_model.run("pred:0", feeds).shape == from_checkpoint.run("pred:0", feeds).shape


@pytest.mark.parametrize("form", ["pb", "pbtxt", "GraphDef", "FrozenModel"])
def test_a_graph_and_its_checkpoint(golden, tmp_path, form):
    folder = golden / "1.4.1/regression/checkpoint"
    meta = tfp.Checkpoint(folder).meta
    source = tmp_path / f"graph.{form}"
    if form == "pb":
        source.write_bytes(meta.graph_def.SerializeToString())
    elif form == "pbtxt":
        source.write_text(str(meta.graph_def))
    elif form == "GraphDef":
        source = meta.graph_def
    else:
        source = tfp.FrozenModel(split(meta.graph_def.SerializeToString()))
    expected = Freezer(folder).outputs("pred").freeze()
    feeds = {"X:0": np.float32([1, 2, 3])}
    for checkpoint in (folder, tfp.Checkpoint(folder)):
        model = Freezer(source, checkpoint=checkpoint).outputs("pred").freeze()
        assert (model.run("pred", feeds) == expected.run("pred", feeds)).all()
    with pytest.raises(FreezeError, match="the variable has no value"):
        Freezer(source).outputs("pred").freeze()


def test_values_from_two_sides(golden):
    folder = golden / "1.4.1/regression/checkpoint"
    with pytest.raises(FreezeError, match="values of its own"):
        Freezer(folder, checkpoint=folder).outputs("pred").freeze()


def test_the_key_of_a_variable_is_what_the_restore_function_says(tmp_path):
    import tensorflow as tf

    class Net(tf.Module):
        def __init__(self):
            super().__init__(name="net")
            self.layers = [tf.Variable([2.0], name="w"), tf.Variable([3.0], name="w")]

        @tf.function(input_signature=[tf.TensorSpec([1], name="x")])
        def twice(self, x):
            return {"first": x * self.layers[0], "second": x * self.layers[1]}

    net = Net()
    tf.saved_model.save(net, str(tmp_path / "net"), signatures={"twice": net.twice})
    model = Freezer(tmp_path / "net").outputs("first", "second").freeze()
    x = np.float32([10])
    assert sorted(float(model.run(ref, {model.inputs[0]: x})[0]) for ref in model.outputs) == [
        20,
        30,
    ]
    live = Freezer(net.twice).freeze()
    assert live.run(list(live.outputs), {"x:0": x})[0] == [20]


def test_signatures_are_listed_where_none_is_chosen(tmp_path):
    import tensorflow as tf

    class Net(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 2], name="x")])
        def double(self, x):
            return {"y": 2 * x}

        @tf.function(input_signature=[tf.TensorSpec([], tf.int64, name="n")])
        def count(self, n):
            return {"next": n + 1, "last": n - 1}

    net, folder = Net(), tmp_path / "net"
    tf.saved_model.save(net, str(folder), signatures={"double": net.double, "count": net.count})
    freezer = Freezer(folder)
    with pytest.raises(FreezeError) as caught:
        freezer.freeze()
    assert str(caught.value) == (
        'no outputs are named. Choose a signature, as in Freezer(...).signature("count"), or name'
        " the outputs: Freezer(...).outputs(...). The signatures are\n"
        "  count: n int64[] -> last int64[], next int64[]\n"
        "  double: x float32[?,2] -> y float32[?,2]."
    )
    assert [str(ref.spec) for ref in freezer.candidates().outputs] == [
        *("int64[]", "int64[]", "float32[?,2]"),
    ]
    assert freezer.signature("double").freeze().outputs[0].spec.shape == (None, 2)
    assert len(freezer.signature("double").candidates().outputs) < 4


def test_signatures_of_a_tf1_saved_model_are_listed(old_files, tmp_path):
    source = half_plus_two(old_files)[0]
    shutil.copytree(source, tmp_path / "model")
    file = tmp_path / "model" / "saved_model.pb"
    model = schema.parse(schema.SavedModel, file.read_bytes(), file="model")
    known = model.meta_graphs[0].signature_def
    del known["serving_default"]
    known["odd"].outputs["z"].SetInParent()
    file.write_bytes(model.SerializeToString())
    with pytest.raises(FreezeError, match="regress_x_to_y: inputs string") as caught:
        Freezer(tmp_path / "model").freeze()
    assert "\n  odd: nothing -> z\n" in str(caught.value)
    found = Freezer(tmp_path / "model").candidates().outputs
    assert {"y:0", "y2:0", "y3:0"} <= {ref.name for ref in found}


def test_a_signature_s_inputs_are_where_the_file_begins(old_files):
    model = Freezer(half_plus_two(old_files)[0]).freeze()
    assert [ref.name for ref in model.inputs] == ["x:0"]
    assert "ParseExample" not in model.summary().operations


def test_a_graph_that_reads_from_an_iterator_begins_behind_it(old_files):
    """The `.meta` of a BERT has ops that no TensorFlow has any more, before the iterator."""
    (meta,) = old_files.rglob("bert_model.ckpt.meta")
    folder = meta.parent
    freezer = Freezer(folder).outputs("bert/pooler/dense/Tanh")
    with pytest.raises(FreezeError, match="IteratorV2"):
        freezer.freeze()
    names = [f"IteratorGetNext:{n}" for n in range(7)]
    graph = split(tfp.Checkpoint(folder).meta.graph_def.SerializeToString())
    used = {text for node in graph.proto.node for text in node.input if "IteratorGetNext" in text}
    pooler = _needed(graph, "bert/pooler/dense/Tanh")
    wanted = [name for name in names if name.removesuffix(":0") in used & pooler]
    model = freezer.inputs(*wanted).freeze()
    assert len(model.inputs) == len(wanted) == 3
    feeds = {ref.name: np.ones(ref.spec.shape, "int32") for ref in model.inputs}
    pooled = model.run("bert/pooler/dense/Tanh", feeds)
    assert np.isfinite(pooled).all()
    assert pooled.shape[1] == 4
    named = freezer.inputs(**{f"in{n}": name for n, name in enumerate(wanted)}).freeze()
    assert [ref.operation for ref in named.inputs] == ["in0", "in1", "in2"]
    again = {f"in{n}:0": feeds[model.inputs[n].name] for n in range(3)}
    # It was saved in training: dropout makes each run another.
    assert named.run("bert/pooler/dense/Tanh", again).shape == pooled.shape
    with pytest.raises(FreezeError, match="do not depend on this input"):
        freezer.inputs(*wanted, "bert/pooler/dense/kernel/Initializer/truncated_normal").freeze()


def _needed(graph, name):
    found, pending = set(), [name]
    while pending:
        for text in graph.nodes[pending.pop()].input:
            if text not in found:
                found.add(text)
                pending.append(text.removeprefix("^").partition(":")[0])
    return found


def test_the_signature_says_what_the_source_called_things(old_files, tmp_path):
    path = tmp_path / "half.pb"
    source = half_plus_two(old_files)[0]
    model = Freezer(source).write(path)
    said = signature.Signature.of(model.graph)
    assert str(said) == "x = x:0 -> y = y:0"
    assert model.signature == said
    assert said.origin.tensorflow in ("1.1.0-rc2", "1.15.5")
    index = (source / "variables/variables.index").read_bytes()
    assert said.origin.checkpoint == hashlib.sha256(index).hexdigest()
    Freezer(path).write(tmp_path / "again.pb")
    assert path.read_bytes() == (tmp_path / "again.pb").read_bytes()


def test_the_signature_tells_the_step(golden):
    freezer = Freezer(golden / "1.15.5/model_v2.ckpt-5").outputs("loop_out")
    said = signature.Signature.of(freezer.inputs(image="input").freeze().graph)
    assert said.inputs == {"image": "image:0", "training": "training:0"}
    assert said.outputs == {"loop_out": "loop_out:0"}
    keras = Freezer(golden / "2.4.4/keras_savedmodel").freeze()
    assert keras["d"].name == "StatefulPartitionedCall:0"
    assert keras["c1_input"].name == "serving_default_c1_input:0"
    assert (said.origin.step, said.origin.tensorflow) == (5, "1.15.5")
    v1 = Freezer(golden / "1.15.5/shard2_v1.ckpt").outputs("output").freeze()
    assert signature.Signature.of(v1.graph).origin.checkpoint is None


@pytest.mark.parametrize("location", ["memory://sources-store", "memory://sources/deep/store"])
def test_a_store_and_a_place_in_memory_stand_for_their_checkpoint(location):
    tf = pytest.importorskip("tensorflow")
    store = tfp.ModelStore(location)
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session() as session:
        v = tf.compat.v1.get_variable("v", initializer=1.0)
        tf.add(v, 0.0, name="y")
        for step in (1, 2):
            session.run(v.initializer)
            v.load(float(step), session)
            store.save(session, step=step)
    for source in (location, store, store.latest(), store.at(2)):
        model = tfp.Freezer(source).outputs("y").freeze()
        assert model.run("y") == 2.0
        assert model.policy == tfp.FrozenModel.load(model.write(f"{location}/y.pb").file).policy
    assert tfp.Freezer(store.at(1)).outputs("y").freeze().run("y") == 1.0


def test_a_store_without_a_checkpoint_is_told():
    with pytest.raises(FreezeError, match="memory://sources-empty: there is no checkpoint"):
        tfp.Freezer(tfp.ModelStore("memory://sources-empty")).outputs("y").freeze()


def test_something_else_is_told_what_can_be_frozen():
    pytest.importorskip("tensorflow")
    with pytest.raises(TargetError, match=r"Keras model.*Checkpoint or ModelStore.*SavedModel"):
        tfp.Freezer(3).outputs("y").freeze()
