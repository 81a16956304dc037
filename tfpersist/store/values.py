"""Load the tensors of a restore, and make the values of variables of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import attrs

from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.formats.tensors import Array
from tfpersist.matching.choices.casting import made_with_loss
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.plans.fit import Assignment, Fit, Mismatch, Remapped
from tfpersist.matching.plans.loss import Loss
from tfpersist.matching.plans.overlap import overlaid
from tfpersist.progress import progress


@attrs.frozen
class Values:
    """The values that a restore assigns.

    Args:
        whole: variables and their values.
        partial: variables that are filled in part, and functions that return their values by the
            present ones.
        losses: what casts have lost.
    """

    whole: Sequence[tuple[Entry, Array]] = attrs.field(default=(), eq=False, repr=False)
    partial: Sequence[tuple[Entry, Callable[[Array], Array]]] = attrs.field(
        default=(), eq=False, repr=False
    )
    losses: tuple[Loss, ...] = ()


def read_values(checkpoint: Checkpoint, fit: Fit) -> Values:
    """Load the tensors that a fit takes, and make the values of them.

    Args:
        checkpoint: the checkpoint.
        fit: which tensor goes into which variable; what is missing or mismatched is left out.

    Raises:
        CorruptionError: a tensor is damaged.
    """
    pairs: list[Assignment | Mismatch | Remapped] = [
        *fit.assignments,
        *fit.sliced,
        *fit.remapped,
    ]
    keys = list(dict.fromkeys(key for one in pairs for key in _keys(one)))
    specs = list(map(checkpoint.specs.__getitem__, keys))
    # Many tensors have one spec in common.
    sizes = {id(spec): spec.nbytes or 0 for spec in {id(spec): spec for spec in specs}.values()}
    arrays = []
    with progress(f"Restoring {checkpoint.name}", sum(sizes[id(s)] for s in specs)) as done:
        for array in checkpoint.load(keys):
            arrays.append(array)
            done(array.nbytes)
    by_key = dict(zip(keys, arrays, strict=True))
    losses: list[Loss] = []
    values = [(one.entry, _value(by_key, one, losses)) for one in fit.assignments]
    partial = [
        (one.entry, functools.partial(_slice, _made(by_key, one, losses), one.entry))
        for one in fit.sliced
    ]
    partial += [
        (one.entry, functools.partial(_remap, by_key[one.key], one)) for one in fit.remapped
    ]
    return Values(values, partial, tuple(losses))


def _keys(one: Assignment | Mismatch | Remapped) -> Sequence[str]:
    recipe = one.entry.recipe
    return (one.key,) if recipe is None else recipe.keys


def _slice(tensor: Array, entry: Entry, present: Array) -> Array:
    return overlaid(present, tensor, entry.part)


def _remap(tensor: Array, one: Remapped, present: Array) -> Array:
    return one.rows.apply(present, tensor)


def _made(by_key: Mapping[str, Array], one: Assignment | Mismatch, losses: list[Loss]) -> Array:
    recipe = one.entry.recipe
    if recipe is None:
        return by_key[one.key]
    arrays = [by_key[key] for key in recipe.keys]
    value, loss = made_with_loss(one.entry.name, recipe, arrays)
    if loss is not None:
        losses.append(loss)
    return value


def _value(by_key: Mapping[str, Array], one: Assignment, losses: list[Loss]) -> Array:
    value, part = _made(by_key, one, losses), one.entry.part
    if part is None:
        return value
    ends = zip(part.start, part.length, strict=True)
    return value[tuple(slice(start, start + length) for start, length in ends)]
