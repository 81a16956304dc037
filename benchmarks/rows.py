"""Incremental saves of a table of which 1 % of the rows changed, against full saves.

    python benchmarks/rows.py [--rounds 9] [--megabytes 256]

The rows that change lie in one block, or in eight, at other places each time, or are scattered.
Both stores keep two checkpoints and sync, as by default. The table is read by tfpersist and by
TensorFlow from both.
"""

from __future__ import annotations

import pathlib
import statistics
import time

import harness

import tfpersist as tfp

FULL, INCREMENTAL = "in full", "tfpersist, incremental"
ROW = 256
BLOCKS = {"in one block": 1, "in eight blocks": 8, "scattered": None}


def change(table, blocks, generator):
    """Change 1 % of the rows."""
    count = len(table) // 100
    if blocks is None:
        table[generator.choice(len(table), count, replace=False)] += 1
        return
    for start in generator.integers(0, len(table) - count, blocks):
        table[start : start + count // blocks] += 1


def timed(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(base, megabytes, blocks, rounds):
    """Return the seconds of saves and reads, by store; and the bytes of an incremental save."""
    import numpy as np
    import tensorflow as tf

    generator = np.random.default_rng(0)
    table = generator.normal(size=(megabytes * 1_000_000 // ROW, ROW // 4)).astype(np.float32)
    keep = tfp.Keep(last=2)
    stores = {
        name: tfp.ModelStore(base / f"{name} {blocks}", keep=keep, incremental=name == INCREMENTAL)
        for name in (FULL, INCREMENTAL)
    }
    times, written = {}, []
    for step in range(rounds + 1):
        change(table, blocks, generator)
        for name, store in stores.items():
            seconds = timed(lambda store=store, step=step: store.save({"table": table}, step))
            path = store.latest().prefix
            works = {
                "save": seconds,
                "read": timed(lambda path=path: tfp.Checkpoint(path)["table"].max()),
                "read by TensorFlow": timed(
                    lambda path=path: tf.train.load_checkpoint(path).get_tensor("table")
                ),
            }
            for verb, passed in works.items() if step else ():
                times.setdefault((verb, name), []).append(passed)
        if step:
            written.append(stores[INCREMENTAL].latest().increment.written / table.nbytes)
    return times, statistics.median(written)


def main():
    options = harness.arguments(megabytes=256)
    rows = []
    print(f"\n### A table of {options.megabytes} MB of which 1 % of the rows changed, median ms\n")
    print("| changed rows | verb | in full | incremental | times | bytes written |")
    print("|---|---|---|---|---|---|")
    for name, blocks in BLOCKS.items():
        with harness.folder(options.folder) as base:
            times, written = measure(pathlib.Path(base), options.megabytes, blocks, options.rounds)
        for verb in dict.fromkeys(verb for verb, _ in times):
            full, own = (statistics.median(times[verb, side]) for side in (FULL, INCREMENTAL))
            print(
                f"| {name} | {verb} | {full * 1e3:.0f} | {own * 1e3:.0f} | {own / full:.2f} |"
                f" {written:.1%} |"
            )
            rows.append({"rows": name, "verb": verb, FULL: full, INCREMENTAL: own})
    harness.save("rows", {"title": "A table of which 1 % of the rows changed", "rows": rows})


if __name__ == "__main__":
    main()
