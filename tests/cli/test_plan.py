"""The output, the file and the exit code of `tfpersist plan`."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import tfpersist as tfp
from tfpersist import cli

MODULE = """
import numpy as np

def arrays():
    return {"net/kernel": np.zeros((2, 3), np.float32), "step": np.int64(0)}

class Models:
    filled = {"conv/kernel": np.zeros((2, 3), np.float32)}
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module into the working directory; return its name."""
    (tmp_path / "plan_models.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield "plan_models"
    sys.modules.pop("plan_models", None)
    while str(tmp_path) in sys.path:
        sys.path.remove(str(tmp_path))


def test_plan_shows_what_a_function_would_get(runs, module, capsys):
    assert cli.main(["plan", runs, f"{module}:arrays"]) == 0
    assert capsys.readouterr().out.startswith(
        f"{runs}/model.ckpt-2: 2 variables, 1 proposed\n  net/kernel  <- conv/kernel  proposed: "
    )
    assert cli.main(["plan", runs, f"{module}:arrays", "--json"]) == 0
    plan = tfp.Plan.from_json(capsys.readouterr().out)
    target = {"net/kernel": np.zeros((2, 3), np.float32), "step": np.zeros((), np.int64)}
    assert tfp.ModelStore(runs).restore(target, plan=plan).fits
    assert np.array_equal(target["net/kernel"], np.full((2, 3), 3))


def test_plan_takes_a_step_and_an_attribute(runs, module, capsys):
    assert cli.main(["plan", runs, f"{module}:Models.filled", "--step", "1"]) == 0
    assert capsys.readouterr().out == (
        f"{runs}/model.ckpt-1: 1 variable\n  conv/kernel  <- conv/kernel\n"
    )


def test_plan_with_recipes_leaves_nothing_open(tmp_path, module, capsys):
    turned = {"net/weight": np.ones((3, 2), np.float32), "step": np.int64(1)}
    tfp.ModelStore(tmp_path / "turned").save(turned)
    assert cli.main(["plan", str(tmp_path / "turned"), f"{module}:arrays"]) == 0
    assert "net/weight: transpose(axes=[1, 0])" in capsys.readouterr().out


def test_plan_that_leaves_something_open(tmp_path, module, capsys):
    tfp.ModelStore(tmp_path / "two").save({"a": np.ones(2), "b": np.ones(2)})
    assert cli.main(["plan", str(tmp_path / "two"), f"{module}:arrays"]) == 1
    assert "2 not decided" in capsys.readouterr().out


@pytest.mark.parametrize(
    "model", ["plan_models", ":arrays", "plan_models:", "no.module:x", "plan_models:x"]
)
def test_plan_without_a_model(runs, module, model, capsys):
    assert cli.main(["plan", runs, model]) == 2
    assert "expected" in capsys.readouterr().err
