"""Row 10: how time and memory of a save grow, with 10^0 to 10^5 variables and 1 MB to 8 GB.

    python benchmarks/growth.py [--rounds 3] [--most 100000] [--megabytes 8192]

Each size runs in a fresh process, which saves once and then `rounds` times; the minimum counts.
Sizes for which the machine has no memory are left out, and named.
"""

from __future__ import annotations

import json
import os
import shutil
import time

import harness
import models

# Memory for the model, for the pages of the file, and for other programs.
ROOM = 2.5


def alone(count, megabytes, rounds, base):
    """Save; print the seconds of the fastest save and the peak memory above the model's own."""
    import tfpersist as tfp

    model = models.module(models.arrays(megabytes)) if megabytes else models.many(count, 1_000)
    target = base / "new"
    store = tfp.ModelStore(target, durable=False)
    seconds = []
    for number in range(rounds + 1):
        shutil.rmtree(target, ignore_errors=True)
        harness.forget_peak()
        before = harness.resident()[0]
        start = time.perf_counter()
        store.save(model)
        seconds.append(time.perf_counter() - start)
        if not number:
            added = harness.resident()[1] - before
    print(json.dumps({"seconds": min(seconds[1:]), "first": seconds[0], "added": added}))


def main():
    options = harness.arguments(most=100_000, megabytes=8192, tensors=0, weight=0)
    if options.alone:
        with harness.folder(options.folder) as base:
            alone(options.tensors, options.weight, options.rounds, base)
        return
    rows, skipped = [], []
    counts = [10**power for power in range(6) if 10**power <= options.most]
    sizes = [2**power for power in range(0, 14, 2) if 2**power <= options.megabytes]
    sizes += [options.megabytes] if options.megabytes not in sizes else []
    for kind, number in [*(("variables", n) for n in counts), *(("megabytes", n) for n in sizes)]:
        if kind == "megabytes" and number * ROOM > free():
            skipped.append(f"{number} MB ({free():.0f} MB of memory are free)")
            continue
        option = "--tensors" if kind == "variables" else "--weight"
        told, _, _ = harness.fresh(
            __file__, "--alone", "tfpersist", option, number, "--rounds", min(options.rounds, 3)
        )
        rows.append({"kind": kind, "number": number, **told})
    title = "Growth of a save: variables of 1 KB, then megabytes in 48 tensors"
    print(f"\n### {title}\n")
    print("| | | first save ms | later, ms | for each | peak MB above the model's own |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        each = row["seconds"] / row["number"]
        print(
            f"| {row['number']:,} | {row['kind']} | {row['first'] * 1e3:.1f} |"
            f" {row['seconds'] * 1e3:.1f} | {each * 1e6:.0f} µs | {row['added']:.0f} |"
        )
    for each in skipped:
        print(f"\nLeft out: {each}.")
    harness.save("growth", {"title": title, "rows": rows, "skipped": skipped})


def free():
    """Write dirty pages to the disk; return the megabytes of memory that are available then."""
    os.sync()
    with open("/proc/meminfo") as lines:
        (line,) = (line for line in lines if line.startswith("MemAvailable"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
