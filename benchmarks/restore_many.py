"""Row 5: restore 20,000 variables of 1 KB.

python benchmarks/restore_many.py [--rounds 9] [--count 20000]
"""

from __future__ import annotations

import harness
import models

CONTENDERS = ("tfpersist", "tf.train.Checkpoint.read")


def contender(name, checkpoint, folder):
    """Return a function that restores."""
    if name == "tfpersist":
        import tfpersist as tfp

        store = tfp.ModelStore(folder)
        return lambda: store.restore(checkpoint)
    return lambda: checkpoint.read(f"{folder}/model.ckpt").assert_existing_objects_matched()


def main():
    options = harness.arguments(count=20_000)
    import tfpersist as tfp

    with harness.folder(options.folder) as base:
        checkpoint = models.many(options.count, 1_000)
        tfp.ModelStore(base).save(checkpoint)
        restores = {name: contender(name, checkpoint, base) for name in CONTENDERS}
        if options.alone:
            harness.weigh(restores[options.alone])
            return
        seconds = harness.alternate(restores, options.rounds)
        harness.report(
            "restore_many",
            f"Restore {options.count:,} variables of 1 KB",
            seconds,
            against={"tf.train.Checkpoint.read": 12},
            megabytes=harness.memory(__file__, CONTENDERS, "--count", options.count),
        )


if __name__ == "__main__":
    main()
