"""Where frozen files are run: which runtimes there are, and how to reach them."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import subprocess
import sys

import attrs
import numpy as np
import pytest

CHILD = pathlib.Path(__file__).with_name("child.py")


@attrs.frozen
class Runtime:
    """A runtime that reads frozen graphs.

    Args:
        kind: what child.py calls it.
        variable: the environment variable that names an interpreter which has it.
        modules: what it is imported by.
        here: whether this interpreter may have it, where the variable is not set.
        target: what the files are frozen for.
        tolerance: of the largest element, how far results may be from TensorFlow's.
    """

    kind: str
    variable: str
    modules: str
    here: bool = True
    target: str | None = None
    tolerance: float = 1e-5

    def find(self) -> str | None:
        """Return the interpreter; None if there is none."""
        path = os.environ.get(self.variable) or (sys.executable if self.here else None)
        return path if path is not None and _imports(path, self.modules) else None

    def interpreter(self) -> str:
        """Return the interpreter; skip the test if there is none."""
        path = self.find()
        if path is None:
            pytest.skip(f"no {self.modules} here, and {self.variable} names no interpreter with it")
        return path


RUNTIMES = {
    "OpenCV 5": Runtime("opencv", "TFPERSIST_OPENCV", "cv2", target="opencv"),
    "OpenCV 4": Runtime("opencv", "TFPERSIST_OPENCV_4", "cv2", here=False, target="opencv"),
    "OpenVINO": Runtime("openvino", "TFPERSIST_OPENVINO", "openvino", target="openvino"),
    "ONNX": Runtime("onnx", "TFPERSIST_ONNX", "tf2onnx, onnxruntime", target="onnx"),
    "TensorFlow Lite": Runtime("tflite", "TFPERSIST_TFLITE", "tensorflow", target="tflite"),
    "TensorFlow.js": Runtime("tfjs", "TFPERSIST_TFJS", "tensorflowjs", False, "tfjs"),
} | {
    f"TensorFlow {release}": Runtime(
        "tensorflow", f"TFPERSIST_TF_{release.replace('.', '_')}", "tensorflow", False, release
    )
    for release in ("1.4", "1.12", "1.15", "2.4")
}
# Those that `check` does not know.
UNCHECKED = {
    "TensorFlow 2.16": Runtime("tensorflow", "TFPERSIST_TF_2_16", "tensorflow", here=False),
    "TensorFlow": Runtime("tensorflow", "TFPERSIST_TF", "tensorflow"),
}


@attrs.frozen
class Job:
    """A file to run.

    Args:
        path: the frozen file; its results lie beside it.
        feeds: by operation.
        outputs: tensors or operations.
    """

    path: pathlib.Path
    feeds: dict[str, np.ndarray]
    outputs: list[str]

    def prepare(self) -> dict[str, object]:
        # A name in an archive may not have all that the name of an operation may.
        arrays = {str(number): value for number, value in enumerate(self.feeds.values())}
        np.savez(f"{self.path}.feeds.npz", **arrays)
        return {"path": str(self.path), "names": list(self.feeds), "outputs": self.outputs}

    def results(self) -> list[np.ndarray] | str:
        """Return the results, or the error."""
        error = pathlib.Path(f"{self.path}.error.txt")
        if error.exists():
            return error.read_text()
        found = pathlib.Path(f"{self.path}.results.npz")
        if not found.exists():
            return "the process ended"
        with np.load(found, allow_pickle=True) as archive:
            return [archive[str(number)] for number in range(len(archive.files))]


def run(kind: str, interpreter: str, jobs: list[Job], folder: pathlib.Path) -> None:
    """Run files in one process of a runtime, or in as many as it ends."""
    listed = folder / f"{kind}.json"
    listed.write_text(json.dumps([job.prepare() for job in jobs]))
    for _ in range(20):
        done = subprocess.run(
            [interpreter, str(CHILD), kind, str(listed)],
            env=environment(),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if done.returncode == 0:
            return
    pytest.fail(f"{interpreter} ended with {done.returncode}: {done.stderr[-2000:]}")


@functools.cache
def _imports(interpreter: str, modules: str) -> bool:
    """Return whether an interpreter finds modules."""
    code = f"import importlib.util as u; exit(None in map(u.find_spec, {modules.split(', ')!r}))"
    found = subprocess.run([interpreter, "-c", code], env=environment(), check=False)
    return found.returncode == 0


def version(interpreter: str, module: str) -> str:
    """Return the version of a module of an interpreter."""
    code = f"import importlib.metadata as m; print(m.version({module!r}))"
    done = subprocess.run(
        [interpreter, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def environment() -> dict[str, str]:
    """Return the environment variables, without those for this interpreter only."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
