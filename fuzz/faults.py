"""Let every system call of a save, a prune and a restore fail, and check that nothing is lost.

    python fuzz/faults.py                       each error at each call, once
    python fuzz/faults.py --kills 2000          this many kills of each operation, no errors
    python fuzz/faults.py --only save --seed 7  one operation; the seed of random choices

Each run is a worker, forked from a process that has imported everything. In the worker, the
preloaded library of faults.c lets call number N fail (disk full, input/output error, and so on),
write only a part, or kill the process before the call or in the middle of it. Then a store is
opened again. These must be true: each checkpoint that the store names is intact and equals, bit by
bit, one that was saved; no earlier checkpoint is harmed or missing; no other file is left after the
directory was opened, or after an error; the error is a TFPersistError; the next save works.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import ctypes
import errno
import gc
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

import tfpersist as tfp
from tfpersist.checkpoint.files import STATE_FILE, Listing
from tfpersist.formats import state
from tfpersist.store import pruning  # noqa: F401  (imported before the forks)

HERE = pathlib.Path(__file__).resolve().parent
COUNT, FAIL, FULL, SHORTEN, KILL, TEAR = range(6)
ERRORS = ("ENOSPC", "EIO", "EDQUOT", "EMFILE", "EACCES", "EROFS", "EFBIG")
NEXT = 50
SIZE = 3_000
NAMES = ("COUNT", "FAIL", "FULL", "SHORTEN", "KILL", "TEAR")


def values(version: int) -> dict[str, Any]:
    """Return the tensors of a version: one that changes, one that never changes, small ones."""
    return {
        "changing": np.full(SIZE, float(version), np.float32),
        "frozen": np.arange(8_000, dtype=np.float32),
        "texts": np.array([b"version %d" % version, b""], object),
        "number": np.int64(version),
    }


def slots() -> dict[str, Any]:
    """Return arrays to restore into."""
    return {key: np.zeros_like(np.asarray(value)) for key, value in values(0).items()}


def version_of(found: Any) -> int:
    """Return the version that some tensors are, bit by bit."""
    version = int(np.asarray(found["number"]))
    for key, value in values(version).items():
        assert (np.asarray(found[key]) == value).all(), f"{key} is not that of version {version}"
    return version


def store_at(path: str, **options: Any) -> tfp.ModelStore:
    """Open the store of the operations."""
    return tfp.ModelStore(path, **options)


def save(path: str, *steps: int, **options: Any) -> None:
    """Save some steps, without syncing."""
    for step in steps:
        store_at(path, durable=False, **options).save(values(step), step)


@attrs.frozen
class Kind:
    """An operation that is run while system calls fail.

    Args:
        name: its name.
        prepare: makes the directory.
        act: the operation.
        kept: the steps that must be there afterwards, with and without a failure.
        new: the steps that are also there after a success.
        old: the steps that are also there after a failure.
        versions: the versions that a step may have, if there are several.
        replaces: whether files are replaced, which only readers with the journal see as one step.
    """

    name: str
    prepare: Callable[[str], None]
    act: Callable[[str], object]
    kept: frozenset[int]
    new: frozenset[int] = frozenset()
    old: frozenset[int] = frozenset()
    versions: dict[int, set[int]] = attrs.field(factory=dict)
    replaces: bool = False


@attrs.define
class Count:
    """The results of all runs of one operation."""

    calls: int = 0
    runs: int = 0
    killed: int = 0
    refused: collections.Counter[str] = attrs.field(factory=collections.Counter)
    went_well: int = 0
    met: collections.Counter[str] = attrs.field(factory=collections.Counter)
    failures: list[str] = attrs.field(factory=list)


@attrs.frozen
class Outcome:
    """The end of a worker.

    Args:
        killed: whether a signal killed it.
        calls: the number of system calls that it made.
        problem: the error; empty if there was none.
        foreign: the traceback of an error that is not a TFPersistError.
        met: the name of the call that failed.
    """

    killed: bool = False
    calls: int = 0
    problem: str = ""
    foreign: str = ""
    met: str = ""


def kinds(*, session: bool) -> list[Kind]:
    """Return the operations."""

    def background(path: str) -> None:
        with store_at(path).background() as store:
            store.save(values(3), 3)

    def spoil(path: str) -> None:
        save(path, 1, 2, 3)
        data = pathlib.Path(path, "model.ckpt-3.data-00000-of-00001")
        data.write_bytes(data.read_bytes()[:-100])

    def restore(path: str) -> None:
        target = slots()
        store_at(path).restore(target)
        assert version_of(target) == 2

    def replace(path: str, **options: Any) -> None:
        store_at(path, **options).save(values(20), 2)

    def left(path: str) -> None:
        """Leave the files of a process that died; the folder's name decides where it died."""
        save(path, 1, 2)
        at = random.Random(path).randrange(60)
        run(path, replace, KILL, at, 0)

    def add(**options: Any) -> Callable[[str], object]:
        return lambda path: store_at(path, **options).save(values(3), 3)

    one, two, three = frozenset([1]), frozenset([2]), frozenset([3])
    both = one | two
    either = {2: {2, 20}}
    keep = tfp.Keep(last=2)
    listed = [
        Kind("save", lambda path: save(path, 1, 2), add(), both, three),
        Kind("first save", lambda path: None, add(), frozenset(), three),
        Kind("scratch save", lambda path: save(path, 1, 2), add(durable=False), both, three),
        Kind("background", lambda path: save(path, 1, 2), background, both, three),
        Kind(
            "incremental",
            lambda path: save(path, 1, 2, incremental=True),
            add(incremental=True),
            *(both, three),
        ),
        Kind("retention", lambda path: save(path, 1, 2), add(keep=keep), two, three, one),
        Kind(
            "both",
            lambda path: save(path, 1, 2, incremental=True),
            add(incremental=True, keep=keep),
            *(two, three, one),
        ),
        Kind(
            "prune",
            lambda path: save(path, 1, 2, 3),
            lambda path: store_at(path).prune(keep=tfp.Keep(last=1)),
            *(three, frozenset(), both),
        ),
        Kind(
            "overwrite",
            lambda path: save(path, 1, 2),
            replace,
            both,
            versions=either,
            replaces=True,
        ),
        Kind(
            "overwrite incrementally",
            lambda path: save(path, 1, 2, incremental=True),
            lambda path: replace(path, incremental=True),
            both,
            versions=either,
            replaces=True,
        ),
        Kind("after a crash", left, add(), both, three, versions=either, replaces=True),
        Kind("restore", lambda path: save(path, 1, 2), restore, both),
        Kind("quarantine", spoil, restore, both),
    ]
    if not session:
        return listed
    return [Kind("session", lambda path: save(path, 1, 2), save_session, both, three)]


def save_session(path: str) -> None:
    """Save a session of TensorFlow."""
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = {
            key: tf.compat.v1.get_variable(key, initializer=value, use_resource=number % 2 == 0)
            for number, (key, value) in enumerate(values(3).items())
        }
        session.run([variable.initializer for variable in variables.values()])
        store_at(path).save(session, 3)


LIBRARY = ctypes.CDLL(None)
with contextlib.suppress(AttributeError):  # it is preloaded by `preload`
    LIBRARY.faults_name.restype = ctypes.c_char_p


def run(path: str, act: Callable[[str], object], how: int, at: int, error: int) -> Outcome:
    """Run an operation in a worker in which one call fails."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        told: dict[str, Any] = {}
        try:
            LIBRARY.faults_begin(os.fsencode(path), how, at, error)
            try:
                act(path)
            except tfp.TFPersistError as problem:
                told = {"problem": f"{type(problem).__name__}: {problem}"}
            except BaseException:
                told = {"foreign": traceback.format_exc()}
            told["calls"] = LIBRARY.faults_end()
            told["met"] = LIBRARY.faults_name(max(at, 0)).decode()
            os.write(writer, json.dumps(told).encode()[:60_000])
        finally:
            os._exit(0)
    os.close(writer)
    data = b""
    while piece := os.read(reader, 1 << 16):
        data += piece
    os.close(reader)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return Outcome(killed=os.WTERMSIG(status) == signal.SIGKILL)
    return Outcome(**json.loads(data))


def check(kind: Kind, path: str, how: int, outcome: Outcome, before: dict[str, bytes]) -> None:
    """Check that nothing is lost."""
    assert not outcome.foreign, outcome.foreign
    names = set(os.listdir(path)) if os.path.isdir(path) else set()
    # What cannot be renamed stays beside the journal, which says what is to become of it; and what
    # is left by others can be cleared away only where that does not fail.
    standing = how == FULL and ".tfpersist-journal" in names
    if (
        not outcome.killed
        and not standing
        and not (kind.name == "after a crash" and outcome.problem)
    ):
        left = [name for name in names if name.startswith(".tfpersist-")]
        assert not left, f"left after {outcome.problem or 'all went well'}: {left}"
    if not kind.replaces:
        look_as_tensorflow(path, names, quarantined=kind.name == "quarantine")
    store = store_at(path, durable=False)
    damaged = {3} if kind.name == "quarantine" else set()
    found = {checkpoint.step: checkpoint for checkpoint in store.checkpoints()}
    extra = found.keys() - kind.kept - damaged
    assert found.keys() >= kind.kept, f"only {sorted(found)} are left"
    if outcome.killed or outcome.problem:
        assert extra <= kind.new | kind.old, sorted(found)
        assert extra >= kind.old or kind.new <= extra or not kind.new, sorted(found)
    elif kind.name not in ("restore", "quarantine"):
        # What cannot be looked at is taken for damaged, and not pruned.
        assert kind.new <= extra <= (kind.new | kind.old if how == FAIL else kind.new), sorted(
            found
        )
    for step, checkpoint in found.items():
        if step not in damaged:
            report = checkpoint.verify()
            assert report.ok, str(report)
            version = version_of(checkpoint)
            assert version in kind.versions.get(step, {step}), f"step {step} is version {version}"
    if kind.name == "quarantine":
        look_for_all(path, before)
    if found:
        target = slots()
        report = store.restore(target)
        newest = max(found.keys() - damaged)
        assert version_of(target) in kind.versions.get(newest, {newest})
        assert kind.name == "quarantine" or not report.skipped, str(report)
        left = [name for name in os.listdir(path) if name.startswith(".tfpersist-")]
        assert not left, f"left after a restore: {left}"
    store.save(values(NEXT), NEXT)
    later = {checkpoint.step for checkpoint in store.checkpoints()}
    assert later == (found.keys() - damaged) | {NEXT}
    assert version_of(store.latest()) == NEXT
    left = [name for name in os.listdir(path) if name.startswith(".tfpersist-")]
    assert not left, f"left after the next save: {left}"
    names = {name for name in os.listdir(path) if ".corrupt-" not in name}
    for checkpoint in store.checkpoints():
        names -= Listing(frozenset(names)).belonging(checkpoint.name)
    assert names == {STATE_FILE}, f"left after the next save: {names}"
    if kind.name == "quarantine":
        look_for_all(path, before)


def look_as_tensorflow(path: str, names: set[str], *, quarantined: bool) -> None:
    """Check that each checkpoint with an index, and the newest, has all its files."""
    listing = Listing(frozenset(names))
    found = {prefix: listing.v2_files(prefix) for prefix in listing.v2}
    for files in found.values():
        assert not files.missing or (quarantined and files.prefix.endswith("-3")), files.missing
    if STATE_FILE not in names:
        return
    data = pathlib.Path(path, STATE_FILE).read_bytes()
    latest = state.parse_state(data, "checkpoint").latest
    files = found.get(latest)
    assert files is not None, f"the state file names {latest}, of which there is no index"
    assert not files.missing, f"the state file names {latest}, which lacks {files.missing}"


def look_for_all(path: str, before: dict[str, bytes]) -> None:
    """Check that all files of the damaged checkpoint are there, under either name."""
    for name, data in before.items():
        if name.startswith("model.ckpt-3"):
            kept = [pathlib.Path(path, each) for each in (name, f"{name}.corrupt-1")]
            assert data in [each.read_bytes() for each in kept if each.exists()], f"{name} is gone"


def plan(kind: Kind, calls: int, kills: int, errors: list[str], chance: random.Random) -> list[Any]:
    """Return the faults to try: each at every call, or the given number of kills."""
    every = range(calls)
    if kills:
        chosen = [(KILL, at, "") for at in every]
        while len(chosen) < kills:
            chosen += [(TEAR, at, "") for at in every] + [(KILL, at, "") for at in every]
        return chosen if kills >= calls else chance.sample(chosen, kills)
    chosen = [(FAIL, at, error) for error in errors for at in every]
    chosen += [(FULL, at, error) for error in ("ENOSPC", "EDQUOT") for at in every]
    return chosen + [(SHORTEN, at, "") for at in every]


def try_all(kind: Kind, folder: str, arguments: Any) -> Count:
    """Try all faults on one operation."""
    count = Count()
    chance = random.Random(f"{kind.name} {arguments.seed}")
    whole = os.path.join(folder, "whole")
    kind.prepare(whole)
    first = run(whole, kind.act, COUNT, -1, 0)
    assert not first.problem, first.problem
    assert not first.foreign, first.foreign
    count.calls = first.calls
    shutil.rmtree(whole)
    todo = plan(kind, first.calls, arguments.kills, arguments.errors, chance)
    if arguments.most and len(todo) > arguments.most:
        todo = chance.sample(todo, arguments.most)
    for number, (how, at, error) in enumerate(todo):
        path = os.path.join(folder, str(number))
        kind.prepare(path)
        before = {}
        if kind.name == "quarantine":
            before = {each.name: each.read_bytes() for each in pathlib.Path(path).iterdir()}
        outcome = run(path, kind.act, how, at, getattr(errno, error, 0))
        count.runs += 1
        count.killed += outcome.killed
        count.went_well += not outcome.killed and not outcome.problem
        count.met[outcome.met] += 1
        if outcome.problem:
            count.refused[outcome.problem.partition(":")[0]] += 1
        try:
            check(kind, path, how, outcome, before)
        except Exception:
            count.failures.append(
                f"{kind.name}: {NAMES[how]} {error} at call {at} of {first.calls}, {outcome.met}: "
                f"{outcome.problem}\n{traceback.format_exc(limit=-3)}"
            )
            print(f"FAILED {count.failures[-1]}", flush=True)
        shutil.rmtree(path, ignore_errors=True)
    return count


def main() -> int:
    """Run; 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", help="these kinds alone")
    parser.add_argument("--kills", type=int, default=0, help="of each kind, instead of errors")
    parser.add_argument("--errors", nargs="*", choices=ERRORS, default=list(ERRORS))
    parser.add_argument("--most", type=int, default=0, help="runs of each kind; 0 for no limit")
    parser.add_argument("--session", action="store_true", help="save a session of TensorFlow")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", help="a JSON file for the counts")
    arguments = parser.parse_args()
    if "faults.so" not in os.environ.get("LD_PRELOAD", ""):
        return preload()
    os.environ.pop("LD_PRELOAD")
    if arguments.session:
        import tensorflow  # noqa: F401
    chosen = [
        kind
        for kind in kinds(session=arguments.session)
        if not arguments.only or kind.name in arguments.only
    ]
    gc.freeze()
    start = time.monotonic()
    counts = {}
    print(f"{'kind':24}{'calls':>6}{'runs':>8}{'killed':>8}{'went well':>10}{'failed':>8}  refused")
    for kind in chosen:
        with tempfile.TemporaryDirectory(prefix="tfpersist-faults-") as folder:
            counts[kind.name] = count = try_all(kind, folder, arguments)
        print(
            f"{kind.name:24}{count.calls:>6}{count.runs:>8,}{count.killed:>8,}"
            f"{count.went_well:>10,}{len(count.failures):>8,}  "
            + ", ".join(f"{name} {n:,}" for name, n in count.refused.most_common()),
            flush=True,
        )
    total = sum(count.runs for count in counts.values())
    seconds = time.monotonic() - start
    killed = sum(count.killed for count in counts.values())
    failures = sum(len(count.failures) for count in counts.values())
    # A run in which the call never came has met nothing.
    faults = sum(n for count in counts.values() for name, n in count.met.items() if name)
    print(
        f"{total:,} runs: {killed:,} kills and {faults:,} faults, {failures:,} failures, in"
        f" {seconds:.0f} s"
    )
    if arguments.results:
        facts = {name: attrs.asdict(count) for name, count in counts.items()}
        pathlib.Path(arguments.results).write_text(json.dumps(facts, indent=1))
    return int(any(count.failures for count in counts.values()))


def preload() -> int:
    """Compile the library, and start again with it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        print("there is no C compiler here, which is needed to make calls fail", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="tfpersist-faults-") as folder:
        library = os.path.join(folder, "faults.so")
        flags = ("-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared")
        command = [compiler, *flags, str(HERE / "faults.c"), "-o", library, "-ldl"]
        subprocess.run(command, check=True)
        environment = {**os.environ, "LD_PRELOAD": library}
        return subprocess.run([sys.executable, *sys.argv], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
