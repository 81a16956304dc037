"""Names come from files. None of them steers the terminal, or breaks a line, that shows it."""

from __future__ import annotations

import html
import io
import sys

import numpy as np
import pytest
from google.protobuf import text_format

import tfpersist as tfp
from tfpersist import cli, progress
from tfpersist.checkpoint.verify import Flaw, Verification
from tfpersist.errors import printable_lines
from tfpersist.formats import schema
from tfpersist.formats.tensors import TensorSpec
from tfpersist.graph.describe.candidates import Candidates
from tfpersist.graph.describe.parity import OutputDifference, Parity
from tfpersist.graph.describe.signature import Signature
from tfpersist.graph.describe.summary import Constant
from tfpersist.graph.runtimes.portability import Blocker, Portability
from tfpersist.graph.structure.lowered import SourceSignature
from tfpersist.graph.structure.names import TensorRef
from tfpersist.matching.plans.loss import Loss
from tfpersist.matching.plans.plan import Pair
from tfpersist.matching.plans.report import Skipped
from tfpersist.matching.plans.resume import Fact, Resume
from tfpersist.matching.recipes.recipe import Recipe
from tfpersist.safety import Finding
from tfpersist.store.quarantine import Outcome
from tfpersist.store.retention import Candidate, Pruning, Verdict
from tfpersist.store.survey import Survey

# Sequences of 7 and 8 bits that steer a terminal, marks that turn the direction of a text, every
# kind of line break, and a tag of HTML.
HOSTILE = "a\x1b[2J\x9b31m\r\u202e\u2028\nb<i>"
SHOWN = r"a\x1b[2J\x9b31m\r\u202e\u2028\nb<i>"


@pytest.fixture
def checkpoints(request):
    """Two checkpoints: one with a hostile name, one where it has other values and a neighbour."""
    folder = f"memory://terminal/{request.node.name}"
    one = tfp.ModelStore(f"{folder}/one").save({HOSTILE: np.zeros(2, np.float32)}, step=1)
    values = {HOSTILE: np.ones(2, np.float32), HOSTILE + "2": np.ones(3, np.float32)}
    return one, tfp.ModelStore(f"{folder}/two").save(values, step=1)


def safe_html(text):
    return safe(html.unescape(text)) and "<i>" not in text


def safe(text):
    return text.replace("\n", "").isprintable() and SHOWN in text and HOSTILE not in text


@pytest.mark.parametrize(
    "value",
    [
        Verification("run/m-1", 0, 5, (Flaw(HOSTILE, "the checksum does not match"),), (HOSTILE,)),
        Flaw(HOSTILE, "the checksum does not match"),
        Survey("run", (Verification(HOSTILE, 0, 5),)),
        Candidates((TensorRef(HOSTILE, 0),)),
        Candidates((), (TensorRef(HOSTILE, 0),)),
        Parity((OutputDifference(HOSTILE),), 0.0),
        Signature({HOSTILE: "x:0"}),
        Portability("1.15", (Blocker(HOSTILE, "Op", None),)),
        Blocker("node", HOSTILE, HOSTILE),
        Pruning("run", (Verdict(Candidate(HOSTILE, 1.0), ("the newest",)),)),
        tfp.CorruptionError("it is damaged", file=HOSTILE),
        TensorRef(HOSTILE, 0),
        Constant(HOSTILE, TensorSpec("float32", ()), 4),
        Loss(HOSTILE, "float32", "float16", 1.0),
        Recipe((HOSTILE,)),
        Pair(HOSTILE, HOSTILE, reason=HOSTILE),
        Fact("covered", HOSTILE),
        Resume(changed=(HOSTILE,)),
        Skipped("run", HOSTILE, "it is cut"),
        Outcome(reason=HOSTILE),
        Finding("file read", HOSTILE, (HOSTILE,), HOSTILE),
        SourceSignature(HOSTILE, {HOSTILE: None}, {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_printed_text_escapes_control_characters(value):
    assert safe(str(value))


@pytest.mark.parametrize("part", ["problem", "expected", "found", "advice"])
def test_no_part_of_an_error_steers_the_terminal(part):
    error = tfp.TFPersistError(**{"problem": "it fails", part: HOSTILE})
    assert "\x1b" not in str(error)
    assert "a\\x1b[2J" in str(error)


@pytest.mark.parametrize("part", ["where", "expected", "found"])
def test_a_name_in_an_error_breaks_no_line(part):
    assert safe(str(tfp.TFPersistError("it fails", **{part: HOSTILE})))


def test_line_breaks_of_a_text_stay():
    assert printable_lines("a\tb\nc", "d") == "a\\tb\nc\nd"


def test_a_restore_that_does_not_fit(checkpoints):
    store = tfp.ModelStore(checkpoints[0].storage.location)
    with pytest.raises(tfp.RestoreError) as caught:
        store.restore({"other": np.zeros(2, np.float32)})
    report = caught.value.report
    assert report.suggestion == {HOSTILE: "other"}
    assert safe(str(caught.value))
    assert safe(str(report))
    assert safe_html(report._repr_html_())
    assert safe(str(report.plan))
    text = report.plan.to_json()
    assert text.replace("\n", "").isprintable()
    assert tfp.Plan.from_json(text) == report.plan


def test_an_advice_that_names_a_beginning():
    names = ("kernel", "bias")
    saved = {f"{HOSTILE}/{name}": np.zeros(2, np.float32) for name in names}
    store = tfp.ModelStore("memory://terminal/beginning")
    store.save(saved, step=1)
    with pytest.raises(tfp.RestoreError) as caught:
        store.restore({f"net/{name}": np.zeros(2, np.float32) for name in names})
    assert f'.rename({{"{SHOWN}/": "net/"}})' in str(caught.value)


def test_a_restore_that_fits(checkpoints):
    store = tfp.ModelStore(checkpoints[0].storage.location)
    assert safe(str(store.restore({HOSTILE: np.ones(2, np.float32)})))


def test_the_command_line(checkpoints, capsys):
    one, two = (checkpoint.prefix for checkpoint in checkpoints)
    assert cli.main(["inspect", one]) == 0
    assert safe(capsys.readouterr().out)
    assert cli.main(["diff", one, two]) == 1
    assert safe(capsys.readouterr().out)
    assert safe(str(checkpoints[0].diff(checkpoints[1])))


def test_the_names_of_a_directory_and_of_a_damaged_checkpoint_in_it(tmp_path, caplog):
    store = tfp.ModelStore(tmp_path / HOSTILE, name=HOSTILE)
    for step in (1, 2):
        store.save({"w": np.zeros(2, np.float32)}, step=step)
    (shard,) = (tmp_path / HOSTILE).glob("*-2.data-*")
    shard.write_bytes(b"damaged")
    report = store.restore({"w": np.zeros(2, np.float32)})
    assert safe(str(report))
    assert safe_html(report._repr_html_())
    assert safe(caplog.text.rstrip("\n"))
    assert safe(str(store.prune(keep=tfp.Keep(last=1), dry_run=True)))
    for text in (repr(store), repr(store.latest())):
        assert safe(text)
    with pytest.raises(tfp.CheckpointNotFoundError) as caught:
        tfp.ModelStore(tmp_path / f"{HOSTILE}2").restore({"w": 0.0})
    assert safe(str(caught.value))


def test_the_progress_bar(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    with progress.progress(f"Saving {HOSTILE}", 100) as done:
        done(50)
    # The bar itself steers the terminal, with other sequences.
    assert not any(sign in shown.getvalue() for sign in ("\x1b[2J", "\x9b", "\u202e", "\u2028"))
    assert "b<i>" in shown.getvalue()


def node(name, op, *inputs, dtype=True):
    made = schema.NodeDef(name=name, op=op, input=inputs)
    if dtype:
        made.attr["dtype"].type = 1
        made.attr["T"].type = 1
    return made


def model(*nodes, function=None):
    graph = schema.GraphDef(node=nodes)
    if function is not None:
        graph.library.function.add(node_def=[function]).signature.name = HOSTILE
    return graph


GRAPHS = {
    "a node": model(node(HOSTILE, "Placeholder"), node("y", "Neg", HOSTILE)),
    "an op": model(node("x", "Placeholder"), node("y", HOSTILE, "x")),
    "an input that is not there": model(node("y", "Neg", HOSTILE)),
    "a cycle": model(node("y", "Neg", HOSTILE), node(HOSTILE, "Neg", "y")),
    "two nodes": model(node(HOSTILE, "NoOp"), node(HOSTILE, "NoOp"), node("y", "NoOp")),
    "a function": model(node("y", HOSTILE), function=node(HOSTILE, "PyFunc", HOSTILE)),
    "a recursion": model(node("y", HOSTILE), function=node("z", HOSTILE)),
}


def texts_of(path, capsys):
    """Yield each text that a graph leads to, without TensorFlow."""
    freezer = tfp.Freezer(path).outputs("y")
    steps = [
        lambda: str(tfp.safety.scan(path)),
        lambda: tfp.Policy().check(tfp.safety.scan(path)),
        lambda: repr(tfp.FrozenModel.load(path)),
        lambda: html.unescape(tfp.FrozenModel.load(path)._repr_html_()),
        lambda: str(tfp.FrozenModel.load(path).summary()),
        lambda: tfp.Freezer(path).freeze(),
        lambda: tfp.Freezer(path).outputs("none").freeze(),
        lambda: tfp.Freezer(path).outputs(f"{HOSTILE}2").freeze(),
        lambda: freezer.inputs("none").freeze(),
        lambda: freezer.bake({HOSTILE: 1.0}).freeze(),
        lambda: freezer.optimize().freeze(),
        lambda: freezer.portable("onnx").freeze(),
        lambda: str(freezer.check("1.4")),
    ]
    for step in steps:
        try:
            yield str(step())
        except tfp.TFPersistError as error:
            yield str(error)
            yield repr(error)
    for words in (["inspect", path], ["freeze", path, f"{path}.out", "y"]):
        cli.main(list(map(str, words)))
        yield "".join(capsys.readouterr())


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_the_names_in_a_graph(graph, tmp_path, capsys):
    # As text, because the name of an op tells whether bytes are a graph.
    path = tmp_path / "m.pbtxt"
    path.write_text(text_format.MessageToString(graph))
    texts = list(texts_of(path, capsys))
    assert any(SHOWN in text for text in texts)
    for text in texts:
        assert text.replace("\n", "").isprintable()
        assert "\nb<i>" not in text
