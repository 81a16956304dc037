"""`check` agrees with the lists of other runtimes, and with what they load."""

from __future__ import annotations

import pathlib
import subprocess

import make_runtime_table
import numpy as np
import pytest
from elsewhere import RUNTIMES, Job, environment, run

from tfpersist.graph.runtimes import op_lists

# OpenVINO does not look into the data set of this one.
FOLDED = {"onnx": set(), "openvino": {"one_shot_iterator"}}
# The ops of loops and branches are converted where they make up a loop or branch; here they do not.
PARTS = {"reference_ops"}
UNKNOWN = ("No conversion rule found", "No Op registered for")


@pytest.mark.parametrize("name", ["OpenVINO", "ONNX", "OpenCV 5"])
def test_the_table_is_what_the_runtime_says(name, tmp_path):
    runtime = RUNTIMES[name]
    interpreter = runtime.interpreter()
    make_runtime_table.write_probes(tmp_path)
    script = pathlib.Path(__file__).with_name("accepting.py")
    done = subprocess.run(
        [interpreter, str(script), runtime.kind, str(tmp_path)],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    version, *accepted = done.stdout.split("\n")[:-1]
    table = op_lists.known_ops(runtime.kind).keys()
    assert table <= set(accepted)
    if version.startswith(op_lists.DISPLAY_NAMES[runtime.kind].split()[-1]):
        assert table == set(accepted)


@pytest.mark.parametrize("name", ["OpenVINO", "ONNX"])
def test_check_agrees_with_the_runtime(cases, name, tmp_path):
    runtime = RUNTIMES[name]
    interpreter = runtime.interpreter()
    jobs, blocked = {}, set()
    for number, (case_name, case) in enumerate(cases.items()):
        path = tmp_path / f"{number}.pb"
        case.freezer().write(path)
        if not case.freezer().check(runtime.kind).ok:
            blocked.add(case_name)
        feeds = {key.removesuffix(":0"): np.asarray(v) for key, v in case.feeds.items()}
        jobs[case_name] = Job(path, feeds, case.outputs)
    run(runtime.kind, interpreter, list(jobs.values()), tmp_path)
    results = {case_name: job.results() for case_name, job in jobs.items()}
    failed = {case_name for case_name, found in results.items() if isinstance(found, str)}
    assert blocked - failed == FOLDED[runtime.kind]
    unknown = {each for each in failed if any(text in results[each] for text in UNKNOWN)}
    assert unknown - blocked == PARTS
