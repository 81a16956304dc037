"""Row 7: in a fresh process, open a checkpoint of 0.5 GB, verify and read one tensor of 11 MB.

    python benchmarks/read_one.py [--rounds 9] [--megabytes 512]

Seconds and memory are those of the whole process.
"""

from __future__ import annotations

import harness
import models

PEAK = harness.PEAK + "print(peak)"
PROGRAMS = {
    "tfpersist": """
import sys, tfpersist
array = tfpersist.Checkpoint(sys.argv[1])[sys.argv[2]]
assert array.sum() and "tensorflow" not in sys.modules
""",
    "tf.train.load_checkpoint": """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
assert tf.train.load_checkpoint(sys.argv[1]).get_tensor(sys.argv[2]).sum()
""",
}


def main():
    options = harness.arguments(megabytes=512)
    import tfpersist as tfp

    values = models.arrays(options.megabytes)
    sizes = {name: value.nbytes / harness.MB for name, value in values.items()}
    key = min(sizes, key=lambda name: abs(sizes[name] - 11))
    with harness.folder(options.folder) as base:
        prefix = tfp.ModelStore(base).save(values).prefix
        del values
        megabytes = {}

        def process(name):
            megabytes[name], seconds, _ = harness.fresh("-c", PROGRAMS[name] + PEAK, prefix, key)
            return seconds

        reads = {name: lambda name=name: process(name) for name in PROGRAMS}
        seconds = harness.alternate(reads, options.rounds)
        harness.report(
            "read_one",
            f"Fresh process: open, verify and read one tensor of {sizes[key]:.0f} MB (memory:"
            " all of the process; ≤ 1/10 wanted)",
            seconds,
            against={"tf.train.load_checkpoint": 15},
            megabytes=megabytes,
        )


if __name__ == "__main__":
    main()
