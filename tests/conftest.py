"""What every test may ask for: the corpus, a fresh process, Hypothesis profiles."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import textwrap
from collections.abc import Callable

import hypothesis
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

_TOO_SLOW = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile(
    "dev", max_examples=40, deadline=None, suppress_health_check=_TOO_SLOW
)
hypothesis.settings.register_profile(
    "ci", max_examples=40, deadline=None, suppress_health_check=_TOO_SLOW, derandomize=True
)
hypothesis.settings.register_profile(
    "thorough", max_examples=1000, deadline=None, suppress_health_check=_TOO_SLOW
)
hypothesis.settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev")
)

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def corpus() -> pathlib.Path:
    """The folder of files that other programs wrote; the test is skipped where it is absent."""
    default = REPOSITORY.parent / "shared" / "corpus"
    folder = pathlib.Path(os.environ.get("TFPERSIST_CORPUS", default))
    if not folder.is_dir():
        pytest.skip(f"no corpus at {folder}; set TFPERSIST_CORPUS")
    return folder


@pytest.fixture
def fresh(tmp_path: pathlib.Path) -> Callable[..., str]:
    """Run a script in a new Python process and give what it printed.

    `fresh(code, *arguments, **environment)`: the code may be indented; the arguments are
    `sys.argv[1:]`; the working directory is the test's `tmp_path`. The process must succeed.
    """

    def run(code: str, *arguments: object, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run
