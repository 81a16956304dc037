"""Propose what could be made from tensors of another form; carry out nothing of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from tfpersist.errors import counted, printable
from tfpersist.matching.choices.suggestions import advice_on, suggested
from tfpersist.matching.forms.derived import Derived, derived
from tfpersist.matching.forms.known_models import Known, known
from tfpersist.matching.pairing.saved import Saved
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.plans.fit import Assignment, Fit, Mismatch, Missing
from tfpersist.matching.recipes.recipe import Recipe


def with_recipes(fit: Fit, saved: Saved) -> Fit:
    """Return a fit whose missing and mismatched variables have recipes, where there are any.

    A layer has recipes for all its tensors or for none. So a tensor of such a layer that would fit
    by its name no longer does.

    Args:
        fit: the fit by other evidence.
        saved: the checkpoint.

    Returns:
        A changed copy; the same fit if everything fits.

    Example:
        >>> from tfpersist.formats.tensors import TensorSpec
        >>> from tfpersist.matching.plans.entry import Entry
        >>> head, saved = TensorSpec("float32", (4, 3)), TensorSpec("float32", (3, 4))
        >>> fit = Fit((), mismatched=(Mismatch("w", Entry("w", "w", head), saved),))
        >>> print(with_recipes(fit, Saved({"w": saved})).mismatched[0].entry.recipe)
        w: transpose(axes=[1, 0])
    """
    if fit.fits:
        return fit
    ones: list[Assignment | Missing | Mismatch] = [
        *fit.assignments,
        *fit.missing,
        *fit.mismatched,
    ]
    entries = [one.entry.under(one.key) for one in ones]
    mapped = _mapped(ones, entries, saved)
    for at, known_tensor in mapped.items():
        # What a map says is no longer looked for.
        entries[at] = attrs.evolve(entries[at].under(known_tensor.key), said=True)
    found = derived(entries, saved)
    if not (found or mapped):
        return fit
    changed: list[Assignment | Missing | Mismatch] = []
    for at, one in enumerate(ones):
        if at in mapped:
            changed.append(_with_map(one, mapped[at], saved))
        else:
            changed.append(_changed(one, found[at], saved) if at in found else one)
    missing = tuple(one for one in changed if isinstance(one, Missing))
    known = {one.key for one in changed if not isinstance(one, Missing)}
    moved = {one.key for one in ones if not isinstance(one, Missing)} - known
    suggestion = suggested(missing, saved.specs, [one.entry for one in ones])
    left = [one for at, one in enumerate(ones) if at not in mapped and at not in found]
    others = [one for one in left if isinstance(one, Missing)]
    advice = advice_on(others, suggested(others, saved.specs, [one.entry for one in ones]))
    return attrs.evolve(
        fit,
        assignments=tuple(one for one in changed if isinstance(one, Assignment)),
        missing=missing,
        mismatched=tuple(one for one in changed if isinstance(one, Mismatch)),
        unexpected=tuple(sorted({*fit.unexpected, *moved})),
        suggestion=suggestion,
        advice="\n".join(filter(None, [*_on_maps(mapped), *_advice(list(found.values())), advice])),
    )


def _mapped(
    ones: Sequence[Assignment | Missing | Mismatch], entries: Sequence[Entry], saved: Saved
) -> dict[int, Known]:
    """Return what maps say of the variables that are missing or mismatched."""
    names = {key: saved.full_names.get(key, key) for key in saved.specs}
    return {
        at: one
        for at, one in known(entries, names, saved.specs).items()
        if not isinstance(ones[at], Assignment) and not entries[at].said
    }


def _with_map(
    one: Assignment | Missing | Mismatch, mapped: Known, saved: Saved
) -> Missing | Mismatch:
    entry = attrs.evolve(
        one.entry, reason=mapped.reason, alternatives=(), conflict="", proposal=None
    )
    if isinstance(one, Missing):
        if mapped.recipe is None and not mapped.refused:
            entry = attrs.evolve(entry, proposal=(mapped.key, mapped.reason))
        return Missing(one.key, attrs.evolve(entry, recipe=mapped.recipe))
    recipe = None if mapped.refused else mapped.recipe or Recipe((mapped.key,))
    entry = attrs.evolve(entry, recipe=recipe)
    return Mismatch(one.key, entry, saved.specs[one.key], other_form=True)


def _on_maps(mapped: Mapping[int, Known]) -> list[str]:
    if not mapped:
        return []
    one = next(iter(mapped.values()))
    title, number = one.reason.partition("; ")[0], counted(len(mapped), "variable")
    if one.refused:
        return [f"Not made: {title}."]
    advice = (
        f"This is {title}, and {number} would be restored by its map. Look at the report's `plan`,"
        " and give it to restore(plan=...) if it is right."
    )
    return [f"{advice} {one.caveat}." if one.caveat else advice]


def _changed(
    one: Assignment | Missing | Mismatch, made: Derived, saved: Saved
) -> Missing | Mismatch:
    entry = attrs.evolve(
        one.entry,
        recipe=made.recipe,
        reason=made.refused or made.reason,
        proposal=None,
        alternatives=tuple(map(_text, made.alternatives)),
        conflict="",
    )
    if isinstance(one, Missing):
        return Missing(one.key, entry, () if made.recipe else one.nearest)
    return Mismatch(one.key, entry, saved.specs[one.key], other_form=True)


def _text(recipe: Recipe) -> str:
    return str(recipe) if recipe.steps else recipe.keys[0]


def _advice(found: Sequence[Derived]) -> list[str]:
    lines = []
    made = [one for one in found if one.recipe is not None]
    if made:
        forms = sorted({one.reason.partition("; ")[2] for one in made})
        lines.append(
            f"The checkpoint has {counted(len(made), 'variable')} in another form"
            f" ({'; '.join(forms)}). Look at the report's `plan`, which says how each would be"
            " made; give it to restore(plan=...) if it is right."
        )
    open_ones = [one for one in found if one.recipe is None and one.alternatives]
    if open_ones:
        texts = " or ".join(printable(_text(recipe)) for recipe in open_ones[0].alternatives)
        lines.append(
            f"{counted(len(open_ones), 'variable')} may be made in several ways, such as {texts}."
            " Say which with the plan's take()."
        )
    lines += dict.fromkeys(f"Not made: {one.refused}." for one in found if one.refused)
    return lines
