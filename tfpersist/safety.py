"""What a graph could do to the machine that runs it, told without running it.

A graph is a program: its ops compute, but they can also write files, open connections and call
Python functions. `scan` lists what each node of a file can do, and a `Policy` says what is allowed.
A scan tells what ops are made for. That a kernel is free of bugs, or that a model is any good, it
cannot tell.

Example:
    >>> from tfpersist.formats.graphdef import parse_text
    >>> graph = parse_text(b'node { name: "leak" op: "ReadFile" input: "path" } '
    ...                    b'node { name: "path" op: "Const" }')
    >>> report = scan(graph)
    >>> print(report)
    the graph: 2 nodes, 0 functions
      file read: ReadFile at node 'leak'
      compute: 1 Const
    >>> Policy.default().check(report)
    Traceback (most recent call last):
    tfpersist.errors.UnsafeModelError: the graph: this model could do more than the policy allows; \
expected compute, state and random at most, got file read. Load it with \
policy=Policy(allow=['file read']) if you trust its author with that.
      file read: ReadFile at node 'leak'
    >>> Policy(allow=["file read"]).check(report)
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from tfpersist import graph_file
from tfpersist.errors import (
    ArgumentError,
    CorruptionError,
    NameNotFoundError,
    StorageError,
    TargetError,
    UnsafeModelError,
    did_you_mean,
    printable,
    value_text,
)
from tfpersist.formats import graphdef, recognize, schema
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph.structure.capabilities import CAPABILITIES, Capability, classify, inspect

__all__ = ["CAPABILITIES", "Capability", "Finding", "Policy", "Report", "classify", "scan"]

HARMLESS: tuple[Capability, ...] = ("compute", "state", "random")
_SAVED_MODELS = ("saved_model.pb", "saved_model.pbtxt")
_SHOWN = 5


@attrs.frozen
class Finding:
    """Nodes of one op in one place, and one thing that they can do.

    Args:
        capability: what they can do.
        op: the op, or what a node calls as if it were one.
        nodes: the names of the nodes; "" where it is not a node that calls the op.
        function: name of the library function whose body they are in; "" for the graph itself.

    Example:
        >>> print(Finding("file write", "SaveV2", ("save/SaveV2",), "f"))
        file write: SaveV2 at node 'save/SaveV2' in function 'f'
    """

    capability: Capability
    op: str
    nodes: tuple[str, ...]
    function: str = ""

    @property
    def count(self) -> int:
        """How many nodes they are."""
        return len(self.nodes)

    def __str__(self) -> str:
        text = f"{self.capability}: {printable(self.op)}"
        if any(self.nodes):
            text += f" at node{'s' if self.count > 1 else ''} "
            text += ", ".join(map(repr, self.nodes[:_SHOWN]))
            text += f" and {self.count - _SHOWN:,} more" if self.count > _SHOWN else ""
        return text + (f" in function {self.function!r}" if self.function else "")


@attrs.frozen
class Report:
    """What all nodes of a file can do.

    Args:
        findings: by capability, the gravest first, then by op.
        file: where the graph is from; "" for one in memory.
        nodes: how many nodes were looked at, those of functions included.
        functions: how many functions.
    """

    findings: tuple[Finding, ...]
    file: str = ""
    nodes: int = 0
    functions: int = 0

    @property
    def capabilities(self) -> frozenset[Capability]:
        """All that the graph can do."""
        return frozenset(finding.capability for finding in self.findings)

    def __str__(self) -> str:
        lines = [f"{self.file or 'the graph'}: {self.nodes:,} nodes, {self.functions:,} functions"]
        lines += [f"  {each}" for each in self.findings if each.capability not in HARMLESS]
        for capability in HARMLESS:
            ops: Counter[str] = Counter()
            for each in self.findings:
                if each.capability == capability:
                    ops[each.op] += each.count
            shown = ", ".join(f"{count:,} {op}" for op, count in ops.most_common(_SHOWN))
            more = f" and {len(ops) - _SHOWN:,} other ops" if len(ops) > _SHOWN else ""
            if ops:
                lines.append(f"  {capability}: {shown}{more}")
        return "\n".join(map(printable, lines))


def _names(given: str | Iterable[str]) -> frozenset[str]:
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        raise ArgumentError(
            "this names nothing that a model may do",
            where="Policy",
            expected='a name or a list of names, such as "file read"',
            found=value_text(given),
            advice="Policy.trusted() allows everything.",
        )
    return frozenset(names)


def as_policy(given: object) -> Policy | None:
    """Take what a user gives for `policy`: a Policy, or None for what is right by default.

    Raises:
        ArgumentError: it is neither.

    Example:
        >>> as_policy(Policy("network")).allowed
        ('compute', 'state', 'random', 'network')
    """
    if given is None or isinstance(given, Policy):
        return given
    raise ArgumentError(
        "this is no policy",
        where="policy",
        expected='a tfpersist.Policy, such as Policy(allow="file read") or Policy.trusted()',
        found=value_text(given),
    )


@attrs.frozen
class Policy:
    """What a model may do.

    Args:
        allow: capabilities beyond "compute", "state" and "random", which any model may have: "file
            read", "file write", "network", "host python", "process", "unknown".
        ops: ops that are let through whatever they can do, such as those of a library of your own.

    Raises:
        NameNotFoundError: there is no such capability.
        ArgumentError: these are no names.

    Example:
        >>> Policy(allow=["file read"], ops=["MyOwnOp"]).allowed
        ('compute', 'state', 'random', 'file read')
    """

    allow: frozenset[str] = attrs.field(default=(), converter=_names)
    ops: frozenset[str] = attrs.field(default=(), converter=_names, kw_only=True)

    @allow.validator
    def _know(self, field: Any, names: frozenset[str]) -> None:
        for name in sorted(names.difference(CAPABILITIES)):
            raise NameNotFoundError(
                f"there is no capability {name!r}",
                advice=f"{did_you_mean(name, CAPABILITIES)} Policy.trusted() allows them all.",
            )

    @classmethod
    def default(cls) -> Policy:
        """Allow what no model can do harm with: compute, state and random.

        Returns:
            The policy for files from anywhere.

        Example:
            >>> Policy.default() == Policy()
            True
        """
        return cls()

    @classmethod
    def trusted(cls) -> Policy:
        """Allow everything, unknown ops too.

        Returns:
            The policy for files of your own.

        Example:
            >>> Policy.trusted().allowed == CAPABILITIES
            True
        """
        return cls(CAPABILITIES)

    @property
    def allowed(self) -> tuple[Capability, ...]:
        """All capabilities that a model may have."""
        return tuple(each for each in CAPABILITIES if each in HARMLESS or each in self.allow)

    def check(self, report: Report) -> None:
        """Refuse a graph that could do more than is allowed.

        Args:
            report: what the graph can do.

        Raises:
            UnsafeModelError: it could do more; its `findings` say which nodes.

        Example:
            >>> Policy().check(Report((Finding("random", "RandomUniform", ("noise",)),)))
        """
        refused = tuple(
            finding
            for finding in report.findings
            if finding.capability not in self.allowed and finding.op not in self.ops
        )
        if not refused:
            return
        needed = list(dict.fromkeys(finding.capability for finding in refused))
        advice = f"policy=Policy(allow={sorted(self.allow.union(needed))})"
        if needed == ["unknown"]:
            ops = sorted(self.ops.union(finding.op for finding in refused))
            advice = (
                f"policy=Policy({f'allow={sorted(self.allow)}, ' if self.allow else ''}ops={ops})"
            )
        raise UnsafeModelError(
            "this model could do more than the policy allows",
            where=report.file or "the graph",
            expected=f"{', '.join(self.allowed[:-1])} and {self.allowed[-1]} at most",
            found=", ".join(needed),
            advice=f"Load it with {advice} if you trust its author with that.",
            findings=refused,
        )


def scan(source: str | os.PathLike[str] | Graph | Message, file: str = "") -> Report:
    """Tell what a graph could do, by every node of it and of all its functions.

    Functions that nothing calls are looked at, too, and so is what nodes name in their attrs: an If
    whose branch is called WriteFile writes files.

    Args:
        source: the path or URL of a `.pb`, `.pbtxt`, `.meta`, of a SavedModel's directory or of its
            saved_model.pb; the prefix of a checkpoint for its `.meta`, or a directory for all that
            lie in it; or a Graph, GraphDef, MetaGraphDef or SavedModel.
        file: what to call a source that is no path.

    Returns:
        What was found. It is not of use to change a file after it was scanned: scan the Graph that
        is to be run, as `FrozenModel.load` does.

    Raises:
        StorageError: there is no such file, or it cannot be read.
        CorruptionError: it is damaged, or no graph.
        TargetError: the source is something else.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> scan(parse_text(b'node { name: "x" op: "RandomUniform" }')).capabilities
        frozenset({'random'})
    """
    if isinstance(source, (str, os.PathLike)):
        file = os.fsdecode(os.fspath(source))
    found: dict[tuple[Capability, str, str], list[str]] = {}
    nodes = functions = 0
    for graph in _graphs(source, file):
        nodes += len(graph.node) + sum(len(each.node_def) for each in graph.library.function)
        functions += len(graph.library.function)
        for capability, op, function, node in inspect(graph):
            found.setdefault((capability, op, function), []).append(node)
    order = sorted(found, key=lambda key: (-CAPABILITIES.index(key[0]), key[1:]))
    findings = (Finding(key[0], key[1], tuple(found[key]), key[2]) for key in order)
    return Report(tuple(findings), file, nodes, functions)


def _graphs(source: Any, file: str) -> list[Message]:
    if isinstance(source, (str, os.PathLike)):
        try:
            data, name = graph_file.read(file, inside=_SAVED_MODELS)
        except StorageError:
            metas = graph_file.metas(file)
            if not metas:
                raise
            return [graph for meta in metas for graph in _graphs(meta, meta)]
        return _parsed(data, file, name)
    if isinstance(source, Graph):
        return [source.proto]
    kind = getattr(getattr(source, "DESCRIPTOR", None), "name", type(source).__name__)
    if kind not in _INSIDE:
        raise TargetError(
            "this cannot be scanned", expected="a path, " + ", ".join(_INSIDE), found=kind
        )
    return _INSIDE[kind](source)


_INSIDE: dict[str, Callable[[Message], list[Message]]] = {
    "GraphDef": lambda graph: [graph],
    "MetaGraphDef": lambda meta: [meta.graph_def],
    "SavedModel": lambda saved: [meta.graph_def for meta in saved.meta_graphs],
}


def _parsed(data: memoryview, file: str, name: str) -> list[Message]:
    """Take a file for what its name says; any other for the first kind of message that it is."""
    text = name.endswith(".pbtxt") or recognize.is_text_graph(data)
    kinds = ["GraphDef", "SavedModel", "MetaGraphDef"]
    if name in _SAVED_MODELS:
        kinds = ["SavedModel"]
    elif name.endswith(".meta"):
        kinds = ["MetaGraphDef"]
    damage = None
    for kind in kinds:
        try:
            graphs = _INSIDE[kind](_message(kind, data, file, text))
        except CorruptionError as error:
            damage = damage or error
            continue
        if len(kinds) == 1 or any(map(recognize.is_sound_graph, graphs)):
            return list(graphs)
    raise damage or CorruptionError("these bytes hold no graph", file=file)


def _message(kind: str, data: memoryview, file: str, text: bool) -> Message:
    if kind == "GraphDef":
        return (graphdef.parse_text if text else graphdef.split)(data, file).proto
    message = getattr(schema, kind)
    return (schema.parse_text if text else schema.parse)(message, data, file=file)
