"""FrozenModel: files to models, models to results."""

from __future__ import annotations

import copy
import json
import pathlib
import pickle
import threading

import attrs
import numpy as np
import pytest

import tfpersist as tfp
from tfpersist.errors import (
    CorruptionError,
    FeedError,
    GraphError,
    NameNotFoundError,
    RunError,
    StorageError,
    UnsafeModelError,
    UnsupportedError,
)
from tfpersist.formats import graphdef
from tfpersist.formats.tensors import TensorSpec
from tfpersist.safety import Policy
from tfpersist.storage import open_storage

BATCH = np.float32([[1, 2, 3], [4, 5, 6]])
WEIGHTS = np.arange(3 * 400, dtype=np.float32).reshape(3, 400)


def dense_graph():
    """x[?,3] · weights[3,400] + bias, both large enough to be payloads, and an echo of x."""
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, [None, 3], name="Net/feed")
        weights = tf.constant(WEIGHTS, name="weights")
        bias = tf.constant(np.ones(400, np.float32), name="bias")
        tf.add(tf.matmul(x, weights), bias, name="Net/add")
        tf.identity(x, name="echo")
        with tf.device("/job:worker/task:7/device:GPU:3"):
            tf.identity(weights, name="far_away")
    return graph.as_graph_def()


@pytest.fixture(scope="module")
def definition():
    return dense_graph()


@pytest.fixture
def path(definition, tmp_path) -> pathlib.Path:
    file = tmp_path / "model.pb"
    file.write_bytes(definition.SerializeToString())
    return file


@pytest.fixture(scope="module")
def model(definition) -> tfp.FrozenModel:
    return tfp.FrozenModel(graphdef.split(definition.SerializeToString()))


def test_a_model_is_loaded_from_any_spelling_of_its_path(path, monkeypatch, definition):
    monkeypatch.chdir(path.parent)
    expected = BATCH @ WEIGHTS + 1
    copied = tfp.FrozenModel.load(path).write("memory://test-frozen/models/model.pb")
    for spelling in (path, str(path), "model.pb", path.as_uri(), copied.file):
        loaded = tfp.FrozenModel.load(spelling)
        assert loaded.file == str(spelling)
        np.testing.assert_allclose(loaded.run("Net/add:0", {"Net/feed:0": BATCH}), expected)


def test_a_model_is_loaded_from_text(definition, tmp_path):
    from google.protobuf import text_format

    for name in ("model.pbtxt", "model.pb"):
        (tmp_path / name).write_text(text_format.MessageToString(definition))
        loaded = tfp.FrozenModel.load(tmp_path / name)
        np.testing.assert_array_equal(loaded.run("echo", {"Net/feed": BATCH}), BATCH)


def test_large_constants_are_views_of_the_file(path):
    loaded = tfp.FrozenModel.load(path)
    assert set(loaded.graph.payloads) == {"weights", "bias"}
    assert not loaded.graph.payloads["weights"].load().flags.owndata
    assert loaded.graph.nodes["weights"].attr["value"].tensor.tensor_content == b""


def test_only_names_are_looked_up(path):
    model = tfp.FrozenModel.load(path)
    assert "Net/add" in model
    assert model["Net/feed:0"] in model
    assert [name for name in ("Net/ad", "Net/add:1", 0, None, b"Net/add") if name in model] == []
    with pytest.raises(NameNotFoundError, match="0 is not the name of a tensor"):
        model[0]
    with pytest.raises(TypeError, match="not iterable"):
        iter(model)
    for feeds in ([BATCH], BATCH):
        with pytest.raises(FeedError, match=r"expected \{tensor name: value\}, got"):
            model.run("Net/add", feeds)


def test_a_model_is_described_without_tensorflow(path, fresh):
    printed = fresh(
        """
        import json, sys
        import tfpersist as tfp
        model = tfp.FrozenModel.load(sys.argv[1])
        print(json.dumps({
            "found": str(model["Net/add:0"]),
            "inputs": list(map(str, model.inputs)),
            "outputs": list(map(str, model.outputs)),
            "repr": repr(model),
            "html": model._repr_html_(),
            "summary": str(model.summary()),
        }))
        model.write("memory://fresh/model.pb")
        try:
            model["Net/ad"]
        except tfp.NameNotFoundError as error:
            assert "Net/add" in str(error)
        assert "tensorflow" not in sys.modules
        """,
        path,
    )
    said = json.loads(printed)
    assert said["found"] == "Net/add:0 float32[...]"
    assert said["inputs"] == ["Net/feed:0 float32[?,3]"]
    assert said["outputs"] == [
        "Net/add:0 float32[...]",
        "echo:0 float32[...]",
        "far_away:0 float32[...]",
    ]
    assert said["repr"].startswith(f"<FrozenModel {path}: 7 nodes, Net/feed:0 float32[?,3] -> ")
    assert "1,600 parameters, 6,400 bytes" in said["html"]
    assert "weights float32[3,400] 4,800 bytes" in said["summary"]


def test_specs_are_what_tensorflow_infers_once_it_has_the_graph(definition):
    model = tfp.FrozenModel(graphdef.split(definition.SerializeToString()))
    before = model["Net/add"]
    assert before.spec == TensorSpec("float32", None)
    model.run("far_away")
    assert model["Net/add"].spec == TensorSpec("float32", (None, 400))
    assert model.outputs[0] == model["Net/add"]
    assert before.spec == TensorSpec("float32", None)
    assert model[before].spec == TensorSpec("float32", (None, 400))


@pytest.mark.parametrize(
    ("name", "says"),
    [("Net/ad:0", "Net/add"), ("echo:7", "echo:0"), ("^echo", "not the name of a tensor")],
)
def test_a_wrong_name_lists_similar_names(model, name, says):
    with pytest.raises(NameNotFoundError) as caught:
        model[name]
    assert says in str(caught.value)
    with pytest.raises(NameNotFoundError):
        model.run(name, {"Net/feed": BATCH})


def test_fetches_and_feeds_go_by_names_and_references(model):
    x, y = model["Net/feed"], model["Net/add:0"]
    expected = BATCH @ WEIGHTS + 1
    assert isinstance(model.run(y, {x: BATCH}), np.ndarray)
    as_list = model.run([y, "echo"], {"Net/feed": BATCH.tolist()})
    as_dict = model.run({"y": y, "x": "echo:0"}, {"Net/feed:0": BATCH.astype(">f8")})
    np.testing.assert_allclose(as_list[0], expected)
    np.testing.assert_array_equal(as_dict["x"], BATCH)
    np.testing.assert_array_equal(as_list[0], as_dict["y"])


def test_a_feed_that_does_not_fit_is_refused(model):
    with pytest.raises(FeedError, match=r"Net/feed:0: .*expected float32\[\?,3\].*float64\[2\]"):
        model.run("Net/add", {"Net/feed": [1.0, 2.0]})
    with pytest.raises(FeedError, match=r"expected float32\[\?,3\], got int64\[1,3\]"):
        model.run("Net/add", {"Net/feed": np.array([[1, 2, 3]])})
    with pytest.raises(FeedError, match="Net/feed:0: the fetches need this placeholder"):
        model.run(["far_away", "Net/add"])
    with pytest.raises(NameNotFoundError, match="'Net/feed:0'"):
        model.run("Net/add", {"Net/fed:0": BATCH})
    np.testing.assert_array_equal(model.run("far_away", {"weights": WEIGHTS * 2}), WEIGHTS * 2)


def test_results_alias_neither_each_other_nor_weights_nor_feeds(model):
    feeds = {"Net/feed": BATCH.copy()}
    first = model.run(["far_away", "weights", "echo", "weights"], feeds)
    for result in first:
        result[...] = -1
    assert [(result == -1).all() for result in first] == [True] * 4
    np.testing.assert_array_equal(feeds["Net/feed"], BATCH)
    np.testing.assert_array_equal(model.run("weights"), WEIGHTS)
    np.testing.assert_array_equal(model.run("far_away"), WEIGHTS)
    np.testing.assert_array_equal(model.graph.payloads["weights"].load(), WEIGHTS)


def test_mapping_is_a_choice_that_copies_keep(path):
    loaded = tfp.FrozenModel.load(path, mapped=False)
    written = loaded.write("memory://test-frozen/mapped.pb")
    for twin in (loaded, written, copy.copy(loaded), pickle.loads(pickle.dumps(loaded))):
        assert not twin.mapped
    np.testing.assert_array_equal(loaded.run("weights"), WEIGHTS)


def test_threads_share_one_session(definition):
    model = tfp.FrozenModel(graphdef.split(definition.SerializeToString()))
    sessions, wrong = set(), []
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        for step in range(10):
            batch = np.full((number + 1, 3), step, np.float32)
            if (model.run("echo", {"Net/feed": batch}) != batch).any():
                wrong.append((number, step))
            sessions.add(id(model._engine.executor))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(sessions) == 1


def test_the_default_graph_is_left_alone(definition):
    import tensorflow as tf

    model = tfp.FrozenModel(graphdef.split(definition.SerializeToString()))
    with tf.Graph().as_default() as current:
        model.run("far_away")
        assert current.get_operations() == []
        assert tf.compat.v1.get_default_graph() is current
    assert tf.executing_eagerly()


def test_a_model_is_copied_and_pickled(model, path):
    expected = model.run("Net/add", {"Net/feed": BATCH})
    for twin in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin is not model
        np.testing.assert_array_equal(twin.run("Net/add", {"Net/feed": BATCH}), expected)
    assert pickle.loads(pickle.dumps(tfp.FrozenModel.load(path))).file == str(path)


def test_a_model_can_be_sent_to_other_processes(model, tmp_path, fresh):
    expected = model.run("Net/add", {"Net/feed": BATCH})
    pickled = tmp_path / "model.pickle"
    pickled.write_bytes(pickle.dumps([model, model.bind("Net/feed", "Net/add")]))
    printed = fresh(
        """
        import os, pickle, sys
        model, net = pickle.load(open(sys.argv[1], "rb"))
        batch = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
        print(net(batch).sum(), model.run("Net/add", {"Net/feed": batch}).sum())
        """,
        pickled,
    )
    assert [float(word) for word in printed.split()] == pytest.approx([expected.sum()] * 2)


def test_a_model_that_has_not_run_yet_is_forked(path, fresh):
    printed = fresh(
        """
        import os, sys
        import tfpersist as tfp
        import tensorflow
        model = tfp.FrozenModel.load(sys.argv[1])
        child = os.fork()
        if child == 0:
            done = model.run("far_away").sum() > 0
            os._exit(0 if done else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        print(model.run("far_away").shape)
        """,
        path,
    )
    assert printed == "(3, 400)\n"


def test_close_releases_the_session(definition):
    with tfp.FrozenModel(graphdef.split(definition.SerializeToString())) as model:
        model.run("far_away")
    with pytest.raises(RunError, match="this model is closed"):
        model.run("far_away")
    assert model["far_away"].name == "far_away:0"
    model.close()
    never_run = copy.copy(model)
    never_run.close()
    with pytest.raises(RunError, match="this model is closed"):
        never_run.run("far_away")


def test_a_model_is_a_value(model):
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        model.file = "other.pb"


def test_tensorflow_reads_a_written_file_and_the_replacement_is_atomic(model, tmp_path, definition):
    import tensorflow as tf

    target = tmp_path / "new" / "model.pb"
    written = model.write(target)
    assert written.file == str(target)
    again = tfp.FrozenModel.load(target)
    again.write(target, durable=False)
    assert [file.name for file in target.parent.iterdir()] == ["model.pb"]
    read = tf.compat.v1.GraphDef.FromString(target.read_bytes())
    assert {node.name for node in read.node} == {node.name for node in definition.node}
    np.testing.assert_array_equal(again.run("weights"), WEIGHTS)


def test_a_location_that_cannot_be_written_is_an_error(model, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        model.write(tmp_path / "file" / "model.pb")
    with pytest.raises(StorageError, match="names a directory, not a file"):
        model.write("memory://model.pb")
    with pytest.raises(UnsupportedError, match="binary form"):
        model.write(tmp_path / "model.pbtxt")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_every_failure_of_tensorflow_at_import_is_ours():
    unknown = graphdef.parse_text(b'node { name: "a" op: "NobodysOp" }')
    with pytest.raises(UnsupportedError, match="NobodysOp"):
        tfp.FrozenModel(unknown).run("a")
    dangling = graphdef.parse_text(b'node { name: "a" op: "NoOp" input: "^gone" }')
    with pytest.raises(GraphError, match="gone"):
        tfp.FrozenModel(dangling).run("a")


def test_a_variable_that_was_not_frozen_is_named():
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        variable = tf.compat.v1.get_variable("v", [2], use_resource=False)
        tf.identity(variable, name="y")
    model = tfp.FrozenModel(graphdef.split(graph.as_graph_def().SerializeToString()))
    with pytest.raises(RunError, match=r"uninitialized value v.*freeze them"):
        model.run("y")


def test_a_file_that_reaches_beyond_is_described_but_not_run_unless_allowed(tmp_path):
    import tensorflow as tf

    secret, path = tmp_path / "secret.txt", tmp_path / "model.pb"
    secret.write_text("secret")
    graph = tf.Graph()
    with graph.as_default():
        tf.io.read_file(str(secret), name="leak")
        tf.constant(1, name="harmless")
    path.write_bytes(graph.as_graph_def().SerializeToString())
    model = tfp.FrozenModel.load(path)
    assert model.summary().operations["ReadFile"] == 1
    for twin in (model, copy.copy(model), pickle.loads(pickle.dumps(model))):
        with pytest.raises(UnsafeModelError, match="ReadFile at node 'leak'"):
            twin.run("harmless")
        assert twin._engine.executor is None
    with pytest.raises(UnsafeModelError):
        model.write(tmp_path / "again.pb").run("harmless")
    trusting = tfp.FrozenModel.load(path, policy=Policy(allow=["file read"]))
    assert trusting.run("leak").item() == b"secret"
    assert tfp.FrozenModel(model.graph).run("leak").item() == b"secret"


def test_a_missing_file_lists_similar_names(path):
    with pytest.raises(StorageError, match=r"'model\.pb'"):
        tfp.FrozenModel.load(path.with_name("modl.pb"))
    with pytest.raises(StorageError):
        tfp.FrozenModel.load(path.parent / "nowhere" / "model.pb")


def test_a_damaged_file_is_refused(path, tmp_path):
    data = path.read_bytes()
    broken = tmp_path / "broken.pb"
    for bad in (b"", data[:-7], data[: len(data) // 2], b"not a graph at all", data[1:]):
        broken.write_bytes(bad)
        with pytest.raises(CorruptionError, match=r"broken\.pb"):
            tfp.FrozenModel.load(broken)
    broken.write_text("node { name: ")
    with pytest.raises(CorruptionError, match=r"broken\.pb"):
        tfp.FrozenModel.load(broken)


def test_every_damage_of_a_small_file_is_ours_or_harmless():
    data = graphdef.parse_text(b'node { name: "a" op: "NoOp" } node { name: "b" op: "NoOp" }')
    data = data.proto.SerializeToString()
    damaged = [data[:length] for length in range(len(data))]
    damaged += [
        data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
        for at in range(len(data))
        for bit in range(8)
    ]
    storage = open_storage("memory://test-frozen/damaged")
    for number, bad in enumerate(damaged):
        with storage.publish(durable=False) as publication:
            publication.create("m.pb").write(bad)
        try:
            loaded = tfp.FrozenModel.load("memory://test-frozen/damaged/m.pb")
        except (CorruptionError, UnsupportedError):
            continue
        assert loaded.summary().nodes >= 1, number


# --- files that other programs wrote ------------------------------------------------------------

OTHERS = {
    "1.15.5/checkpoint": "state file",
    "1.15.5/plain_v2.ckpt.meta": "the .meta of a checkpoint",
    "1.15.5/plain_v2.ckpt.index": "a checkpoint",
    "1.15.5/plain_v2.ckpt.data-00000-of-00001": "a data shard",
    "1.15.5/plain_v2.ckpt": "the prefix of a checkpoint",
    "1.15.5/plain_v1.ckpt": "a checkpoint",
    "2.4.4/keras.h5": "a Keras model or weights in HDF5",
    "2.4.4/keras_savedmodel": "a SavedModel",
    "2.4.4/keras_savedmodel/saved_model.pb": "a SavedModel",
    "2.4.4": "a directory.*frozen_v2_conv.pb",
    "2.4.4/model.tflite": "a TensorFlow Lite model",
}


@pytest.mark.parametrize(("file", "kind"), OTHERS.items(), ids=OTHERS)
def test_a_file_of_another_format_is_named(golden, file, kind):
    with pytest.raises(UnsupportedError, match=f"this is not a frozen graph; expected .*{kind}"):
        tfp.FrozenModel.load(golden / file)


CASES = {
    "plain_frozen.pb": ("plain_golden.npz", "output"),
    "bntrain_frozen.pb": ("bntrain_golden.npz", "output"),
    "shard2_frozen.pb": ("shard2_golden.npz", "output"),
    "frozen_output.pb": ("golden.npz", "output"),
    "frozen_loop.pb": ("golden.npz", "loop_out"),
}


@pytest.mark.parametrize("file", CASES)
def test_frozen_graphs_of_tensorflow_1_compute_the_recorded_outputs(tensorflow_1, file):
    golden, output = CASES[file]
    gives(tensorflow_1 / file, golden, "input", output, output)


def test_frozen_graphs_of_keras_2_compute_the_recorded_outputs(keras_2):
    files = sorted(keras_2.glob("frozen_v2_*.pb"))
    assert len(files) >= 3
    for file in files:
        kind = file.stem.split("_")[2]
        gives(file, "golden.npz", f"{kind}_in", f"{kind}_out", "Identity")


def test_a_graph_that_the_tool_of_tensorflow_froze(corpus):
    folder = corpus / "made-by-tf" / "1.0.1"
    gives(folder / "frozen_tool.pb", "golden.npz", "input", "output", "output")


def gives(file, golden, fed, expected, output):
    """Assert that a graph has this output and computes the recorded result."""
    values = np.load(file.parent / golden, allow_pickle=True)
    with tfp.FrozenModel.load(file) as model:
        assert [ref.operation for ref in model.outputs] == [output]
        feed, *others = model.inputs
        assert [ref.name for ref in others] in ([], ["training:0"])
        result = model.run(model.outputs[0], {feed: values[fed]})
    # TensorFlow's kernels sum in another order in another version.
    np.testing.assert_allclose(result, values[expected], rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_recurrent_graphs_compute_the_recorded_outputs(golden, name):
    values = np.load(golden / "1.4.1" / f"{name}.npz")
    with tfp.FrozenModel.load(golden / "1.4.1" / f"{name}_frozen.pb") as model:
        assert [ref.name for ref in model.inputs] == ["X:0", "keep_prob:0"]
        result = model.run("output", {"X": values["X"], "keep_prob": values["keep_prob"]})
        np.testing.assert_allclose(result, values["output"], rtol=1e-5, atol=1e-6)
        with pytest.raises(FeedError, match="keep_prob:0"):
            model.run("output", {"X": values["X"]})


def test_recurrent_graphs_of_another_project_run(corpus):
    rng = np.random.default_rng(1)
    for name, feed in {
        "lstm": rng.random((2, 784), np.float32),
        "gru": rng.random((2, 784), np.float32),
    }.items():
        with tfp.FrozenModel.load(corpus / "tensorflow-onnx" / name / "frozen.pb") as model:
            x = model.inputs[0]
            assert [ref.name for ref in model.inputs] == ["X:0", "keep_prob:0"]
            first = model.run("output", {x: feed, "keep_prob": 1.0})
            np.testing.assert_array_equal(model.run("output", {x: feed, "keep_prob": 1.0}), first)
            assert np.isfinite(first).all()
            with pytest.raises(FeedError, match="keep_prob:0"):
                model.run("output", {x: feed})


def test_a_frozen_regression_computes_the_recorded_outputs(golden):
    values = np.load(golden / "1.4.1/regression.npz")
    with tfp.FrozenModel.load(golden / "1.4.1/regression/frozen.pb") as model:
        np.testing.assert_allclose(model.run("pred", {"X": values["X"]}), values["pred"], rtol=1e-6)
        at = [model.run("pred", {"X": value}).item() for value in (0.0, 1.0, 2.0)]
    assert at[2] - at[1] == pytest.approx(at[1] - at[0], rel=1e-5)
    assert at[1] != at[0]


def test_the_regression_of_another_project_runs(corpus):
    with tfp.FrozenModel.load(corpus / "tensorflow-onnx/regression/graphdef/frozen.pb") as model:
        at = [model.run("pred", {"X": value}).item() for value in (0.0, 1.0, 2.0)]
    assert at[2] - at[1] == pytest.approx(at[1] - at[0], rel=1e-5)
    assert at[1] != at[0]


def test_a_training_graph_as_text_is_described_and_imported(golden):
    path = golden / "1.4.1" / "graph.pbtxt"
    with tfp.FrozenModel.load(path, policy=Policy.trusted()) as model:
        assert model.summary().nodes > 30
    opens_as_text(path, np.zeros((1, 4)))


def test_training_graphs_as_text_of_the_corpus(corpus):
    for path in sorted(corpus.rglob("graph.pbtxt")):
        with tfp.FrozenModel.load(path, policy=Policy.trusted()) as model:
            assert model.summary().nodes > 700
        opens_as_text(path, np.zeros((1, 8, 8, 1)))


def opens_as_text(path, given):
    """Assert what is true of every training graph as text."""
    with pytest.raises(UnsafeModelError, match="save/SaveV2"):
        tfp.FrozenModel.load(path).run("output")
    with tfp.FrozenModel.load(path, policy=Policy.trusted()) as model:
        assert model["loss"].spec.dtype == "float32"
        assert {"input:0", "label:0"} <= {ref.name for ref in model.inputs}
        with pytest.raises(FeedError, match="input:0"):
            model.run("output")
        with pytest.raises(RunError, match="uninitialized"):
            model.run("output", {"input": given})


def test_a_flipped_bit_in_the_weights_is_found_when_asked_for(path, tmp_path):
    written = tmp_path / "written.pb"
    tfp.FrozenModel.load(path).write(written)
    data = bytearray(written.read_bytes())
    data[data.index(WEIGHTS.tobytes()) + 700] ^= 4
    damaged = tmp_path / "damaged.pb"
    damaged.write_bytes(data)
    with pytest.raises(CorruptionError, match=r"damaged\.pb"):
        tfp.FrozenModel.load(damaged, verify=True)
    with pytest.raises(CorruptionError, match="4,800 bytes"):
        tfp.FrozenModel.load(damaged).verify()
    assert tfp.FrozenModel.load(written, verify=True).verify().ok


def test_a_flipped_bit_in_the_graph_is_found_at_once(path, tmp_path):
    written = tmp_path / "written.pb"
    tfp.FrozenModel.load(path).write(written)
    data = bytearray(written.read_bytes())
    data[data.index(b"Net/feed") + 7] ^= 1
    written.write_bytes(data)
    with pytest.raises(CorruptionError, match="not those that were written"):
        tfp.FrozenModel.load(written)


def test_a_file_of_another_program_has_nothing_to_verify(path):
    with pytest.raises(UnsupportedError, match="no checksums"):
        tfp.FrozenModel.load(path, verify=True)


@pytest.mark.parametrize("form", [None, "float16", "int8"])
def test_the_graph_can_be_given_to_tensorflow(form):
    import tensorflow as tf

    weights = tf.Variable(np.random.default_rng(0).random((64, 64), np.float32))
    function = tf.function(lambda x: x @ weights, [tf.TensorSpec((None, 64), name="x")])
    freezer = tfp.Freezer(function)
    model = (freezer if form is None else freezer.weights(form)).freeze()
    x = np.ones((2, 64), np.float32)
    with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
        tf.graph_util.import_graph_def(model.as_graph_def(), name="")
        found = session.run(model.outputs[0].name, {"x:0": x})
        assert graph.get_operation_by_name("x").type == "Placeholder"
    np.testing.assert_allclose(found, model.run(model.outputs[0], {"x": x}), 1e-6)
