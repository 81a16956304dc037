"""Find the files of checkpoints by their names, without reading the disk.

A V2 checkpoint is complete if it has `<prefix>.index` and all its data shards. A V1 checkpoint is
complete if it has the file `<prefix>`, or all of `<prefix>-?????-of-<shards>`.

In an object store (`storage/attempt`) the data files of a checkpoint are named as if they were some
of very many: `<prefix>.data-00000-of-15306`. Others, of attempts that were not completed, may lie
beside them. Only the index tells which ones are its own, and whether all are there.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property

import attrs

from tfpersist.storage.base import ATTEMPTS

STATE_FILE = "checkpoint"
INDEX = ".index"
META = ".meta"
SIDECAR = ".tfpersist.json"

DATA = re.compile(
    r"(?P<prefix>.+)\.data-(?P<shard>[0-9]{5,9})-of-(?P<shards>[0-9]{5,9})", re.DOTALL
)
# The meta graph of an attempt, which may not be that of the checkpoint.
_OWN_META = re.compile(r"(?P<prefix>.+)\.meta-of-(?P<shards>[0-9]{5})", re.DOTALL)
_V1_FILE = re.compile(r".+\.ckpt(-\d+)?")
V1_SHARD = re.compile(
    r"(?P<prefix>.+)-(?P<shard>[0-9]{5}|\?{5})-of-(?P<shards>[0-9]{5})", re.DOTALL
)
# The part of one of several workers; see `worker_parts`. A V1 shard has five digits at its end.
PART = re.compile(r"\.tfpersist-part-(?P<digest>[0-9a-f]{16})-(?P<worker>[0-9]+)-of-(?P<of>[0-9]+)")
# The only data file of a checkpoint that has one.
ONE_SHARD = ".data-00000-of-00001"

# As many digits as a number of 64 bits may have.
_STEP = re.compile(r"(?P<name>.*)-(?P<step>[0-9]{1,19})", re.DOTALL)
_MOST_STEPS = 2**63 - 1
_MOST_MISSING = 100
# So many changes of a listing are kept apart from the names before all names are copied.
_MOST_CHANGES = 1000


@functools.lru_cache(maxsize=1 << 16)
def split_step(prefix: str) -> tuple[str, int | None]:
    """Return the name and the training step in a prefix.

    Example:
        >>> split_step("model.ckpt-1000"), split_step("model.ckpt-best")
        (('model.ckpt', 1000), ('model.ckpt-best', None))
    """
    match = _STEP.fullmatch(prefix)
    if match is None or int(match["step"]) > _MOST_STEPS:
        return prefix, None
    return match["name"], int(match["step"])


def is_called(prefix: str, name: str) -> bool:
    """Return whether a prefix is this name, or this name and a step.

    Example:
        >>> is_called("m", "m"), is_called("m-1", "m"), is_called("m-best-1", "m")
        (True, True, False)
    """
    if not prefix.startswith(name):
        return False
    tail = prefix[len(name) :]
    return not tail or (tail.startswith("-") and split_step(prefix)[0] == name)


def remaining(prefixes: Sequence[str], gone: Collection[str]) -> tuple[str, ...]:
    """Return some prefixes without some others.

    Example:
        >>> remaining(("m-1", "m-2", "m-3"), {"m-1"}), remaining(("m-1", "m-2"), {"m-2"})
        (('m-2', 'm-3'), ('m-1',))
    """
    # Mostly the first ones are removed, of thousands.
    first = next((at for at, prefix in enumerate(prefixes) if prefix not in gone), len(prefixes))
    if first == len(gone):
        return tuple(prefixes[first:])
    return tuple([prefix for prefix in prefixes if prefix not in gone])


@attrs.frozen
class Files:
    """The files of one checkpoint, as names without the directory.

    Args:
        prefix: the beginning that their names have in common.
        index: the index; None for a checkpoint of the V1 format.
        shards: the data files, or the files of the V1 format, in order.
        missing: the data files that are missing.
        meta: the meta graph; None if there is none.
        sidecar: tfpersist's own facts; None if there are none.
    """

    prefix: str
    index: str | None
    shards: tuple[str, ...]
    missing: tuple[str, ...] = ()
    meta: str | None = None
    sidecar: str | None = None

    @property
    def is_attempt(self) -> bool:
        """True if the index may belong to an attempt, and only it tells which files are its own."""
        return any(attempt_of(name) for name in self.shards)

    @property
    def all(self) -> tuple[str, ...]:
        """Every file, in the order in which they are best removed: the commit marker first."""
        named = (self.index, *self.shards, self.meta, self.sidecar)
        return tuple(name for name in named if name is not None)

    @property
    def spelling(self) -> str:
        """The name that TensorFlow's readers accept; for V1 shards it is a pattern."""
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


@attrs.frozen(eq=False, slots=False)
class Listing:
    """The names of the files of a directory, and the checkpoints that they make up.

    Names are sorted into groups once. The `Files` of a checkpoint are made when they are needed,
    because most verbs use those of one checkpoint.

    `replaced` and `without` do not copy all names: a directory may have thousands of them, and a
    save changes eight.

    Args:
        listed: the names of all files, before what was added and removed since.
        known_groups: the names in groups, if this is known already.
        added: names of files that were added since.
        removed: names of files that were removed since, and not added again.

    Example:
        >>> listing = Listing(frozenset({"m.index", "m.data-00001-of-00002"}))
        >>> listing.v2, listing.v2_files("m").missing
        (frozenset({'m'}), ('m.data-00000-of-00002',))
    """

    _listed: frozenset[str]
    _known_groups: _Groups | None = None
    _added: frozenset[str] = frozenset()
    _removed: frozenset[str] = frozenset()

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of all files."""
        if not self._added and not self._removed:
            return self._listed
        return (self._listed - self._removed) | self._added

    def __contains__(self, name: str) -> bool:
        return name in self._added or (name in self._listed and name not in self._removed)

    def replaced(self, prefix: str, names: Iterable[str]) -> Listing:
        """Return this listing with other files, or none, for one V2 checkpoint.

        Example:
            >>> listing = Listing(frozenset({"m.index", "m.data-00000-of-00002", "n.index"}))
            >>> sorted(listing.replaced("m", ["m.index"]).names)
            ['m.index', 'n.index']
        """
        new = frozenset(names)
        own, groups = Listing(new)._groups, self._groups
        data = {**groups.data, **own.data}
        if prefix not in own.data:
            data.pop(prefix, None)
        others = [other for other in groups.orphans if other != prefix]
        indexed = groups.indexed
        if prefix not in own.indexed:
            indexed = indexed - {prefix}
        elif prefix not in indexed:
            indexed = indexed | own.indexed
        changed = _Groups(indexed, groups.single, (*others, *own.orphans), data, groups.v1_data)
        return self._changed(self.belonging(prefix), new, changed)

    def without(self, prefixes: Collection[str]) -> Listing:
        """Return this listing without the files of some V2 checkpoints.

        Example:
            >>> listing = Listing(frozenset({"m.index", "m.data-00000-of-00001", "n.index"}))
            >>> sorted(listing.without(["m"]).names)
            ['n.index']
        """
        groups, gone = self._groups, frozenset(prefixes)
        data = dict(groups.data)
        for prefix in gone:
            data.pop(prefix, None)
        changed = _Groups(
            groups.indexed - gone,
            groups.single,
            tuple(other for other in groups.orphans if other not in gone),
            data,
            groups.v1_data,
        )
        return self._changed(frozenset().union(*map(self.belonging, gone)), frozenset(), changed)

    def with_state_file(self, *, there: bool) -> Listing:
        """Return this listing with a state file in it, or without one."""
        if there is (STATE_FILE in self):
            return self
        own = frozenset({STATE_FILE})
        return self._changed(own, own if there else frozenset(), self._groups)

    def _changed(self, old: frozenset[str], new: frozenset[str], groups: _Groups) -> Listing:
        added = (self._added - old) | new
        removed = (self._removed | old) - new
        listing = Listing(self._listed, groups, added, removed)
        if len(added) + len(removed) > _MOST_CHANGES:
            return Listing(listing.names, groups)
        return listing

    @property
    def v2(self) -> frozenset[str]:
        """The prefixes of the V2 checkpoints that have an index, complete or not."""
        return self._groups.indexed

    @property
    def without_index(self) -> tuple[str, ...]:
        """The prefixes of tfpersist's checkpoints of which only the index is missing."""
        data = self._groups.data
        return tuple(prefix for prefix in self._groups.orphans if prefix in data)

    @property
    def v1_sharded(self) -> tuple[str, ...]:
        """The prefixes of files that look like sharded V1 checkpoints."""
        return tuple(self._groups.v1_data)

    @property
    def v1_single(self) -> tuple[str, ...]:
        """The files that may be V1 checkpoints of one file.

        They have a `.meta` beside them, or are called as such checkpoints are: "model.ckpt-7".
        """
        return self._groups.single

    def is_complete(self, prefix: str) -> bool:
        """Return whether a V2 checkpoint that has an index has all its data files."""
        return prefix + ONE_SHARD in self or not self.v2_files(prefix).missing

    def v2_files(self, prefix: str) -> Files:
        """Return the files of a V2 checkpoint; its index and data files may be missing."""
        names = self._groups.data.get(prefix, ())
        only = prefix + ONE_SHARD
        shards, missing = (
            ((only,), ())
            if len(names) == 1 and names[0] == only
            else _best(prefix, names, DATA, ".data")
        )
        index = prefix + INDEX
        missing = missing if index in self else (index, *missing)
        return self._files(prefix, index, shards, missing)

    def v1_files(self, prefix: str) -> Files:
        """Return the files of a V1 checkpoint, which is one file or has shards."""
        if prefix not in self._groups.v1_data:
            return self.v1_file(prefix)
        shards, missing = _best(prefix, self._groups.v1_data[prefix], V1_SHARD, "")
        return self._files(prefix, None, shards, missing)

    def v1_file(self, name: str) -> Files:
        """Return the files of a V1 checkpoint that is one file."""
        return self._files(name, None, (name,), ())

    def belonging(self, prefix: str) -> frozenset[str]:
        """Return all files of a V2 checkpoint, also those of an earlier one of this prefix.

        Example:
            >>> listing = Listing(frozenset({"m.index", "m.data-00000-of-00002", "m-1.index"}))
            >>> sorted(listing.belonging("m"))
            ['m.data-00000-of-00002', 'm.index']
        """
        named = (prefix + INDEX, prefix + META, prefix + SIDECAR)
        present = [name for name in named if name in self]
        return frozenset((*present, *self._groups.data.get(prefix, ())))

    def _files(
        self, prefix: str, index: str | None, shards: tuple[str, ...], missing: tuple[str, ...]
    ) -> Files:
        meta, facts = prefix + META, prefix + SIDECAR
        own = (name for name in self._groups.data.get(prefix, ()) if _OWN_META.fullmatch(name))
        return Files(
            prefix,
            index,
            shards,
            missing,
            meta if meta in self else next(own, None),
            facts if facts in self else None,
        )

    @cached_property
    def _groups(self) -> _Groups:
        if self._known_groups is not None:
            return self._known_groups
        indexed, single, orphans = [], [], []
        data: dict[str, list[str]] = {}
        v1_data: dict[str, list[str]] = {}
        names = self.names
        for name in names:
            if name.endswith(INDEX):
                indexed.append(name[: -len(INDEX)])
            elif name.endswith(ONE_SHARD):
                data.setdefault(name[: -len(ONE_SHARD)], []).append(name)
            elif name.endswith(META):
                if name[: -len(META)] in names:
                    single.append(name[: -len(META)])
            elif name.endswith(SIDECAR):
                if name[: -len(SIDECAR)] + INDEX not in names:
                    orphans.append(name[: -len(SIDECAR)])
            elif match := DATA.fullmatch(name) or _OWN_META.fullmatch(name):
                data.setdefault(match["prefix"], []).append(name)
            elif (match := V1_SHARD.fullmatch(name)) and _is_shard(match):
                v1_data.setdefault(match["prefix"], []).append(name)
            elif _V1_FILE.fullmatch(name) and name + META not in names:
                single.append(name)
        return _Groups(
            frozenset(filter(None, indexed)), tuple(single), tuple(orphans), data, v1_data
        )


@attrs.frozen(eq=False)
class _Groups:
    """Names by what they end in: prefixes, and data files by prefix."""

    indexed: frozenset[str]
    single: tuple[str, ...]
    orphans: tuple[str, ...]
    data: Mapping[str, Sequence[str]]
    v1_data: Mapping[str, Sequence[str]]


def _is_shard(match: re.Match[str]) -> bool:
    return "?" not in match["shard"] and int(match["shard"]) < int(match["shards"])


def _best(
    prefix: str, names: Iterable[str], pattern: re.Pattern[str], joint: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the set of shards of which the least is missing, and what is missing of it."""
    by_total: dict[str, dict[int, str]] = {}
    for name in names:
        match = pattern.fullmatch(name)
        if match and _is_shard(match):
            by_total.setdefault(match["shards"], {})[int(match["shard"])] = name
    every = sorted(name for shards in by_total.values() for name in shards.values())
    if any(map(attempt_of, every)):
        return tuple(every), ()
    if not by_total:
        return (), (f"{prefix}{joint}-00000-of-00001",)

    def lack(total: str) -> tuple[int, int]:
        return int(total) - len(by_total[total]), -int(total)

    total = min(by_total, key=lack)
    shards = by_total[total]
    missing = []
    for shard in range(int(total)):
        if shard not in shards:
            missing.append(f"{prefix}{joint}-{shard:05d}-of-{total}")
        if len(missing) == _MOST_MISSING:
            break
    return tuple(shards[shard] for shard in sorted(shards)), tuple(missing)


def own_meta(prefix: str, attempt: int) -> str:
    """Return the name of the meta graph of an attempt.

    Example:
        >>> own_meta("m-1", 15306)
        'm-1.meta-of-15306'
    """
    return f"{prefix}{META}-of-{attempt:05d}"


def prefix_of(name: str) -> str:
    """Return the prefix in the name of a data file or of the meta graph of an attempt.

    Example:
        >>> prefix_of("m-1.data-00000-of-15306"), prefix_of("m-1.meta-of-15306"), prefix_of("m-1")
        ('m-1', 'm-1', '')
    """
    match = DATA.fullmatch(name) or _OWN_META.fullmatch(name)
    return match["prefix"] if match else ""


def attempt_of(name: str) -> int:
    """Return the number of the attempt that wrote a file; 0 if its name has none.

    Example:
        >>> attempt_of("m-1.data-00000-of-15306"), attempt_of("m-1.data-00000-of-00001")
        (15306, 0)
    """
    match = DATA.fullmatch(name) or _OWN_META.fullmatch(name)
    number = int(match["shards"]) if match else 0
    return number if number in ATTEMPTS else 0


def is_part(name: str) -> bool:
    """Return whether a name is that of the part of one of several workers.

    Example:
        >>> is_part(".tfpersist-part-ed69aaf0afac8e4f-1-of-2"), is_part("m-1.index")
        (True, False)
    """
    return PART.fullmatch(name) is not None


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
