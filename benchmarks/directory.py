"""Save and restore beside 1 to 10,000 older checkpoints, with and without `keep=`, against Saver.

    python benchmarks/directory.py [--rounds 9] [--most 10000]

The model is a session with two variables of 40 KB. The older checkpoints are hard links to one that
the same saver has written, with sidecars and a state file of their own. Neither side syncs. A save
adds a checkpoint; with `keep=` (`max_to_keep=`) it also removes the oldest, so that their number
stays. A restore finds the newest: Saver with `tf.train.latest_checkpoint`. Each round runs all
cells in a new random order.
"""

from __future__ import annotations

import gc
import itertools
import os
import pathlib
import random
import statistics
import time

import attrs
import harness

COUNTS = (1, 100, 1_000, 10_000)
# Rounds that are not counted: all caches are filled then, and each file is verified that has to be.
WARM_UP = 3


def link(folder, count, without=()):
    """Link the files of the first checkpoint under `count - 1` other names."""
    first = "model.ckpt-0"
    endings = [path.name[len(first) :] for path in folder.glob(f"{first}.*")]
    for number in range(1, count):
        for ending in endings:
            if ending not in without:
                os.link(folder / (first + ending), folder / f"model.ckpt-{number}{ending}")


def ours(folder, session, count, keep):
    """Return functions that save and restore in a directory of `count` checkpoints."""
    import tfpersist as tfp
    from tfpersist.checkpoint import sidecar
    from tfpersist.checkpoint.directory import Directory
    from tfpersist.checkpoint.files import SIDECAR
    from tfpersist.storage import open_storage

    rules = tfp.Keep(last=count) if keep else None
    store = tfp.ModelStore(folder, durable=False, keep=rules)
    store.save(session, 0)
    facts = sidecar.decode((folder / f"model.ckpt-0{SIDECAR}").read_bytes())
    began = facts.created - count
    link(folder, count, without={SIDECAR})
    for number in range(count):
        path = folder / f"model.ckpt-{number}{SIDECAR}"
        own = attrs.evolve(facts, created=began + number, order=began + number, step=number)
        path.write_bytes(own.encode())
    (folder / "checkpoint").unlink()
    Directory.look(open_storage(folder)).note(durable=False)
    steps = itertools.count(count)
    return lambda: store.save(session, next(steps)), lambda: store.restore(session)


def theirs(folder, session, count, keep):
    """Return the same functions for TensorFlow's Saver."""
    import tensorflow as tf

    saver = tf.compat.v1.train.Saver(max_to_keep=count if keep else 0)
    prefix = str(folder / "model.ckpt")
    saver.save(session, prefix, 0)
    link(folder, count)
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
        # What the set-up has made is not visited again by each garbage collection.
        gc.collect()
        gc.freeze()
        for number in range(-WARM_UP, rounds):
            for key in random.sample(list(works), len(works)):
                for verb, work in zip(("save", "restore"), works[key], strict=True):
                    start = time.perf_counter()
                    work()
                    passed = time.perf_counter() - start
                    if number >= 0:
                        seconds.setdefault((verb, *key), []).append(passed)
    return seconds


def shown(least, median, scale=1e3):
    """Return a minimum and a median as text."""
    return f"{least * scale:.2f} / {median * scale:.2f}"


def main():
    options = harness.arguments(most=COUNTS[-1])
    with harness.folder(options.folder) as base:
        seconds = measure(pathlib.Path(base), options.rounds, options.most)
    rows = [
        {"verb": verb, "count": count, "keep": keep, "side": side, "seconds": times}
        for (verb, count, keep, side), times in seconds.items()
    ]
    least = {key: min(times) for key, times in seconds.items()}
    median = {key: statistics.median(times) for key, times in seconds.items()}
    title = "Save and restore beside older checkpoints, minimum / median in ms"
    print(f"\n### {title}\n")
    print("| verb | keep= | beside | tfpersist | times that beside 1 | Saver | faster by |")
    print("|---|---|---|---|---|---|---|")
    for verb, count, keep, side in sorted(seconds, key=lambda key: key[1:3]):
        if side == harness.OURS:
            own, other = (verb, count, keep, side), (verb, count, keep, "Saver")
            row = [verb, "yes" if keep else "no", f"{count:,}", shown(least[own], median[own])]
            first = verb, 1, keep, side
            row.append(shown(least[own] / least[first], median[own] / median[first], 1))
            row.append(shown(least[other], median[other]))
            row.append(shown(least[other] / least[own], median[other] / median[own], 1) + "×")
            print(f"| {' | '.join(row)} |")
    harness.save("directory", {"title": title, "rows": rows})


if __name__ == "__main__":
    main()
