"""Serve a frozen model: from the start of a process to the first result, memory, calls a second.

    python benchmarks/engines.py [--rounds 9] [--calls 200]

Each contender loads the file in a process of its own and answers once; "ready" is the time from
the start of the process to that answer. Then it answers `--calls` times, one after the other; the
processor time of these calls, over all threads, is printed too, since it says more on a busy
machine: OpenVINO's threads wait for each other. The models are MobileNetV2 with random weights for
one image, and a perceptron of four layers of 512 x 512 for one row. TensorFlow's own way is gfile,
parse, import_graph_def and Session.run. OpenVINO computes in float32.
"""

from __future__ import annotations

import json
import pathlib
import time

import harness

OPENVINO = "tfpersist, OpenVINO"
OTHERS = "Session.run"
CONTENDERS = (OPENVINO, harness.OURS, OTHERS)
# The shapes of what is fed, by model.
SHAPES = {"MobileNetV2": (1, 224, 224, 3), "perceptron": (1, 512)}


def write(folder):
    """Freeze both models; return their files."""
    import keras
    import numpy as np
    import tensorflow as tf

    import tfpersist as tfp

    files = [folder / f"{name}.pb" for name in SHAPES]
    tfp.Freezer(keras.applications.MobileNetV2(weights=None)).write(files[0])
    generator = np.random.default_rng(0)
    layers = [generator.standard_normal((512, 512), np.float32) / 23 for _ in range(4)]

    @tf.function(input_signature=[tf.TensorSpec((None, 512), name="x")], autograph=False)
    def perceptron(x):
        for layer in layers:
            x = tf.nn.relu(x @ layer)
        return x

    tfp.Freezer(perceptron).write(files[1])
    return files


def alone(contender, path, calls, started):
    """Serve one model; print when the first result was there, the memory, and a call's seconds."""
    import numpy as np

    value = np.random.default_rng(1).random(SHAPES[path.stem], np.float32)
    if contender == OTHERS:
        import tensorflow as tf

        with tf.io.gfile.GFile(str(path), "rb") as file:
            definition = tf.compat.v1.GraphDef.FromString(file.read())
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(definition, name="")
        session = tf.compat.v1.Session(graph=graph)
        feed = next(node.name for node in definition.node if node.op == "Placeholder")
        used = {name.split(":")[0].lstrip("^") for node in definition.node for name in node.input}
        fetch = next(node.name for node in definition.node if node.name not in used)

        def call(value):
            return session.run(f"{fetch}:0", {f"{feed}:0": value})
    else:
        import tfpersist as tfp

        engine = "openvino" if contender == OPENVINO else "tensorflow"
        call = tfp.FrozenModel.load(path, engine=engine).bind()
    result = call(value)
    ready = time.time() - started
    _, peak = harness.resident()
    for _ in range(calls // 10 + 1):
        call(value)
    start, processor = time.perf_counter(), time.process_time()
    for _ in range(calls):
        call(value)
    seconds = (time.perf_counter() - start) / calls
    processor = (time.process_time() - processor) / calls
    told = {"ready": ready, "peak": peak, "seconds": seconds, "processor": processor}
    print(json.dumps({**told, "sum": float(np.abs(result).sum())}))


def measure(path, rounds, calls):
    """Run fresh processes in turns, and report."""
    keys = ("ready", "peak", "sum", "processor")
    told = {key: {name: [] for name in CONTENDERS} for key in keys}

    def process(name):
        options = ("--calls", calls, "--started", time.time())
        found, _, _ = harness.fresh(__file__, "--alone", name, "--folder", path, *options)
        for key in keys:
            told[key][name].append(found[key])
        return found["seconds"]

    ways = {name: lambda name=name: process(name) for name in CONTENDERS}
    seconds = harness.alternate(ways, rounds)
    sums = [value for values in told["sum"].values() for value in values]
    assert max(sums) - min(sums) <= 1e-4 * max(sums), told["sum"]
    # The first round warms up.
    ready, processor = (
        {name: values[1:] for name, values in told[key].items()} for key in ("ready", "processor")
    )
    memory = {name: max(values) for name, values in told["peak"].items()}
    name, question = path.stem, f"engines_{path.stem.lower()}"
    wanted = {harness.OURS: 1, OTHERS: 1}
    harness.report(
        f"{question}_ready",
        f"{name}, from the start of a process to the first result",
        ready,
        against=wanted,
        megabytes=memory,
        ours=OPENVINO,
    )
    for title, suffix, values in (
        (f"{name}, one call", "call", seconds),
        (f"{name}, processor time of one call", "processor", processor),
    ):
        harness.report(f"{question}_{suffix}", title, values, against=wanted, ours=OPENVINO)
    rates = {name: 1 / min(values) for name, values in seconds.items()}
    print("\ncalls a second: " + ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items()))


def main():
    options = harness.arguments(calls=200, started=0.0)
    if options.alone:
        alone(options.alone, pathlib.Path(options.folder), options.calls, options.started)
        return
    with harness.folder(options.folder) as base:
        for path in write(base):
            measure(path, options.rounds, options.calls)


if __name__ == "__main__":
    main()
