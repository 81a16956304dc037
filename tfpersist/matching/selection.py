"""Which checkpoint key goes with which variable: only, rename, averages. Pure, no TensorFlow."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from tfpersist.errors import (
    SelectionError,
    did_you_mean,
    nearest,
    value_text,
)
from tfpersist.formats.tensors import Slice, TensorSpec
from tfpersist.matching.entry_index import EntryIndex
from tfpersist.matching.naming import advice_for, completed, twice, whole
from tfpersist.matching.object_graph import OBJECT_GRAPH_KEY
from tfpersist.matching.patterns import matched, template
from tfpersist.matching.plan import Assignment, Entry, Mismatch, Missing, Plan
from tfpersist.matching.shadows import shadows_in
from tfpersist.matching.suggestions import advice_on, suggested

# Finding look-alikes takes milliseconds for each name.
_MOST_COMPARED = 50

# The shape of `Target.averages_of`.
AveragesOf = Callable[[object, Sequence[Entry]], Mapping[str, Sequence[str]]]


@attrs.frozen(eq=False)
class Selection:
    """Which variables, under which keys.

    Args:
        only: variables, names and globs, or {key in the checkpoint: variable or name}; None for
            everything.
        renames: {key in the checkpoint: variable or name}; a key and a name that both end in "/"
            (or are empty) stand for everything under them; a compiled pattern stands for the keys
            that it matches whole, and its name may say "\\1". What is not named keeps its key.
        averages: whose moving averages are wanted in place of the variables; None for none.
    """

    only: Sequence[object] | Mapping[str, object] | None = None
    renames: Mapping[Any, object] = attrs.field(factory=dict)
    averages: object = None

    def renamed(self, names: Mapping[Any, object]) -> Selection:
        """Give a selection that renames this as well.

        Raises:
            SelectionError: `names` is no mapping.
        """
        if not isinstance(names, Mapping):
            raise SelectionError(
                "rename() is given no dict",
                expected="{key in the checkpoint: variable or name}",
                found=type(names).__name__,
            )
        return attrs.evolve(self, renames={**self.renames, **names})

    def for_save(self, entries: Sequence[Entry]) -> tuple[Entry, ...]:
        """Pick what is saved.

        Args:
            entries: all variables of the target.

        Returns:
            The chosen ones, under the keys they are written to.

        Raises:
            SelectionError: nothing matches a choice, or two variables want one key.

        Example:
            >>> a = Entry("a", "a", TensorSpec("float32", ()))
            >>> [entry.key for entry in Selection(renames={"b": "a"}).for_save([a])]
            ['b']
        """
        if self.averages is not None:
            raise SelectionError(
                "averages() says what a restore reads, so it cannot go with a save",
                advice="Save without it: the shadow variables are saved beside the others.",
            )
        keyed = {at: whole(key, entries[at].key) for at, key in self._keyed(entries, None).items()}
        _require_one_variable_per_key(entries, keyed)
        chosen = [entries[at].under(key) for at, key in keyed.items()]
        _require_whole(chosen)
        return tuple(chosen)

    def for_restore(
        self,
        specs: Mapping[str, TensorSpec],
        entries: Sequence[Entry],
        averages_of: AveragesOf | None = None,
    ) -> Plan:
        """Pair the tensors of a checkpoint with the variables of a target.

        Args:
            specs: what the checkpoint holds.
            entries: all variables of the target.
            averages_of: `Target.averages_of`; needed where `averages` is set.

        Returns:
            The plan, with what does not fit.

        Raises:
            SelectionError: nothing matches a choice, or two variables want one key.

        Example:
            >>> a = Entry("a", "a", TensorSpec("float32", (2,)))
            >>> Selection().for_restore({"b": TensorSpec("float32", (2,))}, [a]).missing[0].key
            'a'
        """
        keyed = {
            at: completed(key, entries[at].key, specs)
            for at, key in self._keyed(entries, specs).items()
        }
        _require_one_variable_per_key(entries, keyed)
        chosen, keys = [entries[at] for at in keyed], list(keyed.values())
        shadows: Mapping[str, str] = {}
        if self.averages is not None and averages_of is not None:
            named = list(map(Entry.under, chosen, keys))
            places = averages_of(self.averages, named)
            shadows = shadows_in(specs, self.averages, named, places)
        assignments: list[Assignment] = []
        missing: list[Missing] = []
        mismatched: list[Mismatch] = []
        for entry, plain in zip(chosen, keys, strict=True):
            shadow = shadows.get(plain)
            key = plain if shadow is None else shadow
            found = specs.get(key)
            if found is None:
                missing.append(Missing(key, entry))
            elif not entry.wanted.accepts(found):
                mismatched.append(Mismatch(key, entry, found))
            else:
                assignments.append(Assignment(key, entry, averaged=shadow is not None))
        wanted = [(each.key, each.entry.wanted, each.entry.slot) for each in missing]
        left_alone = [entry for at, entry in enumerate(entries) if at not in keyed]
        known = {*keys, *(entry.key for entry in left_alone)}
        known |= {one.key for one in assignments} | {each.key for each in mismatched}
        known.add(OBJECT_GRAPH_KEY)
        unexpected = tuple(sorted(key for key in specs if key not in known))
        advice = advice_for(wanted, specs, unexpected)
        suggestion = {} if advice else suggested(missing, specs, unexpected)
        return Plan(
            tuple(assignments),
            tuple(_with_nearest(missing, unexpected, specs)),
            tuple(mismatched),
            unexpected,
            tuple(dict.fromkeys(entry.name for entry in left_alone if entry.default)),
            advice or advice_on(suggestion, len(missing)),
            suggestion,
        )

    def _keyed(
        self, entries: Sequence[Entry], saved: Mapping[str, TensorSpec] | None
    ) -> dict[int, str]:
        chosen = {at: entry.key for at, entry in enumerate(entries) if entry.default}
        if self.only is None and not self.renames:
            return chosen
        index = EntryIndex(entries)
        if self.only is not None:
            chosen = {}
        if isinstance(self.only, Mapping):
            for key, choice in self.only.items():
                _require_text(key, "only()")
                for position in index.one(choice, "only()"):
                    if chosen.setdefault(position, key) != key:
                        raise twice(entries[position].name, chosen[position], key)
        elif self.only is not None:
            for choice in self.only:
                for position in index.matching(choice, "only()"):
                    chosen.setdefault(position, entries[position].key)
        if self.only is not None and not chosen:
            raise SelectionError(
                "only() selects nothing", advice="Leave only() out to take every variable."
            )
        self._rename(index, chosen, saved)
        return dict(sorted(chosen.items()))

    def _rename(
        self, index: EntryIndex, chosen: dict[int, str], saved: Mapping[str, TensorSpec] | None
    ) -> None:
        exact: dict[int, str] = {}
        prefixes: dict[str, str] = {}
        patterns: dict[re.Pattern[str], str] = {}
        for key, choice in self.renames.items():
            if isinstance(key, re.Pattern):
                patterns[key] = template(choice)
                continue
            _require_text(key, "rename()")
            if isinstance(choice, str) and _is_prefix(key) and _is_prefix(choice):
                prefixes[choice] = key
                continue
            for at in index.one(choice, "rename()"):
                if exact.setdefault(at, key) != key:
                    raise twice(index.entries[at].name, exact[at], key)
        exact = {**matched(patterns, index, saved), **exact}
        used = set()
        for at, key in chosen.items():
            if at in exact:
                if isinstance(self.only, Mapping):
                    raise twice(index.entries[at].name, key, exact[at])
                chosen[at] = exact[at]
                continue
            plain = index.entries[at].key
            prefix = max(filter(plain.startswith, prefixes), key=len, default=None)
            if prefix is not None:
                chosen[at] = prefixes[prefix] + plain.removeprefix(prefix)
                used.add(prefix)
        for prefix in prefixes.keys() - used:
            raise SelectionError(
                f"rename() finds no variable whose name begins with {prefix!r}",
                advice=did_you_mean(prefix, index.names),
            )


def _with_nearest(
    missing: Sequence[Missing], unexpected: Sequence[str], specs: Mapping[str, TensorSpec]
) -> Iterator[Missing]:
    for at, one in enumerate(missing):
        if at >= _MOST_COMPARED:
            yield one
            continue
        alike = nearest(one.key, unexpected, 3) or nearest(one.key, specs, 3)
        yield attrs.evolve(one, nearest=tuple(alike))


def _require_text(key: object, step: str) -> None:
    if not isinstance(key, str):
        raise SelectionError(
            f"{step} is given a key that is no text",
            expected="{key in the checkpoint: variable or name}, the keys as str",
            found=value_text(key),
        )


def _is_prefix(text: str) -> bool:
    return not text or text.endswith("/")


def _require_one_variable_per_key(entries: Sequence[Entry], chosen: Mapping[int, str]) -> None:
    if len(set(chosen.values())) == len(chosen):
        return
    owners: dict[str, Entry] = {}
    for position, key in chosen.items():
        entry = entries[position]
        owner = owners.setdefault(key, entry)
        if owner is not entry and owner.key != entry.key:
            raise SelectionError(
                f"two variables want the key {key!r}: {owner.name!r} and {entry.name!r}",
                advice="Give the other one a key of its own in rename(), or leave it out with"
                " only().",
            )


def _require_whole(chosen: Sequence[Entry]) -> None:
    parts: dict[str, list[Slice]] = {}
    for entry in chosen:
        if entry.part is not None:
            parts.setdefault(entry.key, []).append(entry.part)
    for key, slices in parts.items():
        if sum(math.prod(part.length) for part in slices) != math.prod(slices[0].full_shape):
            raise SelectionError(
                f"only some parts of the partitioned variable {key!r} are selected",
                advice=f"Name the whole variable: only([{key!r}]).",
            )
