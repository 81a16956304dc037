"""Names come from files. None of them steers the terminal, or breaks a line, that shows it."""

from __future__ import annotations

import numpy as np
import pytest

import tfpersist as tfp
from tfpersist import cli
from tfpersist.checkpoint.verify import Flaw, Verification
from tfpersist.errors import printable_lines
from tfpersist.graph.describe.candidates import Candidates
from tfpersist.graph.describe.parity import OutputDifference, Parity
from tfpersist.graph.describe.signature import Signature
from tfpersist.graph.runtimes.portability import Blocker, Portability
from tfpersist.graph.structure.names import TensorRef
from tfpersist.store.retention import Candidate, Pruning, Verdict
from tfpersist.store.survey import Survey

HOSTILE = "a\x1b[2J\nb"
SHOWN = "a\\x1b[2J\\nb"


@pytest.fixture
def checkpoints(request):
    """Two checkpoints: one with a hostile name, one where it has other values and a neighbour."""
    folder = f"memory://terminal/{request.node.name}"
    one = tfp.ModelStore(f"{folder}/one").save({HOSTILE: np.zeros(2, np.float32)}, step=1)
    values = {HOSTILE: np.ones(2, np.float32), HOSTILE + "2": np.ones(3, np.float32)}
    return one, tfp.ModelStore(f"{folder}/two").save(values, step=1)


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
    assert "\x1b" not in report._repr_html_()


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
