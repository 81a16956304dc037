"""Capabilities: what a node can do to the machine that runs it, by its op and its attrs.

`capabilities.txt` lists all capabilities of each op of TensorFlow 2.16 to 2.21. They are a set and
not a level, because writing files is neither more nor less than opening connections. An op that is
not listed is unknown. File ops reach every file system of TensorFlow: a path may be gs://...

Ops of TensorFlow's own inside are a capability by themselves. TensorFlow puts them into graphs that
it rewrites: for XLA, TPUs, distributed tensors, its debugger and its optimizer. Their kernels trust
what they are given. Some of them end the process for attrs that TensorFlow itself never writes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib import resources
from typing import Literal, get_args

from tfpersist.formats.schema import Message
from tfpersist.graph.structure import ops
from tfpersist.graph.structure.functions import names_in

Capability = Literal[
    "compute",
    "state",
    "random",
    "file read",
    "file write",
    "network",
    "host python",
    "process",
    "internal",
    "unknown",
]

CAPABILITIES: tuple[Capability, ...] = get_args(Capability)

_UNKNOWN: frozenset[Capability] = frozenset({"unknown"})
_COMPUTE: frozenset[Capability] = frozenset({"compute"})
_INSIDE: frozenset[Capability] = frozenset({"internal"})
_RANDOM: frozenset[Capability] = frozenset({"random"})
_CONSOLE = (b"stdout", b"stderr", b"log(info)", b"log(warning)", b"log(error)")


@functools.cache
def table() -> Mapping[str, frozenset[Capability]]:
    """Return the most that each op of TensorFlow can do, by its name.

    Example:
        >>> sorted(table()["MergeV2Checkpoints"]), sorted(table()["XlaCustomCall"])
        (['file read', 'file write'], ['internal', 'process'])
    """
    text = resources.files(__package__).joinpath("capabilities.txt").read_text("utf-8")
    by_name: dict[str, Capability] = {capability: capability for capability in CAPABILITIES}
    capabilities: dict[str, frozenset[Capability]] = {}
    current = _UNKNOWN
    for line in text.splitlines():
        if line.startswith("["):
            current = frozenset(by_name[name] for name in line.strip("[]").split(", "))
        elif not line.startswith("#"):
            capabilities.update(dict.fromkeys(line.split(), current))
    return capabilities


def of_op(op: str, functions: Collection[str] = ()) -> frozenset[Capability]:
    """Return the most that an op can do.

    Args:
        op: the name of the op.
        functions: names of the functions of the graph's library. A call of one counts as computing:
            the nodes in its body are classified by themselves.

    Example:
        >>> of_op("ReadFile"), of_op("MyOwnOp"), of_op("f", {"f"})
        (frozenset({'file read'}), frozenset({'unknown'}), frozenset({'compute'}))
    """
    return table().get(op) or (_COMPUTE if op in functions else _UNKNOWN)


def classify(node: Message, functions: Collection[str] = ()) -> frozenset[Capability]:
    """Return what a node can do: the most that its op can do, or less if an attr rules it out.

    Args:
        node: the NodeDef.
        functions: names of the functions of the graph's library.

    Example:
        >>> from tfpersist.formats import schema
        >>> node = schema.NodeDef(name="log", op="PrintV2")
        >>> classify(node)
        frozenset({'compute'})
        >>> node.attr["output_stream"].s = b"file:///etc/passwd"
        >>> classify(node)
        frozenset({'file write'})
    """
    decision = _DECISIONS.get(node.op)
    if decision is not None:
        attr_name, is_harmless, capabilities = decision
        value = ops.attr(node, attr_name, ops.table()[node.op])
        if value is not None and is_harmless(value):
            return capabilities
    return of_op(node.op, functions)


def inspect(graph: Message) -> Iterator[tuple[Capability, str, str, str]]:
    """Yield what all nodes of a GraphDef and of its functions can do, called or not.

    Args:
        graph: the GraphDef.

    Yields:
        A capability; the op that has it; the name of the function that the node is in, "" for the
        main graph; the name of the node, "" if the op is named in the attrs of a function.
    """
    library = graph.library
    functions = frozenset(function.signature.name for function in library.function)
    bodies = [("", graph.node)]
    bodies += [(function.signature.name, function.node_def) for function in library.function]
    for function_name, nodes in bodies:
        for node in nodes:
            for capability in classify(node, functions):
                yield capability, node.op, function_name, node.name
            if not _plain_attrs(node.op).issuperset(node.attr):
                for name in dict.fromkeys(names_in(node.attr)):
                    yield from _called(name, functions, function_name, node.name)
    for function in library.function:
        for attrs in (function.attr, *(argument.attr for argument in function.arg_attr.values())):
            for name in names_in(attrs):
                if name in table():
                    yield from _called(name, functions, function.signature.name, "")
    for gradient in library.gradient:
        yield from _called(gradient.gradient_func, functions, gradient.function_name, "")


@functools.lru_cache(maxsize=4096)
def _plain_attrs(op: str) -> frozenset[str]:
    """Return the attrs of an op that hold no function; TensorFlow refuses a function in them."""
    op_def = ops.table().get(op)
    attrs = op_def.attr if op_def is not None else ()
    return frozenset(attr.name for attr in attrs if "func" not in attr.type)


def _called(
    name: str, functions: frozenset[str], function_name: str, node_name: str
) -> Iterator[tuple[Capability, str, str, str]]:
    """Yield what a called name can do as an op; `inspect` reads the bodies of functions."""
    if name not in functions or name in table():
        for capability in of_op(name):
            yield capability, name, function_name, node_name


# In the body of a function, an attr may be a placeholder for the value that a call gives. It counts
# as harmful, whatever the calls give.
def _text(is_harmless: Callable[[bytes], bool]) -> Callable[[Message], bool]:
    return lambda value: value.WhichOneof("value") == "s" and is_harmless(value.s)


def _is_empty_list(value: Message) -> bool:
    return value.WhichOneof("value") == "list" and not value.list.s


_NO_URLS = ("debug_urls", _is_empty_list, _INSIDE)
# The protobuf kernels try to open the descriptor source as a file first. TensorFlow has no file
# system for bytes://, so such a source is never a file.
_BUILT_IN = (
    "descriptor_source",
    _text(lambda text: text == b"local://" or text.startswith(b"bytes://")),
    _COMPUTE,
)
# By op: an attr, when its value is harmless, and what the node can do then.
_DECISIONS: dict[str, tuple[str, Callable[[Message], bool], frozenset[Capability]]] = {
    "DebugIdentity": _NO_URLS,
    "DebugIdentityV2": _NO_URLS,
    "DebugIdentityV3": _NO_URLS,
    "DebugNanCount": _NO_URLS,
    "DebugNumericSummary": _NO_URLS,
    "DecodeProtoV2": _BUILT_IN,
    "EncodeProto": _BUILT_IN,
    "FixedUnigramCandidateSampler": ("vocab_file", _text(lambda text: not text), _RANDOM),
    "PrintV2": ("output_stream", _text(lambda text: text in _CONSOLE), _COMPUTE),
}
