"""Variables of a target, and what of a checkpoint goes into them or is in the way. Pure."""

from __future__ import annotations

import attrs

from tfpersist.formats.tensors import Slice, TensorSpec


@attrs.frozen
class Entry:
    """One variable of a target, or one part of a partitioned variable.

    Args:
        key: the checkpoint key that it goes by; parts of one variable share it.
        name: what the user calls it: a variable's name without ":0", a path in a Keras model.
        spec: its data type and declared shape; for a part, those of the part.
        ref: the variable as the user holds it; compared by identity.
        part: which part of the tensor under `key` this is; None for the whole.
        handle: whatever else the target needs to find it again; also compared by identity, so it
            may be a second object that users hold for the same variable.
        slot: what optimizer slot this is, such as "Adam" or "momentum"; None for anything else.
        default: whether it is taken where `only()` says nothing; local variables are not.
        aliases: whatever else the user may call it, such as other paths to the same variable.
    """

    key: str
    name: str
    spec: TensorSpec
    ref: object = attrs.field(eq=False, repr=False, default=None)
    part: Slice | None = None
    handle: object = attrs.field(eq=False, repr=False, default=None)
    slot: str | None = None
    default: bool = True
    aliases: tuple[str, ...] = attrs.field(default=(), eq=False, repr=False)

    @property
    def wanted(self) -> TensorSpec:
        """What the tensor under `key` has to be: for a part, the whole variable."""
        if self.part is None:
            return self.spec
        return TensorSpec(self.spec.dtype, self.part.full_shape)

    def under(self, key: str) -> Entry:
        """Give the same variable under another key."""
        if key == self.key:
            return self
        part = self.part and attrs.evolve(self.part, full_name=key)
        return attrs.evolve(self, key=key, part=part)


@attrs.frozen
class Assignment:
    """A tensor of a checkpoint that goes into a variable.

    Args:
        key: the tensor's key in the checkpoint.
        entry: the variable, keyed as before any renaming.
        averaged: whether the tensor is a moving average of the variable.
    """

    key: str
    entry: Entry
    averaged: bool = False


@attrs.frozen
class Missing:
    """A variable for which a checkpoint has no tensor.

    Args:
        key: the key that was looked for.
        entry: the variable.
        nearest: keys of the checkpoint that look alike, best first.
    """

    key: str
    entry: Entry
    nearest: tuple[str, ...] = ()


@attrs.frozen
class Mismatch:
    """A tensor that does not fit its variable.

    Args:
        key: the tensor's key in the checkpoint.
        entry: the variable.
        found: what the checkpoint holds; `entry.wanted` is what was expected.
    """

    key: str
    entry: Entry
    found: TensorSpec


@attrs.frozen
class Plan:
    """What a restore will do, and what is in its way.

    Args:
        assignments: what fits.
        missing: variables without a tensor.
        mismatched: tensors of another shape or data type.
        unexpected: keys of the checkpoint that no variable of the target goes by.
        unselected: names of variables of the target that the selection leaves alone.
        advice: what would make it fit, where that can be told; else empty.
    """

    assignments: tuple[Assignment, ...]
    missing: tuple[Missing, ...] = ()
    mismatched: tuple[Mismatch, ...] = ()
    unexpected: tuple[str, ...] = ()
    unselected: tuple[str, ...] = ()
    advice: str = ""

    @property
    def fits(self) -> bool:
        """Whether nothing is missing or mismatched."""
        return not (self.missing or self.mismatched)
