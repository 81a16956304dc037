"""One look at a directory of checkpoints: its files, its checkpoints, and their order.

A verb looks once and passes this value on. The listing says which checkpoints exist. The
`checkpoint` state file gives the order of those that it names; the sidecars of all others are
opened. A verb that acts on a look checks that it is still true, and else looks again.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import cached_property
from types import MappingProxyType

import attrs

from tfpersist.checkpoint import state_file
from tfpersist.checkpoint.facts import all_known_facts, known_facts
from tfpersist.checkpoint.files import STATE_FILE, Files, Listing, is_called, remaining, split_step
from tfpersist.checkpoint.sidecar import Sidecar
from tfpersist.errors import StorageError
from tfpersist.storage import Hold, Storage

# The last eight bytes of every table, and so of every V1 file (leveldb, table/format.h).
_TABLE_MAGIC = bytes.fromhex("57fb808b247547db")
# The last look at each directory, for as long as its version is the same.
_LOOKS: dict[str, Directory] = {}
# How often the state file is written again because others save at the same time.
_TRIES = 20
# After so many the others wait, where the system has locks. Else they could win every time.
_TRIES_BESIDE_OTHERS = 3


@attrs.frozen
class Age:
    """When a checkpoint was saved.

    Args:
        created: the time, in seconds since 1970, by the clock of the machine that saved it.
        order: the same, or a later time if that clock was behind: it is later than that of every
            checkpoint saved before.
    """

    created: float
    order: float


@attrs.frozen(eq=False, slots=False)
class Directory:
    """The checkpoints of a directory as they were at one moment.

    Args:
        storage: the directory.
        listing: the names of all its files at that moment.
        record: the content of its state file just before.
        version: `Storage.version` just before.
        known_ages: when each checkpoint was saved, oldest first, if this is known already.

    Example:
        >>> from tfpersist.storage import open_storage
        >>> Directory.look(open_storage("memory://doc/look")).complete
        ()
    """

    storage: Storage
    listing: Listing
    record: state_file.Record = attrs.field(factory=lambda: state_file.Record(None))
    version: object | None = None
    _known_ages: dict[str, Age] | None = None

    @classmethod
    def look(cls, storage: Storage, *, to_write: bool = False) -> Directory:
        """Look at a directory.

        The last look of this process is reused if neither the names of the files nor the state file
        have changed since.

        Args:
            storage: the directory.
            to_write: whether the caller will write, so that the times of the directory may be set.
                On a server the last look of this process is then reused as it is, or nothing is
                known.

        Raises:
            StorageError: it cannot be read.
        """
        known = _LOOKS.get(storage.location)
        if storage.remote and to_write:
            # A save needs an order and a list of names, which are not worth two requests.
            same = known if known is not None and known.storage == storage else None
            return cls(storage, Listing(frozenset())) if same is None else same._in(storage)
        # The version and the state file are read before the names, so they are never newer.
        version = storage.version()
        if version is None and to_write:
            version = storage.seal()
        if (
            version is not None
            and known is not None
            and known.version == version
            and known.record.is_what_is_in(storage)
        ):
            return known if known.storage is storage else known._in(storage)
        record = state_file.read(storage)
        names = storage.names()
        # Leftovers of a dead process will be deleted, which changes the version.
        version = None if storage.has_leftovers else version
        look = cls(storage, Listing(names), record, version)
        look._remember()
        return look

    def again(self) -> Directory:
        """Look once more."""
        return Directory.look(self.storage)

    def recovered(self) -> Directory:
        """Complete or delete what a dead process left; then look again.

        Returns:
            The new look; this one if there is nothing to complete or delete.

        Raises:
            StorageError: this process may not write there.
        """
        if not self.storage.has_leftovers:
            return self
        self.storage.recover()
        return self.again()

    def saved(
        self, prefix: str, names: Iterable[str], age: Age, version: object | None
    ) -> Directory:
        """Return this look with one more checkpoint, without looking again.

        Args:
            prefix: the checkpoint; one of that name is replaced.
            names: the names of its files.
            age: when it was saved.
            version: the version of the directory, if nothing else has changed in it.
        """
        ages = dict(self._ages)
        is_new = ages.pop(prefix, None) is None
        ages[prefix] = age
        listing = self.listing.replaced(prefix, names)
        look = self._with(listing, self.record, version, ages)

        def last(prefixes: tuple[str, ...]) -> tuple[str, ...]:
            return (*(prefixes if is_new else remaining(prefixes, {prefix})), prefix)

        vars(look)["complete"] = last(self.complete)
        vars(look)["_called"] = {
            name: last(prefixes) if is_called(prefix, name) else prefixes
            for name, prefixes in self._called.items()
        }
        return look

    @property
    def names(self) -> frozenset[str]:
        """The names of all its files."""
        return self.listing.names

    @cached_property
    def known(self) -> tuple[str, ...]:
        """The prefixes of all checkpoints, also of those that lack files, oldest first."""
        return tuple(self._ages)

    @cached_property
    def complete(self) -> tuple[str, ...]:
        """The prefixes of the checkpoints that have all their files, oldest first."""
        return tuple(prefix for prefix in self.known if self.is_complete(prefix))

    def called(self, name: str) -> tuple[str, ...]:
        """Return the prefixes of the known V2 checkpoints of one name, oldest first.

        Args:
            name: what they are called, before "-" and the step.
        """
        prefixes = self._called.get(name)
        if prefixes is None:
            v2 = self.listing.v2
            prefixes = tuple(p for p in self.known if p in v2 and is_called(p, name))
            self._called[name] = prefixes
        return prefixes

    @cached_property
    def _called(self) -> dict[str, tuple[str, ...]]:
        """The results of `called`, by name."""
        return {}

    def incomplete(self, prefixes: Iterable[str]) -> frozenset[str]:
        """Return those of some known checkpoints that lack files."""
        if len(self.complete) == len(self._ages):
            return frozenset()
        return frozenset(prefixes).difference(self.complete)

    def is_complete(self, prefix: str) -> bool:
        """Return whether a checkpoint that is known has all its files."""
        return prefix in self._v1 or self._is_complete_v2(prefix)

    def files(self, prefix: str) -> Files:
        """Return the files of a checkpoint; those that should be there and are not are listed."""
        if prefix in self._v1 and not self._is_complete_v2(prefix):
            return self._v1[prefix]
        return self.listing.v2_files(prefix)

    def created(self, prefix: str) -> float:
        """Return when a checkpoint that is known was saved, in seconds since 1970."""
        return self._ages[prefix].created

    def after(self, created: float, *, without: str) -> float:
        """Return what puts a checkpoint saved now behind all others, even if the clock went back.

        Args:
            created: the time by the clock, in seconds since 1970.
            without: the prefix of the checkpoint, which may replace one of that name.
        """
        orders = (age.order for prefix, age in reversed(self._ages.items()) if prefix != without)
        newest = next(orders, -math.inf)
        return math.nextafter(newest, math.inf) if created <= newest < math.inf else created

    def step(self, prefix: str) -> int | None:
        """Return the training step: the number at the end of the name, else the one noted."""
        _, step = split_step(prefix)
        if step is None and (facts := self.facts(prefix)) is not None:
            return facts.step
        return step

    def metrics(self, prefix: str) -> Mapping[str, float]:
        """Return the metrics of a checkpoint; its sidecar is read when they are first used."""
        return Metrics(self, prefix)

    def facts(self, prefix: str) -> Sidecar | None:
        """Return the facts in the sidecar of a checkpoint; None if there are none.

        A sidecar is read once in this process, and not again while it and the index are unchanged.
        """
        return known_facts(self.storage, self.files(prefix))

    def note(
        self,
        *,
        unnamed: Collection[str] = (),
        removed: Mapping[str, Hold] = MappingProxyType({}),
        durable: bool = True,
    ) -> Directory:
        """Write the state file for this directory.

        If another process has written it since this look, this function looks again.

        Args:
            unnamed: prefixes that the state file must not name.
            removed: checkpoints whose files are removed in the same step, with their holds.
            durable: wait until the change would survive a power loss.

        Returns:
            The directory afterwards.

        Raises:
            StorageError: it could not be written; nothing was changed.
        """
        look, without = self, {*unnamed, *removed}
        for tried in range(_TRIES):
            with ExitStack() as stack:
                if tried >= _TRIES_BESIDE_OTHERS:
                    stack.enter_context(look.storage.alone())
                if tried:
                    look = look.again()
                record = look.record.naming(look._dates(without))
                publication = stack.enter_context(
                    look.storage.publish(
                        durable=durable, only_if=look._is_current, since=look.version
                    )
                )
                if record.content is None:
                    publication.discard(STATE_FILE)
                else:
                    publication.create(STATE_FILE).write(record.content)
                for prefix, hold in removed.items():
                    # The index is removed before its data.
                    files = (*self.files(prefix).all, *sorted(self.listing.belonging(prefix)))
                    for name in dict.fromkeys(files):
                        publication.discard(name, held=hold)
            if publication.committed:
                break
        else:
            raise StorageError(
                f"other processes have changed the state file {_TRIES} times before this one could",
                where=f"{self.storage.location}/{STATE_FILE}",
                advice="Let them finish. All checkpoints are saved.",
            )
        listing = look.listing.with_state_file(there=record.content is not None)
        ages = dict(look._ages)
        if removed:
            listing = listing.without(removed)
            for prefix in removed:
                ages.pop(prefix, None)
        mark = look.storage.mark(STATE_FILE)
        # If others have replaced the file since, this is the mark of theirs.
        if publication.version is not None and look.storage.version() == publication.version:
            record = record.marked(mark)
        noted = look._with(listing, record, publication.version, ages)
        vars(noted)["complete"] = remaining(look.complete, removed)
        vars(noted)["_called"] = {
            name: remaining(prefixes, removed) for name, prefixes in look._called.items()
        }
        return noted

    def _dates(self, without: Collection[str]) -> dict[str, float]:
        """Return when each complete checkpoint was saved, oldest first, without some of them.

        If the state file is in order, only the missing dates are added to it, because there may be
        thousands of checkpoints.
        """
        if self.record.is_ordered:
            dates = dict(self.record.dates)
            for prefix in without:
                dates.pop(prefix, None)
            added: list[str] = []
            for prefix in reversed(self.complete):
                if dates.get(prefix) == self.created(prefix):
                    break
                dates.pop(prefix, None)
                if prefix not in without:
                    added.append(prefix)
            # Names are compared without a copy of them where all checkpoints are complete.
            is_whole = len(self.complete) == len(self._ages)
            wanted = self._ages.keys() if is_whole else set(self.complete)
            unnamed = sum(prefix in wanted for prefix in without)
            if dates.keys() <= wanted and len(dates) + len(added) == len(wanted) - unnamed:
                for prefix in reversed(added):
                    dates[prefix] = self.created(prefix)
                return dates
        return {name: self.created(name) for name in self.complete if name not in without}

    def correct(self, *, unnamed: Collection[str] = (), durable: bool = True) -> Directory:
        """Write the state file again if there is one and it does not name the right checkpoints.

        Args:
            unnamed: prefixes that the state file must not name.
            durable: wait until it would survive a power loss.

        Raises:
            StorageError: it could not be read or written; it is unchanged.
        """
        if self.record.content is None and STATE_FILE in self.names:
            # It is newer than the look, or it cannot be read; then this raises the error.
            self.storage.read(STATE_FILE)
            return self.again().correct(unnamed=unnamed, durable=durable)
        if self.record.says is None or (
            self.record.dates.keys() == set(self.complete).difference(unnamed)
        ):
            return self
        return self.note(unnamed=unnamed, durable=durable)

    def _is_current(self) -> bool:
        """Return whether no process has changed the state file since this look.

        In an object store, this file is a hint, and the last writer wins.
        """
        return self.storage.remote or self.record.is_what_is_in(self.storage)

    def _is_complete_v2(self, prefix: str) -> bool:
        return prefix in self.listing.v2 and self.listing.is_complete(prefix)

    @cached_property
    def _found(self) -> frozenset[str]:
        return self.listing.v2.union(self.listing.without_index, self._v1)

    def _with(
        self,
        listing: Listing,
        record: state_file.Record,
        version: object | None,
        ages: dict[str, Age],
    ) -> Directory:
        look = Directory(self.storage, listing, record, version, ages)
        if "_v1" in vars(self):
            # What this process writes and removes are V2 checkpoints.
            vars(look)["_v1"] = self._v1
        if version is not None or self.storage.remote:
            _LOOKS[self.storage.location] = look
        return look

    def _in(self, storage: Storage) -> Directory:
        """Return the same look, through this storage."""
        look = object.__new__(Directory)
        # What was made of the names is made once for all.
        vars(look).update(vars(self), storage=storage, known=self.known)
        return look

    def _remember(self) -> None:
        """Keep this look for reuse, if no sidecar or V1 file was read for it."""
        if self.storage.remote or (
            self.version is not None
            and self.record.is_ordered
            and self.record.dates.keys() == self._found
        ):
            _LOOKS[self.storage.location] = self

    @cached_property
    def _v1(self) -> dict[str, Files]:
        """Complete V1 checkpoints; only their contents distinguish them from other files."""
        v1 = {}
        listing = self.listing
        named = sorted(p for p in self.record.dates.keys() - listing.v2 if p in listing)
        for prefix in dict.fromkeys((*listing.v1_sharded, *listing.v1_single, *named)):
            files = listing.v1_files(prefix)
            if not files.missing and is_table(self.storage, files.shards[0]):
                v1[prefix] = files
        return v1

    @cached_property
    def _ages(self) -> dict[str, Age]:
        """When each checkpoint was saved, oldest first.

        If the state file is in order, its dates are used for the checkpoints that it names. For all
        others the first of these that exists is used: the `order` in the sidecar, which is right
        even if a clock went back; the date in the state file; the time of modification of the file.
        A copy may change the last one, so the order of the state file is kept. Of two checkpoints
        of one age, the one of the later step is newer.
        """
        if self._known_ages is not None:
            return self._known_ages
        present = self._found
        recorded = self.record.dates
        named = [prefix for prefix in recorded if prefix in present]
        ordered = self.record.is_ordered
        if ordered and len(named) == len(present):
            return {prefix: Age(recorded[prefix], recorded[prefix]) for prefix in named}
        ages: dict[str, Age] = {}
        latest = -math.inf
        noted = [*present.difference(recorded), *(() if ordered else named)]
        facts_of = all_known_facts(self.storage, list(map(self.files, noted)))
        for prefix in named:
            facts = facts_of.get(prefix)
            if facts is None:
                date = max(recorded[prefix] or self._modified(prefix), latest)
                ages[prefix] = Age(date, date)
            else:
                ages[prefix] = Age(facts.created, facts.order)
            latest = max(latest, ages[prefix].order)
        for prefix in present.difference(recorded):
            facts = facts_of[prefix]
            if facts is None:
                ages[prefix] = Age(date := self._modified(prefix), date)
            else:
                ages[prefix] = Age(facts.created, facts.order)
        places = {prefix: place for place, prefix in enumerate(named)}

        def age(prefix: str) -> tuple[float, int, int, str]:
            _, step = split_step(prefix)
            place = places.get(prefix, -1)
            return ages[prefix].order, place, -1 if step is None else step, prefix

        return {prefix: ages[prefix] for prefix in sorted(ages, key=age)}

    def _modified(self, prefix: str) -> float:
        try:
            return self.storage.modified(self.files(prefix).all[0])
        except StorageError:
            return 0.0


class Metrics(Mapping[str, float]):
    """The metrics of one checkpoint; its sidecar is read when one is asked for.

    Args:
        directory: a look at the directory.
        prefix: the checkpoint.

    Example:
        >>> from tfpersist.storage import open_storage
        >>> dict(Metrics(Directory.look(open_storage("memory://doc/metrics")), "m-1"))
        {}
    """

    def __init__(self, directory: Directory, prefix: str) -> None:
        self._directory = directory
        self._prefix = prefix

    @cached_property
    def _values(self) -> Mapping[str, float]:
        facts = self._directory.facts(self._prefix)
        return {} if facts is None else facts.metrics

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[type[dict[str, float]], tuple[dict[str, float]]]:
        return dict, (dict(self),)


def is_table(storage: Storage, name: str) -> bool:
    """Return whether a file ends as tables do, and so every V1 checkpoint."""
    try:
        return bytes(storage.read(name)[-len(_TABLE_MAGIC) :]) == _TABLE_MAGIC
    except StorageError:
        return False
