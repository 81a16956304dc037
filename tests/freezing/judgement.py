"""Freeze every case in this process, and run the files with a plain TensorFlow in a fresh process.

With TensorFlow's graph optimizers off, the live and the frozen model run the same ops in the same
order, so their results must be equal bit by bit. With the optimizers on, the frozen graph is folded
and fused, and floats may differ in the last digits. The results of TensorFlow's own freezers need
only be close.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import attrs
import function_cases
import graph_cases
import numpy as np
import state_cases
import tensorflow as tf
from casebook import CASES, Case
from tensorflow.compat import v1
from tensorflow.python.framework import convert_to_constants

from tfpersist.errors import TFPersistError

assert function_cases, graph_cases
assert state_cases

# Each job writes its results or its error. A job that ended the process is skipped by the next one.
JUDGE = """
import json, os, sys
import numpy as np
import tensorflow as tf
from tensorflow.compat import v1

plain = v1.ConfigProto(operation_timeout_in_ms=20000)
plain.graph_options.rewrite_options.disable_meta_optimizer = True
plain.graph_options.optimizer_options.opt_level = -1
for path, outputs, feeds in json.load(open(sys.argv[1])):
    if os.path.exists(path + ".stage"):
        continue
    stage = open(path + ".stage", "w", buffering=1)
    try:
        stage.write("fails to import")
        graph_def = v1.GraphDef.FromString(open(path, "rb").read())
        with tf.Graph().as_default() as graph:
            v1.import_graph_def(graph_def, name="")
        loaded = np.load(feeds, allow_pickle=True)
        feeds = {key.replace("|", "/"): loaded[key] for key in loaded}
        results = []
        for how in (plain, v1.ConfigProto(operation_timeout_in_ms=20000)):
            with v1.Session(graph=graph, config=how) as session:
                stage.seek(0)
                stage.truncate()
                stage.write("fails to run")
                if "tfpersist/init" in (op.name for op in graph.get_operations()):
                    session.run("tfpersist/init")
                results += session.run(outputs, feeds)
        np.save(path + ".npy", np.array([*results, None], object), allow_pickle=True)
    except Exception as error:
        open(path + ".error", "w").write(f"{type(error).__name__}: {error}")
"""


@attrs.define
class Verdict:
    """The outcome of one case.

    Args:
        case: the case; None if it could not be built.
        error: why it could not be built, or why tfpersist could not freeze it.
        ours: the results without TensorFlow's optimizers, then those with them; None if there are
            none.
        problem: the error of a fresh process with our file.
        theirs: {"v1" or "v2": "equal" or what goes wrong}, without a freezer that does not take
            such a source.
        details: {"v1" or "v2": its error message}.
    """

    case: Case | None = None
    error: Exception | None = None
    ours: list[np.ndarray] | None = None
    problem: str | None = None
    theirs: dict[str, str] = attrs.field(factory=dict)
    details: dict[str, str] = attrs.field(factory=dict)


def judge_all(folder: pathlib.Path, wanted=lambda name: True) -> dict[str, Verdict]:
    """Freeze all cases with tfpersist and TensorFlow, run the files, and compare."""
    verdicts = {name: Verdict() for name in CASES if wanted(name)}
    jobs = []
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    for number, (name, verdict) in enumerate(verdicts.items()):
        try:
            verdict.case = CASES[name]()
            path = folder / f"{number}.ours.pb"
            verdict.case.freezer().write(path, durable=False)
            jobs.append(_job(path, verdict.case.outputs, verdict.case.feeds))
        except Exception as error:
            verdict.error = error
        for version, freeze in (("v1", _v1), ("v2", _v2), ("v2", _v2_session)):
            if verdict.case is None:
                continue
            path = folder / f"{number}.{version}.pb"
            try:
                made = freeze(verdict.case)
                if made is not None:
                    path.write_bytes(made[0].SerializeToString())
                    jobs.append(_job(path, *made[1:]))
            except Exception as error:
                verdict.theirs[version] = "fails to freeze"
                verdict.details[version] = f"{type(error).__name__}: {error}"
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False, **before})
    _run(folder, jobs)
    for number, verdict in enumerate(verdicts.values()):
        _collect(verdict, folder, number)
    return verdicts


def _job(path, outputs, feeds):
    np.savez(f"{path}.npz", **{key.replace("/", "|"): value for key, value in feeds.items()})
    return [str(path), outputs, f"{path}.npz"]


def _run(folder, jobs):
    (folder / "jobs.json").write_text(json.dumps(jobs))
    for _ in jobs:
        done = subprocess.run(
            [sys.executable, "-c", JUDGE, str(folder / "jobs.json")],
            cwd=folder,
            env=os.environ,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        if done.returncode == 0:
            return


def _collect(verdict, folder, number):
    for kind in ("ours", "v1", "v2"):
        path = folder / f"{number}.{kind}.pb"
        stage = pathlib.Path(f"{path}.stage")
        if not stage.exists():
            continue
        results, error = pathlib.Path(f"{path}.npy"), pathlib.Path(f"{path}.error")
        said = error.read_text() if error.exists() else "the process ended"
        if kind == "ours":
            if results.exists():
                *verdict.ours, _ = np.load(results, allow_pickle=True)
            else:
                verdict.problem = said
        elif not results.exists():
            verdict.theirs[kind], verdict.details[kind] = stage.read_text(), said
        else:
            *values, _ = np.load(results, allow_pickle=True)
            verdict.theirs[kind] = _compared(verdict.case.expected, values)


def _compared(expected, values):
    if expected is None:
        return "runs, but lost its state"
    values = values[len(values) // 2 :]
    pairs = zip(values, expected, strict=True)
    return "equal" if all(same(*pair) for pair in pairs) else "other values"


def same(value, expected, *, exactly=False):
    """Return whether two results are equal; floats up to the last digits, unless `exactly`."""
    value, expected = np.asarray(value), np.asarray(expected)
    if value.dtype != expected.dtype or value.shape != expected.shape:
        return False
    if exactly or value.dtype.kind not in "fcV":
        return bool(np.all((value == expected) | ((value != value) & (expected != expected))))
    loose = {1: 0.2, 2: 2e-2}.get(value.dtype.itemsize, 1e-5)
    wide = "c16" if value.dtype.kind == "c" else "f8"
    return bool(np.allclose(value.astype(wide), expected.astype(wide), loose, loose / 10))


def _v1(case):
    if case.session is None:
        return None
    names = [name.partition(":")[0] for name in case.outputs]
    definition = case.session.graph.as_graph_def()
    made = v1.graph_util.convert_variables_to_constants(
        case.session, definition, names, variable_names_blacklist=list(case.kept)
    )
    return made, case.outputs, {**case.feeds, **case.baked}


def _v2_session(case):
    if case.session is None or case.function is not None:
        return None
    names = [name.partition(":")[0] for name in case.outputs]
    convert = convert_to_constants.convert_variables_to_constants_from_session_graph
    made = convert(
        case.session,
        case.session.graph.as_graph_def(),
        names,
        variable_names_denylist=list(case.kept),
    )
    return made, case.outputs, {**case.feeds, **case.baked}


def _v2(case):
    if case.function is None:
        return None
    frozen = convert_to_constants.convert_variables_to_constants_v2(case.function)
    names = [tensor.name for tensor in frozen.outputs]
    given = [tensor.name for tensor in frozen.inputs]
    # Tables become inputs, which nobody can feed.
    feeds = dict(zip(given, case.feeds.values(), strict=False))
    return frozen.graph.as_graph_def(), names, feeds


def failure(verdict) -> Exception | None:
    """Return the error with which tfpersist refused a case; raise any other error."""
    if verdict.error is not None and not isinstance(verdict.error, TFPersistError):
        raise verdict.error
    return verdict.error
