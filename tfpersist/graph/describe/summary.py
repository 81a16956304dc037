"""What a graph takes, gives and consists of, told from its skeleton alone."""

from __future__ import annotations

import collections
import html
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

import attrs

from tfpersist.errors import printable
from tfpersist.formats import dtypes, graphdef
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import TensorSpec
from tfpersist.graph.structure import names, ops
from tfpersist.graph.structure.kinds import INIT, PLACEHOLDERS
from tfpersist.graph.structure.names import TensorRef

_HELD = frozenset({"Const", "Variable", "VariableV2", "VarHandleOp"})
# Values from elsewhere, handles, and what branches and loops consist of.
_NO_RESULT = frozenset(
    {
        *_HELD,
        *PLACEHOLDERS,
        *("IteratorToStringHandle", "IteratorGetNext", "IteratorGetNextSync"),
        *("Switch", "RefSwitch", "Enter", "RefEnter", "NextIteration", "RefNextIteration"),
        "LoopCond",
    }
)
_NO_VALUE = frozenset({"resource", "variant"})
# What TensorFlow leaves behind when it turns functional loops and branches into plain nodes.
_LEFTOVER = re.compile(r"(.*/)?(unused_control_flow_input(_\d+)?|loop_body_control/_\d+)")
# What gives the value of a variable, or of the constant that was one.
_READ = re.compile(r"(.*/)?(read|ReadVariableOp)(_\d+)?")
# Until this version a scalar shape of a placeholder meant an unknown one.
_LAST_SHAPELESS = 21
_NOT_WEIGHTS = frozenset({"bool", "string", "int32", "int64", "uint32", "uint64"})


@attrs.frozen
class Constant:
    """One constant of a graph.

    Args:
        name: the node's name; "function/node" for one in a function.
        spec: its data type and shape.
        nbytes: the bytes that its elements take once it is loaded; of strings, their lengths.
        fits: whether its content can be that of its shape. If not, nothing can load it, and it
            counts for nothing but the bytes that are there.
    """

    name: str
    spec: TensorSpec
    nbytes: int
    fits: bool = True

    def __str__(self) -> str:
        text = f"{self.name} {self.spec} {self.nbytes:,} bytes"
        return text if self.fits else f"{text}, which its shape does not fit"


@attrs.frozen
class Summary:
    """What a frozen graph is.

    Args:
        file: where it came from; "" for one that was made in memory.
        inputs: its placeholders.
        outputs: the tensors that nothing in it uses.
        nodes: how many nodes it has, functions not counted.
        operations: how often each op occurs, functions included, the most frequent first.
        parameters: elements of all constants that are neither integers of 32 or 64 bits, nor bool,
            nor string.
        nbytes: bytes of all constants.
        constants: the largest ones, largest first; before them those that nothing can load.
        layers: the bytes of the constants of each layer, largest first. A layer is what stands
            before the last "/" of a name; a name without one belongs to none.
        functions: names of the functions in its library.
        producer: the graph version of the TensorFlow that wrote it; 0 where it did not say.
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
        common = [f"{op} {count}" for op, count in self.operations.items()]
        more = f" and {len(common) - 8} more ops" if len(common) > 8 else ""
        lines = [
            self.file or "a graph in memory",
            f"  nodes       {self.nodes:,}: " + ", ".join(common[:8]) + more,
            f"  parameters  {self.parameters:,} in {self.nbytes:,} bytes of constants",
            *_listed("inputs", list(map(str, self.inputs))),
            *_listed("outputs", list(map(str, self.outputs))),
            *_listed("largest", list(map(str, self.constants[:5]))),
            *_listed("layers", [f"{name} {size:,} bytes" for name, size in self.layers.items()]),
            *_listed("functions", list(self.functions)),
        ]
        return "\n".join(map(printable, lines))

    def html(self) -> str:
        """Give a short form for notebooks."""
        rows = [("input", each) for each in self.inputs]
        rows += [("output", each) for each in self.outputs]
        cells = "".join(
            f"<tr><td>{kind}</td><td>{html.escape(ref.name)}</td>"
            f"<td>{html.escape(str(ref.spec or 'unknown'))}</td></tr>"
            for kind, ref in rows[:20]
        )
        title = html.escape(self.file or "FrozenModel")
        facts = f"{self.nodes:,} nodes, {self.parameters:,} parameters, {self.nbytes:,} bytes"
        return f"<b>{title}</b><br>{facts}<table>{cells}</table>"


def summarize(graph: Graph, file: str = "", *, largest: int = 10) -> Summary:
    """Describe a graph.

    Args:
        graph: the graph.
        file: where it came from.
        largest: how many of its constants to name.

    Raises:
        GraphError: a node's attrs do not tell what it gives.
    """
    constants = sorted(_constants(graph), key=lambda each: (each.fits, -each.nbytes))
    bodies = [graph.proto.node, *(f.node_def for f in graph.proto.library.function)]
    counted = collections.Counter(node.op for body in bodies for node in body)
    return Summary(
        file=file,
        inputs=inputs(graph),
        outputs=outputs(graph),
        nodes=len(graph.proto.node),
        operations=dict(counted.most_common()),
        parameters=sum(
            c.spec.elements or 0 for c in constants if c.fits and c.spec.dtype not in _NOT_WEIGHTS
        ),
        nbytes=sum(constant.nbytes for constant in constants),
        constants=tuple(constants[:largest]),
        layers=_layers(constants),
        functions=tuple(graph.functions),
        producer=graph.proto.versions.producer,
    )


def inputs(graph: Graph) -> tuple[TensorRef, ...]:
    """List the placeholders of a graph, in its order."""
    return tuple(
        _settled(graph, TensorRef(node.name, 0, names.tensor_spec(node, 0, _types(graph, node))))
        for node in graph.proto.node
        if node.op in PLACEHOLDERS and not _LEFTOVER.fullmatch(node.name)
    )


def outputs(graph: Graph) -> tuple[TensorRef, ...]:
    """List the tensors of a graph that look like results, in its order.

    They are those of the operations that no other computation uses or waits for. Left out are
    operations without a value (assertions, assignments, resources), summaries, constants,
    placeholders and the ends of branches; values of variables, too, unless there is nothing else.
    """
    computed, read = unused(graph)
    return tuple(computed or read)


def unused(
    graph: Graph, *, unseen: Collection[str] = ()
) -> tuple[list[TensorRef], list[TensorRef]]:
    """List the tensors that `outputs` lists: those that are computed, and values of variables.

    Args:
        graph: the graph.
        unseen: names of nodes that are left out, and whose uses do not count.
    """
    used = {
        source.removeprefix("^").partition(":")[0]
        for node in graph.proto.node
        for source in node.input
        if (node.op != "NoOp" or node.name == INIT) and node.name not in unseen
    }
    refs: list[TensorRef] = []
    reads: list[TensorRef] = []
    for node in graph.proto.node:
        if node.name in used or node.op in _NO_RESULT or node.op.endswith("Summary"):
            continue
        if node.name in unseen or _LEFTOVER.fullmatch(node.name) or _is_branch(graph, node):
            continue
        found = reads if _is_read(graph, node) else refs
        types = _types(graph, node)
        for index, number in enumerate([0] if types is None else types):
            dtype = dtypes.by_number(number)
            is_ref = number > dtypes.REF_OFFSET
            if not is_ref and (dtype is None or dtype.name not in _NO_VALUE):
                found.append(TensorRef(node.name, index, names.tensor_spec(node, index, types)))
            if node.op in ("Merge", "RefMerge"):  # the other output is the number of the branch
                break
    return refs, reads


def find(graph: Graph, text: str) -> TensorRef:
    """Find a tensor by its name, as `names.find_tensor` does, with what old graphs mean by shapes.

    Raises:
        NameNotFoundError: there is no such tensor.
    """
    return _settled(graph, names.find_tensor(graph, text))


def shortened(refs: Sequence[TensorRef]) -> str:
    """Name some tensors on one line."""
    shown = ", ".join(map(str, refs[:3])) or "nothing"
    return f"{shown} and {len(refs) - 3} more" if len(refs) > 3 else shown


def _is_read(graph: Graph, node: Message) -> bool:
    """Tell whether a node computes nothing, but gives what a variable holds."""
    if node.op == "ReadVariableOp":
        return True
    source = _source(graph, node) if node.op == "Identity" else None
    if source is None or source.op not in _HELD:
        return False
    return source.op != "Const" or _READ.fullmatch(node.name) is not None


def _is_branch(graph: Graph, node: Message) -> bool:
    """Tell whether a node only says which branch is taken."""
    source = _source(graph, node) if node.op == "Identity" else None
    return source is not None and source.op in ("Switch", "RefSwitch")


def _source(graph: Graph, node: Message) -> Message | None:
    """Give the node that the first input of another is from."""
    return graph.nodes.get(node.input[0].partition(":")[0]) if node.input else None


def _types(graph: Graph, node: Message) -> list[int] | None:
    return ops.output_types(node, graph.functions)


def _settled(graph: Graph, ref: TensorRef) -> TensorRef:
    if (
        ref.spec is not None
        and ref.spec.shape == ()
        and graph.proto.versions.producer <= _LAST_SHAPELESS
        and graph.nodes[ref.operation].op in PLACEHOLDERS
    ):
        return attrs.evolve(ref, spec=TensorSpec(ref.spec.dtype, None))
    return ref


def _constants(graph: Graph) -> Iterator[Constant]:
    for node in graph.proto.node:
        constant = _constant(node, node.name, apart=node.name in graph.payloads)
        if constant is not None:
            yield constant
    for function in graph.proto.library.function:
        for node in function.node_def:
            constant = _constant(node, f"{function.signature.name}/{node.name}")
            if constant is not None:
                yield constant


def _constant(node: Message, name: str, *, apart: bool = False) -> Constant | None:
    if node.op != "Const" or "value" not in node.attr:
        return None
    tensor = node.attr["value"].tensor
    dtype = dtypes.by_number(tensor.dtype)
    if dtype is None or tensor.tensor_shape.unknown_rank:
        return None
    shape = tuple(max(dim.size, 0) for dim in tensor.tensor_shape.dim)
    spec = TensorSpec(dtype.name, shape)
    text = sum(map(len, tensor.string_val))
    nbytes = text if spec.nbytes is None else spec.nbytes
    held = len(tensor.tensor_content)
    if max(nbytes, spec.elements or 0) > graphdef.LARGEST or (
        spec.nbytes and held not in (0, nbytes)
    ):
        return Constant(name, spec, tensor.ByteSize(), fits=False)
    return Constant(name, spec, nbytes)


def _layers(constants: list[Constant]) -> dict[str, int]:
    sizes: collections.Counter[str] = collections.Counter()
    for constant in constants:
        sizes[constant.name.rpartition("/")[0]] += constant.nbytes
    return {name: size for name, size in sizes.most_common() if name and size}


def _listed(title: str, entries: list[str]) -> Iterator[str]:
    for number, entry in enumerate(entries[:8]):
        yield f"  {title if number == 0 else '':<11} {entry}"
    if len(entries) > 8:
        yield f"  {'':<11} and {len(entries) - 8} more"
