"""Calls of a frozen model: microseconds for a tiny graph, images a second for a small CNN.

    python benchmarks/frozen_call.py [--rounds 9] [--calls 2000] [--images 60]

The CNN is MobileNetV2 with random weights, one image a call, from two threads at once, each
contender in a process of its own. The default session spreads each operation over both cores; a
bound function computes each image in the thread that calls. TensorFlow sizes its pool of threads
once in a process: "one thread an operation" is a process that has asked it for
tf.config.threading.set_intra_op_parallelism_threads(1).
"""

from __future__ import annotations

import concurrent.futures
import json
import time

import harness

THREADS = 2
IMAGES = (harness.OURS, "tfpersist, one thread an operation", "Session.run")


def tiny(calls):
    """Return functions that compute x + [1, 2] `calls` times, by contender."""
    import numpy as np
    import tensorflow as tf

    import tfpersist as tfp
    from tfpersist.formats import graphdef

    graph = tf.Graph()
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, [None, 2], name="x")
        tf.add(x, [1.0, 2.0], name="y")
    model = tfp.FrozenModel(graphdef.split(graph.as_graph_def().SerializeToString()))
    session = tf.compat.v1.Session(graph=graph)
    batch = np.ones((1, 2), np.float32)
    bound = model.bind("x:0", "y:0")
    made = session.make_callable("y:0", ["x:0"])
    function = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph.as_graph_def()), [])
    pruned = function.prune("import/x:0", "import/y:0")
    tensor = tf.constant(batch)
    ways = {
        harness.OURS: lambda: bound(batch),
        "FrozenModel.run": lambda: model.run("y:0", {"x:0": batch}),
        "Session.run": lambda: session.run("y:0", {"x:0": batch}),
        "Session.make_callable": lambda: made(batch),
        "pruned ConcreteFunction": lambda: pruned(tensor).numpy(),
    }

    def timed(call):
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(calls // 5):
                call()
            best = min(best, (time.perf_counter() - start) / (calls // 5))
        return best * 1000  # so that the table's milliseconds are microseconds

    return {name: lambda call=call: timed(call) for name, call in ways.items()}


def alone(name, path, images):
    """Serve images from two threads; print the seconds of one image."""
    import numpy as np
    import tensorflow as tf

    import tfpersist as tfp

    if "one thread" in name:
        tf.config.threading.set_intra_op_parallelism_threads(1)
    image = np.random.default_rng(0).random((1, 224, 224, 3), np.float32)
    model = tfp.FrozenModel.load(path)
    x, y = model.inputs[0].name, model.outputs[0].name
    if name == "Session.run":
        definition = tf.compat.v1.GraphDef.FromString(path.read_bytes())
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(definition, name="")
        session = tf.compat.v1.Session(graph=graph)

        def call(batch):
            return session.run(y, {x: batch})
    else:
        call = model.bind(x, y)

    def work():
        for _ in range(images // THREADS):
            call(image)

    for _ in range(4):
        call(image)
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        start = time.perf_counter()
        for each in [pool.submit(work) for _ in range(THREADS)]:
            each.result()
        seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds / images}))


def main():
    options = harness.arguments(calls=2000, images=60)
    if options.alone:
        import pathlib

        alone(options.alone, pathlib.Path(options.folder), options.images)
        return
    seconds = harness.alternate(tiny(options.calls), options.rounds)
    title = "One call of a tiny graph (the numbers are microseconds)"
    harness.report("frozen_call", title, seconds, against={"Session.run": 8})

    import keras

    import tfpersist as tfp

    with harness.folder(options.folder) as base:
        path = base / "mobilenet.pb"
        tfp.Freezer(keras.applications.MobileNetV2(weights=None)).write(path)

        def process(name):
            size = ("--images", options.images)
            return harness.fresh(__file__, "--alone", name, "--folder", path, *size)[0]["seconds"]

        ways = {name: lambda name=name: process(name) for name in IMAGES}
        seconds = harness.alternate(ways, options.rounds)
    title = f"One image of MobileNetV2, {THREADS} threads"
    harness.report("frozen_images", title, seconds, against={"Session.run": 1.2})
    best = {name: 1 / min(each) for name, each in seconds.items()}
    print("\nimages a second: " + ", ".join(f"{name} {rate:.0f}" for name, rate in best.items()))


if __name__ == "__main__":
    main()
