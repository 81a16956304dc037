"""Describe a variable of a target: its key, its name, and what says which tensor is its own."""

from __future__ import annotations

from collections.abc import Hashable

import attrs

from tfpersist.formats.tensors import Slice, TensorSpec
from tfpersist.matching.recipes.recipe import Recipe


@attrs.frozen
class Entry:
    """One variable of a target, or one part of a partitioned variable.

    Args:
        key: its key in a checkpoint; parts of one variable share the key.
        name: the user's name for it: a variable's name without ":0", or a path in a Keras model.
        spec: its data type and declared shape; for a part, those of the part.
        ref: the variable as the user holds it; compared by identity.
        part: the part of the tensor under `key`; None for the whole.
        handle: another object that the target needs to find the variable again. It is compared by
            identity too, so it may be a second object that users hold for the same variable.
        slot: the optimizer slot, such as "Adam" or "momentum"; None for any other variable.
        default: whether it is selected without `only()`; local variables are not.
        aliases: other names for it, such as other paths to the same variable.
        layer: what it is restored together with; None for a variable that stands alone.
        reason: by which evidence `key` is the key of its tensor; empty for a key of its own.
        proposal: a key that would fit by weaker evidence, and by which; None if there is none.
        alternatives: keys that fit equally, where the evidence does not decide.
        conflict: what contradicts, where evidence does.
        spare: whether it may stay as it is without a word of the user, since nothing has used it.
        recipe: how its value, or the proposed one, is made from tensors of another form; None for
            the tensor under the key as it is.
        said: whether the user has said its key, so that others may have the same.
        kept: whether the user has said that it stays as it is.
        kept_for: for a state of an optimizer: the slot, such as "adam/m", and the identity of its
            variable, which is 0 for a state of the optimizer itself.
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
    layer: Hashable = attrs.field(default=None, eq=False, repr=False)
    reason: str = attrs.field(default="", eq=False, repr=False)
    proposal: tuple[str, str] | None = attrs.field(default=None, eq=False, repr=False)
    alternatives: tuple[str, ...] = attrs.field(default=(), eq=False, repr=False)
    conflict: str = attrs.field(default="", eq=False, repr=False)
    spare: bool = attrs.field(default=False, eq=False, repr=False)
    recipe: Recipe | None = attrs.field(default=None, eq=False, repr=False)
    said: bool = attrs.field(default=False, eq=False, repr=False)
    kept: bool = attrs.field(default=False, eq=False, repr=False)
    kept_for: tuple[str, int] | None = attrs.field(default=None, eq=False, repr=False)

    @property
    def wanted(self) -> TensorSpec:
        """The spec that the tensor under `key` must have: for a part, that of the whole."""
        if self.part is None:
            return self.spec
        return TensorSpec(self.spec.dtype, self.part.full_shape)

    @property
    def path(self) -> str:
        """The path that leads to the variable in an object graph; empty if there is none."""
        return self.aliases[0] if self.aliases else ""

    def under(self, key: str) -> Entry:
        """Return the same variable under another key."""
        if key == self.key:
            return self
        part = self.part and attrs.evolve(self.part, full_name=key)
        return attrs.evolve(self, key=key, part=part)
