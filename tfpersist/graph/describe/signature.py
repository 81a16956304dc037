"""The signature of a frozen graph, stored in a field of the GraphDef that other readers skip.

GraphDef = ... { 18932: the signature, JSON in UTF-8 }
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from tfpersist.errors import NameNotFoundError, printable
from tfpersist.formats.graphdef import Graph
from tfpersist.graph.describe import endpoints, own_fields
from tfpersist.graph.structure.kinds import INIT
from tfpersist.graph.structure.lowered import Lowered, Origin
from tfpersist.graph.structure.names import Labels, TensorRef, is_operation

FIELD = 18932


@attrs.frozen
class Proof:
    """The record that the outputs of a frozen graph were compared with those of its source.

    Args:
        digest: SHA-256 of the golden pair: the feeds, and the outputs of the source.
        tolerance: how much a number may differ; see `parity.compare`.

    Example:
        >>> Proof("0" * 64, tolerance=1e-5).tolerance
        1e-05
    """

    digest: str
    tolerance: float


@attrs.frozen
class Signature:
    """The names of the inputs and outputs of a frozen graph, and the origin of its values.

    Args:
        inputs: names of the tensors to feed, by their names in the source.
        outputs: names of the tensors to fetch, by their names in the source.
        init: the operation to run once before anything else; None if there is none.
        origin: the origin of the values.
        proof: the record of the comparison with the source; None if they were not compared.

    Example:
        >>> print(Signature({"image": "x:0"}, {"digit": "ArgMax:0"}))
        image = x:0 -> digit = ArgMax:0
    """

    inputs: Mapping[str, str] = attrs.field(factory=dict)
    outputs: Mapping[str, str] = attrs.field(factory=dict)
    init: str | None = None
    origin: Origin = attrs.field(factory=Origin)
    proof: Proof | None = None

    @classmethod
    def of(cls, graph: Graph) -> Signature | None:
        """Return the signature of a graph; None if it has no readable signature.

        Args:
            graph: the graph.

        Returns:
            The signature, or None.

        Example:
            >>> from tfpersist.formats import schema
            >>> graph = Graph(schema.GraphDef())
            >>> sign(graph, Signature({"x": "in:0"}))
            >>> Signature.of(graph).inputs, Signature.of(Graph(schema.GraphDef()))
            ({'x': 'in:0'}, None)
        """
        data = own_fields.read_field(graph, FIELD)
        return None if data is None else _decoded(data)

    def __str__(self) -> str:
        takes, gives = (
            ", ".join(f"{label} = {name}" for label, name in ends.items()) or "nothing"
            for ends in (self.inputs, self.outputs)
        )
        return printable(f"{takes} -> {gives}")


def describe(
    lowered: Lowered,
    graph: Graph,
    refs: Sequence[TensorRef],
    operations: Sequence[str] = (),
) -> Signature:
    """Return the signature of a frozen graph.

    Args:
        lowered: the source, for the names and the order of the inputs.
        graph: the frozen graph.
        refs: its outputs, in the order of the signature.
        operations: names of the operations without outputs that it is to run.
    """
    order = {name: position for position, name in enumerate(lowered.inputs)}
    fed = sorted(endpoints.inputs(graph), key=lambda ref: order.get(ref.name, len(order)))
    init = INIT if INIT in graph.nodes else None
    fetched = [*(ref.name for ref in refs), *operations]
    return Signature(
        _labelled([ref.name for ref in fed], lowered.labels.inputs),
        _labelled(fetched, lowered.labels.outputs),
        init,
        lowered.origin,
    )


def _labelled(tensors: Sequence[str], labels: Mapping[str, str]) -> dict[str, str]:
    """Return the names of tensors by their labels, or by the names of their operations."""
    names: dict[str, str] = {}
    for label, name in sorted(labels.items()):
        names.setdefault(name, label)
    by_label: dict[str, str] = {}
    for name in dict.fromkeys(tensors):
        label = names.get(name, name.removesuffix(":0"))
        by_label[name if label in by_label else label] = name
    return by_label


def inputs(graph: Graph) -> tuple[TensorRef, ...]:
    """Return the tensors to feed: those of the signature, or else the placeholders.

    Args:
        graph: the graph.
    """
    signed = _tensors(graph, (Signature.of(graph) or Signature()).inputs)
    return endpoints.inputs(graph) if signed is None else signed


def outputs(graph: Graph) -> tuple[TensorRef, ...]:
    """Return the tensors to fetch: those of the signature, or else those that nothing uses.

    Args:
        graph: the graph.
    """
    signed = _tensors(graph, (Signature.of(graph) or Signature()).outputs)
    return endpoints.outputs(graph) if signed is None else signed


def _tensors(graph: Graph, by_label: Mapping[str, str]) -> tuple[TensorRef, ...] | None:
    """Return the tensors that a signature names; None if one of them is not in the graph."""
    names = [name for name in by_label.values() if not is_operation(graph, name)]
    try:
        return tuple(endpoints.find(graph, name) for name in names) if by_label else None
    except NameNotFoundError:
        return None


def sign(graph: Graph, signature: Signature) -> None:
    """Add a signature to a graph.

    Args:
        graph: a graph whose GraphDef is the caller's own; it is changed.
        signature: the signature.
    """
    facts = {name: value for name, value in attrs.asdict(signature).items() if value}
    origin = attrs.asdict(signature.origin).items()
    facts["origin"] = {name: value for name, value in origin if value is not None}
    text = json.dumps(facts, ensure_ascii=False).encode("utf-8", "replace")
    own_fields.add_field(graph, FIELD, text)


def labels_of(graph: Graph) -> Labels:
    """Return what the signature of a graph calls its inputs and outputs.

    Args:
        graph: the graph.
    """
    signature = Signature.of(graph) or Signature()
    return Labels(signature.inputs, signature.outputs)


def _decoded(data: bytes) -> Signature | None:
    """Return the signature in a JSON text; parts of another type than expected are left out."""
    try:
        facts = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(facts, dict):
        return None
    init = facts.get("init")
    return Signature(
        _names(facts.get("inputs")),
        _names(facts.get("outputs")),
        init if isinstance(init, str) else None,
        _origin(facts.get("origin")),
        _proof(facts.get("proof")),
    )


def _origin(value: Any) -> Origin:
    facts = value if isinstance(value, dict) else {}
    step = facts.get("step")
    texts = {name: facts.get(name) for name in ("checkpoint", "tensorflow")}
    return Origin(
        **{name: text for name, text in texts.items() if isinstance(text, str)},
        step=step if isinstance(step, int) else None,
    )


def _proof(value: Any) -> Proof | None:
    facts = value if isinstance(value, dict) else {}
    digest, tolerance = facts.get("digest"), facts.get("tolerance")
    if not isinstance(digest, str) or not isinstance(tolerance, (int, float)):
        return None
    return Proof(digest, float(tolerance))


def _names(value: Any) -> dict[str, str]:
    pairs = value.items() if isinstance(value, dict) else ()
    return {label: name for label, name in pairs if isinstance(name, str)}
