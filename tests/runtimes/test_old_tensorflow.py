"""Old releases of TensorFlow run each graph that `check` passes for them, and no other one."""

from __future__ import annotations

import judgement
import numpy as np
import pytest
from elsewhere import RUNTIMES, Job, run

from tfpersist import graph_file
from tfpersist.graph.runtimes.downgrade import downgrade
from tfpersist.graph.runtimes.op_lists import known_ops

OLD = [name for name, runtime in RUNTIMES.items() if runtime.kind == "tensorflow"]
# How many cases pass at least.
MOST = {"1.4": 90, "1.12": 107, "1.15": 125, "2.4": 125}


@pytest.mark.parametrize("release", OLD)
def test_a_graph_passes_check_if_it_runs_in_that_release(cases, tmp_path, release):
    runtime = RUNTIMES[release]
    interpreter = runtime.interpreter()
    jobs, blocked = {}, set()
    for number, (name, case) in enumerate(cases.items()):
        path = tmp_path / f"{number}.pb"
        if case.freezer().check(runtime.target).ok:
            case.freezer().portable(runtime.target).write(path)
        else:
            blocked.add(name)
            graph = downgrade(case.freezer().freeze().graph, known_ops(runtime.target))
            graph_file.save(graph, str(path), durable=False)
        feeds = {key: np.asarray(value) for key, value in case.feeds.items()}
        jobs[name] = Job(path, feeds, case.outputs)
    run(runtime.kind, interpreter, list(jobs.values()), tmp_path)
    results = {name: job.results() for name, job in jobs.items()}
    problems = {
        name: f"{results[name]} instead of {cases[name].expected}"
        for name in cases.keys() - blocked
        if not is_right(results[name], cases[name].expected)
    }
    assert not problems
    assert len(cases) - len(blocked) >= MOST[runtime.target]
    assert {name for name in blocked if not isinstance(results[name], str)} == set()


def is_right(found, expected):
    if isinstance(found, str):
        return False
    pairs = zip(found, expected, strict=True)
    return all(judgement.same(plain(value, wanted), wanted) for value, wanted in pairs)


def plain(value, wanted):
    """See bfloat16 as it is, which is kept as two bytes in files, and in TensorFlow 1.4."""
    wanted = np.asarray(wanted)
    return value.view(wanted.dtype) if wanted.dtype.name == "bfloat16" else value
