"""Save and restore about 100 MB: tfpersist against TensorFlow's own savers, as ratios.

    python benchmarks/save_restore.py [rounds]

Each round runs every way once, in an order that rotates, so that a slow moment of the machine hits
all of them. A ratio is ours to theirs of the same round; below 1 we are faster. Nobody syncs to
disk (`durable=False`), since TensorFlow does not; the durable save is listed beside it.
"""

from __future__ import annotations

import os
import pathlib
import statistics
import sys
import tempfile
import time

import numpy as np

import tfpersist as tfp

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SHAPES = [(1024, 1024)] * 24 + [(256, 1024)] * 4 + [(1024,)] * 20


def variables(tf):
    """Make 48 variables, 104 MB together."""
    random = np.random.default_rng(1)
    return {
        f"layer{number}": tf.Variable(random.random(shape, np.float32), name=f"layer{number}")
        for number, shape in enumerate(SHAPES)
    }


def session_ways(folder):
    """Give what saves and what restores the variables of a TF1 session."""
    import tensorflow as tf

    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        variables(tf)
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver()
    scratch = tfp.ModelStore(folder / "ours", durable=False)
    durable = tfp.ModelStore(folder / "durable")

    def theirs(path):
        with session.graph.as_default():
            return saver.save(session, path, write_meta_graph=True)

    theirs(str(folder / "theirs"))
    scratch.save(session)
    save = {
        "TensorFlow": lambda: theirs(str(folder / "theirs")),
        "tfpersist": lambda: scratch.save(session),
        "tfpersist, durable": lambda: durable.save(session),
    }
    restore = {
        "TensorFlow": lambda: saver.restore(session, str(folder / "theirs")),
        "tfpersist": lambda: scratch.restore(session),
    }
    return save, restore


def object_ways(folder):
    """Give what saves and what restores the variables of a tf.train.Checkpoint."""
    import tensorflow as tf

    root = tf.train.Checkpoint(**variables(tf))
    scratch = tfp.ModelStore(folder / "ours", durable=False)
    durable = tfp.ModelStore(folder / "durable")
    root.write(str(folder / "theirs"))
    scratch.save(root)
    save = {
        "TensorFlow": lambda: root.write(str(folder / "theirs")),
        "tfpersist": lambda: scratch.save(root),
        "tfpersist, durable": lambda: durable.save(root),
    }
    restore = {
        "TensorFlow": lambda: root.read(str(folder / "theirs")).assert_consumed(),
        "tfpersist": lambda: scratch.restore(root),
    }
    return save, restore


def measure(ways, rounds):
    """Give the seconds of each way in each round."""
    names = list(ways)
    seconds = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            start = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def row(title, seconds):
    """Format the medians, and the median and spread of the ratios, as rows of a table."""
    theirs = seconds.pop("TensorFlow")
    for name, ours in seconds.items():
        ratios = sorted(mine / other for mine, other in zip(ours, theirs, strict=True))
        yield (
            f"| {title} | {name} | {statistics.median(theirs) * 1e3:.0f} |"
            f" {statistics.median(ours) * 1e3:.0f} | {statistics.median(ratios):.2f} |"
            f" {ratios[0]:.2f} to {ratios[-1]:.2f} |"
        )


def main(rounds=15):
    """Measure, and print a table."""
    print("| | | TensorFlow ms | tfpersist ms | ratio | spread |")
    print("|---|---|---|---|---|---|")
    for kind, ways in (("session", session_ways), ("tf.train.Checkpoint", object_ways)):
        with tempfile.TemporaryDirectory() as folder:
            for verb, choices in zip(("save", "restore"), ways(pathlib.Path(folder)), strict=True):
                for line in row(f"{verb}, {kind}", measure(choices, rounds)):
                    print(line, flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
