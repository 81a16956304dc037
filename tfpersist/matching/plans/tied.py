"""Notice variables that are one in the target and several in the checkpoint. Pure."""

from __future__ import annotations

from tfpersist.matching.plans.fit import Fit
from tfpersist.matching.sides.object_graph import VALUE

_SHOWN = 3


def tied(fit: Fit) -> str:
    """Return a note on the variables for which a checkpoint has several tensors.

    The model of the target ties weights that the saved model had apart: each has one value now, and
    the others are lost.

    Args:
        fit: how the checkpoint fits the target.

    Returns:
        The note; empty if there are no such variables.

    Example:
        >>> from tfpersist.formats.tensors import TensorSpec
        >>> from tfpersist.matching.plans.entry import Entry
        >>> from tfpersist.matching.plans.fit import Assignment
        >>> w = Entry("a/w", "a/w", TensorSpec("float32", (5,)), aliases=("a/w", "b/w"))
        >>> tied(Fit((Assignment("a/w", w),), unexpected=("b/w",)))
        'a/w is one variable here and several in the checkpoint: it takes a/w, and not b/w'
    """
    unexpected = set(fit.unexpected)
    if not unexpected:
        return ""
    found = []
    for one in fit.assignments:
        names = [name for alias in one.entry.aliases for name in (alias, alias + VALUE)]
        others = [name for name in dict.fromkeys(names) if name in unexpected]
        if others:
            found.append(
                f"{one.entry.name} is one variable here and several in the checkpoint: it takes"
                f" {one.key}, and not {', '.join(others)}"
            )
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(found[:_SHOWN]) + more
