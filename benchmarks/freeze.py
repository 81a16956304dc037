"""Freeze: from a checkpoint, a live session, a function and a graph of many nodes.

    python benchmarks/freeze.py [--rounds 5] [--megabytes 512] [--large 1536] [--nodes 26000]

A perceptron of 2048 x 2048 layers. Each contender freezes once, in a fresh process that has
imported what it needs and has built or opened its source; its memory is the peak above that.
Nobody syncs. The checksums of a checkpoint are verified by tfpersist, as TensorFlow does. "own" is
memory without the pages of mapped files, which the system may take back at any time.
`--only checkpoint` runs one of checkpoint, session, function, nodes.
"""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import threading
import time

import harness

WIDTH = 2048
OWN = re.compile(r"RssAnon:\s+(\d+)")


def layers(megabytes):
    """Return the number of layers of a perceptron of some megabytes."""
    return max(megabytes // 16, 1)


def perceptron(megabytes):
    """Return an initialized session of a perceptron."""
    import tensorflow as tf

    v1 = tf.compat.v1
    graph = tf.Graph()
    with graph.as_default():
        y = v1.placeholder(tf.float32, [None, WIDTH], name="x")
        for number in range(layers(megabytes)):
            start = v1.random_normal_initializer(seed=number, stddev=0.03)
            w = v1.get_variable(f"w{number}", [WIDTH, WIDTH], initializer=start, use_resource=True)
            y = tf.nn.relu(tf.matmul(y, w))
        tf.identity(y, name="y")
        initializer = v1.global_variables_initializer()
    session = v1.Session(graph=graph)
    session.run(initializer)
    return session


def many(nodes):
    """Return an initialized session of a graph of this many nodes."""
    import tensorflow as tf

    v1 = tf.compat.v1
    graph = tf.Graph()
    with graph.as_default():
        y = v1.placeholder(tf.float32, [None, 8], name="x")
        while len(graph.get_operations()) < nodes - 2:
            number = len(graph.get_operations())
            w = v1.get_variable(f"w{number}", initializer=[1.0] * 8, use_resource=True)
            for _ in range(6):
                y = tf.nn.relu(y * w + 1.0)
        tf.identity(y, name="y")
        initializer = v1.global_variables_initializer()
    session = v1.Session(graph=graph)
    session.run(initializer)
    return session


def function(megabytes):
    """Return a ConcreteFunction of a perceptron, and its variables, which must be kept alive."""
    import tensorflow as tf

    shape = [WIDTH, WIDTH]
    weights = [tf.Variable(tf.random.normal(shape, 0, 0.03)) for _ in range(layers(megabytes))]

    @tf.function(input_signature=[tf.TensorSpec([None, WIDTH], name="x")])
    def predict(x):
        for w in weights:
            x = tf.nn.relu(x @ w)
        return x

    return predict.get_concrete_function(), weights


def prepared(name, options, folder):
    """Build the source of a contender; return a function that freezes it into a file."""
    where, _, contender = name.partition(": ")
    target = folder / "frozen.pb"
    target.unlink(missing_ok=True)
    if where == "checkpoint":
        return checkpointed(contender, next(folder.glob("*.index")).with_suffix(""), target)
    if where == "function":
        traced, _ = kept = function(options.megabytes)
        freeze = of_function(contender, traced, target)
        return lambda: (freeze(), kept)
    session = many(options.nodes) if where == "nodes" else perceptron(options.megabytes)
    return of_session(contender, session, target)


def checkpointed(contender, prefix, target):
    if contender == "copy of the file":
        data = next(prefix.parent.glob(f"{prefix.name}.data-*"))
        return lambda: copy(data, target)
    if contender == harness.OURS:
        import tfpersist as tfp

        freezer = tfp.Freezer(prefix).outputs("y")
        _ = tfp.FrozenModel
        return lambda: freezer.write(target, durable=False)
    from tensorflow.python.tools import freeze_graph

    nothing = {"input_saver": "", "restore_op_name": "", "filename_tensor_name": ""}
    facts = {"input_graph": "", "input_binary": True, "clear_devices": True, **nothing}
    return lambda: freeze_graph.freeze_graph(
        **facts,
        input_checkpoint=str(prefix),
        input_meta_graph=f"{prefix}.meta",
        output_node_names="y",
        output_graph=str(target),
        initializer_nodes="",
    )


def copy(source, target):
    """Copy a file through a buffer of a megabyte."""
    with open(source, "rb") as read, open(target, "wb") as write:
        shutil.copyfileobj(read, write, 1 << 20)


def of_session(contender, session, target):
    import tensorflow as tf

    import tfpersist as tfp

    if contender == harness.OURS:
        freezer = tfp.Freezer(session).outputs("y")
        _ = tfp.FrozenModel
        return lambda: freezer.write(target, durable=False)

    def convert():
        util = tf.compat.v1.graph_util
        made = util.convert_variables_to_constants(session, session.graph.as_graph_def(), ["y"])
        target.write_bytes(made.SerializeToString())

    return convert


def of_function(contender, traced, target):
    from tensorflow.python.framework import convert_to_constants

    import tfpersist as tfp

    if contender == harness.OURS:
        freezer = tfp.Freezer(traced)
        _ = tfp.FrozenModel
        return lambda: freezer.write(target, durable=False)

    def convert():
        made = convert_to_constants.convert_variables_to_constants_v2(traced)
        target.write_bytes(made.graph.as_graph_def().SerializeToString())

    return convert


def own():
    """Return the resident megabytes without the pages of mapped files."""
    return int(OWN.search(pathlib.Path("/proc/self/status").read_text())[1]) / 1024


class Watch(threading.Thread):
    """Measures the peak of resident memory without pages of files, every two milliseconds."""

    def __init__(self):
        super().__init__(daemon=True)
        self.first = self.peak = own()
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(0.002):
            self.peak = max(self.peak, own())


def alone(name, options, folder):
    """Freeze once; print seconds and memory."""
    freeze = prepared(name, options, folder)
    harness.forget_peak()
    before = harness.resident()[0]
    watch = Watch()
    watch.start()
    start, used = time.perf_counter(), time.process_time()
    freeze()
    told = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - used}
    watch.over.set()
    watch.join()
    added = harness.resident()[1] - before
    size = (folder / "frozen.pb").stat().st_size / harness.MB
    print(json.dumps({**told, "added": added, "own": watch.peak - watch.first, "size": size}))


def measure(title, where, contenders, against, options, folder, megabytes):
    """Run fresh processes in turns, and report."""
    added, kept, cpu = {}, {}, {name: [] for name in contenders}

    def process(contender):
        sizes = ("--megabytes", megabytes, "--nodes", options.nodes)
        name = f"{where}: {contender}"
        told = harness.fresh(__file__, "--alone", name, "--folder", folder, *sizes)[0]
        added[contender], kept[contender] = told["added"], told["own"]
        cpu[contender].append(told["cpu"])
        return told["seconds"]

    ways = {name: lambda name=name: process(name) for name in contenders}
    seconds = harness.alternate(ways, options.rounds)
    size = "" if where == "nodes" else f"_{megabytes}"
    harness.report(f"freeze_{where}{size}", title, seconds, against=against, megabytes=added)
    for name in contenders:
        print(f"{name}: {min(cpu[name]):.2f} s of processor time, {kept[name]:.0f} MB of its own")


def main():
    options = harness.arguments(megabytes=512, large=1536, nodes=26_000, only="")
    if options.alone:
        alone(options.alone, options, pathlib.Path(options.folder))
        return
    sizes = [size for size in (options.megabytes, options.large) if size]
    ours = harness.OURS
    for megabytes in sizes if options.only in ("", "checkpoint") else ():
        with harness.folder(options.folder) as folder:
            harness.fresh("-c", WRITE, harness.HERE, megabytes, folder)
            title = f"Freeze {megabytes} MB from a checkpoint"
            theirs = "freeze_graph.py"
            contenders = (ours, theirs, "copy of the file")
            against = {theirs: 10, "copy of the file": 0.33}
            measure(title, "checkpoint", contenders, against, options, folder, megabytes)
    for where, source, theirs, wanted in (
        ("session", "a live session", "v1 convert, write", 3),
        ("function", "a function", "v2 convert, write", 15),
    ):
        for megabytes in sizes if options.only in ("", where) else ():
            with harness.folder(options.folder) as folder:
                title = f"Freeze {megabytes} MB from {source}"
                contenders = (ours, theirs)
                measure(title, where, contenders, {theirs: wanted}, options, folder, megabytes)
    if options.only in ("", "nodes"):
        with harness.folder(options.folder) as folder:
            title = f"Freeze a graph of {options.nodes:,} nodes from a session"
            contenders = (ours, "v1 convert, write")
            measure(title, "nodes", contenders, {contenders[1]: 1.5}, options, folder, 0)


WRITE = """
import sys
sys.path.insert(0, sys.argv[1])
import freeze
import tensorflow as tf
session = freeze.perceptron(int(sys.argv[2]))
with session.graph.as_default():
    tf.compat.v1.train.Saver().save(session, sys.argv[3] + "/model.ckpt")
"""


if __name__ == "__main__":
    main()
