"""A frozen model is tried against the golden pair in its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfpersist import arguments
from tfpersist.errors import FeedError, ParityError, did_you_mean
from tfpersist.graph.describe import golden
from tfpersist.graph.describe.described import Described
from tfpersist.graph.describe.golden import Array, Golden, Held
from tfpersist.graph.describe.parity import Parity, compare
from tfpersist.graph.describe.signature import Proof, Signature
from tfpersist.graph.structure.feeds import fit

Run = Callable[[Sequence[str], Mapping[str, Array]], Sequence[Array]]


def verify(
    model: Described, run: Run, feeds: Mapping[Any, Any] | None, tolerance: float | None
) -> Parity:
    """Run a frozen model on the feeds of its golden pair.

    Args:
        model: the model.
        run: computes tensors of it.
        feeds: these feeds, where the file does not hold them.
        tolerance: how much the outputs may differ; None for what was allowed at first.

    Raises:
        ParityError: there is no golden pair, or the outputs differ.
        CorruptionError: the golden pair is damaged.
        FeedError: the file does not hold the feeds, or these are others.
        ArgumentError: the tolerance is negative, not finite or no number.
    """
    if tolerance is not None:
        tolerance = arguments.tolerance(tolerance, "verify")
    known, proof = _golden(model)
    if feeds is None:
        given = {held.name: held.values for held in known.feeds if held.values is not None}
        absent = [held.name for held in known.feeds if held.name not in given]
        if absent:
            raise FeedError(
                "what was fed is too large to be in the file",
                where=", ".join(absent),
                advice="Pass it: verify({...: ...}); its digest is in the file.",
            )
    else:
        given = fitted(model, named(model, feeds, {}))
        told = {held.name: held.digest for held in known.feeds}
        others = sorted(given.keys() ^ told.keys()) or sorted(
            name for name, value in given.items() if golden.digest(value) != told[name]
        )
        if others:
            raise FeedError("this is not what was fed at first", where=", ".join(others))
    names = [held.name for held in known.outputs]
    found = dict(zip(names, run(names, given), strict=True))
    report = compared(known.outputs, found, proof.tolerance if tolerance is None else tolerance)
    if not report.ok:
        raise ParityError(
            "the model gives something else here than its source did",
            where=model.file or None,
            expected=f"outputs within a tolerance of {report.tolerance:g}",
            report=report,
        )
    return report


def _golden(model: Described) -> tuple[Golden, Proof]:
    known = golden.attached(model.graph, model.file)
    proof = (model.signature or Signature()).proof
    if known is None or proof is None or proof.digest != known.digest:
        raise ParityError(
            "there is nothing in this model to verify it with"
            if known is None or proof is None
            else "the golden pair is another than the signature tells of",
            where=model.file or None,
            advice="Freeze it with Freezer(...).parity(feeds).",
        )
    return known, proof


def named(model: Described, feeds: Mapping[Any, Any], inputs: Mapping[str, str]) -> dict[str, Any]:
    """Give feeds their names in the frozen graph.

    Args:
        model: the model.
        feeds: values, by what `FrozenModel.run` or the source calls their tensors.
        inputs: what the source calls the inputs, by their names in the frozen graph.

    Raises:
        NameNotFoundError: there is no such tensor.
        FeedError: one is fed twice.
    """
    new = {old: name for name, old in inputs.items()}
    given: dict[str, Any] = {}
    for name, value in feeds.items():
        text = str(getattr(name, "name", name))
        full = text if ":" in text else f"{text}:0"
        ref = model[new.get(full, text) if full not in inputs else text]
        if ref.name in given:
            raise FeedError("fed twice", where=ref.name, found=f"again as {name!r}")
        given[ref.name] = value
    return given


def fitted(model: Described, feeds: Mapping[str, Any]) -> dict[str, Array]:
    """Make the arrays that go into the inputs of a model.

    Raises:
        FeedError: one of them does not fit, or is for no input.
    """
    known = {ref.name: ref.spec for ref in model.inputs if ref.spec is not None}
    for name in feeds.keys() - known.keys():
        raise FeedError(
            "this is no input of the frozen model", where=name, advice=did_you_mean(name, known)
        )
    return {name: fit(feeds[name], spec, name) for name, spec in known.items() if name in feeds}


def compared(expected: Sequence[Held], found: Mapping[str, Array], tolerance: float) -> Parity:
    """Compare outputs with what is known of them."""
    return Parity(tuple(compare(held, found[held.name], tolerance) for held in expected), tolerance)
