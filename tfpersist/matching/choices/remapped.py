"""Take the tensors whose rows a user remaps out of a fit. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from tfpersist.errors import SelectionError, value_text
from tfpersist.matching.choices.entry_index import EntryIndex
from tfpersist.matching.plans.fit import Assignment, Fit, Mismatch, Remapped
from tfpersist.matching.plans.remap import row_map


def with_rows(fit: Fit, rows: object) -> Fit:
    """Return a fit in which some variables take rows of their tensors into other rows.

    Args:
        fit: the fit.
        rows: {name of a variable: rows}, or pairs of a variable and its rows; see `remap.row_map`.

    Raises:
        SelectionError: a name means no variable, or one that gets no tensor; or the rows do not
            fit.

    Example:
        >>> from tfpersist.formats.tensors import TensorSpec
        >>> from tfpersist.matching.plans.entry import Entry
        >>> w, found = Entry("w", "w", TensorSpec("float32", (5,))), TensorSpec("float32", (3,))
        >>> fit = Fit((), mismatched=(Mismatch("w", w, found),))
        >>> print(with_rows(fit, {"w": {0: 4, 2: 0}}).remapped[0].rows)
        2 rows remapped
    """
    pairs = list(_pairs(rows))
    if not pairs:
        return fit
    fitting: list[Assignment | Mismatch] = [*fit.assignments, *fit.mismatched]
    without = [one.entry for one in (*fit.missing, *fit.kept)]
    index = EntryIndex([*(one.entry for one in fitting), *without])
    done: dict[int, Remapped] = {}
    for choice, said in pairs:
        for at in index.matching(choice, "rows="):
            entry = index.entries[at]
            if at in done:
                raise _wrong(entry.name, "rows= names a variable twice")
            if at >= len(fitting):
                raise _wrong(entry.name, "rows= names a variable that gets no tensor")
            if entry.part is not None or entry.recipe is not None:
                raise _wrong(
                    entry.name, "rows= names a variable that has parts, or gets no tensor as it is"
                )
            one = fitting[at]
            found = one.found if isinstance(one, Mismatch) else entry.wanted
            mapped = row_map(entry.name, said)
            mapped.check(entry.wanted, found)
            done[at] = Remapped(one.key, entry, found, mapped)
    left = [one for at, one in enumerate(fitting) if at not in done]
    return attrs.evolve(
        fit,
        assignments=tuple(one for one in left if isinstance(one, Assignment)),
        mismatched=tuple(one for one in left if isinstance(one, Mismatch)),
        remapped=tuple(done.values()),
    )


def _pairs(rows: object) -> Iterable[tuple[object, object]]:
    if isinstance(rows, Mapping):
        return rows.items()
    pairs = list(rows) if isinstance(rows, (list, tuple)) else None
    if pairs is None or not all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs
    ):
        raise SelectionError(
            "rows= has a value of another kind",
            expected="{name of a variable: rows}, or a list of (variable, rows)",
            found=value_text(rows),
        )
    return pairs


def _wrong(name: str, problem: str) -> SelectionError:
    return SelectionError(problem, where=name)
