"""Names of tensors: `operation:index`; the name of the operation alone means index 0."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import attrs

from tfpersist.errors import NameNotFoundError, did_you_mean, printable
from tfpersist.formats import dtypes
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import TensorSpec
from tfpersist.graph.structure import ops

# What TensorFlow allows as the name of an operation; an index is at most an int32.
_NAME = re.compile(r"([A-Za-z0-9.][A-Za-z0-9_.\\/>-]*)(?::(\d{1,9}))?", re.ASCII)


@attrs.frozen
class TensorRef:
    """One output of one operation of a graph.

    Args:
        operation: the name of the operation.
        index: the number of the output, from 0.
        spec: data type and shape; None if they are unknown.

    Example:
        >>> print(TensorRef("add", 0, TensorSpec("float32", (None, 2))))
        add:0 float32[?,2]
    """

    operation: str
    index: int = 0
    spec: TensorSpec | None = None

    @property
    def name(self) -> str:
        """The full name, such as "add:0"."""
        return f"{self.operation}:{self.index}"

    def __str__(self) -> str:
        return printable(self.name if self.spec is None else f"{self.name} {self.spec}")


def producer(text: str) -> str:
    """Return the name of the node that an input of a node in the main graph comes from.

    Example:
        >>> producer("split:1"), producer("^init"), producer("add")
        ('split', 'init', 'add')
    """
    if text[:1] == "^":
        return text[1:]
    # Most inputs have no index.
    return text.partition(":")[0] if ":" in text else text


def full_name(text: str) -> str:
    """Return the full name of the tensor that an input of a node means; "^node" stays as it is.

    Example:
        >>> full_name("add"), full_name("split:1"), full_name("^init")
        ('add:0', 'split:1', '^init')
    """
    return text if ":" in text or text[:1] == "^" else text + ":0"


@attrs.frozen
class Labels:
    """The labels of the inputs and of the outputs of a graph: two name spaces.

    Args:
        inputs: names of the tensors to feed, by what the model calls them.
        outputs: names of the tensors to fetch, by what the model calls them.
    """

    inputs: Mapping[str, str] = attrs.field(factory=dict)
    outputs: Mapping[str, str] = attrs.field(factory=dict)

    def fed(self, text: str, nodes: Collection[str]) -> str:
        """Return the name of the tensor that is meant where one is fed.

        Args:
            text: what the model calls the tensor, or the name of a tensor or operation.
            nodes: the names of the operations of the graph.

        Raises:
            NameNotFoundError: the text may mean two tensors, and neither is an input.

        Example:
            >>> Labels({"state": "x:0"}, {"state": "y:0"}).fed("state", {"x", "y"})
            'x:0'
        """
        return _meant(text, self.inputs, {"output": self.outputs}, nodes)

    def fetched(self, text: str, nodes: Collection[str]) -> str:
        """Return the name of the tensor that is meant where one is computed.

        Args:
            text: what the model calls the tensor, or the name of a tensor or operation.
            nodes: the names of the operations of the graph.

        Raises:
            NameNotFoundError: the text may mean two tensors, and neither is an output.

        Example:
            >>> Labels({"state": "x:0"}, {"state": "y:0"}).fetched("state", {"x", "y"})
            'y:0'
        """
        return _meant(text, self.outputs, {"input": self.inputs}, nodes)

    def found(self, text: str, nodes: Collection[str]) -> str:
        """Return the name of the tensor that is meant where it is neither fed nor fetched.

        Names of the graph come first.

        Args:
            text: what the model calls the tensor, or the name of a tensor or operation.
            nodes: the names of the operations of the graph.

        Raises:
            NameNotFoundError: the text is the name of an input and of another output.

        Example:
            >>> Labels({"state": "x:0"}, {"y": "y:0"}).found("state", {"x", "y"})
            'x:0'
        """
        if text.partition(":")[0] in nodes:
            return text
        return _meant(text, {}, {"input": self.inputs, "output": self.outputs}, nodes)


def _meant(
    text: str,
    own: Mapping[str, str],
    others: Mapping[str, Mapping[str, str]],
    nodes: Collection[str],
) -> str:
    """Return the name of the tensor that a text means.

    Args:
        text: the text.
        own: the labels of the side on which it is used.
        others: the labels of other sides, by the kind of end that they are for.
        nodes: the names of the operations of the graph.
    """
    operation, colon, _ = text.partition(":")
    if colon and operation in nodes:
        return text
    if text in own:
        return own[text]
    places = {f"the {kind}": labels[text] for kind, labels in others.items() if text in labels}
    if operation in nodes:
        places["the operation"] = text
    if len({full_name(name) for name in places.values()}) > 1:
        listed = [f"{place} {full_name(name)!r}" for place, name in places.items()]
        raise NameNotFoundError(
            f"{text!r} may mean {' or '.join(listed)}",
            advice="Write the name of the tensor, with the colon and the number.",
        )
    return next(iter(places.values()), text)


def parse_ref(text: str) -> TensorRef:
    """Return the tensor reference that a name stands for.

    Args:
        text: "operation:index" or "operation", which means index 0.

    Returns:
        The reference, without a spec.

    Raises:
        NameNotFoundError: the text is not the name of a tensor.

    Example:
        >>> parse_ref("split:1"), parse_ref("Net/add").name
        (TensorRef(operation='split', index=1, spec=None), 'Net/add:0')
    """
    match = _NAME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise NameNotFoundError(
            f"{text!r} is not the name of a tensor",
            expected="operation:index",
            advice="Write the name of the operation, a colon and the number of the output.",
        )
    return TensorRef(match[1], int(match[2] or 0))


def find_tensor(graph: Graph, text: str) -> TensorRef:
    """Find a tensor of a graph by its name.

    Args:
        graph: the graph.
        text: "operation:index" or "operation", which means index 0.

    Returns:
        The reference, with data type and shape as far as the graph has them.

    Raises:
        NameNotFoundError: there is no such operation, or it has fewer outputs.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''node { name: "x" op: "Placeholder"
        ...     attr { key: "dtype" value { type: DT_FLOAT } } }''')
        >>> print(find_tensor(graph, "x"))
        x:0 float32[...]
    """
    ref = parse_ref(text)
    node = graph.nodes.get(ref.operation)
    if node is None:
        raise NameNotFoundError(
            f"the graph has no operation {ref.operation!r}",
            advice=did_you_mean(ref.operation, graph.nodes),
        )
    types = ops.output_types(node, graph.functions)
    if types is not None and ref.index >= len(types):
        outputs = f"{len(types)} output" + ("" if len(types) == 1 else "s")
        raise NameNotFoundError(
            f"{ref.operation!r} ({node.op}) has no output {ref.index}",
            found=outputs,
            advice=f"The last output is {ref.operation}:{len(types) - 1}."
            if types
            else "It can be run, but it has no outputs.",
        )
    return attrs.evolve(ref, spec=tensor_spec(node, ref.index, types))


def is_operation(graph: Graph, text: str) -> bool:
    """Return whether a name is that of an operation without outputs, such as a group.

    Args:
        graph: the graph.
        text: the name.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'node { name: "init" op: "NoOp" }')
        >>> is_operation(graph, "init"), is_operation(graph, "init:0"), is_operation(graph, "x")
        (True, False, False)
    """
    node = graph.nodes.get(text)
    return node is not None and ops.output_types(node, graph.functions) == []


def tensor_spec(node: Message, index: int, types: list[int] | None) -> TensorSpec | None:
    """Return data type and shape of one output of a node.

    Args:
        node: the NodeDef.
        index: the number of the output.
        types: the data type numbers of all outputs; None for an unknown op.

    Returns:
        The data type, with the shape if the node has it; None if the type is unknown.
    """
    if types is None or index >= len(types):
        return None
    dtype = dtypes.by_number(types[index])
    if dtype is None:
        return None
    return TensorSpec(dtype.name, _shape(node, index))


def _shape(node: Message, index: int) -> tuple[int | None, ...] | None:
    inferred = node.attr["_output_shapes"].list.shape if "_output_shapes" in node.attr else ()
    if index < len(inferred):
        proto = inferred[index]
    elif node.op == "Const" and "value" in node.attr:
        proto = node.attr["value"].tensor.tensor_shape
    elif (
        node.op in ("Placeholder", "PlaceholderWithDefault", "VariableV2") and "shape" in node.attr
    ):
        proto = node.attr["shape"].shape
    else:
        return None
    if proto.unknown_rank:
        return None
    return tuple(None if dim.size < 0 else dim.size for dim in proto.dim)
