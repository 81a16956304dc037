"""Row 4: restore 0.5 GB into eager variables, in a fresh process, with the first step.

    python benchmarks/restore_large.py [--rounds 9] [--megabytes 512]

Both verify checksums. The step reads every variable, so that pages which a restore has only
promised are paid for.
"""

from __future__ import annotations

import json
import time

import harness
import models

CONTENDERS = ("tfpersist", "tf.train.Checkpoint.read")


def alone(name, prefix, megabytes):
    """Restore and step once; print the seconds and the memory."""
    import numpy as np
    import tensorflow as tf

    # Neither library is imported on the clock.
    from tfpersist import ModelStore

    values = models.arrays(megabytes)
    module = models.module({name: np.zeros_like(value) for name, value in values.items()})
    sums = [float(value.sum()) for value in values.values()]
    del values
    tf.reduce_sum(module.weights[0])
    harness.forget_peak()
    before = harness.resident()[0]
    start = time.perf_counter()
    if name == "tfpersist":
        ModelStore(prefix).restore(module)
    else:
        tf.train.Checkpoint(module).read(f"{prefix}/model.ckpt").assert_consumed()
    restored = time.perf_counter()
    found = [tf.reduce_sum(variable) for variable in module.weights]
    seconds = time.perf_counter() - start
    assert np.allclose(found, sums, rtol=1e-3)
    step = time.perf_counter() - restored
    added = harness.resident()[1] - before
    print(json.dumps({"seconds": seconds, "added": added, "step": step}))


def main():
    options = harness.arguments(megabytes=512)
    if options.alone:
        alone(options.alone, options.folder, options.megabytes)
        return
    import tfpersist as tfp

    with harness.folder(options.folder) as base:
        tfp.ModelStore(base).save(models.module(models.arrays(options.megabytes)))
        megabytes = {}

        def process(name):
            size = ("--megabytes", options.megabytes)
            told, _, _ = harness.fresh(__file__, "--alone", name, "--folder", base, *size)
            megabytes[name] = told["added"]
            return told["seconds"]

        restores = {name: lambda name=name: process(name) for name in CONTENDERS}
        seconds = harness.alternate(restores, options.rounds)
        harness.report(
            "restore_large",
            f"Restore {options.megabytes} MB into eager variables, fresh process, first step"
            " included",
            seconds,
            against={"tf.train.Checkpoint.read": 3},
            megabytes=megabytes,
        )


if __name__ == "__main__":
    main()
