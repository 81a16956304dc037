"""Old releases of TensorFlow import and run each graph that `check` passes for them."""

from __future__ import annotations

import judgement
import numpy as np
import pytest
from elsewhere import RUNTIMES, Job, run

OLD = [name for name in RUNTIMES if "TensorFlow" in name]


@pytest.mark.parametrize("release", OLD)
def test_a_graph_that_passes_check_runs_in_that_release(cases, tmp_path, release):
    runtime = RUNTIMES[release]
    interpreter = runtime.interpreter()
    jobs, blocked = {}, {}
    for number, (name, case) in enumerate(cases.items()):
        found = case.freezer().check(runtime.target)
        if not found.ok:
            blocked[name] = {blocker.types or blocker.op for blocker in found.blockers}
            continue
        path = tmp_path / f"{number}.pb"
        case.freezer().portable(runtime.target).write(path)
        feeds = {key: np.asarray(value) for key, value in case.feeds.items()}
        jobs[name] = Job(path, feeds, case.outputs)
    run(runtime.kind, interpreter, list(jobs.values()), tmp_path)
    problems = {}
    for name, job in jobs.items():
        results, expected = job.results(), cases[name].expected
        if isinstance(results, str):
            problems[name] = results
        elif not all(
            judgement.same(plain(value, wanted), wanted)
            for value, wanted in zip(results, expected, strict=True)
        ):
            problems[name] = f"{results} instead of {expected}"
    assert not problems
    assert len(jobs) > 120
    assert set(map(str, set().union(*blocked.values()))) <= {
        *("BatchMatMulV3", "('float8_e4m3fn',)", "('float8_e5m2',)", "('int4',)", "('uint4',)")
    }, blocked


def plain(value, wanted):
    """See bfloat16 as it is, which numpy keeps as two bytes when it is written."""
    wanted = np.asarray(wanted)
    return value.view(wanted.dtype) if value.dtype.kind == "V" else value
