"""Incremental saves: fine-tuning a model of which 95 % are frozen, against saving it in full.

python benchmarks/incremental.py [--rounds 9] [--megabytes 512]

Each save follows a change of the other 5 %; older checkpoints are removed between the saves.
"""

from __future__ import annotations

import harness
import models

import tfpersist as tfp

FULL, INCREMENTAL = "in full", "tfpersist, incremental"
TRAINED = 0.05
FEWER_BYTES, FASTER = 8, 4


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
        """Change what is trained, and remove older checkpoints."""
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


def main():
    options = harness.arguments(megabytes=512)
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


if __name__ == "__main__":
    main()
