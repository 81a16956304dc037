"""The names of a model in one library, by those in another. Pure data."""

from __future__ import annotations

import attrs


@attrs.frozen
class ModelMap:
    """Which variable of a model in a checkpoint is which variable of its twin.

    Names are those below a common scope. A pattern matches the whole name in the checkpoint; its
    groups stand in the name in the target.

    Args:
        title: both models, for a report.
        anchor: a part of a name that every such checkpoint has.
        rules: {pattern of the name in the checkpoint: name in the target}. Unless each rule finds
            a pair, it is another model.
        optional: further rules that need not find one.
        source: the files that say so.
    """

    title: str
    anchor: str
    rules: dict[str, str] = attrs.field(hash=False)
    optional: dict[str, str] = attrs.field(hash=False, factory=dict)
    source: str = ""
