"""Row 3: save 20,000 variables of 1 KB, and 1,000 of 100 KB; the second save and later ones.

python benchmarks/save_many.py [--rounds 9] [--count 20000]
"""

from __future__ import annotations

import shutil

import harness
import models

CONTENDERS = ("tfpersist", "tf.train.Checkpoint.write")


def contender(name, checkpoint, target):
    """Return a function that saves."""
    if name == "tfpersist":
        import tfpersist as tfp

        store = tfp.ModelStore(target, durable=False)
        return lambda: store.save(checkpoint)
    return lambda: checkpoint.write(str(target / "model"))


def main():
    options = harness.arguments(count=20_000, size=0)
    with harness.folder(options.folder) as base:
        target = base / "new"

        def reset():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()

        if options.alone:
            save = contender(options.alone, models.many(options.count, options.size), target)
            reset()
            save()
            reset()
            harness.weigh(save)
            return
        for count, size, wanted in ((options.count, 1_000, 15), (1_000, 100_000, 6)):
            checkpoint = models.many(count, size)
            saves = {name: contender(name, checkpoint, target) for name in CONTENDERS}
            seconds = harness.alternate(saves, options.rounds, reset)
            harness.report(
                f"save_many_{count}",
                f"Save {count:,} variables of {size // 1000} KB, second save on",
                seconds,
                against={"tf.train.Checkpoint.write": wanted},
                megabytes=harness.memory(__file__, CONTENDERS, "--count", count, "--size", size),
            )


if __name__ == "__main__":
    main()
