"""Run contenders in turns, measure peak memory in fresh processes, print tables, write JSON.

Every round runs each contender once, in a new random order, so that a slow moment of the machine
hits all of them. A contender's memory is measured in a process of its own: what its peak has more
than the process had before the call, model included.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import pathlib
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE / "results"
COMPILED = pathlib.Path(tempfile.gettempdir()) / f"tfpersist-bench-compiled-{os.getuid()}"
OURS = "tfpersist"
# Code that leaves the megabytes of a process at its peak in `peak`.
PEAK = """
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        peak = int(line.split()[1]) / 1024
"""
MB = 1 << 20


def arguments(**sizes):
    """Read the command line; each of `sizes` is an option with its default."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--alone", help="run this contender once, for its memory")
    parser.add_argument("--light", action="store_true", help="leave the memory out")
    parser.add_argument("--folder", help="where files go; a temporary directory by default")
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    return parser.parse_args()


@contextlib.contextmanager
def folder(given=None):
    """Create a directory for files, and remove it at the end."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="tfpersist-bench-", dir=given))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def alternate(contenders, rounds, reset=lambda: None):
    """Return the seconds of each contender in each round; `reset` runs before each, untimed.

    A contender may return the seconds itself, where a fresh process has measured them.
    """
    seconds = {name: [] for name in contenders}
    for number in range(-1, rounds):
        for name in random.sample(list(contenders), len(contenders)):
            reset()
            gc.collect()
            start = time.perf_counter()
            told = contenders[name]()
            passed = time.perf_counter() - start
            if number >= 0:  # the first round warms up
                seconds[name].append(told if isinstance(told, float) else passed)
    return seconds


def resident():
    """Return the resident megabytes of this process, and their peak since `forget_peak`."""
    lines = dict(
        line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines()
    )
    return tuple(int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))


def forget_peak():
    """Reset the peak to the memory that is resident now."""
    gc.collect()
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def weigh(work):
    """Run `work` once, and print the megabytes it added at its peak."""
    forget_peak()
    before = resident()[0]
    work()
    print(json.dumps({"added": resident()[1] - before, "peak": resident()[1]}))


def fresh(*command):
    """Run this script, or another command of Python, in a fresh process.

    Returns:
        What it printed last, as JSON; its seconds from start to end; its peak megabytes, which
        are never less than what this process had when it began that one (see PEAK).
    """
    # Installed packages have been compiled, and so are the modules of this one.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(COMPILED)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        out = process.stdout.read()
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"{command}: {errors.decode()[-2000:]}")
    lines = out.decode().strip().splitlines()
    return json.loads(lines[-1]) if lines else None, seconds, usage.ru_maxrss / 1024


def memory(script, contenders, *options):
    """Return the megabytes that each contender adds, each in a fresh process."""
    if "--light" in sys.argv:
        return {}
    return {name: fresh(script, "--alone", name, *options)[0]["added"] for name in contenders}


def report(question, title, seconds, *, against, megabytes=None, ours=OURS):
    """Print a table, and save the measurements.

    Args:
        question: the name of the result, such as "save_large".
        title: what was done.
        seconds: by contender, those of each round.
        against: {contender: how many times faster than it we want to be}.
        megabytes: by contender, its peak memory.
        ours: which contender is ours.
    """
    mine = seconds[ours]
    ratios = {
        name: statistics.median(b / a for a, b in zip(mine, each, strict=True))
        for name, each in seconds.items()
    }
    print(f"\n### {title}\n")
    print(f"| contender | minimum ms | median ms | {ours} is faster by | wanted | peak MB |")
    print("|---|---|---|---|---|---|")
    for name, each in sorted(seconds.items(), key=lambda pair: statistics.median(pair[1])):
        wanted = f"≥ {against[name]}×" if name in against else ""
        weight = f"{megabytes[name]:.0f}" if megabytes and name in megabytes else ""
        ratio = "" if name == ours else f"{ratios[name]:.2f}×"
        print(
            f"| {name} | {min(each) * 1e3:.1f} | {statistics.median(each) * 1e3:.1f} | {ratio} |"
            f" {wanted} | {weight} |",
            flush=True,
        )
    save(
        question,
        {
            "title": title,
            "ours": ours,
            "seconds": seconds,
            "ratios": ratios,
            "wanted": against,
            "megabytes": megabytes or {},
        },
    )


def save(question, facts):
    """Save the measurements under results/."""
    RESULTS.mkdir(exist_ok=True)
    where = {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "tensorflow": _version("tensorflow"),
    }
    path = RESULTS / f"{question}.json"
    path.write_text(json.dumps({**where, **facts}, indent=1) + "\n")


def _version(package):
    from importlib import metadata

    return metadata.version(package)
