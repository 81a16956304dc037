"""The summary of a graph, made from its skeleton alone."""

from __future__ import annotations

import collections
import html
from collections.abc import Iterator, Mapping, Sequence

import attrs

from tfpersist.errors import printable
from tfpersist.formats import dtypes, graphdef
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import TensorSpec
from tfpersist.graph.describe import endpoints
from tfpersist.graph.structure.names import TensorRef

_NOT_WEIGHTS = frozenset({"bool", "string", "int32", "int64", "uint32", "uint64"})


@attrs.frozen
class Constant:
    """One constant of a graph.

    Args:
        name: the name of the node; "function/node" for a node in a function.
        spec: its data type and shape.
        nbytes: the bytes of its elements in memory; of strings, the sum of their lengths.
        fits: whether it has as many bytes as its shape needs. If not, it cannot be loaded, and
            `nbytes` counts the bytes that are in the graph.

    Example:
        >>> print(Constant("dense/kernel", TensorSpec("float32", (2, 3)), 24))
        dense/kernel float32[2,3] 24 bytes
    """

    name: str
    spec: TensorSpec
    nbytes: int
    fits: bool = True

    def __str__(self) -> str:
        text = f"{printable(self.name)} {self.spec} {self.nbytes:,} bytes"
        return text if self.fits else f"{text}, which do not fit its shape"


@attrs.frozen
class Summary:
    """The inputs, outputs, ops and constants of a graph.

    Args:
        file: the path or URL of the graph; "" for a graph made in memory.
        inputs: the placeholders.
        outputs: the tensors that nothing in the graph uses.
        nodes: how many nodes the main graph has.
        operations: how often each op occurs, functions included, the most frequent first.
        parameters: how many elements all constants have; integers of 32 and 64 bits, bools and
            strings are not counted.
        nbytes: the bytes of all constants.
        constants: the largest constants, largest first; before them those that cannot be loaded.
        layers: the bytes of the constants of each layer, largest first. The layer of a constant is
            the part of its name before the last "/".
        functions: the names of the functions in the library.
        producer: the graph version of the TensorFlow that wrote the graph; 0 if it is not known.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> facts = summarize(parse_text(b'node { name: "x" op: "Placeholder" }'), "model.pb")
        >>> facts.nodes, facts.operations
        (1, {'Placeholder': 1})
    """

    file: str
    inputs: tuple[TensorRef, ...]
    outputs: tuple[TensorRef, ...]
    nodes: int
    operations: Mapping[str, int]
    parameters: int
    nbytes: int
    constants: tuple[Constant, ...]
    layers: Mapping[str, int]
    functions: tuple[str, ...]
    producer: int

    def __str__(self) -> str:
        ops = [f"{op} {count}" for op, count in self.operations.items()]
        more = f" and {len(ops) - 8} more ops" if len(ops) > 8 else ""
        lines = [
            self.file or "a graph in memory",
            f"  nodes       {self.nodes:,}: " + ", ".join(ops[:8]) + more,
            f"  parameters  {self.parameters:,} in {self.nbytes:,} bytes of constants",
            *_listed("inputs", list(map(str, self.inputs))),
            *_listed("outputs", list(map(str, self.outputs))),
            *_listed("largest", list(map(str, self.constants[:5]))),
            *_listed("layers", [f"{name} {size:,} bytes" for name, size in self.layers.items()]),
            *_listed("functions", list(self.functions)),
        ]
        return "\n".join(map(printable, lines))

    def html(self) -> str:
        """Return a short form in HTML for notebooks.

        Returns:
            The HTML.

        Example:
            >>> from tfpersist.formats.graphdef import parse_text
            >>> facts = summarize(parse_text(b'node { name: "x" op: "Placeholder" }'), "model.pb")
            >>> facts.html().startswith("<b>model.pb</b>")
            True
        """
        rows = [("input", ref) for ref in self.inputs]
        rows += [("output", ref) for ref in self.outputs]
        cells = "".join(
            f"<tr><td>{role}</td><td>{html.escape(printable(ref.name))}</td>"
            f"<td>{html.escape(str(ref.spec or 'unknown'))}</td></tr>"
            for role, ref in rows[:20]
        )
        title = html.escape(printable(self.file or "FrozenModel"))
        facts = f"{self.nodes:,} nodes, {self.parameters:,} parameters, {self.nbytes:,} bytes"
        return f"<b>{title}</b><br>{facts}<table>{cells}</table>"


def summarize(graph: Graph, file: str = "", *, largest: int = 10) -> Summary:
    """Return the summary of a graph.

    Args:
        graph: the graph.
        file: the path or URL of the graph; "" for a graph made in memory.
        largest: how many constants to list.

    Raises:
        GraphError: the attrs of a node do not say which outputs it has.
    """
    constants = sorted(_constants(graph), key=lambda constant: (constant.fits, -constant.nbytes))
    bodies = [graph.proto.node, *(f.node_def for f in graph.proto.library.function)]
    operations = collections.Counter(node.op for body in bodies for node in body)
    return Summary(
        file=file,
        inputs=endpoints.inputs(graph),
        outputs=endpoints.outputs(graph),
        nodes=len(graph.proto.node),
        operations=dict(operations.most_common()),
        parameters=sum(
            c.spec.elements or 0 for c in constants if c.fits and c.spec.dtype not in _NOT_WEIGHTS
        ),
        nbytes=sum(constant.nbytes for constant in constants),
        constants=tuple(constants[:largest]),
        layers=_layers(constants),
        functions=tuple(graph.functions),
        producer=graph.proto.versions.producer,
    )


def shortened(refs: Sequence[TensorRef]) -> str:
    """Return the first tensors of a list and the number of the others, on one line."""
    shown = ", ".join(map(str, refs[:3])) or "nothing"
    return f"{shown} and {len(refs) - 3} more" if len(refs) > 3 else shown


def _constants(graph: Graph) -> Iterator[Constant]:
    for node in graph.proto.node:
        constant = _constant(node, node.name)
        if constant is not None:
            yield constant
    for function in graph.proto.library.function:
        for node in function.node_def:
            constant = _constant(node, f"{function.signature.name}/{node.name}")
            if constant is not None:
                yield constant


def _constant(node: Message, name: str) -> Constant | None:
    """Return the facts of a Const; None for another op, or if type or shape are unknown."""
    if node.op != "Const" or "value" not in node.attr:
        return None
    tensor = node.attr["value"].tensor
    dtype = dtypes.by_number(tensor.dtype)
    if dtype is None or tensor.tensor_shape.unknown_rank:
        return None
    shape = tuple(max(dim.size, 0) for dim in tensor.tensor_shape.dim)
    spec = TensorSpec(dtype.name, shape)
    text_bytes = sum(map(len, tensor.string_val))
    nbytes = text_bytes if spec.nbytes is None else spec.nbytes
    content_bytes = len(tensor.tensor_content)
    if max(nbytes, spec.elements or 0) > graphdef.LARGEST or (
        spec.nbytes and content_bytes not in (0, nbytes)
    ):
        return Constant(name, spec, tensor.ByteSize(), fits=False)
    return Constant(name, spec, nbytes)


def _layers(constants: list[Constant]) -> dict[str, int]:
    """Return the bytes of the constants of each layer."""
    sizes: collections.Counter[str] = collections.Counter()
    for constant in constants:
        sizes[constant.name.rpartition("/")[0]] += constant.nbytes
    return {name: size for name, size in sizes.most_common() if name and size}


def _listed(title: str, rows: list[str]) -> Iterator[str]:
    """Yield the lines of a list; the title is in the first one."""
    for number, row in enumerate(rows[:8]):
        yield f"  {title if number == 0 else '':<11} {row}"
    if len(rows) > 8:
        yield f"  {'':<11} and {len(rows) - 8} more"
