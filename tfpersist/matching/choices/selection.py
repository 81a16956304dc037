"""Choose the variables of a save or a restore, and their keys: only, rename, averages. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from tfpersist.errors import SelectionError, did_you_mean, nearest, value_text
from tfpersist.formats.tensors import Slice, TensorSpec
from tfpersist.matching.choices.entry_index import EntryIndex
from tfpersist.matching.choices.patterns import matched, template
from tfpersist.matching.choices.shadows import shadows_in
from tfpersist.matching.choices.suggestions import advice_on, suggested
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.plans.fit import Assignment, Fit, Mismatch, Missing
from tfpersist.matching.sides.naming import completed, twice, whole
from tfpersist.matching.sides.object_graph import OBJECT_GRAPH_KEY

# To find similar names takes up to a tenth of a second for each name.
_MOST_COMPARED = 12

# The signature of `Target.averages_of`.
AveragesOf = Callable[[object, Sequence[Entry]], Mapping[str, Sequence[str]]]


@attrs.frozen(eq=False)
class Selection:
    """The variables that a user selects, and their keys.

    Args:
        only: variables, names and globs, or {key in the checkpoint: variable or name}; None for
            all variables.
        renames: {key in the checkpoint: variable or name}. A key and a name that both end in "/"
            (or are empty) mean everything under them. A compiled pattern means all keys that it
            matches as a whole, and its name may contain "\\1". Other variables keep their keys.
        averages: the moving averages to restore in place of the variables; None for the variables
            themselves.
    """

    only: Sequence[object] | Mapping[str, object] | None = None
    renames: Mapping[Any, object] = attrs.field(factory=dict)
    averages: object = None

    @property
    def says_keys(self) -> bool:
        """Whether it says which tensor a variable gets, and not only which variables are meant."""
        return bool(self.renames) or self.averages is not None or isinstance(self.only, Mapping)

    def renamed(self, names: Mapping[Any, object]) -> Selection:
        """Return this selection with more renames.

        Raises:
            SelectionError: `names` is not a mapping.
        """
        if not isinstance(names, Mapping):
            raise SelectionError(
                "rename() got something that is not a dict",
                expected="{key in the checkpoint: variable or name}",
                found=type(names).__name__,
            )
        return attrs.evolve(self, renames={**self.renames, **names})

    def for_save(self, entries: Sequence[Entry]) -> tuple[Entry, ...]:
        """Return the variables to save.

        Args:
            entries: all variables of the target.

        Returns:
            The selected variables, under the keys to write.

        Raises:
            SelectionError: a choice matches nothing, or two variables have one key.

        Example:
            >>> a = Entry("a", "a", TensorSpec("float32", ()))
            >>> [entry.key for entry in Selection(renames={"b": "a"}).for_save([a])]
            ['b']
        """
        if self.averages is not None:
            raise SelectionError(
                "averages() is for a restore, and cannot be used with a save",
                advice="Save without it: the moving averages are saved with the other variables.",
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
    ) -> Fit:
        """Return how a checkpoint fits: which tensor goes into which variable.

        Args:
            specs: the specs of the checkpoint's tensors, by key.
            entries: all variables of the target.
            averages_of: `Target.averages_of`; needed if `averages` is set.

        Returns:
            The fit, which also lists what does not fit.

        Raises:
            SelectionError: a choice matches nothing, two variables have one key, or a recipe does
                not fit the tensors.

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
        kept: list[Missing] = []
        mismatched: list[Mismatch] = []
        for entry, plain in zip(chosen, keys, strict=True):
            shadow = shadows.get(plain)
            key = plain if shadow is None else shadow
            spec = entry.recipe.spec_of(specs) if entry.said and entry.recipe else specs.get(key)
            if entry.kept or (spec is None and entry.spare):
                kept.append(Missing(key, entry))
            elif spec is None:
                missing.append(Missing(key, entry))
            elif not entry.wanted.accepts(spec):
                mismatched.append(Mismatch(key, entry, spec, averaged=shadow is not None))
            else:
                assignments.append(Assignment(key, entry, averaged=shadow is not None))
        unselected = [entry for at, entry in enumerate(entries) if at not in keyed]
        known = {*keys, *(entry.key for entry in unselected)}
        known |= {one.key for one in assignments} | {one.key for one in mismatched}
        known |= {key for entry in chosen if entry.recipe for key in entry.recipe.keys}
        known.add(OBJECT_GRAPH_KEY)
        unexpected = tuple(sorted(key for key in specs if key not in known))
        suggestion = suggested(missing, specs, entries)
        return Fit(
            tuple(assignments),
            tuple(_with_nearest(missing, unexpected, specs)),
            tuple(mismatched),
            unexpected,
            tuple(dict.fromkeys(entry.name for entry in unselected if entry.default)),
            advice_on(missing, suggestion),
            suggestion,
            tuple(kept),
        )

    def fixed(self, entries: Sequence[Entry], specs: Mapping[str, TensorSpec]) -> dict[int, str]:
        """Return the keys that `renames` gives to single variables.

        Args:
            entries: the variables, under the keys of a save.
            specs: the specs of the checkpoint's tensors, by key.

        Returns:
            The key of each variable, by its identity. Names that no variable has are left out.
        """
        index = EntryIndex(entries)
        keys: dict[int, str] = {}
        for key, choice in self.renames.items():
            if not isinstance(key, str) or (
                isinstance(choice, str) and _is_prefix(key) and _is_prefix(choice)
            ):
                continue
            positions = index.known(choice)
            for at in positions if len({entries[at].key for at in positions}) == 1 else ():
                keys[id(entries[at].ref)] = completed(key, entries[at].key, specs)
        return keys

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
                "only() selects nothing", advice="Leave only() out to select every variable."
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
    patterns = [re.sub(r"\d+", "#", one.key) for one in missing]
    counts = Counter(patterns)
    # A report shows those that are alike as one row, without similar keys.
    order = sorted(range(len(missing)), key=lambda at: counts[patterns[at]])
    compared = set(order[:_MOST_COMPARED])
    for at, one in enumerate(missing):
        if at not in compared:
            yield one
            continue
        similar = nearest(one.key, unexpected, 3) or nearest(one.key, specs, 3)
        yield attrs.evolve(one, nearest=tuple(similar))


def _require_text(key: object, step: str) -> None:
    if not isinstance(key, str):
        raise SelectionError(
            f"{step} got a key that is not a str",
            expected="{key in the checkpoint: variable or name}",
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
        if entry.said:
            continue
        owner = owners.setdefault(key, entry)
        if owner is not entry and owner.key != entry.key:
            raise SelectionError(
                f"two variables have the key {key!r}: {owner.name!r} and {entry.name!r}",
                advice="Give one of them another key with rename(), or leave it out with only().",
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
