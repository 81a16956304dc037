"""The names of a model in one library, by those in another. Pure data."""

from __future__ import annotations

import attrs


@attrs.frozen
class Series:
    """Layers without names, which Keras numbers in the order in which it makes them.

    Args:
        layer: the name of the first, such as "conv2d"; the next ones are "conv2d_1" and so on,
            or begin at another number.
        scopes: the scopes of the same layers in the checkpoint, in that order. It may have only
            the first of them.
        tensors: {end of a name in the checkpoint: end of the name in the target}.
        zeros: ends of names in the target of variables that the model in the checkpoint does
            without. They get zeros.
        least: how many of the first layers a model that ends early has at least; None if a model
            that has fewer layers than the checkpoint is another one.
        optional: whether the target may do without these tensors.
    """

    layer: str
    scopes: tuple[str, ...]
    tensors: dict[str, str] = attrs.field(hash=False)
    zeros: tuple[str, ...] = ()
    least: int | None = None
    optional: bool = False


@attrs.frozen
class ModelMap:
    """A map from the variables of a model in a checkpoint to those of its twin.

    Names are those below a common scope. A pattern matches the whole name in the checkpoint; its
    groups stand in the name in the target.

    Args:
        title: both models, for a report.
        anchor: a part of a name that every such checkpoint has.
        rules: {pattern of the name in the checkpoint: name in the target}. Unless each rule finds
            a pair, it is another model.
        optional: further rules that need not find one.
        source: the files that say so.
        zeros: {pattern of the name of a tensor: name in the target} of variables that the model in
            the checkpoint does without, such as biases. They get zeros.
        stages: patterns of names in the target, each with the number of a block as its group. As
            long as a later stage follows, both models must have as many blocks in a stage.
        series: layers without names.
        caveat: what differs between the twins though their tensors are the same, for a report.
    """

    title: str
    anchor: str
    rules: dict[str, str] = attrs.field(hash=False)
    optional: dict[str, str] = attrs.field(hash=False, factory=dict)
    source: str = ""
    zeros: dict[str, str] = attrs.field(hash=False, factory=dict)
    stages: tuple[str, ...] = ()
    series: tuple[Series, ...] = ()
    caveat: str = ""
