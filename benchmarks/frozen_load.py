"""From a frozen file to the first result, in a fresh process, against TensorFlow's own way.

    python benchmarks/frozen_load.py [--rounds 5] [--megabytes 512] [--large 0]

A perceptron of 2048 x 2048 layers, at `--megabytes` and at a tenth of it. TensorFlow reads the file
with gfile, parses it and imports it into a session. `--large 2300` adds a file of that many
megabytes, which TensorFlow cannot parse. A mapped file counts as resident memory, though the system
may take its pages back at any time; "own" is what remains without it.
"""

from __future__ import annotations

import json
import pathlib
import re
import time

import harness

WIDTH = 2048
OTHERS = "gfile, parse, import, Session"


def write(path, megabytes):
    """Write a frozen perceptron as FrozenModel.write does, but at any size."""
    import numpy as np
    import tensorflow as tf

    from tfpersist.formats import graphdef, graphdef_writer, schema
    from tfpersist.formats.graphdef import Graph
    from tfpersist.formats.tensors import payload_of, spec_of

    weights = (np.random.default_rng(0).standard_normal((WIDTH, WIDTH)) / 32).astype(np.float32)
    names = [f"w{number}" for number in range(max(megabytes // 16, 1))]
    graph = tf.Graph()
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, [None, WIDTH], name="x")
        for name in names:
            w = tf.compat.v1.placeholder(tf.float32, [WIDTH, WIDTH], name=name)
            x = tf.nn.relu(tf.matmul(x, w))
        tf.identity(x, name="y")
    proto = schema.GraphDef.FromString(graph.as_graph_def().SerializeToString())
    for node in proto.node:
        if node.name in names:
            node.attr.clear()
            graphdef.with_payload(node, spec_of(weights))
    made = Graph(proto, dict.fromkeys(names, payload_of(weights)))
    with open(path, "wb", buffering=0) as file:
        graphdef_writer.join(made, Sink(file), large=True)


class Sink:
    """A plain file."""

    def __init__(self, file):
        self.file = file

    def reserve(self, size):
        self.file.truncate(size)

    def write(self, data):
        view = memoryview(data)
        while view:
            view = view[self.file.write(view) :]


def resident_own():
    """Return the resident megabytes without the pages of mapped files."""
    text = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", text)[1]) / 1024


def alone(name, path):
    """Load and run once; print the seconds and the memory."""
    import numpy as np
    import tensorflow as tf

    import tfpersist as tfp

    batch = np.ones((1, WIDTH), np.float32)
    _ = tfp.FrozenModel, tf.compat.v1.Session(graph=tf.Graph())
    harness.forget_peak()
    before, own = harness.resident()[0], resident_own()
    start = time.perf_counter()
    if name == harness.OURS:
        kept = tfp.FrozenModel.load(path)
        result = kept.run("y:0", {"x:0": batch})
    else:
        with tf.io.gfile.GFile(path, "rb") as file:
            definition = tf.compat.v1.GraphDef()
            definition.ParseFromString(file.read())
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(definition, name="")
        kept = tf.compat.v1.Session(graph=graph)
        result = kept.run("y:0", {"x:0": batch})
    seconds = time.perf_counter() - start
    added = harness.resident()[1] - before
    told = {"seconds": seconds, "added": added, "own": resident_own() - own}
    print(json.dumps({**told, "sum": float(result.sum())}))


def measure(title, question, path, contenders, rounds, against):
    """Run fresh processes in turns, and report."""
    megabytes, own, sums = {}, {}, {}

    def process(name):
        told, _, _ = harness.fresh(__file__, "--alone", name, "--folder", path)
        megabytes[name], own[name], sums[name] = told["added"], told["own"], told["sum"]
        return told["seconds"]

    ways = {name: lambda name=name: process(name) for name in contenders}
    seconds = harness.alternate(ways, rounds)
    spread = max(sums.values()) - min(sums.values())
    assert spread <= 1e-3 * abs(max(sums.values())), sums
    harness.report(question, title, seconds, against=against, megabytes=megabytes)
    kept = ", ".join(f"{name} {value:.0f} MB" for name, value in own.items())
    print(f"\nwithout pages of files, after the first result: {kept}")


def main():
    options = harness.arguments(megabytes=512, large=0)
    if options.alone:
        alone(options.alone, options.folder)
        return
    with harness.folder(options.folder) as base:
        path = base / "model.pb"
        for megabytes, wanted in (
            (options.megabytes, 40 if options.megabytes >= 64 else 1),
            (options.megabytes // 10, 1),
        ):
            write(path, megabytes)
            measure(
                f"Load a frozen file of {megabytes} MB, first result included",
                f"frozen_load_{megabytes}",
                *(path, (harness.OURS, OTHERS), options.rounds, {OTHERS: wanted}),
            )
        if options.large:
            write(path, options.large)
            title = f"Load a frozen file of {options.large} MB, which TensorFlow cannot"
            measure(title, "frozen_load_large", path, (harness.OURS,), options.rounds, {})


if __name__ == "__main__":
    main()
