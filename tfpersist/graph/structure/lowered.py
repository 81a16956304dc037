"""Lowered: what every source of the freezer is turned into."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from tfpersist.errors import printable
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import Array, Payload, TensorSpec
from tfpersist.graph.structure.names import Labels


@attrs.frozen
class Origin:
    """The origin of the values of a frozen graph.

    Args:
        checkpoint: SHA-256 of the checkpoint's index file, which has the checksums of all tensors.
        step: the training step of the checkpoint.
        tensorflow: the version of TensorFlow that built the graph.

    Example:
        >>> Origin(step=1000, tensorflow="1.15.5").step
        1000
    """

    checkpoint: str | None = None
    step: int | None = None
    tensorflow: str | None = None


@attrs.frozen
class SourceSignature:
    """A signature of a source, to be shown to a user who has to choose one.

    Args:
        name: the name of the signature.
        inputs: data type and shape of each input, by its name in the signature; None if unknown.
        outputs: the same of each output.
        tensors: the names of the output tensors in the graph.

    Example:
        >>> inputs = {"x": TensorSpec("float32", (None, 2))}
        >>> print(SourceSignature("classify", inputs, {"digit": None}))
        classify: x float32[?,2] -> digit
    """

    name: str
    inputs: Mapping[str, TensorSpec | None]
    outputs: Mapping[str, TensorSpec | None]
    tensors: tuple[str, ...] = ()

    def __str__(self) -> str:
        inputs, outputs = (
            ", ".join(f"{key} {spec or ''}".rstrip() for key, spec in specs.items()) or "nothing"
            for specs in (self.inputs, self.outputs)
        )
        return printable(f"{self.name}: {inputs} -> {outputs}")


@attrs.frozen
class Lowered:
    """A graph with the values of its variables, its inputs and its outputs.

    Args:
        graph: the whole graph, not yet pruned.
        variables: the value of each variable, by the name of its node: a VariableV2, Variable or
            VarHandleOp.
        inputs: names of the tensors to feed; empty if the source does not define them.
        outputs: names of the tensors to compute; empty if the source does not define them.
        signatures: the signatures of the source, if the user still has to choose one of them.
        problems: why a variable has no value, by the name of its node.
        objects: the variable object by the name of its node, for a source whose variables may
            share a name.
        live: whether the values may change later, because the source is still in use.
        labels: what the signature of the source calls its inputs and outputs.
        tables: a function that returns keys and values of a lookup table, by the name of its node.
        assets: paths of files, by the name of the tensor that holds the path, or by the last part
            of the path.
        origin: the origin of the values.
        read: returns the bytes of a file that fills a table. The arguments are its path, and the
            name of the table for the error if the file may not be read.
        run: computes tensors of the live source. The arguments are their names, and values to feed
            by name. Returns None for tensors that the source cannot compute. None if the source is
            not live.
        kept: names of the variables that the source itself kept when it was frozen; they stay
            variables.
    """

    graph: Graph
    variables: Mapping[str, Payload]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    signatures: tuple[SourceSignature, ...] = ()
    problems: Mapping[str, str] = attrs.field(factory=dict)
    objects: Mapping[str, object] = attrs.field(factory=dict)
    live: bool = False
    labels: Labels = attrs.field(factory=Labels)
    tables: Mapping[str, Callable[[], tuple[Array, Array]]] = attrs.field(factory=dict)
    assets: Mapping[str, str] = attrs.field(factory=dict)
    origin: Origin = attrs.field(factory=Origin)
    read: Callable[[str, str], bytes] | None = None
    run: Callable[[Sequence[str], Mapping[str, Array]], Sequence[Array] | None] | None = None
    kept: frozenset[str] = frozenset()
