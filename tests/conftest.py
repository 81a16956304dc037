"""Fixtures of all tests: files of old releases, a fresh process, Hypothesis profiles."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import numpy as np
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

# What several folders of tests share. This folder itself has one of the name of a package.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "servers"))
pytest.register_assert_rewrite("s3_server")

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


GOLDEN = pathlib.Path(__file__).resolve().parent / "golden"
CORPUS = pathlib.Path(os.environ.get("TFPERSIST_CORPUS", REPOSITORY.parent / "shared" / "corpus"))
EXTRA = CORPUS.is_dir()
FOLDERS = {"golden": GOLDEN, **({"corpus": CORPUS} if EXTRA else {})}
RELEASES = {f"golden-{name}": GOLDEN / name for name in ("0.12.1", "1.4.1", "1.15.5")}
KERAS_2 = {"golden": GOLDEN / "2.4.4"}
if EXTRA:
    MADE = CORPUS / "made-by-tf"
    RELEASES |= {f"corpus-{name}": MADE / name for name in ("1.0.1", "1.4.1", "1.15.5")}
    KERAS_2["corpus"] = MADE / "2.4.4"


# The tests of each of these folders share what takes long to make, so one worker runs them all.
TOGETHER = ("tests/freezing/", "tests/runtimes/")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Run the tests of a folder in one worker, and the others wherever a worker is free.

    The mark xdist_group is for that, and pytest-xdist 3.8 does not see it under pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next(filter(nodeid.startswith, TOGETHER), nodeid)

    return Scheduling(config, log) if config.getoption("dist") == "load" else None


def pytest_report_header() -> str:
    """Report in the header whether the tests also read the corpus."""
    return f"corpus: {CORPUS}" if EXTRA else f"no corpus at {CORPUS}; set TFPERSIST_CORPUS"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Any]:
    """Run an S3 server on this machine; see `s3_server.S3Server`."""
    from s3_server import running

    with running() as server:
        yield server


@pytest.fixture
def s3(s3_server: Any) -> Iterator[Any]:
    """Return the S3 server, which refuses nothing before and after the test."""
    s3_server.reset()
    yield s3_server
    s3_server.reset()


@pytest.fixture(scope="session")
def golden() -> pathlib.Path:
    """Return the folder of golden files, which old releases of TensorFlow wrote."""
    return GOLDEN


@pytest.fixture(scope="session")
def corpus() -> pathlib.Path:
    """Return the folder of files of other projects; the test is skipped where it is absent.

    It is an extra: what is tested with it alone is tested with golden files too.
    """
    if not EXTRA:
        pytest.skip(f"no corpus at {CORPUS}; set TFPERSIST_CORPUS")
    return CORPUS


@pytest.fixture(scope="session", params=FOLDERS)
def old_files(request: pytest.FixtureRequest) -> pathlib.Path:
    """Return a folder of files of old releases: the golden files, and the corpus if it is there."""
    return FOLDERS[request.param]


@pytest.fixture(scope="session", params=RELEASES)
def tensorflow_1(request: pytest.FixtureRequest) -> pathlib.Path:
    """Return the folder of files that one release of TensorFlow 1 wrote."""
    return RELEASES[request.param]


@pytest.fixture(scope="session", params=KERAS_2)
def keras_2(request: pytest.FixtureRequest) -> pathlib.Path:
    """Return the folder of files that TensorFlow 2.4 with Keras 2 wrote."""
    return KERAS_2[request.param]


@pytest.fixture(scope="session")
def golden_values() -> Callable[[pathlib.Path], dict[str, np.ndarray]]:
    """Read the variables of a golden npz file, with the parts of a variable put together."""

    def read(file: pathlib.Path) -> dict[str, np.ndarray]:
        wholes: dict[str, np.ndarray] = {}
        parts: dict[str, dict[int, np.ndarray]] = {}
        with np.load(file, allow_pickle=True) as arrays:
            for key in arrays.files:
                name = key.removeprefix("var/").replace("|", "/")
                part = re.fullmatch(r"(.*)/part_(\d+)(.*)", name)
                array = arrays[key]
                array = array.astype(object) if array.dtype.kind == "S" else array
                if part:
                    parts.setdefault(part[1] + part[3], {})[int(part[2])] = array
                elif key.startswith("var/"):
                    wholes[name] = array
        joined = {name: np.concatenate([by[n] for n in sorted(by)]) for name, by in parts.items()}
        return wholes | joined

    return read


@pytest.fixture
def fresh(tmp_path: pathlib.Path) -> Callable[..., str]:
    """Run a script in a new Python process and return what it printed.

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


# As another program does it: import the file, run the init operation, compute.
ELSEWHERE = """
import json, sys
import tensorflow as tf

for line in sys.stdin:
    path, outputs, feeds = json.loads(line)
    with open(path, "rb") as file:
        definition = tf.compat.v1.GraphDef.FromString(file.read())
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(definition, name="")
    with tf.compat.v1.Session(graph=graph) as session:
        session.run("tfpersist/init")
        results = session.run(outputs, feeds)
    print(json.dumps([result.tolist() for result in results]), flush=True)
"""


@pytest.fixture(scope="session")
def _elsewhere() -> Iterator[subprocess.Popen[str]]:
    """Start a process with TensorFlow alone; each file gets a graph and a session of its own."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", ELSEWHERE], text=True, **pipes) as process:
        yield process
        process.kill()


@pytest.fixture
def run_elsewhere(_elsewhere: subprocess.Popen[str]) -> Callable[..., list[object]]:
    """Return a function that runs a frozen file in another process with TensorFlow alone."""

    def run(path: pathlib.Path, outputs: list[str], feeds: object = None) -> list[object]:
        assert _elsewhere.poll() is None, "an earlier file has ended the other process"
        print(json.dumps([str(path), outputs, feeds or {}]), file=_elsewhere.stdin, flush=True)
        line = _elsewhere.stdout.readline()
        assert line, f"{path} could not be run; stderr has the error of the other process"
        return json.loads(line)

    return run


@pytest.fixture
def same_everywhere(
    tmp_path: pathlib.Path, run_elsewhere: Callable[..., list[object]]
) -> Callable[..., None]:
    """Return a function that freezes a model with state, and runs the file here and elsewhere."""

    def check(freezer: object, outputs: list[str], feeds: object, expected: list[object]) -> None:
        model = freezer.write(tmp_path / "model.pb")
        assert model.signature.init == "tfpersist/init"
        assert sorted(ref.name for ref in model.outputs) == sorted(outputs)
        assert [np.asarray(value).tolist() for value in model.run(outputs, feeds)] == expected
        assert run_elsewhere(tmp_path / "model.pb", outputs, feeds) == expected

    return check


@pytest.fixture(autouse=True)
def _no_open_name_scope() -> Iterator[None]:
    """Fail a test that leaves a name scope of Keras open: later variables would be in it."""
    yield
    state = sys.modules.get("keras.src.backend.common.global_state")
    scopes = state and state.get_global_attribute("name_scope_stack")
    names = [scope.name for scope in scopes or ()]
    if names:
        scopes.clear()
    assert not names, f"open name scopes of Keras: {names}"
