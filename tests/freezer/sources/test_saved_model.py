"""A SavedModel: where it is, which of its parts are taken, and where its files are."""

from __future__ import annotations

import hashlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from drafts import draft, negative, placeholder

import tfpersist as tfp
from tfpersist.errors import (
    CorruptionError,
    FreezeError,
    NameNotFoundError,
    StorageError,
    UnsafeModelError,
)
from tfpersist.formats import schema
from tfpersist.freezer.freezer import Freezer
from tfpersist.freezer.sources.choice import Choice
from tfpersist.freezer.sources.saved_model import folder_of, lower_saved_model
from tfpersist.graph.describe import signature
from tfpersist.graph.structure.names import Labels
from tfpersist.safety import Policy
from tfpersist.storage import open_storage

CHAIN = placeholder("x") + negative("mid", "x") + negative("y", "mid")


def saved_model(signatures=("serving_default",)):
    """Return a SavedModel whose signatures take `image` and give `label`."""
    saved = schema.SavedModel(saved_model_schema_version=1)
    meta = saved.meta_graphs.add(graph_def=draft(CHAIN).graph.proto)
    meta.meta_info_def.tags.append("serve")
    meta.meta_info_def.tensorflow_version = "1.15.5"
    for name in signatures:
        meta.signature_def[name].inputs["image"].name = "x:0"
        meta.signature_def[name].outputs["label"].name = "y:0"
    return saved


def write(folder, saved, name="saved_model.pb"):
    folder.mkdir(exist_ok=True)
    text = name.endswith(".pbtxt")
    (folder / name).write_bytes(str(saved).encode() if text else saved.SerializeToString())
    return str(folder)


class TestFolder:
    @pytest.mark.parametrize("name", ["saved_model.pb", "saved_model.pbtxt"])
    def test_a_directory_or_the_file_in_it(self, tmp_path, name):
        folder = write(tmp_path / "model", saved_model(), name)
        assert folder_of(folder) == folder_of(f"{folder}/{name}") == folder

    def test_a_url(self):
        with open_storage("memory://saved/model").publish(durable=False) as publication:
            publication.create("saved_model.pb").write(saved_model().SerializeToString())
        assert folder_of("memory://saved/model") == "memory://saved/model"
        assert folder_of("memory://saved/model/saved_model.pb") == "memory://saved/model"
        assert lower_saved_model("memory://saved/model", Choice()).inputs == ("x:0",)

    def test_other_paths_are_not_a_saved_model(self, tmp_path):
        (tmp_path / "my_saved_model.pb").write_bytes(b"")
        paths = (tmp_path, tmp_path / "my_saved_model.pb", tmp_path / "nothing", "model.ckpt-3")
        assert [folder_of(str(path)) for path in paths] == [None] * 4


class TestLowered:
    @pytest.mark.parametrize("name", ["saved_model.pb", "saved_model.pbtxt"])
    def test_the_default_signature(self, tmp_path, name):
        lowered = lower_saved_model(write(tmp_path, saved_model(), name), Choice())
        assert (lowered.inputs, lowered.outputs) == (("x:0",), ("y:0",))
        assert lowered.labels == Labels({"image": "x:0"}, {"label": "y:0"})
        assert lowered.signatures == ()
        assert lowered.variables == {}

    def test_signatures_are_listed_only_if_none_is_chosen(self, tmp_path):
        folder = write(tmp_path, saved_model(("classify", "regress")))
        assert lower_saved_model(folder, Choice(signature="classify")).signatures == ()
        lowered = lower_saved_model(folder, Choice())
        assert (lowered.inputs, lowered.outputs) == ((), ())
        assert [found.name for found in lowered.signatures] == ["classify", "regress"]

    def test_a_graph_of_other_tags(self, tmp_path):
        with pytest.raises(FreezeError, match="tags"):
            lower_saved_model(write(tmp_path, saved_model()), Choice(tags=("train",)))

    def test_the_origin_is_the_checkpoint_in_it(self, tmp_path):
        folder = write(tmp_path, saved_model())
        lowered = lower_saved_model(folder, Choice())
        assert lowered.origin.checkpoint is None
        tfp.ModelStore(tmp_path / "variables", name="variables").save({"v": np.zeros(1)})
        index = (tmp_path / "variables/variables.index").read_bytes()
        origin = lower_saved_model(folder, Choice()).origin
        assert origin.checkpoint == hashlib.sha256(index).hexdigest()
        assert origin.tensorflow == "1.15.5"

    def test_a_damaged_file(self, tmp_path):
        (tmp_path / "saved_model.pb").write_bytes(b"\xff" * 9)
        with pytest.raises(CorruptionError, match=r"saved_model\.pb"):
            lower_saved_model(str(tmp_path), Choice())


class TestAssets:
    def model(self, tmp_path, filename="words.txt"):
        saved = saved_model()
        saved.meta_graphs[0].asset_file_def.add(filename=filename).tensor_info.name = "path:0"
        folder = write(tmp_path / "model", saved)
        (tmp_path / "model/assets").mkdir()
        (tmp_path / "model/assets/words.txt").write_bytes(b"own")
        (tmp_path / "model/assets/more.txt").write_bytes(b"more")
        (tmp_path / "secret").write_bytes(b"secret")
        return folder

    def test_they_go_by_their_names_and_by_their_tensors(self, tmp_path):
        folder = self.model(tmp_path)
        assert lower_saved_model(folder, Choice()).assets == {
            "words.txt": f"{folder}/assets/words.txt",
            "more.txt": f"{folder}/assets/more.txt",
            "path:0": f"{folder}/assets/words.txt",
        }

    @pytest.mark.parametrize("name", ["../secret", "a/../../secret", "/etc/hostname"])
    def test_they_lie_inside_of_the_model(self, tmp_path, name):
        folder = self.model(tmp_path, name)
        with pytest.raises(CorruptionError, match="lies outside of this model"):
            lower_saved_model(folder, Choice())

    def test_only_own_files_are_read_unless_the_policy_allows_more(self, tmp_path):
        folder = self.model(tmp_path)
        read = lower_saved_model(folder, Choice()).read
        assert read(f"{folder}/assets/words.txt", "table") == b"own"
        with pytest.raises(UnsafeModelError, match=r"^table: .*got .*secret"):
            read(f"{tmp_path}/secret", "table")
        trusted = lower_saved_model(folder, Choice(policy=Policy.trusted())).read
        assert trusted(f"{tmp_path}/secret", "table") == b"secret"
        with pytest.raises(StorageError):
            read(f"{folder}/assets/gone.txt", "table")


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


def test_signatures_are_listed_where_none_is_chosen(tmp_path):
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


def test_the_signature_has_the_names_of_the_source(old_files, tmp_path):
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


def test_the_key_of_a_variable_is_what_the_restore_function_says(tmp_path):
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


class TestWhatThisTensorFlowCannotLoad:
    """A SavedModel of any age freezes, runs, and becomes a layer without being loaded."""

    def test_a_v1_optimizer_with_slots(self, golden):
        folder = golden / "2.4.4/slots"
        with pytest.raises(AttributeError, match="add_slot"):
            tf.saved_model.load(str(folder))
        with np.load(golden / "2.4.4/slots.npz") as values:
            x, y = values["x"], values["y"]
        model = Freezer(folder).freeze()
        assert np.array_equal(model.run("y", {"x": x}), y)
        assert np.array_equal(model.as_layer("x", "y")(x), y)

    def test_slots_that_this_release_wrote_itself(self, tmp_path):
        module = tf.Module()
        module.scale = tf.Variable([1.0, 2.0])
        module.optimizer = tf.compat.v1.train.AdamOptimizer(0.5)
        module.optimizer.apply_gradients([(tf.constant([1.0, -1.0]), module.scale)])
        spec = [tf.TensorSpec((None, 2), name="x")]
        module.call = tf.function(lambda x: x * module.scale, spec)
        tf.saved_model.save(module, str(tmp_path), signatures=module.call)
        with pytest.raises(AttributeError, match="add_slot"):
            tf.saved_model.load(str(tmp_path))
        model = Freezer(tmp_path).freeze()
        x = np.ones((3, 2), np.float32)
        assert np.array_equal(model.run(model.outputs[0], {"x": x}), module.call(x))

    @pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
    def test_a_keras_2_model_of_several_inputs(self, tmp_path, optimizer):
        first, second = tf_keras.Input((3,), name="first"), tf_keras.Input((2,), name="second")
        total = tf_keras.layers.Add(name="total")([tf_keras.layers.Dense(2)(first), second])
        old = tf_keras.Model([first, second], [total, tf_keras.layers.ReLU(name="part")(total)])
        old.compile(getattr(tf_keras.optimizers.legacy, optimizer)(0.01), "mse")
        inputs = [np.ones((2, 3), np.float32), np.ones((2, 2), np.float32)]
        old.train_on_batch(inputs, [inputs[1], inputs[1]])
        wanted = old(inputs)
        old.save(str(tmp_path), save_format="tf")
        with pytest.raises(ValueError, match="not supported"):
            keras.models.load_model(tmp_path)
        with pytest.raises(TypeError):
            keras.layers.TFSMLayer(str(tmp_path), "serving_default")(inputs)
        model = Freezer(tmp_path).freeze()
        found = model.run(["total", "part"], dict(zip(["first", "second"], inputs, strict=True)))
        layer = model.as_layer(["first", "second"], ["total", "part"])
        ends = keras.Input((3,)), keras.Input((2,))
        net = keras.Model(ends, layer(list(ends)))
        for results in (found, net(inputs)):
            for result, value in zip(results, wanted, strict=True):
                np.testing.assert_allclose(result, value, 1e-6)

    def test_files_of_the_corpus(self, corpus):
        """Signatures that feed a serialized Example need an op of no other kind."""
        half = corpus / "tensorflow"
        for name in ("saved_model_half_plus_two", "saved_model_half_plus_two_v2"):
            model = Freezer(half / name / "00000123").outputs("y").freeze()
            assert model.run("y", {"x": [[1.0], [2.0]]}).tolist() == [[2.5], [3.0]]
            assert np.array_equal(model.as_layer("x", "y")(np.float32([[4.0]])), [[4.0]])
        folder = corpus / "made-by-tf/2.4.4"
        with np.load(folder / "golden.npz") as golden:
            model = Freezer(folder / "keras_savedmodel").freeze()
            found = model.bind()(golden["conv_in"])
            np.testing.assert_allclose(found, golden["conv_out"], 1e-5, 1e-6)
            [layer_input], [layer_output] = model.inputs, model.outputs
            layer = model.as_layer(layer_input, layer_output)
            np.testing.assert_allclose(layer(golden["conv_in"]), found, 1e-5, 1e-6)
