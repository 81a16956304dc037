"""Whether an older TensorFlow, or another runtime, knows what a graph is made of.

`releases.txt` lists the ops that each release registers, with the attrs that they did not have yet;
tools/make_release_table.py makes it from those releases themselves. A release may register an op
without computing it for every data type. `runtimes.txt` lists the ops that other runtimes have
converters for, which may not take every form of them; tools/make_runtime_table.py asks them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from types import MappingProxyType
from typing import Literal, get_args

import attrs

from tfpersist.errors import FreezeError
from tfpersist.formats import dtypes
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph.runtimes.downgrade import reword

Release = Literal["1.15", "2.4"]
Target = Literal["1.15", "2.4", "openvino", "onnx"]
RELEASES: tuple[Release, ...] = get_args(Release)
NAMES: Mapping[Target, str] = MappingProxyType(
    {
        **{each: f"TensorFlow {each}" for each in RELEASES},
        "openvino": "OpenVINO 2026.4",
        "onnx": "tf2onnx 1.17",
    }
)
# Up to uint64; all of these releases have the same. References have numbers of their own.
_NEWEST_TYPE = 23
_MOST_SHOWN = 8
_FILES = ("releases", "runtimes")


@attrs.frozen
class Blocker:
    """One node that a release of TensorFlow, or another runtime, does not know.

    Args:
        node: its name.
        op: its op.
        function: name of the function that it is in; None for the main graph.
        attrs: the attrs that the op did not have yet; empty where the op itself is unknown.
        types: the data types that the release did not have yet.
    """

    node: str
    op: str
    function: str | None
    attrs: tuple[str, ...] = ()
    types: tuple[str, ...] = ()

    def __str__(self) -> str:
        inside = f" in function {self.function}" if self.function else ""
        newer = ", ".join([*map(repr, self.attrs), *self.types])
        return f"node {self.node} ({self.op}){inside}{' needs its newer ' * bool(newer)}{newer}"


@attrs.frozen
class Portability:
    """What keeps a graph from being loaded by a release of TensorFlow, or another runtime.

    Args:
        target: "1.15", "2.4", "openvino" or "onnx".
        blockers: the nodes that it does not know.

    Example:
        >>> print(Portability("1.15", (Blocker("mm", "BatchMatMulV3", None),)))
        TensorFlow 1.15 does not know 1 node: node mm (BatchMatMulV3)
    """

    target: Target
    blockers: tuple[Blocker, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every op is known; of a release, every attr and data type too."""
        return not self.blockers

    def __str__(self) -> str:
        if self.ok:
            also = " and attr" if self.target in RELEASES else ""
            return f"{NAMES[self.target]} knows every op{also}"
        shown = "; ".join(map(str, self.blockers[:_MOST_SHOWN]))
        more = len(self.blockers) - _MOST_SHOWN
        count = f"{len(self.blockers)} node" + ("" if len(self.blockers) == 1 else "s")
        tail = f"; and {more} more" if more > 0 else ""
        return f"{NAMES[self.target]} does not know {count}: {shown}{tail}"


def known(target: str) -> Mapping[str, frozenset[str]]:
    """Give the ops of a release or runtime, each with the attrs that it does not have yet.

    Args:
        target: the release or runtime.

    Raises:
        FreezeError: there is no table of it.

    Example:
        >>> "AddV2" in known("1.15"), known("1.15")["MatMul"] >= {"grad_a"}
        (True, True)
    """
    return _tables()[meant(target)]


def meant(target: str) -> Target:
    """Give the target that is meant; the patches of a release all have the same ops.

    Args:
        target: a runtime, or a release such as "1.15" or "1.15.5".

    Raises:
        FreezeError: there is no table of that, or it is a number.

    Example:
        >>> meant("v2.4.1")
        '2.4'
    """
    if not isinstance(target, str):
        raise FreezeError(
            f"{target} is no name of a release: as numbers, 2.1 and 2.10 are the same",
            expected=_spelled(),
            advice=f"Write it as a string: {str(target)!r}.",
        )
    for known_as in NAMES:
        if known_as == target:
            return known_as
    asked = re.fullmatch(r"v?(\d+)\.(\d+)(\.\w+)*", target)
    version = tuple(map(int, asked.groups()[:2])) if asked else ()
    older = [one for one in RELEASES if tuple(map(int, one.split("."))) <= version]
    if not older or tuple(map(int, older[-1].split("."))) != version:
        raise FreezeError(
            f"there is no table of what {'TensorFlow ' * bool(asked)}{target} knows",
            expected=_spelled(),
            advice=f"Take {older[-1]!r}: whatever it loads, {target} loads." if older else None,
        )
    return older[-1]


def _spelled() -> str:
    return " or ".join(map(repr, NAMES))


@functools.cache
def _tables() -> Mapping[str, Mapping[str, frozenset[str]]]:
    files = resources.files(__package__)
    text = "".join(files.joinpath(f"{name}.txt").read_text("ascii") for name in _FILES)
    tables: dict[str, dict[str, frozenset[str]]] = {}
    for part in text.split("[")[1:]:
        release, _, lines = part.partition("]\n")
        rows = (line.split() for line in lines.splitlines())
        tables[release] = {name: frozenset(missing) for name, *missing in rows}
    return tables


def check(graph: Graph, target: Target) -> Portability:
    """List what a release or runtime does not know; attrs of no consequence are none of it.

    Args:
        graph: the graph, whose default attrs are stripped.
        target: the release or runtime.

    Raises:
        FreezeError: there is no table of it.
    """
    target = meant(target)
    table = known(target)
    found = []
    for node, function in _nodes(graph.proto):
        newer = table.get(node.op, frozenset()) & node.attr.keys()
        types = _newer_types(node) if target in RELEASES else ()
        if newer or types or (node.op not in table and node.op not in graph.functions):
            found.append(Blocker(node.name, node.op, function, tuple(sorted(newer)), types))
    return Portability(target, tuple(found))


def require(graph: Graph, target: Target) -> Graph:
    """Reword a graph for a release or runtime, and raise if it does not know the result.

    Args:
        graph: the graph, whose default attrs are stripped.
        target: the release or runtime.

    Raises:
        FreezeError: the nodes that the release does not know are named.
    """
    reworded = reword(graph, known(target))
    found = check(reworded, target)
    if not found.ok:
        raise FreezeError(str(found), advice="Freeze an output that does not need them.")
    return reworded


def _newer_types(node: Message) -> tuple[str, ...]:
    """Name the data types of a node that came after the releases."""
    numbers: set[int] = set()
    for value in node.attr.values():
        numbers |= {value.type, value.tensor.dtype, *value.list.type}
        numbers |= {tensor.dtype for tensor in value.list.tensor}
    found = []
    for number in sorted({number % dtypes.REF_OFFSET for number in numbers}):
        if number > _NEWEST_TYPE:
            known = dtypes.by_number(number)
            found.append(str(number) if known is None else known.name)
    return tuple(found)


def _nodes(proto: Message) -> Iterator[tuple[Message, str | None]]:
    yield from ((node, None) for node in proto.node)
    for function in proto.library.function:
        yield from ((node, function.signature.name) for node in function.node_def)
