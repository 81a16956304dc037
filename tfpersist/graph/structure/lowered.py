"""What every source of the freezer becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import printable
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import Payload, TensorSpec

Array = np.ndarray[Any, Any]


@attrs.frozen
class Origin:
    """Where the values of a frozen graph come from.

    Args:
        checkpoint: SHA-256 of the index of the checkpoint, which has the checksums of all tensors.
        step: the training step of the checkpoint.
        tensorflow: the version of TensorFlow that built the graph.
    """

    checkpoint: str | None = None
    step: int | None = None
    tensorflow: str | None = None


@attrs.frozen
class Offer:
    """One of several signatures of a source, none of which goes without saying.

    Args:
        name: that of the signature.
        inputs: what it takes, by what it calls that; None where it does not say what that is.
        outputs: what it gives, likewise.
        tensors: names of the tensors that it gives.

    Example:
        >>> print(Offer("classify", {"x": TensorSpec("float32", (None, 2))}, {"digit": None}))
        classify: x float32[?,2] -> digit
    """

    name: str
    inputs: Mapping[str, TensorSpec | None]
    outputs: Mapping[str, TensorSpec | None]
    tensors: tuple[str, ...] = ()

    def __str__(self) -> str:
        takes, gives = (
            ", ".join(f"{label} {spec or ''}".rstrip() for label, spec in ends.items()) or "nothing"
            for ends in (self.inputs, self.outputs)
        )
        return printable(f"{self.name}: {takes} -> {gives}")


@attrs.frozen
class Lowered:
    """A graph, the variables in it and where it begins and ends.

    Args:
        graph: the whole graph, not yet pruned.
        variables: the value of each variable, by name of the node that stands for it: VariableV2,
            Variable or VarHandleOp.
        inputs: names of the tensors that are fed; empty where the source does not tell.
        outputs: names of the tensors that are asked for; empty where the source does not tell.
        offers: the signatures that the source has, if one of them is still to be chosen.
        problems: why a variable has no value, by name of its node.
        objects: the variable itself, by name of its node, where names do not tell them apart.
        live: whether the values may change after this, because the source goes on training.
        labels: names of tensors, by what the source's signature calls them.
        tables: what gives the keys and values of a lookup table, by name of its node.
        assets: paths of files, by name of the tensor that tells it or by their last part.
        origin: where the values come from.
        read: gives the bytes of a file that fills a table, by its path; what it says of a file that
            must not be read begins with the second argument, the table.
        run: computes tensors of the living source itself, given the values of some others by name;
            gives None for what it cannot compute of these. None where the source does not live.
        kept: names of the variables that the source has kept already, so that they stay.
    """

    graph: Graph
    variables: Mapping[str, Payload]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    offers: tuple[Offer, ...] = ()
    problems: Mapping[str, str] = attrs.field(factory=dict)
    objects: Mapping[str, object] = attrs.field(factory=dict)
    live: bool = False
    labels: Mapping[str, str] = attrs.field(factory=dict)
    tables: Mapping[str, Callable[[], tuple[Array, Array]]] = attrs.field(factory=dict)
    assets: Mapping[str, str] = attrs.field(factory=dict)
    origin: Origin = attrs.field(factory=Origin)
    read: Callable[[str, str], bytes] | None = None
    run: Callable[[Sequence[str], Mapping[str, Array]], Sequence[Array] | None] | None = None
    kept: frozenset[str] = frozenset()
