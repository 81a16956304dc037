"""Cast tensors to the float types of their variables. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from tfpersist.formats.tensors import Array, TensorSpec
from tfpersist.matching.plans.fit import Assignment, Fit
from tfpersist.matching.plans.loss import Loss, loss_of
from tfpersist.matching.recipes.recipe import Recipe
from tfpersist.matching.recipes.recipe_steps import FLOATS, Cast


def as_cast(
    specs: Mapping[str, TensorSpec], wanted: Iterable[TensorSpec]
) -> Mapping[str, TensorSpec]:
    """Return the specs of a checkpoint as they are after a cast.

    So variables are found by their shapes too. Only if the variables have one float type, it is
    known before they are found.

    Args:
        specs: the specs of the checkpoint's tensors, by key.
        wanted: the specs of the variables.

    Example:
        >>> cast = as_cast({"w": TensorSpec("float32", (2,))}, [TensorSpec("float16", (2,))])
        >>> print(cast["w"])
        float16[2]
    """
    types = {spec.dtype for spec in wanted} & set(FLOATS)
    if len(types) != 1:
        return specs
    (dtype,) = types
    return {
        key: TensorSpec(dtype, spec.shape) if spec.dtype in FLOATS else spec
        for key, spec in specs.items()
    }


def with_casts(fit: Fit) -> Fit:
    """Return a fit in which tensors are cast whose float type alone does not fit.

    Args:
        fit: the fit.

    Example:
        >>> from tfpersist.matching.plans.entry import Entry
        >>> from tfpersist.matching.plans.fit import Mismatch
        >>> w, found = Entry("w", "w", TensorSpec("float16", ())), TensorSpec("float32", ())
        >>> fit = with_casts(Fit((), mismatched=(Mismatch("w", w, found),)))
        >>> print(fit.assignments[0].entry.recipe)
        w: cast(dtype=float16)
    """
    cast = []
    left = []
    for one in fit.mismatched:
        if _differs_in_type(one.found, one.entry.wanted):
            before = one.entry.recipe or Recipe((one.key,))
            recipe = attrs.evolve(before, steps=(*before.steps, Cast(one.entry.wanted.dtype)))
            entry = attrs.evolve(one.entry, recipe=recipe)
            cast.append(Assignment(one.key, entry, averaged=one.averaged))
        else:
            left.append(one)
    return attrs.evolve(fit, assignments=(*fit.assignments, *cast), mismatched=tuple(left))


def _differs_in_type(found: TensorSpec, wanted: TensorSpec) -> bool:
    types = {found.dtype, wanted.dtype}
    same_shape = wanted.accepts(TensorSpec(wanted.dtype, found.shape))
    return same_shape and len(types) > 1 and types <= set(FLOATS)


def made_with_loss(
    variable: str, recipe: Recipe, arrays: Sequence[Array]
) -> tuple[Array, Loss | None]:
    """Return what a recipe makes, and what its cast loses; None without a cast at its end.

    Args:
        variable: the variable's name.
        recipe: the recipe.
        arrays: the tensors, in the order of its keys.

    Example:
        >>> import numpy as np
        >>> made = made_with_loss("w", Recipe(("w",), (Cast("float16"),)), [np.float32([0.1])])
        >>> made[0], made[1].overflows
        (array([0.1], dtype=float16), 0)
    """
    if not recipe.steps or not isinstance(recipe.steps[-1], Cast):
        return recipe.apply(arrays), None
    before = attrs.evolve(recipe, steps=recipe.steps[:-1]).apply(arrays)
    after = recipe.steps[-1].apply(before)
    return after, loss_of(variable, before, after)
