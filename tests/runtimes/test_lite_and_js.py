"""TensorFlow Lite and TensorFlow.js compute what `check` passes as TensorFlow does."""

from __future__ import annotations

import pathlib
import subprocess

import agreeing
import models
import numpy as np
import pytest
import tensorflow as tf
from elsewhere import RUNTIMES, Job, environment, run, version

import tfpersist as tfp
from tfpersist.graph.runtimes import op_lists

NAMES = ["TensorFlow Lite", "TensorFlow.js"]
# Cases that a converter or a runtime does not get through, though it knows every op of them. Each
# is an error there: TensorFlow.js fuses ops into others that it does not know or cannot compute.
FAILURES = {
    "TensorFlow Lite": {
        *("reference_ops", "zero_size_and_scalars-ref", "zero_size_and_scalars-resource")
    },
    "TensorFlow.js": {"mapped-v2", "reference_ops"},
}


@pytest.mark.parametrize("name", NAMES)
def test_what_check_passes_computes_the_same(cases, name, tmp_path):
    runtime = RUNTIMES[name]
    interpreter = runtime.interpreter()
    jobs = {}
    for number, (case_name, case) in enumerate(cases.items()):
        freezer = case.freezer()
        if not freezer.check(runtime.target).ok:
            continue
        path = tmp_path / f"{number}.pb"
        freezer.portable(runtime.target).write(path)
        feeds = {key.removesuffix(":0"): np.asarray(v) for key, v in case.feeds.items()}
        jobs[case_name] = Job(path, feeds, case.outputs)
    run(runtime.kind, interpreter, list(jobs.values()), tmp_path)
    found = {
        case_name: agreeing.verdict(
            runtime.kind, job.results(), [np.asarray(each) for each in cases[case_name].expected]
        )
        for case_name, job in jobs.items()
    }
    assert "other" not in found.values()
    assert {each for each, verdict in found.items() if verdict != "equal"} == FAILURES[name]
    assert len(found) > 40


@pytest.mark.parametrize("name", NAMES)
def test_the_table_is_what_the_runtime_computes(name, tmp_path):
    """Of the graphs of one op that make_runtime_table.py is told to write, each has a few."""
    runtime = RUNTIMES[name]
    interpreter = runtime.interpreter()
    table = op_lists.known_ops(runtime.target)
    parts = set(agreeing.WHOLES[runtime.kind].split())
    script = pathlib.Path(__file__).with_name("instances.py")
    command = [interpreter, script, tmp_path, *sorted(table.keys() - parts)]
    subprocess.run(list(map(str, command)), env=environment(), capture_output=True, check=True)
    found = agreeing.verdicts(
        runtime.kind, interpreter, tmp_path, lambda file: file.split(".")[1] in ("0", "1")
    )
    floats = {
        file: verdict
        for file, verdict in found.items()
        if not any((1,) in each for each in table[file.split(".")[0]].types.values())
    }
    assert "other" not in floats.values()
    equal = {file.split(".")[0] for file, verdict in floats.items() if verdict == "equal"}
    assert len(equal) > 130
    here = version(interpreter, agreeing.MODULES[runtime.kind])
    newest = op_lists.DISPLAY_NAMES[runtime.target].split()[-1]
    # The table is that of the newest release.
    assert [*map(int, here.split(".")[:2])] <= [*map(int, newest.split(".")[:2])]


@pytest.mark.parametrize("layer", ["LSTM", "GRU"])
def test_recurrent_layers_run_in_tensorflow_lite_once_the_batch_is_fixed(layer, tmp_path):
    runtime = RUNTIMES["TensorFlow Lite"]
    interpreter = runtime.interpreter()
    layers = tf.keras.layers
    first, second = getattr(layers, layer)(4, return_sequences=True), getattr(layers, layer)(5)
    net = tf.keras.Sequential([layers.Input((7, 3)), layers.Bidirectional(first), second])
    freezer = tfp.Freezer(net)
    assert "TensorListReserve) has elements of unknown shape" in str(freezer.check("tflite"))
    with pytest.raises(tfp.FreezeError, match=r"batch\(\)"):
        freezer.portable("tflite").freeze()
    assert freezer.batch(2).check("tflite").ok
    path = tmp_path / "net.pb"
    frozen = freezer.batch(2).portable("tflite").write(path)
    (given,), (output,) = frozen.inputs, frozen.outputs
    x = models.random(2, 7, 3)
    job = Job(path, {given.operation: x}, [output.operation])
    run(runtime.kind, interpreter, [job], tmp_path)
    (found,) = job.results()
    np.testing.assert_allclose(found, net(x), atol=1e-6)
