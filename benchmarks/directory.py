"""Save and restore beside 1 to 10,000 older checkpoints, with and without `keep=`, against Saver.

    python benchmarks/directory.py [--rounds 9] [--most 10000]

The model is a session with two variables of 40 KB. The older checkpoints are hard links to one that
the same saver has written, with sidecars and a state file of their own. Neither side syncs. A save
adds a checkpoint; with `keep=` (`max_to_keep=`) it also removes the oldest, so that their number
stays. A restore finds the newest: Saver with `tf.train.latest_checkpoint`.
"""

from __future__ import annotations

import itertools
import os
import pathlib
import statistics
import time

import attrs
import harness

COUNTS = (1, 100, 1_000, 10_000)
LIMIT = 1.3


def link(folder, first, number):
    """Link the files of a checkpoint under another name."""
    for path in folder.glob(f"{first}.*"):
        os.link(path, folder / path.name.replace(first, f"model.ckpt-{number}", 1))


def ours(folder, session, count, keep):
    """Return functions that save and restore in a directory of `count` checkpoints."""
    import tfpersist as tfp
    from tfpersist.checkpoint import sidecar
    from tfpersist.checkpoint.directory import Directory
    from tfpersist.storage import open_storage

    rules = tfp.Keep(last=count) if keep else None
    store = tfp.ModelStore(folder, durable=False, keep=rules)
    store.save(session, 0)
    facts = sidecar.decode((folder / f"model.ckpt-0{sidecar_ending()}").read_bytes())
    began = facts.created - count
    for number in range(count):
        if number:
            link(folder, "model.ckpt-0", number)
        path = folder / f"model.ckpt-{number}{sidecar_ending()}"
        path.unlink()
        own = attrs.evolve(facts, created=began + number, order=began + number, step=number)
        path.write_bytes(own.encode())
    (folder / "checkpoint").unlink()
    Directory.look(open_storage(folder)).note(durable=False)
    steps = itertools.count(count)
    return lambda: store.save(session, next(steps)), lambda: store.restore(session)


def sidecar_ending():
    from tfpersist.checkpoint.files import SIDECAR

    return SIDECAR


def theirs(folder, session, count, keep):
    """Return the same functions for TensorFlow's Saver."""
    import tensorflow as tf

    saver = tf.compat.v1.train.Saver(max_to_keep=count if keep else 0)
    prefix = str(folder / "model.ckpt")
    saver.save(session, prefix, 0)
    for number in range(1, count):
        link(folder, "model.ckpt-0", number)
    if keep:
        saver.recover_last_checkpoints([f"{prefix}-{number}" for number in range(count)])
    steps = itertools.count(count)

    def restore():
        saver.restore(session, tf.train.latest_checkpoint(str(folder)))

    return lambda: saver.save(session, prefix, next(steps)), restore


def measure(base, rounds, most):
    """Return the seconds of each verb, by count, keep and side."""
    import tensorflow as tf

    seconds = {}
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session() as session:
        for name in ("v", "w"):
            tf.compat.v1.get_variable(name, [100, 100])
        session.run(tf.compat.v1.global_variables_initializer())
        works = {}
        for count, keep in itertools.product((c for c in COUNTS if c <= most), (False, True)):
            for side, make in ((harness.OURS, ours), ("Saver", theirs)):
                folder = base / f"{side}-{count}-{keep}"
                folder.mkdir()
                works[count, keep, side] = make(folder, session, count, keep)
        for number in range(-1, rounds):
            for key, verbs in works.items():
                for verb, work in zip(("save", "restore"), verbs, strict=True):
                    start = time.perf_counter()
                    work()
                    passed = time.perf_counter() - start
                    if number >= 0:
                        seconds.setdefault((verb, *key), []).append(passed)
    return seconds


def main():
    options = harness.arguments(most=COUNTS[-1])
    with harness.folder(options.folder) as base:
        seconds = measure(pathlib.Path(base), options.rounds, options.most)
    rows = [
        {"verb": verb, "count": count, "keep": keep, "side": side, "seconds": times}
        for (verb, count, keep, side), times in seconds.items()
    ]
    median = {key: statistics.median(times) for key, times in seconds.items()}
    title = "Save and restore beside older checkpoints, medians in ms"
    print(f"\n### {title}\n")
    print("| verb | keep= | beside | tfpersist | times that beside 1 | Saver | ratio |")
    print("|---|---|---|---|---|---|---|")
    for (verb, count, keep, side), own in median.items():
        if side == harness.OURS:
            other = median[verb, count, keep, "Saver"]
            growth = own / median[verb, 1, keep, side]
            print(
                f"| {verb} | {'yes' if keep else 'no'} | {count:,} | {own * 1e3:.1f} |"
                f" {growth:.2f} | {other * 1e3:.1f} | {other / own:.2f} |"
            )
    harness.save("directory", {"title": title, "rows": rows})


if __name__ == "__main__":
    main()
