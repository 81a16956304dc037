"""Test a frozen model against its file: compare the bytes, run the golden pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from tfpersist import arguments
from tfpersist.errors import FeedError, ParityError, UnsupportedError, did_you_mean
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import Array
from tfpersist.graph.describe import golden, lookup, signature
from tfpersist.graph.describe.golden import Golden, GoldenTensor
from tfpersist.graph.describe.parity import Parity, compare
from tfpersist.graph.describe.signature import Proof, Signature
from tfpersist.graph.structure.feeds import fit

_INTACT = "every byte of the file is as it was written"
_NO_CHECKSUMS = "the bytes were not compared: the file has no checksums"

Run = Callable[[Sequence[str], Mapping[str, Array]], Sequence[Array]]


def verify(
    graph: Graph,
    run: Run,
    feeds: Mapping[Any, Any] | None = None,
    tolerance: float | None = None,
    *,
    file: str = "",
) -> Parity:
    """Compare the bytes of a frozen graph, run it on its golden feeds, and compare the outputs.

    Args:
        graph: the graph.
        run: computes tensors of the graph.
        feeds: the feeds of the golden pair, for those that the file does not hold.
        tolerance: how much the outputs may differ; None for the tolerance of the first test.
        file: the file that the graph is from, for errors.

    Raises:
        ParityError: there are neither checksums nor a golden pair, or the outputs differ.
        CorruptionError: the bytes are not those that were written, or the golden pair is damaged.
        FeedError: the file does not hold the feeds, or these are others.
        ArgumentError: the tolerance is negative, not finite or not a number.
    """
    if tolerance is not None:
        tolerance = arguments.tolerance(tolerance, "verify")
    note = _NO_CHECKSUMS
    if graph.checksums is not None:
        compare_bytes(graph, file)
        note = _INTACT
        if golden.attached(graph, file) is None and feeds is None:
            return Parity((), tolerance or 0.0, note)
    pair, proof = _golden_pair(graph, file)
    arrays = _stored_feeds(pair) if feeds is None else _same_feeds(graph, feeds, pair)
    names = [output.name for output in pair.outputs]
    computed = dict(zip(names, run(names, arrays), strict=True))
    report = compare_all(
        pair.outputs, computed, proof.tolerance if tolerance is None else tolerance
    )
    if not report.ok:
        raise ParityError(
            "the outputs of the model differ from those of its source",
            where=file or None,
            expected=f"outputs within a tolerance of {report.tolerance:g}",
            report=report,
        )
    return attrs.evolve(report, note=note)


def compare_bytes(graph: Graph, file: str) -> None:
    """Compare every byte of the file of a graph with its checksum.

    Args:
        graph: the graph.
        file: the file that the graph is from, for errors.

    Raises:
        CorruptionError: the bytes are not those that were written.
        UnsupportedError: the file has no checksums.
    """
    if graph.checksums is None:
        raise UnsupportedError(
            "this file has no checksums to verify it with",
            where=file or None,
            expected="a file that tfpersist has written",
            advice="Load it without verify=True; write() makes a file with checksums.",
        )
    graph.checksums.check_skeleton()
    graph.checksums.check_payloads()


def _golden_pair(graph: Graph, file: str) -> tuple[Golden, Proof]:
    pair = golden.attached(graph, file)
    proof = (Signature.of(graph) or Signature()).proof
    if pair is None or proof is None or proof.digest != pair.digest:
        raise ParityError(
            "this model has neither checksums nor a golden pair to verify it with"
            if pair is None and graph.checksums is None
            else "this model has no golden pair to verify it with"
            if pair is None or proof is None
            else "the golden pair is not the one that the signature names",
            where=file or None,
            advice="Freeze it with Freezer(...).parity(feeds).",
        )
    return pair, proof


def _stored_feeds(pair: Golden) -> dict[str, Array]:
    """Return the feeds that the file holds."""
    missing = [feed.name for feed in pair.feeds if feed.values is None]
    if missing:
        raise FeedError(
            "this feed is too large to be in the file",
            where=", ".join(missing),
            advice="Pass it: verify({...: ...}); its digest is in the file.",
        )
    return {feed.name: feed.values for feed in pair.feeds if feed.values is not None}


def _same_feeds(graph: Graph, feeds: Mapping[Any, Any], pair: Golden) -> dict[str, Array]:
    """Return feeds as arrays; raise FeedError if they are not those of the golden pair."""
    arrays = fit_feeds(graph, name_feeds(graph, feeds, {}))
    digests = {feed.name: feed.digest for feed in pair.feeds}
    others = sorted(arrays.keys() ^ digests.keys()) or sorted(
        name for name, value in arrays.items() if golden.digest(value) != digests[name]
    )
    if others:
        raise FeedError(
            "the feeds are not those of the golden pair",
            where=", ".join(others),
            expected=f"the values that parity() got for {', '.join(digests)}",
            advice="verify() without feeds uses those in the file, if they are stored there.",
        )
    return arrays


def name_feeds(graph: Graph, feeds: Mapping[Any, Any], inputs: Mapping[str, str]) -> dict[str, Any]:
    """Return feeds by the names of their tensors in a frozen graph.

    Args:
        graph: the frozen graph.
        feeds: values, by the names of their tensors in the graph, its signature or the source.
        inputs: the source's names of the inputs, by their names in the graph.

    Raises:
        NameNotFoundError: there is no such tensor.
        FeedError: a tensor is fed twice.
    """
    frozen_names = {old: name for name, old in inputs.items()}
    labels = signature.labels_of(graph).inputs
    named: dict[str, Any] = {}
    for name, value in feeds.items():
        text = str(getattr(name, "name", name))
        full = text if ":" in text else f"{text}:0"
        if text not in labels and full not in inputs:
            text = frozen_names.get(full, text)
        ref = lookup.find_input(graph, text)
        if ref.name in named:
            raise FeedError(
                "this input is fed twice",
                where=ref.name,
                found=f"it again as {name!r}",
                advice="Pass each input under one name.",
            )
        named[ref.name] = value
    return named


def fit_feeds(graph: Graph, feeds: Mapping[str, Any]) -> dict[str, Array]:
    """Return the arrays to feed to the inputs of a frozen graph.

    Args:
        graph: the frozen graph.
        feeds: values, by the names of their tensors in the graph.

    Raises:
        FeedError: a value does not fit, or its tensor is not an input.
    """
    specs = {ref.name: ref.spec for ref in signature.inputs(graph) if ref.spec is not None}
    for name in feeds.keys() - specs.keys():
        raise FeedError(
            "this is not an input of the frozen model", where=name, advice=did_you_mean(name, specs)
        )
    return {name: fit(feeds[name], spec, name) for name, spec in specs.items() if name in feeds}


def compare_all(
    expected: Sequence[GoldenTensor], computed: Mapping[str, Array], tolerance: float
) -> Parity:
    """Compare computed outputs with the values that are known of them."""
    differences = (compare(output, computed[output.name], tolerance) for output in expected)
    return Parity(tuple(differences), tolerance)
