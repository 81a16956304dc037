"""Incremental saves: fine-tuning a model of which 95 % are frozen, against saving it in full.

python benchmarks/incremental.py [--rounds 9] [--megabytes 512] [--most 100000]

Each save follows a change of the other 5 %; older checkpoints are removed between the saves.

The second part asks whether an incremental save ever takes longer than a full one. It saves arrays
of 1 KB, up to 100,000 of them, and 48 large ones, of which none, half, 95 % or all did not change:
the same ones at each save, or others. Nothing is synced there, because a sync takes less time for
fewer bytes. Processor time is the minimum over the rounds, elapsed time the median of their ratios.
"""

from __future__ import annotations

import gc
import random
import statistics
import time

import harness
import models

import tfpersist as tfp

FULL, INCREMENTAL = "in full", "tfpersist, incremental"
TRAINED = 0.05
FEWER_BYTES, FASTER = 8, 4
COUNTS = (1_000, 20_000, 100_000)
UNCHANGED = (0, 0.5, 0.95, 1)
# Saves that are not counted. After three of them, tensors that never change have a file of theirs.
WARM_UP = 3


def split(values):
    """Return the names of the tensors that are trained: about 5 % of all bytes."""
    left = TRAINED * sum(value.nbytes for value in values.values())
    trained = []
    for name, value in values.items():
        if value.nbytes <= left:
            trained.append(name)
            left -= value.nbytes
    return trained


class Tuning:
    """A model in training, and the stores that it is saved into."""

    def __init__(self, megabytes, folder, *, durable):
        values = models.arrays(megabytes)
        trained = set(split(values))
        module = models.module(values)
        self.model = module
        self.changing = [
            v for v, name in zip(module.weights, values, strict=True) if name in trained
        ]
        self.step = 0
        self.stores = {
            name: tfp.ModelStore(
                folder / f"{name} {durable}", durable=durable, incremental=name == INCREMENTAL
            )
            for name in (FULL, INCREMENTAL)
        }
        self.written = {}

    def train(self):
        """Change the trained tensors, and remove older checkpoints."""
        import tensorflow as tf

        self.step += 1
        for variable in self.changing:
            variable.assign_add(tf.ones_like(variable))
        for store in self.stores.values():
            store.prune(keep=tfp.Keep(last=1))

    def save(self, name):
        """Save once, and note how many bytes were written."""
        saved = self.stores[name].save(self.model, self.step)
        size = sum(value.nbytes for value in saved.specs.values() if value.nbytes)
        self.written[name] = size if saved.increment is None else saved.increment.written


class Arrays:
    """Arrays in training, and the two stores that they are saved into.

    Args:
        values: the arrays by name.
        unchanged: the share of them that does not change from save to save.
        same: whether the same ones change each time.
    """

    def __init__(self, values, folder, unchanged, *, same):
        self.values, self.same = values, same
        self.changing = round((1 - unchanged) * len(values))
        self.keys = random.sample(sorted(values), self.changing)
        self.stores = {
            name: tfp.ModelStore(
                folder / f"{name} {len(values)} {unchanged} {same}",
                durable=False,
                incremental=name == INCREMENTAL,
            )
            for name in (FULL, INCREMENTAL)
        }

    def round(self, step):
        """Change some tensors, and return the two times of each save in seconds."""
        keys = self.keys if self.same else random.sample(sorted(self.values), self.changing)
        for key in keys:
            self.values[key] += 1
        times = {}
        for name in random.sample(list(self.stores), 2):
            self.stores[name].prune(keep=tfp.Keep(last=1))
            gc.collect()
            elapsed, processor = time.perf_counter(), time.process_time()
            self.stores[name].save(self.values, step)
            times[name] = time.process_time() - processor, time.perf_counter() - elapsed
        return times

    def ratios(self, rounds):
        """Return how much of the time of a full save an incremental one takes."""
        times = [self.round(step) for step in range(WARM_UP + rounds)][WARM_UP:]
        fastest = {name: min(each[name][0] for each in times) for name in self.stores}
        elapsed = [each[INCREMENTAL][1] / each[FULL][1] for each in times]
        for store in self.stores.values():
            store.prune(keep=tfp.Keep(where=lambda facts: False))
        return fastest[INCREMENTAL] / fastest[FULL], statistics.median(elapsed)


def compare_shares(options, folder):
    """Print and save the ratios of incremental to full saves, by the share that did not change."""
    import numpy as np

    cases = {
        f"{count:,} × 1 KB": {
            f"v{number:06}": np.full(256, number, np.float32) for number in range(count)
        }
        for count in COUNTS
        if count <= options.most
    }
    cases[f"{options.megabytes} MB in 48"] = models.arrays(options.megabytes)
    print("\n### Time of an incremental save as a multiple of a full one: processor, elapsed\n")
    heads = [f"{share:.0%} unchanged" for share in UNCHANGED]
    print("| tensors | change |", *(f"{head} |" for head in heads))
    print("|---|---|" + "---|" * len(heads))
    measured = {}
    for case, values in cases.items():
        for same in (True, False):
            cells = []
            for unchanged in UNCHANGED:
                arrays = Arrays(values, folder, unchanged, same=same)
                cells.append(arrays.ratios(options.rounds))
            measured[f"{case}, {'the same' if same else 'others'}"] = cells
            texts = [f"{processor:.2f}, {elapsed:.2f} |" for processor, elapsed in cells]
            print(f"| {case} | {'the same' if same else 'others'} |", *texts, flush=True)
            harness.save("incremental_shares", {"unchanged": UNCHANGED, "ratios": measured})


def main():
    options = harness.arguments(megabytes=512, most=max(COUNTS))
    with harness.folder(options.folder) as base:
        for durable in (False, True):
            tuning = Tuning(options.megabytes, base, durable=durable)
            saves = {name: lambda name=name, t=tuning: t.save(name) for name in tuning.stores}
            if options.alone:
                for _ in range(2):
                    tuning.train()
                    saves[options.alone]()
                tuning.train()
                harness.weigh(saves[options.alone])
                return
            for save in saves.values():
                save()
            seconds = harness.alternate(saves, options.rounds, tuning.train)
            question = "incremental_durable" if durable else "incremental"
            harness.report(
                question,
                f"Save {options.megabytes} MB of which 95 % did not change"
                + (", with fsync" if durable else ""),
                seconds,
                against={FULL: FASTER},
                megabytes=None
                if durable
                else harness.memory(__file__, saves, "--megabytes", options.megabytes),
                ours=INCREMENTAL,
            )
            ratio = tuning.written[FULL] / tuning.written[INCREMENTAL]
            print(f"\n{ratio:.1f} times fewer bytes written (wanted: ≥ {FEWER_BYTES})")
            harness.save(f"{question}_bytes", {"written": tuning.written, "ratio": ratio})
        compare_shares(options, base)


if __name__ == "__main__":
    main()
