"""The types that users see, as type checkers see them."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

import tfpersist

PROGRAM = pathlib.Path(__file__).with_name("typed_user.py")
WRONG = [
    number
    for number, line in enumerate(PROGRAM.read_text("utf-8").splitlines(), 1)
    if line.endswith("# wrong")
]
# Where the package is, if it is not among the installed ones, where checkers look by themselves.
SOURCE = str(pathlib.Path(tfpersist.__file__).parent.parent)
PATHS = [] if "site-packages" in SOURCE else [SOURCE]


@pytest.fixture
def program(tmp_path):
    """Return the path of the program in a directory that has nothing else in it."""
    copied = tmp_path / PROGRAM.name
    copied.write_bytes(PROGRAM.read_bytes())
    return copied


def run(*command, folder, **environment):
    """Run a Python module and return what it prints."""
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def errors_of_mypy(program):
    done = run(
        *("mypy", "--strict", "--config-file=", "--cache-dir=.cache", program.name),
        folder=program.parent,
        MYPYPATH=os.pathsep.join(PATHS),
    )
    pattern = rf"^{re.escape(program.name)}:(\d+): error: (.*)$"
    found = re.findall(pattern, done.stdout, re.MULTILINE)
    assert found, done.stdout + done.stderr
    return {int(line): text for line, text in found}


def errors_of_pyright(program):
    settings = {"include": [program.name], "extraPaths": PATHS}
    (program.parent / "pyrightconfig.json").write_text(json.dumps(settings))
    done = run(
        *("pyright", "--outputjson", "--pythonpath", sys.executable),
        folder=program.parent,
        PYRIGHT_PYTHON_IGNORE_WARNINGS="1",
    )
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    diagnostics = json.loads(done.stdout)["generalDiagnostics"]
    return {
        found["range"]["start"]["line"] + 1: found["message"]
        for found in diagnostics
        if found["severity"] == "error"
    }


@pytest.mark.parametrize("errors", [errors_of_mypy, errors_of_pyright])
def test_checkers_refuse_the_wrong_lines_and_no_others(errors, program):
    found = errors(program)
    lines = program.read_text("utf-8").splitlines()
    unnoticed = [lines[number - 1] for number in WRONG if number not in found]
    refused = [f"{lines[n - 1]}: {found[n]}" for n in found.keys() - set(WRONG)]
    assert (unnoticed, refused) == ([], [])


def test_the_program_has_wrong_lines():
    assert len(WRONG) > 40
