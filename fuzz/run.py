"""Run everything that reads files on damaged files.

    python fuzz/run.py --seconds 600            all formats, in turn
    python fuzz/run.py --total 1000000          this many inputs over all formats
    python fuzz/run.py --only v1 index          only these formats
    python fuzz/run.py --only v1 --first 5127 --inputs 1      one input again, with its traceback

Input number n of a format is the same in every run. A failure is: an exception that is not one of
tfpersist's, more than a second of CPU, more memory than MEMORY above the start, or (measured for
one input in SAMPLED) a peak of more than PEAK + 100 bytes for each byte of the input.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import json
import os
import random
import resource
import signal
import sys
import time
import traceback
import tracemalloc
from typing import Any

import attrs
import mutation
import targets

import tfpersist as tfp

MEMORY = 512 << 20
PEAK = 8 << 20
SAMPLED = 50
SLOW = 1.0
HANG = 20
BATCH = 50


class Hang(BaseException):
    """An input took too long and was stopped."""


@attrs.define
class Count:
    """The results of one format."""

    inputs: int = 0
    accepted: int = 0
    slowest: float = 0.0
    slowest_input: int = 0
    peak: int = 0
    failures: list[str] = attrs.field(factory=list)
    refused: collections.Counter[str] = attrs.field(factory=collections.Counter)


def spoilt(target: targets.Target, number: int) -> bytes:
    """Return input `number` of a format."""
    rng = random.Random(f"{target.name} {number}")
    data = rng.choice(target.seeds)
    if number % 1000 == 0:
        return data
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        try:
            data = target.mutate(data, rng)
        except tfp.TFPersistError:
            # What was spoilt before is no table any more.
            data = mutation.spoil_bytes(data, rng)
    return data


def feed(target: targets.Target, number: int, count: Count) -> None:
    """Read one input, and record the result."""
    data = spoilt(target, number)
    sampled = number % SAMPLED == 1
    if sampled:
        tracemalloc.start()
    signal.setitimer(signal.ITIMER_VIRTUAL, HANG)
    start = time.process_time()
    failure = None
    try:
        target.read(data)
        count.accepted += 1
    except tfp.TFPersistError as error:
        count.refused[type(error).__name__] += 1
        if not str(error):
            failure = "an error without a word"
    except Hang:
        failure = f"stopped after {HANG} s"
    except Exception:
        failure = traceback.format_exc(limit=-4)
    finally:
        took = time.process_time() - start
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    if sampled:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        count.peak = max(count.peak, peak)
        if peak > PEAK + 100 * len(data):
            failure = f"{peak:,} bytes at the peak for an input of {len(data):,}"
    else:
        if took > count.slowest:
            count.slowest, count.slowest_input = took, number
        if took > SLOW and failure is None:
            failure = f"took {took:.1f} s"
    count.inputs += 1
    if failure is not None:
        count.failures.append(f"{target.name} {number}: {failure}")
        print(f"FAILED {count.failures[-1]}", flush=True)


def main() -> int:
    """Run until there are enough inputs or seconds; return 1 if anything failed."""
    every = {target.name: target for target in targets.targets()}
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=sorted(every), default=list(every))
    parser.add_argument("--inputs", type=int, default=0, help="of each format; 0 for no end")
    parser.add_argument("--total", type=int, default=0, help="over all formats; 0 for no end")
    parser.add_argument("--seconds", type=float, default=0, help="in all; 0 for no end")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--results", help="a JSON file for the counts, written now and then")
    arguments = parser.parse_args()
    if arguments.total:
        each = -(-arguments.total // len(arguments.only))
        arguments.inputs = min(each, arguments.inputs or each)
    if not arguments.inputs and not arguments.seconds:
        arguments.inputs = 1000
    for name in arguments.only:
        for seed in every[name].seeds:
            # The first of each kind imports modules; that is not its fault.
            with contextlib.suppress(tfp.TFPersistError):
                every[name].read(seed)
    _limit_memory()
    faulthandler.enable()
    signal.signal(signal.SIGVTALRM, _stop)
    counts = {name: Count() for name in arguments.only}
    start = time.monotonic()
    number = arguments.first
    batches = 0
    while not _enough(arguments, number, start):
        stop = number + BATCH
        if arguments.inputs:
            stop = min(stop, arguments.first + arguments.inputs)
        for name in arguments.only:
            for each in range(number, stop):
                feed(every[name], each, counts[name])
        number = stop
        batches += 1
        if arguments.results and batches % 20 == 0:
            _write(arguments.results, counts, start)
    if arguments.results:
        _write(arguments.results, counts, start)
    print(_table(counts))
    return int(any(count.failures for count in counts.values()))


def _enough(arguments: Any, number: int, start: float) -> bool:
    done = arguments.inputs and number >= arguments.first + arguments.inputs
    late = arguments.seconds and time.monotonic() - start >= arguments.seconds
    return bool(done or late)


def _limit_memory() -> None:
    """Limit the memory of each input to MEMORY above what the process uses now."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def _stop(*_: object) -> None:
    raise Hang


def _write(path: str, counts: dict[str, Count], start: float) -> None:
    facts = {
        "seconds": round(time.monotonic() - start),
        "inputs": sum(count.inputs for count in counts.values()),
        "formats": {name: attrs.asdict(count) for name, count in counts.items()},
    }
    with open(f"{path}.new", "w") as file:
        json.dump(facts, file, indent=1)
    os.replace(f"{path}.new", path)


def _table(counts: dict[str, Count]) -> str:
    lines = [f"{'format':14}{'inputs':>10}{'accepted':>10}{'failed':>8}{'slowest':>10}{'peak':>12}"]
    for name, count in counts.items():
        lines.append(
            f"{name:14}{count.inputs:>10,}{count.accepted:>10,}{len(count.failures):>8,}"
            f"{count.slowest * 1000:>7,.0f} ms{count.peak:>12,}  "
            + ", ".join(f"{kind} {n:,}" for kind, n in count.refused.most_common(4))
        )
    total = sum(count.inputs for count in counts.values())
    failures = sum(len(count.failures) for count in counts.values())
    return "\n".join([*lines, f"{total:,} inputs, {failures:,} failures"])


if __name__ == "__main__":
    sys.exit(main())
