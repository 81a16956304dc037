"""Save and restore about 100 MB: tfpersist against TensorFlow's own savers, as ratios.

    python benchmarks/save_restore.py [rounds]

Each round runs every way once, in an order that rotates, so that a slow moment of the machine hits
all of them. A ratio is our time to theirs in the same round; below 1 we are faster. TensorFlow does
not sync to disk, so it is compared with `durable=False`; the durable save is listed beside it.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import time

import tfpersist as tfp

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SHAPES = [(1024, 1024)] * 24 + [(256, 1024)] * 4 + [(1024,)] * 20


def variables(tf):
    """Make 48 variables, 104 MB together."""
    return {
        f"layer{number}": tf.Variable(tf.random.uniform(shape), name=f"layer{number}")
        for number, shape in enumerate(SHAPES)
    }


def session_ways(old, new):
    """Give what saves and what restores the variables of a TF1 session."""
    import tensorflow as tf

    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        variables(tf)
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver()

    def in_graph(verb, path):
        with session.graph.as_default():
            verb(session, str(path / "theirs"))

    return session, lambda: in_graph(saver.save, new), lambda: in_graph(saver.restore, old)


def object_ways(old, new):
    """Give what saves and what restores the variables of a tf.train.Checkpoint."""
    import tensorflow as tf

    root = tf.train.Checkpoint(**variables(tf))
    return root, lambda: root.write(str(new / "theirs")), lambda: root.read(str(old / "theirs"))


def ways(make, folder):
    """Give {verb: {who: what to call}} for one kind of model."""
    old, new = folder / "old", folder / "new"
    model, save, restore = make(old, new)
    store = tfp.ModelStore(old, durable=False)
    store.save(model)
    save()
    for path in new.iterdir():
        path.rename(old / path.name)
    return new, {
        "save": {
            "TensorFlow": save,
            "tfpersist": lambda: tfp.ModelStore(new, durable=False).save(model),
            "tfpersist, durable": lambda: tfp.ModelStore(new).save(model),
        },
        "restore": {"TensorFlow": restore, "tfpersist": lambda: store.restore(model)},
    }


def measure(choices, new, rounds):
    """Give the seconds of each choice in each round; what was saved is removed in between."""
    names = list(choices)
    seconds = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
            start = time.perf_counter()
            choices[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def rows(title, seconds):
    """Format minimum and median of each, and the median and spread of the ratios."""
    theirs = seconds.pop("TensorFlow")
    for name, ours in seconds.items():
        ratios = sorted(mine / other for mine, other in zip(ours, theirs, strict=True))
        times = " | ".join(
            f"{min(each) * 1e3:.0f} / {statistics.median(each) * 1e3:.0f}"
            for each in (theirs, ours)
        )
        yield (
            f"| {title} | {name} | {times} |"
            f" {statistics.median(ratios):.2f} | {ratios[0]:.2f} to {ratios[-1]:.2f} |"
        )


def main(rounds=15):
    """Measure, and print a table."""
    print("| | | TensorFlow | tfpersist | ratio | spread |")
    print("|---|---|---|---|---|---|")
    for kind, make in (("session", session_ways), ("tf.train.Checkpoint", object_ways)):
        with tempfile.TemporaryDirectory() as folder:
            new, verbs = ways(make, pathlib.Path(folder))
            for verb, choices in verbs.items():
                for line in rows(f"{verb}, {kind}", measure(choices, new, rounds)):
                    print(line, flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
