"""What a node can do to the machine that runs it, told from its op and its attrs.

`capabilities.txt` gives each op of TensorFlow 2.16 to 2.21 the whole set of what it can do, for
there is no order in which writing files is more or less than opening connections. An op outside of
it is unknown. File ops reach as far as TensorFlow's file systems do: a path may be gs://...
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib import resources
from typing import Literal, get_args

from tfpersist.formats.schema import Message
from tfpersist.graph.structure import ops

Capability = Literal[
    "compute",
    "state",
    "random",
    "file read",
    "file write",
    "network",
    "host python",
    "process",
    "unknown",
]

CAPABILITIES: tuple[Capability, ...] = get_args(Capability)

_UNKNOWN: frozenset[Capability] = frozenset({"unknown"})
_COMPUTE: frozenset[Capability] = frozenset({"compute"})
_RANDOM: frozenset[Capability] = frozenset({"random"})
_CONSOLE = (b"stdout", b"stderr", b"log(info)", b"log(warning)", b"log(error)")


@functools.cache
def table() -> Mapping[str, frozenset[Capability]]:
    """Give what each op of TensorFlow can do at worst, by its name.

    Example:
        >>> sorted(table()["MergeV2Checkpoints"])
        ['file read', 'file write']
    """
    text = resources.files(__package__).joinpath("capabilities.txt").read_text("utf-8")
    known: dict[str, Capability] = {capability: capability for capability in CAPABILITIES}
    found: dict[str, frozenset[Capability]] = {}
    current = _UNKNOWN
    for line in text.splitlines():
        if line.startswith("["):
            current = frozenset(known[name] for name in line.strip("[]").split(", "))
        elif not line.startswith("#"):
            found.update(dict.fromkeys(line.split(), current))
    return found


def of_op(op: str, functions: Collection[str] = ()) -> frozenset[Capability]:
    """Tell what an op can do at worst.

    Args:
        op: its name.
        functions: names of the functions of the graph's library. Calling one is computing: what
            its body does is told of the nodes in the body.

    Returns:
        All that it can do.

    Example:
        >>> of_op("ReadFile"), of_op("MyOwnOp"), of_op("f", {"f"})
        (frozenset({'file read'}), frozenset({'unknown'}), frozenset({'compute'}))
    """
    return table().get(op) or (_COMPUTE if op in functions else _UNKNOWN)


def classify(node: Message, functions: Collection[str] = ()) -> frozenset[Capability]:
    """Tell what a node can do.

    Args:
        node: the NodeDef.
        functions: names of the functions of the graph's library.

    Returns:
        All that it can do: what its op can do at worst, or less where an attr says so.

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
        name, harmless, capabilities = decision
        value = ops.attr(node, name, ops.table()[node.op])
        if value is not None and harmless(value):
            return capabilities
    return of_op(node.op, functions)


def mentioned(attrs: Mapping[str, Message]) -> Iterator[str]:
    """Name the functions in the attrs of a node, those in the attrs of functions included.

    TensorFlow takes the name of an op, too: it lowers an If whose branch is called WriteFile to a
    WriteFile node.

    Args:
        attrs: AttrValues by name.
    """
    pending = list(attrs.values())
    while pending:
        value = pending.pop()
        kind = value.WhichOneof("value")
        called = [value.func] if kind == "func" else value.list.func if kind == "list" else ()
        for function in called:
            if function.name:
                yield function.name
            pending.extend(function.attr.values())


def inspect(graph: Message) -> Iterator[tuple[Capability, str, str, str]]:
    """Go through all nodes of a GraphDef and of the functions of its library, called or not.

    Args:
        graph: the GraphDef.

    Yields:
        A capability, the op or the function called as one, the function that the node is in ("" for
        the graph itself), and the node ("" where a function's attrs name the op).
    """
    library = graph.library
    known = frozenset(each.signature.name for each in library.function)
    bodies = [("", graph.node)]
    bodies += [(each.signature.name, each.node_def) for each in library.function]
    for function, nodes in bodies:
        for node in nodes:
            for capability in classify(node, known):
                yield capability, node.op, function, node.name
            if not _plain_attrs(node.op).issuperset(node.attr):
                for name in dict.fromkeys(mentioned(node.attr)):
                    yield from _called(name, known, function, node.name)
    for each in library.function:
        for attrs in (each.attr, *(argument.attr for argument in each.arg_attr.values())):
            for name in mentioned(attrs):
                if name in table():
                    yield from _called(name, known, each.signature.name, "")
    for gradient in library.gradient:
        yield from _called(gradient.gradient_func, known, gradient.function_name, "")


@functools.lru_cache(maxsize=4096)
def calls_nothing(op: str) -> bool:
    """Whether this is an op of TensorFlow's none of whose attrs is a function.

    Example:
        >>> calls_nothing("Add"), calls_nothing("While"), calls_nothing("my_function")
        (True, False, False)
    """
    definition = ops.table().get(op)
    return definition is not None and not any("func" in each.type for each in definition.attr)


@functools.lru_cache(maxsize=4096)
def _plain_attrs(op: str) -> frozenset[str]:
    """Name the attrs of an op that hold no function; TensorFlow refuses one that does even so."""
    definition = ops.table().get(op)
    attrs = definition.attr if definition is not None else ()
    return frozenset(each.name for each in attrs if "func" not in each.type)


def _called(
    name: str, known: frozenset[str], function: str, node: str
) -> Iterator[tuple[Capability, str, str, str]]:
    """Tell what a function's name stands for; a body in the library is looked at by itself."""
    if name not in known or name in table():
        for capability in of_op(name):
            yield capability, name, function, node


# A placeholder in a function's body gets its value where the function is called, so it is no
# string, whatever it will be.
def _text(harmless: Callable[[bytes], bool]) -> Callable[[Message], bool]:
    return lambda value: value.WhichOneof("value") == "s" and harmless(value.s)


def _is_empty_list(value: Message) -> bool:
    return value.WhichOneof("value") == "list" and not value.list.s


_NO_URLS = ("debug_urls", _is_empty_list, _COMPUTE)
# The protobuf kernels look for a file first, and only then take the rest for what bytes:// says;
# TensorFlow has no file system of that scheme.
_BUILT_IN = (
    "descriptor_source",
    _text(lambda text: text == b"local://" or text.startswith(b"bytes://")),
    _COMPUTE,
)
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
