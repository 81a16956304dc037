"""Row 9: `import tfpersist` against `import tensorflow`, at most 0.2 s.

python benchmarks/import_time.py [--rounds 9]
"""

from __future__ import annotations

import harness

PROGRAM = """
import os, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
start = time.perf_counter()
import {}
seconds = time.perf_counter() - start
"""
PEAK = harness.PEAK + "print([seconds, peak])"
MODULES = {"tfpersist": "tfpersist", "tensorflow": "tensorflow"}


def main():
    options = harness.arguments()
    megabytes = {}

    def process(name):
        told, _, _ = harness.fresh("-c", PROGRAM.format(MODULES[name]) + PEAK)
        megabytes[name] = told[1]
        return told[0]

    imports = {name: lambda name=name: process(name) for name in MODULES}
    seconds = harness.alternate(imports, options.rounds)
    harness.report(
        "import_time",
        "Import, fresh process (≤ 200 ms wanted)",
        seconds,
        against={},
        megabytes=megabytes,
    )


if __name__ == "__main__":
    main()
