"""Whether an older TensorFlow knows what a graph is made of, and what can be said in its words.

`releases.txt` lists the ops that each release registers, with the attrs that they did not have yet;
tools/make_release_table.py makes it from those releases themselves. A release may register an op
without computing it for every data type.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Literal, get_args

import attrs

from tfpersist.errors import FreezeError
from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph import ops
from tfpersist.graph.rewrites import become

Release = Literal["1.15", "2.4"]
RELEASES: tuple[Release, ...] = get_args(Release)
_MOST_SHOWN = 8


@attrs.frozen
class Blocker:
    """One node that a release of TensorFlow does not know.

    Args:
        node: its name.
        op: its op.
        function: name of the function that it is in; None for the main graph.
        attrs: the attrs that the op did not have yet; empty where the op itself is unknown.
    """

    node: str
    op: str
    function: str | None
    attrs: tuple[str, ...] = ()

    def __str__(self) -> str:
        inside = f" in function {self.function}" if self.function else ""
        newer = f" needs its newer {', '.join(map(repr, self.attrs))}" if self.attrs else ""
        return f"node {self.node} ({self.op}){inside}{newer}"


@attrs.frozen
class Portability:
    """What keeps a graph from being loaded by a release of TensorFlow.

    Args:
        target: the release.
        blockers: the nodes that it does not know.

    Example:
        >>> print(Portability("1.15", (Blocker("mm", "BatchMatMulV3", None),)))
        TensorFlow 1.15 does not know 1 node: node mm (BatchMatMulV3)
    """

    target: Release
    blockers: tuple[Blocker, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the release knows every op and attr."""
        return not self.blockers

    def __str__(self) -> str:
        if self.ok:
            return f"TensorFlow {self.target} knows every op and attr"
        shown = "; ".join(map(str, self.blockers[:_MOST_SHOWN]))
        more = len(self.blockers) - _MOST_SHOWN
        count = f"{len(self.blockers)} node" + ("" if len(self.blockers) == 1 else "s")
        tail = f"; and {more} more" if more > 0 else ""
        return f"TensorFlow {self.target} does not know {count}: {shown}{tail}"


def known(target: str) -> Mapping[str, frozenset[str]]:
    """Give the ops of a release, each with the attrs that it does not have yet.

    Args:
        target: the release.

    Raises:
        FreezeError: there is no table of that release.

    Example:
        >>> "AddV2" in known("1.15"), known("1.15")["MatMul"] >= {"grad_a"}
        (True, True)
    """
    if target not in RELEASES:
        raise FreezeError(
            f"there is no table of what TensorFlow {target} knows",
            expected=" or ".join(map(repr, RELEASES)),
            advice="Take the newest of these that is not newer than it.",
        )
    return _tables()[target]


@functools.cache
def _tables() -> Mapping[str, Mapping[str, frozenset[str]]]:
    text = resources.files(__package__).joinpath("releases.txt").read_text("ascii")
    tables: dict[str, dict[str, frozenset[str]]] = {}
    for part in text.split("[")[1:]:
        release, _, lines = part.partition("]\n")
        rows = (line.split() for line in lines.splitlines())
        tables[release] = {name: frozenset(missing) for name, *missing in rows}
    return tables


def check(graph: Graph, target: Release) -> Portability:
    """List what a release does not know; attrs of no consequence are none of it.

    Args:
        graph: the graph, whose default attrs are stripped.
        target: the release.

    Raises:
        FreezeError: there is no table of that release.
    """
    table = known(target)
    found = []
    for node, function in _nodes(graph.proto):
        if node.op in graph.functions:
            continue
        newer = table.get(node.op)
        if newer is None:
            found.append(Blocker(node.name, node.op, function))
        elif newer and newer & node.attr.keys():
            lacking = tuple(sorted(newer & node.attr.keys()))
            found.append(Blocker(node.name, node.op, function, lacking))
    return Portability(target, tuple(found))


def rewrite(graph: Graph, target: Release) -> Graph:
    """Say with the ops of a release what newer ops say.

    Args:
        graph: the graph, which stays as it is.
        target: the release.

    Returns:
        A graph that computes the same, bit by bit.

    Raises:
        FreezeError: there is no table of that release.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''node { name: "c" op: "StatelessCase" input: "i" }''')
        >>> rewrite(graph, "1.15").nodes["c"].op
        'Case'
    """
    table = known(target)
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    for node, _ in _nodes(proto):
        if node.op not in table:
            _reword(node)
        elif node.op.startswith("FusedBatchNorm") and not _trains(node):
            # Only training averages.
            for name in table[node.op] & {"exponential_avg_factor"}:
                node.attr.pop(name, None)
    return Graph(proto, graph.payloads)


def require(graph: Graph, target: Release) -> Graph:
    """Rewrite a graph for a release, and raise if it does not know the result.

    Args:
        graph: the graph, whose default attrs are stripped.
        target: the release.

    Raises:
        FreezeError: the nodes that the release does not know are named.
    """
    rewritten = rewrite(graph, target)
    found = check(rewritten, target)
    if not found.ok:
        raise FreezeError(str(found), advice="Freeze an output that does not need them.")
    return rewritten


def _reword(node: Message) -> None:
    if node.op == "StatelessCase":
        node.op = "Case"
    elif node.op == "BatchMatMulV3":
        types = {node.attr[name].type for name in ("Ta", "Tb", "Tout")}
        if len(types) == 1:
            become(node, "BatchMatMulV2", ("adj_x", "adj_y"), T="Tout")


def _trains(node: Message) -> bool:
    value = ops.attr(node, "is_training", ops.definition(node.op))
    return value is None or bool(value.b)


def _nodes(proto: Message) -> Iterator[tuple[Message, str | None]]:
    yield from ((node, None) for node in proto.node)
    for function in proto.library.function:
        yield from ((node, function.signature.name) for node in function.node_def)
