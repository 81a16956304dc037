"""Mistakes that users make: each is an error of ours that says what it expected and got."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist import safety
from tfpersist.errors import ArgumentError, value_text

v1 = tf.compat.v1
NO_PATH = r"not a path; expected .*, got"
NO_NAME = r"cannot be used; expected .*, got"


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A directory with a store in "ok", an empty directory, a frozen graph and another file."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "empty").mkdir()
    (folder / "a_file").write_text("hello")
    (folder / "weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    graph = tf.Graph()
    with graph.as_default():
        variable = v1.get_variable("v1", initializer=[1.0])
        fed = v1.placeholder(tf.float32, [None, 1], name="x")
        tf.add(fed, variable, name="sum")
        init = v1.global_variables_initializer()
    session = v1.Session(graph=graph)
    session.run(init)
    tfp.ModelStore(folder / "ok").save(session, step=1)
    tfp.Freezer(session).outputs("sum").write(folder / "ok.pb")
    return folder, session


class Given:
    """The objects with which the mistakes are made."""

    def __init__(self, folder: pathlib.Path, session: object) -> None:
        self.folder, self.session = folder, session
        self.store = tfp.ModelStore(folder / "ok")
        self.checkpoint = tfp.Checkpoint(folder / "ok")
        self.freezer = tfp.Freezer(session).outputs("sum")
        self.model = tfp.FrozenModel.load(folder / "ok.pb")

    def path(self, name: str) -> str:
        return str(self.folder / name)


MISTAKES = {
    # Places.
    "store None": (lambda g: tfp.ModelStore(None), ArgumentError, rf"{NO_PATH} None"),
    "store int": (lambda g: tfp.ModelStore(3), ArgumentError, rf"{NO_PATH} 3"),
    "store list": (lambda g: tfp.ModelStore(["ok"]), ArgumentError, rf"{NO_PATH} a list"),
    "store session": (
        lambda g: tfp.ModelStore(g.session),
        ArgumentError,
        rf"{NO_PATH} a .*Session",
    ),
    "store empty": (lambda g: tfp.ModelStore(""), ArgumentError, "is empty; expected a directory"),
    "store name": (
        lambda g: tfp.ModelStore("a", name=None),
        ArgumentError,
        "the name of checkpoints must be a text",
    ),
    "store prefix": (
        lambda g: tfp.ModelStore(g.path("ok/model.ckpt-1")).restore(g.session),
        tfp.CheckpointNotFoundError,
        r"prefix of one checkpoint.*ModelStore\('.*ok'\), with at\(step\)",
    ),
    "store file": (
        lambda g: tfp.ModelStore(g.path("ok/model.ckpt-1.index")).restore(g.session),
        tfp.StorageError,
        "this is a file; expected a directory of checkpoints",
    ),
    "store NUL": (lambda g: tfp.ModelStore("a\0b"), ArgumentError, "no file can have this path"),
    "store surrogate": (lambda g: tfp.ModelStore("\ud800"), ArgumentError, "no file can have"),
    "model NUL": (lambda g: tfp.FrozenModel.load("a\0.pb"), ArgumentError, "no file can have"),
    "source NUL": (lambda g: tfp.Freezer("/a\0/b").freeze(), ArgumentError, "no file can have"),
    "scan NUL": (lambda g: safety.scan("/a\0/b.pb"), ArgumentError, "no file can have"),
    "checkpoint int": (lambda g: tfp.Checkpoint(3), ArgumentError, rf"{NO_PATH} 3"),
    "checkpoint list": (lambda g: tfp.Checkpoint([]), ArgumentError, rf"{NO_PATH} a list"),
    "checkpoint store": (
        lambda g: tfp.Checkpoint(g.store),
        ArgumentError,
        r"its latest\(\), got a",
    ),
    "checkpoint file": (
        lambda g: tfp.Checkpoint(g.path("a_file")),
        tfp.CheckpointNotFoundError,
        "does not belong to a checkpoint.*got a file of an unknown format",
    ),
    "checkpoint graph": (
        lambda g: tfp.Checkpoint(g.path("ok.pb")),
        tfp.CheckpointNotFoundError,
        r"got a file that may be a graph.*FrozenModel\.load",
    ),
    "checkpoint HDF5": (
        lambda g: tfp.Checkpoint(g.path("weights.h5")).specs,
        tfp.CorruptionError,
        "cannot be read as HDF5",
    ),
    "load None": (lambda g: tfp.FrozenModel.load(None), ArgumentError, rf"{NO_PATH} None"),
    "load empty": (lambda g: tfp.FrozenModel.load(""), ArgumentError, r"is empty; expected .*\.pb"),
    "load empty directory": (
        lambda g: tfp.FrozenModel.load(g.path("empty")),
        tfp.UnsupportedError,
        "expected a file, got a directory. It holds no graph",
    ),
    "load directory of checkpoints": (
        lambda g: tfp.FrozenModel.load(g.path("ok")),
        tfp.UnsupportedError,
        "got a directory of checkpoints. Freeze one first",
    ),
    "write None": (lambda g: g.freezer.write(None), ArgumentError, rf"{NO_PATH} None"),
    "write int": (lambda g: g.model.write(3), ArgumentError, rf"{NO_PATH} 3"),
    "unfreeze nowhere": (lambda g: g.model.unfreeze("*", None), ArgumentError, rf"{NO_PATH} None"),
    "diff int": (lambda g: g.checkpoint.diff(3), ArgumentError, rf"{NO_PATH} 3"),
    # Steps, metrics and choices of a store.
    "at None": (lambda g: g.store.at(None), tfp.TargetError, "not a whole number.*got None"),
    "at text": (lambda g: g.store.at("1"), tfp.TargetError, "not a whole number.*got '1'"),
    "at fraction": (lambda g: g.store.at(1.5), tfp.TargetError, r"not a whole number.*got 1\.5"),
    "at negative": (lambda g: g.store.at(-1), tfp.TargetError, "negative; expected 0 or more"),
    "at array": (lambda g: g.store.at(np.arange(2)), tfp.TargetError, "not a whole number.*array"),
    "step bool": (lambda g: g.store.save(g.session, True), tfp.TargetError, "got True"),
    "metric int": (
        lambda g: g.store.save(g.session, metrics={3: 1.0}),
        tfp.SaveError,
        r"name of a metric is not a string; expected a dict such as \{\"loss\": 0\.25\}, got 3",
    ),
    "only int": (
        lambda g: g.store.only(3).restore(g.session),
        tfp.SelectionError,
        r"only\(\) got 3, which is not a variable.*There are 'v1'",
    ),
    "only None": (
        lambda g: g.store.only(None).restore(g.session),
        tfp.SelectionError,
        r"only\(\) got None",
    ),
    "only lambda": (
        lambda g: g.store.only(lambda name: True).restore(g.session),
        tfp.SelectionError,
        r"only\(\) got a function",
    ),
    "rename None": (lambda g: g.store.rename(None), tfp.SelectionError, "not a dict.*got NoneType"),
    "averages None": (
        lambda g: g.store.averages(None),
        ArgumentError,
        r"averages\(\) needs to know.*got None",
    ),
    "graph session": (
        lambda g: g.store.open_graph(session=3),
        ArgumentError,
        r"session: .*expected a tf\.compat\.v1\.Session.*got 3",
    ),
    "graph policy": (
        lambda g: g.store.open_graph(policy="trusted"),
        ArgumentError,
        r"not a policy; expected .*Policy\.trusted\(\), got 'trusted'",
    ),
    "monitor": (lambda g: g.store.callback(monitor=3), tfp.SaveError, "one metric.*got 3"),
    "signal": (
        lambda g: g.store.save_on_signal(g.session, "SIGTERM"),
        ArgumentError,
        r"must be the number of a signal; expected such as signal\.SIGTERM, got 'SIGTERM'",
    ),
    # What is saved.
    "save None": (
        lambda g: g.store.save(None),
        tfp.TargetError,
        "^None cannot be saved.*expected a",
    ),
    "save path": (
        lambda g: g.store.restore("model"),
        tfp.TargetError,
        r"'model' cannot be .*restored.*ModelStore\(directory\)\.restore\(model\)",
    ),
    "save empty": (lambda g: g.store.save({}), tfp.TargetError, "an empty dict cannot be saved"),
    "save class": (
        lambda g: g.store.save(tf.Module),
        tfp.TargetError,
        "the class tensorflow.*Module",
    ),
    "save nested": (
        lambda g: g.store.save({"a": {"b": np.zeros(2)}}),
        tfp.TargetError,
        "got a dict. Put everything into one dict, under names such as 'a/b'",
    ),
    "save tensor": (
        lambda g: g.store.save({"a": tf.zeros(3)}),
        tfp.TargetError,
        r"got a .*EagerTensor.*pass \{'a': numpy\.asarray\(value\)\}",
    ),
    "save hole": (
        lambda g: g.store.save({"a": np.zeros(2), "b": None}),
        tfp.TargetError,
        "value of 'b'.*got None. Leave the value out",
    ),
    # What is read.
    "key int": (lambda g: g.checkpoint[3], tfp.NameNotFoundError, "no tensor 3. There are 'v1'"),
    "key list": (lambda g: g.checkpoint[["v1"]], tfp.NameNotFoundError, r"no tensor \['v1'\]"),
    "load one": (lambda g: g.checkpoint.load("v1"), ArgumentError, r"got 'v1'\. Pass \['v1'\]"),
    "load nothing": (lambda g: g.checkpoint.load(None), ArgumentError, "list of names, got None"),
    "load other": (lambda g: g.checkpoint.load([3]), tfp.NameNotFoundError, "no tensor 3"),
    # What is frozen.
    "freeze None": (
        lambda g: tfp.Freezer(None).freeze(),
        tfp.TargetError,
        "^None cannot be frozen",
    ),
    "outputs None": (lambda g: g.freezer.outputs(None), ArgumentError, rf"{NO_NAME} None"),
    "outputs dict": (lambda g: g.freezer.outputs({"a": "b"}), ArgumentError, rf"{NO_NAME} a dict"),
    "outputs bytes": (lambda g: g.freezer.outputs(b"sum"), ArgumentError, rf"{NO_NAME} b'sum'"),
    "inputs int": (lambda g: g.freezer.inputs(3), ArgumentError, rf"{NO_NAME} 3"),
    "keep None": (lambda g: g.freezer.keep_variables(None), ArgumentError, rf"{NO_NAME} None"),
    "only ints": (lambda g: g.freezer.only_variables([3]), ArgumentError, rf"{NO_NAME} 3"),
    "bake None": (
        lambda g: g.freezer.bake(None),
        ArgumentError,
        r"bake\(\): .* a dict, got None",
    ),
    "bake int": (lambda g: g.freezer.bake({3: 1}), ArgumentError, rf"{NO_NAME} 3"),
    "parity list": (lambda g: g.freezer.parity([1.0]), ArgumentError, "a dict, got a list"),
    "tolerance text": (
        lambda g: g.freezer.parity({}, "x"),
        ArgumentError,
        "0 or more, got 'x'",
    ),
    "tolerance negative": (
        lambda g: g.freezer.parity({}, -1),
        ArgumentError,
        "0 or more, got -1",
    ),
    "tolerance NaN": (lambda g: g.freezer.parity({}, np.nan), ArgumentError, "got nan"),
    "signature of a session": (
        lambda g: g.freezer.signature("serving_default").freeze(),
        tfp.FreezeError,
        r"are for a SavedModel, and this source is not one.*outputs\(",
    ),
    "tags of a checkpoint": (
        lambda g: tfp.Freezer(g.path("ok")).tags("serve").outputs("sum").freeze(),
        tfp.FreezeError,
        "are for a SavedModel",
    ),
    "signature of a graph": (
        lambda g: tfp.Freezer(g.path("ok.pb")).signature("classify").freeze(),
        tfp.FreezeError,
        "are for a SavedModel",
    ),
    "freezer policy": (lambda g: tfp.Freezer("a", policy=3), ArgumentError, "not a policy.*got 3"),
    # What is run.
    "model path": (
        lambda g: tfp.FrozenModel("ok.pb"),
        ArgumentError,
        r"graph in memory.*got 'ok\.pb'.*FrozenModel\.load\(path\)",
    ),
    "model session": (lambda g: tfp.FrozenModel(g.session), ArgumentError, r"Freezer\(model\)"),
    "model policy": (
        lambda g: tfp.FrozenModel.load(g.path("ok.pb"), policy=True),
        ArgumentError,
        "not a policy.*got True",
    ),
    "bind int": (lambda g: g.model.bind(3), ArgumentError, "a name or a list of names, got 3"),
    "unfreeze None": (
        lambda g: g.model.unfreeze(None, "a"),
        ArgumentError,
        "list of names, got N",
    ),
    "import into int": (
        lambda g: g.model.import_into(3),
        ArgumentError,
        "tf.Graph or None, got 3",
    ),
    "import inputs": (
        lambda g: g.model.import_into({"x": 1.0}),
        ArgumentError,
        r"got a dict\. In the current graph: import_into\(inputs=",
    ),
    "allow int": (lambda g: tfp.Policy(allow=3), ArgumentError, r"got 3\. Policy\.trusted\(\)"),
    "allow trusted": (
        lambda g: tfp.Policy("trusted"),
        tfp.NameNotFoundError,
        r"Policy\.trusted\(\)",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_raises_a_clear_error(here, mistake):
    act, kind, text = MISTAKES[mistake]
    with pytest.raises(kind, match=text) as caught:
        act(Given(*here))
    assert isinstance(caught.value, tfp.TFPersistError)


def test_a_graph_def_that_was_parsed_is_a_model(here):
    folder, _ = here
    graph_def = v1.GraphDef.FromString((folder / "ok.pb").read_bytes())
    model = tfp.FrozenModel(graph_def)
    assert model.run("sum", {"x": [[1.0]]}).tolist() == [[2.0]]


def test_a_step_may_be_a_variable(here):
    assert tfp.ModelStore(here[0] / "ok").at(tf.Variable(1)).latest().step == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        ("text", "'text'"),
        (True, "True"),
        ([1], "a list"),
        (np.zeros(2), "a numpy.ndarray"),
        (int, "the class int"),
        (np.float32(1), "a numpy.float32"),
        (object(), "an object"),
    ],
)
def test_value_text_describes_a_value(value, text):
    assert value_text(value) == text
