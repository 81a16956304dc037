"""Which checkpoints lie in a directory, which files each has, and in which order they were saved.

The directory is the truth; what a `checkpoint` state file says only orders what is there. A
checkpoint counts from its last file on: V2 from `<prefix>.index` with all its data shards, V1 from
`<prefix>` itself or from all of `<prefix>-?????-of-<shards>`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import attrs
import numpy as np

from tfpersist.checkpoint import sidecar
from tfpersist.checkpoint.naming import split_step
from tfpersist.errors import CorruptionError, StorageError, TFPersistError
from tfpersist.formats import crc32c
from tfpersist.storage import Storage

if TYPE_CHECKING:
    from tfpersist.formats.state import StateFile

STATE_FILE = "checkpoint"
INDEX = ".index"
META = ".meta"

DATA = re.compile(
    r"(?P<prefix>.+)\.data-(?P<shard>[0-9]{5,9})-of-(?P<shards>[0-9]{5,9})", re.DOTALL
)
V1_SHARD = re.compile(
    r"(?P<prefix>.+)-(?P<shard>[0-9]{5}|\?{5})-of-(?P<shards>[0-9]{5})", re.DOTALL
)
# The last eight bytes of every table, and so of every V1 file (leveldb, table/format.h).
_MAGIC = bytes.fromhex("57fb808b247547db")
_MOST_MISSING = 100


@attrs.frozen
class Files:
    """The files of one checkpoint; those of a directory hold names, not paths.

    Args:
        prefix: what they have in common.
        index: the index; None for a checkpoint of the V1 format.
        shards: the data files, or the files of the V1 format, in order.
        missing: the data files that should be there as well.
        meta: the meta graph; None where there is none.
        sidecar: tfpersist's own facts; None where there are none.
    """

    prefix: str
    index: str | None
    shards: tuple[str, ...]
    missing: tuple[str, ...] = ()
    meta: str | None = None
    sidecar: str | None = None

    @property
    def all(self) -> tuple[str, ...]:
        """Every file, in the order in which they are best removed: the commit marker first."""
        named = (self.index, *self.shards, self.meta, self.sidecar)
        return tuple(name for name in named if name is not None)

    @property
    def spelling(self) -> str:
        """The name that TensorFlow's readers take; it has to be a pattern for V1 shards."""
        match = V1_SHARD.fullmatch(self.shards[0]) if self.index is None and self.shards else None
        return f"{self.prefix}-?????-of-{match['shards']}" if match else self.prefix

    @property
    def step(self) -> int | None:
        """The number at the end of the prefix.

        Example:
            >>> Files("model.ckpt-1000", None, ()).step
            1000
        """
        return split_step(self.prefix)[1]


def v2_files(names: Iterable[str]) -> dict[str, Files]:
    """Find the V2 checkpoints among the files of a directory, by prefix, whole or not.

    Example:
        >>> v2_files(["m.index", "m.data-00001-of-00002"])["m"].missing
        ('m.data-00000-of-00002',)
    """
    names = frozenset(names)
    sets = _shard_sets(names, DATA)
    found = {}
    for index in names:
        prefix = index.removesuffix(INDEX)
        if index.endswith(INDEX) and prefix:
            shards, missing = _best(prefix, sets.get(prefix, {}), ".data")
            found[prefix] = _with_extras(Files(prefix, index, shards, missing), names)
    return found


def without_index(names: Iterable[str]) -> dict[str, Files]:
    """Find V2 checkpoints of tfpersist whose index alone is gone, by prefix.

    Example:
        >>> without_index(["m.tfpersist.json", "m.data-00000-of-00001", "n.tfpersist.json"]).keys()
        dict_keys(['m'])
    """
    names = frozenset(names)
    sets = _shard_sets(names, DATA)
    found = {}
    for facts in names:
        prefix = facts.removesuffix(sidecar.SUFFIX)
        if facts.endswith(sidecar.SUFFIX) and prefix + INDEX not in names and prefix in sets:
            shards, missing = _best(prefix, sets[prefix], ".data")
            files = Files(prefix, prefix + INDEX, shards, (prefix + INDEX, *missing))
            found[prefix] = _with_extras(files, names)
    return found


def v1_shard_files(names: Iterable[str]) -> dict[str, Files]:
    """Find what looks like sharded V1 checkpoints among the files of a directory, by prefix."""
    names = frozenset(names)
    sets = _shard_sets((name for name in names if not DATA.fullmatch(name)), V1_SHARD)
    found = {}
    for prefix, by_total in sets.items():
        shards, missing = _best(prefix, by_total, "")
        found[prefix] = _with_extras(Files(prefix, None, shards, missing), names)
    return found


def described(prefix: str, names: Iterable[str]) -> Files:
    """Describe a checkpoint of which not even the index need be there."""
    own = belonging(prefix, names)
    return v2_files(own).get(prefix) or _with_extras(Files(prefix, None, ()), own)


def v1_file(name: str, names: Iterable[str]) -> Files:
    """Describe a V1 checkpoint that is one file."""
    return _with_extras(Files(name, None, (name,)), frozenset(names))


def is_table(storage: Storage, name: str) -> bool:
    """Whether a file is a table, as every V1 checkpoint is."""
    try:
        return bytes(storage.read(name)[-len(_MAGIC) :]) == _MAGIC
    except StorageError:
        return False


def checkpoints(storage: Storage) -> dict[str, Files]:
    """Find the whole checkpoints of a directory, by prefix, in no order."""
    names = storage.names()
    found = {prefix: files for prefix, files in v2_files(names).items() if not files.missing}
    for prefix, files in v1_shard_files(names).items():
        if prefix not in found and not files.missing and is_table(storage, files.shards[0]):
            found[prefix] = files
    for meta in names:
        name = meta.removesuffix(META)
        if meta.endswith(META) and name in names and name not in found and is_table(storage, name):
            found[name] = v1_file(name, names)
    return found


def read_state(storage: Storage, name: str = STATE_FILE) -> StateFile | None:
    """Read a state file; None where there is none that can be read."""
    from tfpersist.formats import state

    try:
        return state.parse_state(bytes(storage.read(name)), f"{storage.location}/{name}")
    except TFPersistError:
        return None


def read_sidecar(storage: Storage, files: Files) -> sidecar.Sidecar | None:
    """Read the sidecar of a checkpoint; None where there is none, or it is that of another.

    Where reads are not free, it is taken to belong to the checkpoint it lies beside.
    """
    if files.sidecar is None or files.index is None:
        return None
    try:
        facts = sidecar.decode(storage.read(files.sidecar))
        if files.index in files.missing:
            return facts
        if facts is not None and facts.index_crc32c is not None and storage.maps:
            index = np.frombuffer(storage.read(files.index), np.uint8)
            return facts if crc32c.of(index) == facts.index_crc32c else None
    except StorageError:
        return None
    return facts


def read_meta(storage: Storage, files: Files) -> bytes:
    """Read the `.meta` of a checkpoint that has one.

    Raises:
        CorruptionError: it is not what was saved.
        StorageError: it cannot be read.
    """
    name = files.prefix + META
    data = bytes(storage.read(name))
    facts = read_sidecar(storage, files)
    expected = None if facts is None else facts.meta_crc32c
    found = crc32c.of(data)
    if expected is not None and found != expected:
        raise CorruptionError(
            "this meta graph is not the one that was saved",
            file=f"{storage.location}/{name}",
            expected=f"the checksum {expected:#010x}",
            found=f"{found:#010x}",
        )
    return data


@attrs.frozen
class Age:
    """When a checkpoint was saved.

    Args:
        created: the time, in seconds since 1970, by the clock of who has saved it.
        order: the same, unless that clock was behind: later than that of any saved before it.
    """

    created: float
    order: float


def dated(storage: Storage, found: Mapping[str, Files]) -> dict[str, float]:
    """Say when each checkpoint was saved, oldest first, in seconds since 1970; see `aged`."""
    return {prefix: age.created for prefix, age in aged(storage, found).items()}


def aged(storage: Storage, found: Mapping[str, Files]) -> dict[str, Age]:
    """Say when each checkpoint was saved, and put them in that order, oldest first.

    The sidecar knows best; then the timestamps of the state file; then the age of the file, which a
    copy may have changed, so that the order of the state file stands above it. Of two of one age
    the one of the later step is the newer.

    Args:
        storage: where they are.
        found: the checkpoints.
    """
    facts = {prefix: read_sidecar(storage, files) for prefix, files in found.items()}
    recorded = _recorded(storage) if None in facts.values() else {}
    order = [prefix for prefix in recorded if prefix in found]
    dates: dict[str, float] = {}
    latest = float("-inf")
    for prefix in [*order, *(prefix for prefix in found if prefix not in recorded)]:
        noted = facts[prefix]
        if noted is not None:
            dates[prefix] = noted.order
        else:
            date = recorded.get(prefix) or _modified(storage, found[prefix])
            dates[prefix] = max(date, latest) if prefix in recorded else date
        if prefix in recorded:
            latest = max(latest, dates[prefix])
    places = {prefix: place for place, prefix in enumerate(order)}

    def age(prefix: str) -> tuple[float, int, int, str]:
        step = found[prefix].step
        return dates[prefix], places.get(prefix, -1), -1 if step is None else step, prefix

    def created(prefix: str) -> float:
        noted = facts[prefix]
        return dates[prefix] if noted is None else noted.created

    return {prefix: Age(created(prefix), dates[prefix]) for prefix in sorted(found, key=age)}


def list_checkpoints(storage: Storage) -> list[str]:
    """List the checkpoints of a directory that have all their files.

    Args:
        storage: the directory.

    Returns:
        Their prefixes, oldest first.

    Raises:
        StorageError: the directory cannot be read.
    """
    return list(dated(storage, checkpoints(storage)))


def _recorded(storage: Storage) -> dict[str, float]:
    recorded = read_state(storage)
    if recorded is None:
        return {}
    paths = [*recorded.all]
    times = recorded.timestamps if len(recorded.timestamps) == len(paths) else [0.0] * len(paths)
    dates = {path.rsplit("/", 1)[-1]: time for path, time in zip(paths, times, strict=True)}
    # The latest is the newest, wherever the list has it.
    latest = recorded.latest.rsplit("/", 1)[-1]
    date = dates.pop(latest, 0.0)
    return {**dates, latest: date}


def _modified(storage: Storage, files: Files) -> float:
    try:
        return storage.modified(files.all[0])
    except StorageError:
        return 0.0


def _shard_sets(
    names: Iterable[str], pattern: re.Pattern[str]
) -> dict[str, dict[str, dict[int, str]]]:
    sets: dict[str, dict[str, dict[int, str]]] = {}
    for name in names:
        match = pattern.fullmatch(name)
        if match and "?" not in match["shard"] and int(match["shard"]) < int(match["shards"]):
            by_total = sets.setdefault(match["prefix"], {})
            by_total.setdefault(match["shards"], {})[int(match["shard"])] = name
    return sets


def _best(
    prefix: str, by_total: Mapping[str, Mapping[int, str]], joint: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The set of shards that lacks least, and what it lacks."""
    if not by_total:
        return (), (f"{prefix}{joint}-00000-of-00001",)

    def lack(total: str) -> tuple[int, int]:
        return int(total) - len(by_total[total]), -int(total)

    total = min(by_total, key=lack)
    shards = by_total[total]
    lacking = []
    for shard in range(int(total)):
        if shard not in shards:
            lacking.append(f"{prefix}{joint}-{shard:05d}-of-{total}")
        if len(lacking) == _MOST_MISSING:
            break
    return tuple(shards[shard] for shard in sorted(shards)), tuple(lacking)


def _with_extras(files: Files, names: frozenset[str]) -> Files:
    meta, facts = files.prefix + META, files.prefix + sidecar.SUFFIX
    return attrs.evolve(
        files,
        meta=meta if meta in names else None,
        sidecar=facts if facts in names else None,
    )


def readable(size: int) -> str:
    """Write a number of bytes for people.

    Example:
        >>> readable(8), readable(541_000_000)
        ('8 bytes', '541.0 MB')
    """
    if size < 1000:
        return f"{size} bytes"
    scaled, unit = size / 1000, "KB"
    for larger in ("MB", "GB", "TB"):
        if scaled >= 1000:
            scaled, unit = scaled / 1000, larger
    return f"{scaled:.1f} {unit}"


def belonging(prefix: str, names: Iterable[str]) -> frozenset[str]:
    """Find all files of a V2 checkpoint of this prefix, leftovers of earlier ones included.

    Example:
        >>> sorted(belonging("m", ["m.index", "m.data-00000-of-00002", "m-1.index"]))
        ['m.data-00000-of-00002', 'm.index']
    """
    named = {prefix + INDEX, prefix + META, prefix + sidecar.SUFFIX}
    return frozenset(
        name
        for name in names
        if name in named or ((match := DATA.fullmatch(name)) and match["prefix"] == prefix)
    )
