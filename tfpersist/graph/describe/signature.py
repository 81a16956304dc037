"""What a frozen file says of itself, in a field of the GraphDef that other readers skip.

GraphDef = ... { 18932: the signature, JSON in UTF-8 }
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from google.protobuf.unknown_fields import UnknownFieldSet

from tfpersist.errors import NameNotFoundError, printable
from tfpersist.formats import varint, wire
from tfpersist.formats.graphdef import Graph
from tfpersist.graph.describe import summary
from tfpersist.graph.structure.kinds import INIT
from tfpersist.graph.structure.lowered import Lowered, Origin
from tfpersist.graph.structure.names import TensorRef

FIELD = 18932


@attrs.frozen
class Proof:
    """That a frozen graph gave what its source gave.

    Args:
        digest: SHA-256 of the golden pair: what was fed, and what the source gave.
        tolerance: how much a number may differ: by so much, and by that part of itself.
    """

    digest: str
    tolerance: float


@attrs.frozen
class Signature:
    """What a frozen graph takes and gives, and where it comes from.

    Args:
        inputs: names of the tensors to feed, by what the source calls them.
        outputs: names of the tensors to fetch, by what the source calls them.
        init: the operation that has to run once before anything else; None where none has to.
        origin: where the values come from.
        proof: that it gave what its source gave; None where that was not tried.

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
        """Read the signature of a graph; None where it has none that can be understood.

        Example:
            >>> from tfpersist.formats import schema
            >>> graph = Graph(schema.GraphDef())
            >>> sign(graph, Signature({"x": "in:0"}))
            >>> Signature.of(graph).inputs, Signature.of(Graph(schema.GraphDef()))
            ({'x': 'in:0'}, None)
        """
        fields: Any = UnknownFieldSet(graph.proto)
        for field in fields:
            if field.field_number == FIELD and isinstance(field.data, bytes):
                return _decoded(field.data)
        return None

    def __str__(self) -> str:
        takes, gives = (
            ", ".join(f"{label} = {name}" for label, name in ends.items()) or "nothing"
            for ends in (self.inputs, self.outputs)
        )
        return printable(f"{takes} -> {gives}")


def describe(lowered: Lowered, graph: Graph, refs: Sequence[TensorRef]) -> Signature:
    """Make the signature of a frozen graph.

    Args:
        lowered: the source; inputs are listed in its order.
        graph: the frozen graph.
        refs: what it computes, in the order of the signature.
    """
    labels: dict[str, str] = {}
    for label, name in sorted(lowered.labels.items()):
        labels.setdefault(name, label)

    def named(some: Sequence[TensorRef]) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in dict.fromkeys(ref.name for ref in some):
            label = labels.get(name, name.removesuffix(":0"))
            found[name if label in found else label] = name
        return found

    order = {name: at for at, name in enumerate(lowered.inputs)}
    taken = sorted(summary.inputs(graph), key=lambda ref: order.get(ref.name, len(order)))
    init = INIT if INIT in {node.name for node in graph.proto.node} else None
    return Signature(named(taken), named(refs), init, lowered.origin)


def inputs(graph: Graph) -> tuple[TensorRef, ...]:
    """List the tensors to feed: what the signature names, or else the placeholders.

    Args:
        graph: the graph.
    """
    return _named(graph, (Signature.of(graph) or Signature()).inputs) or summary.inputs(graph)


def outputs(graph: Graph) -> tuple[TensorRef, ...]:
    """List the tensors to fetch: what the signature names, or else what nothing uses.

    Args:
        graph: the graph.
    """
    return _named(graph, (Signature.of(graph) or Signature()).outputs) or summary.outputs(graph)


def _named(graph: Graph, ends: Mapping[str, str]) -> tuple[TensorRef, ...]:
    """Find the ends that a signature names; none where some are not in the graph any more."""
    try:
        return tuple(summary.find(graph, name) for name in ends.values())
    except NameNotFoundError:
        return ()


def sign(graph: Graph, signature: Signature) -> None:
    """Put a signature into a graph.

    Args:
        graph: the graph, whose GraphDef is the caller's own; it is changed.
        signature: what it says of itself.
    """
    known = {name: value for name, value in attrs.asdict(signature).items() if value}
    known["origin"] = {
        name: v for name, v in attrs.asdict(signature.origin).items() if v is not None
    }
    text = json.dumps(known, ensure_ascii=False).encode("utf-8", "replace")
    tag = varint.encode(FIELD << 3 | wire.BYTES)
    graph.proto.MergeFromString(tag + varint.encode(len(text)) + text)


def resolve(graph: Graph, text: str) -> str:
    """Give the name of a tensor that may be called as the signature calls it.

    Args:
        graph: the graph, whose own names come first.
        text: the name of a tensor, or what the signature calls it.
    """
    if not isinstance(text, str) or text.partition(":")[0] in graph.nodes:
        return text
    known = Signature.of(graph) or Signature()
    return known.outputs.get(text) or known.inputs.get(text) or text


def _decoded(data: bytes) -> Signature | None:
    try:
        known = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(known, dict):
        return None
    ends = [_names(known.get(part)) for part in ("inputs", "outputs")]
    init, origin = known.get("init"), known.get("origin")
    origin = origin if isinstance(origin, dict) else {}
    step = origin.get("step")
    texts = {part: origin.get(part) for part in ("checkpoint", "tensorflow")}
    return Signature(
        ends[0],
        ends[1],
        init if isinstance(init, str) else None,
        Origin(
            **{part: text for part, text in texts.items() if isinstance(text, str)},
            step=step if isinstance(step, int) else None,
        ),
        _proof(known.get("proof")),
    )


def _proof(value: Any) -> Proof | None:
    known = value if isinstance(value, dict) else {}
    digest, tolerance = known.get("digest"), known.get("tolerance")
    if not isinstance(digest, str) or not isinstance(tolerance, (int, float)):
        return None
    return Proof(digest, float(tolerance))


def _names(value: Any) -> dict[str, str]:
    pairs = value.items() if isinstance(value, dict) else ()
    return {label: name for label, name in pairs if isinstance(name, str)}
