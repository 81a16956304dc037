"""Find out what a graph could do to the machine that runs it, without running it.

A graph is a program. Its ops compute, but they can also write files, open connections and call
Python functions. `scan` lists what each node of a file can do, and a `Policy` says what is allowed.
A scan knows what ops are made for. It does not know whether a kernel has bugs, or whether a model
computes what you want.

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
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs

from tfpersist import graph_file
from tfpersist.errors import (
    ArgumentError,
    CorruptionError,
    NameNotFoundError,
    TargetError,
    UnsafeModelError,
    UnsupportedError,
    counted,
    did_you_mean,
    printable,
    value_text,
)
from tfpersist.formats import graphdef, recognize, schema
from tfpersist.formats.foreign import foreign
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph.structure.capabilities import CAPABILITIES, Capability, classify, inspect
from tfpersist.graph.structure.reach import Reach, reach_of
from tfpersist.storage import placed

__all__ = ["CAPABILITIES", "Capability", "Finding", "Policy", "ScanReport", "classify", "scan"]

HARMLESS: tuple[Capability, ...] = ("compute", "state", "random")
_SAVED_MODELS = ("saved_model.pb", "saved_model.pbtxt")
_SHOWN = 5


@attrs.frozen
class Finding:
    """The nodes of one op in one function, and one capability that they have.

    Args:
        capability: what the nodes can do.
        op: the op, or a name that a node calls as if it were an op.
        nodes: the names of the nodes; "" if it is not a node that calls the op.
        function: name of the library function that contains the nodes; "" for the graph itself.
        reachable: whether they can run. In a SavedModel, those that save it can not, unless a user
            asks for them by name.
        file: the file with the nodes, seen from the directory that was scanned; "" if that has only
            one graph, and for any other source.

    Example:
        >>> print(Finding("file write", "SaveV2", ("save/SaveV2",), "f"))
        file write: SaveV2 at node 'save/SaveV2' in function 'f'
    """

    capability: Capability
    op: str
    nodes: tuple[str, ...]
    function: str = ""
    reachable: bool = True
    file: str = ""

    @property
    def count(self) -> int:
        """The number of nodes."""
        return len(self.nodes)

    def __str__(self) -> str:
        text = f"{self.capability}: {printable(self.op)}"
        if any(self.nodes):
            text += f" at node{'s' if self.count > 1 else ''} "
            text += ", ".join(map(repr, self.nodes[:_SHOWN]))
            text += f" and {self.count - _SHOWN:,} more" if self.count > _SHOWN else ""
        text += f" in function {self.function!r}" if self.function else ""
        text += f" of file {self.file!r}" if self.file else ""
        return text + ("" if self.reachable else " (unreachable)")


@attrs.frozen
class ScanReport:
    """The result of a scan: the capabilities of all nodes.

    Args:
        findings: the reachable ones first, sorted by capability, the most dangerous first, then by
            op.
        file: the file of the graph; "" for a graph in memory.
        nodes: the number of nodes, including those of functions.
        functions: the number of functions.

    Example:
        >>> report = ScanReport((Finding("file read", "ReadFile", ("leak",)),), "model.pb", 1)
        >>> sorted(report.capabilities)
        ['file read']
    """

    findings: tuple[Finding, ...]
    file: str = ""
    nodes: int = 0
    functions: int = 0

    @property
    def capabilities(self) -> frozenset[Capability]:
        """All capabilities of the graph, without those that are not reachable."""
        return frozenset(one.capability for one in self.findings if one.reachable)

    def __str__(self) -> str:
        size = f"{counted(self.nodes, 'node')}, {counted(self.functions, 'function')}"
        lines = [f"{self.file or 'the graph'}: {size}"]
        lines += [f"  {finding}" for finding in self.findings if finding.capability not in HARMLESS]
        for capability in HARMLESS:
            ops: Counter[str] = Counter()
            for finding in self.findings:
                if finding.capability == capability:
                    ops[finding.op] += finding.count
            shown = ", ".join(f"{count:,} {op}" for op, count in ops.most_common(_SHOWN))
            more = f" and {len(ops) - _SHOWN:,} other ops" if len(ops) > _SHOWN else ""
            if ops:
                lines.append(f"  {capability}: {shown}{more}")
        return "\n".join(map(printable, lines))


def _names(value: str | Iterable[str]) -> frozenset[str]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        raise ArgumentError(
            "these are not names of capabilities or ops",
            where="Policy",
            expected='a name or a list of names, such as "file read"',
            found=value_text(value),
            advice="Policy.trusted() allows everything.",
        )
    return frozenset(names)


def as_policy(value: Policy | None) -> Policy | None:
    """Return the argument `policy` of a user: a Policy, or None for the default.

    Raises:
        ArgumentError: it is neither.

    Example:
        >>> as_policy(Policy("network")).allowed
        ('compute', 'state', 'random', 'network')
    """
    if value is None or isinstance(value, Policy):
        return value
    raise ArgumentError(
        "this is not a policy",
        where="policy",
        expected='a tfpersist.Policy, such as Policy(allow="file read") or Policy.trusted()',
        found=value_text(value),
    )


@attrs.frozen
class Policy:
    """The capabilities that a model may have.

    Args:
        allow: capabilities beyond "compute", "state" and "random", which every model may have:
            "file read", "file write", "network", "host python", "process", "internal", "unknown".
        ops: ops that are allowed whatever they can do, such as those of your own library.

    Raises:
        NameNotFoundError: there is no such capability.
        ArgumentError: the argument is not a name or a list of names.

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
        """Return the policy for files from strangers: compute, state and random.

        Returns:
            The policy that applies by default.

        Example:
            >>> Policy.default() == Policy()
            True
        """
        return cls()

    @classmethod
    def trusted(cls) -> Policy:
        """Return the policy for files that you trust: it allows everything, also unknown ops.

        Returns:
            A policy with all capabilities.

        Example:
            >>> Policy.trusted().allowed == CAPABILITIES
            True
        """
        return cls(CAPABILITIES)

    @property
    def allowed(self) -> tuple[Capability, ...]:
        """All capabilities that a model may have."""
        return tuple(name for name in CAPABILITIES if name in HARMLESS or name in self.allow)

    def check(self, report: ScanReport) -> None:
        """Raise if a graph could do more than this policy allows.

        Args:
            report: the scan of the graph.

        Raises:
            UnsafeModelError: it could do more; `findings` lists the nodes.

        Example:
            >>> Policy().check(ScanReport((Finding("random", "RandomUniform", ("noise",)),)))
        """
        refused = tuple(
            finding
            for finding in report.findings
            if finding.reachable
            and finding.capability not in self.allowed
            and finding.op not in self.ops
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


def scan(
    source: str | os.PathLike[str] | Graph | Message,
    file: str = "",
    *,
    storage_options: object = None,
) -> ScanReport:
    """Return what a graph could do, from every node of the graph and of all its functions.

    A scan covers functions that nothing calls, and functions that nodes name in their attributes:
    an If whose branch is called WriteFile writes files. Of a SavedModel it tells what can run: what
    its signatures, its objects and its loader lead to.

    Args:
        source: the path or URL of a `.pb`, `.pbtxt` or `.meta`; the prefix of a checkpoint for its
            `.meta`; a directory, such as that of a SavedModel, for all graphs in it and its
            subdirectories, but not behind links to other directories; or a Graph, GraphDef,
            MetaGraphDef or SavedModel.
        file: the name to show for a source in memory.
        storage_options: what the file system of a URL is opened with, as for `ModelStore`.

    Returns:
        The report. It holds for the bytes that were scanned: a file may change afterwards. So scan
        the Graph that you are going to run, as `FrozenModel.load` does.

    Raises:
        StorageError: there is no such file, or it cannot be read.
        CorruptionError: it is damaged, or not a graph.
        UnsupportedError: it is a file of another kind; the error says of which, and what reads it.
        TargetError: the source is something else.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> scan(parse_text(b'node { name: "x" op: "RandomUniform" }')).capabilities
        frozenset({'random'})
    """
    source, options = placed(source, storage_options)
    if isinstance(source, (str, os.PathLike)):
        file = os.fsdecode(os.fspath(source))
    names: dict[tuple[Capability, str, str, bool, str], list[str]] = {}
    nodes = functions = 0
    for graph, reach, inside in _graphs(source, file, options):
        library = graph.library.function
        nodes += len(graph.node) + sum(len(function.node_def) for function in library)
        functions += len(library)
        for capability, op, function, node in inspect(graph):
            reachable = reach is None or reach.includes(function, node)
            names.setdefault((capability, op, function, reachable, inside), []).append(node)
    order = sorted(names, key=lambda key: (not key[3], -CAPABILITIES.index(key[0]), key[1:]))
    findings = (Finding(key[0], key[1], tuple(names[key]), *key[2:]) for key in order)
    return ScanReport(tuple(findings), file, nodes, functions)


# A graph, and what of it can run; None for all.
_Scanned = tuple[Message, Reach | None]


def _graphs(source: Any, file: str, options: object) -> Iterator[tuple[Message, Reach | None, str]]:
    """Yield each graph, what of it can run, and its file in the directory that is scanned."""
    if isinstance(source, (str, os.PathLike)):
        folder = file.rstrip("/") + "/"
        files = graph_file.graphs(file, options) or [file]
        for path in files:
            data, name = graph_file.read(path, options)
            inside = path.removeprefix(folder) if len(files) > 1 else ""
            yield from ((*scanned, inside) for scanned in _parsed(data, path, name))
    else:
        yield from ((*scanned, "") for scanned in _in_memory(source))


def _in_memory(source: Any) -> list[_Scanned]:
    if isinstance(source, Graph):
        return [(source.proto, None)]
    type_name = getattr(getattr(source, "DESCRIPTOR", None), "name", type(source).__name__)
    if type_name not in _GRAPHS_IN:
        raise TargetError(
            "this cannot be scanned", expected="a path, " + ", ".join(_GRAPHS_IN), found=type_name
        )
    return _GRAPHS_IN[type_name](source)


_GRAPHS_IN: dict[str, Callable[[Message], list[_Scanned]]] = {
    "GraphDef": lambda graph: [(graph, None)],
    "MetaGraphDef": lambda meta: [(meta.graph_def, None)],
    "SavedModel": lambda saved: [(meta.graph_def, reach_of(meta)) for meta in saved.meta_graphs],
}


def _parsed(data: memoryview, file: str, name: str) -> list[_Scanned]:
    """Return the graphs in a file, parsed as its name says, else as the first message that fits."""
    other = foreign(data)
    if other is not None:
        raise UnsupportedError(
            "this is not a graph of TensorFlow",
            where=file,
            expected="a graph, a MetaGraphDef or a SavedModel",
            found=other.name,
            advice=other.advice,
        )
    is_text_graph = recognize.is_text_graph(data, file)
    is_text = is_text_graph or name.endswith(".pbtxt")
    messages = ["GraphDef", "SavedModel", "MetaGraphDef"]
    if name in _SAVED_MODELS:
        messages = ["SavedModel"]
    elif name.endswith(".meta"):
        messages = ["MetaGraphDef"]
    damage = None
    for message in messages:
        try:
            # A GraphDef is scanned as `graph_file.load` reads it, whatever its name.
            text = is_text_graph if message == "GraphDef" else is_text
            graphs = _GRAPHS_IN[message](_decoded(message, data, file, text))
        except CorruptionError as error:
            damage = damage or error
            continue
        if len(messages) == 1 or any(recognize.is_real_graph(graph) for graph, _ in graphs):
            return list(graphs)
    raise damage or CorruptionError("these bytes hold no graph", file=file)


def _decoded(message: str, data: memoryview, file: str, text: bool) -> Message:
    if message == "GraphDef":
        return (graphdef.parse_text if text else graphdef.split)(data, file).proto
    if message == "MetaGraphDef" and not text:
        return graphdef.parse_meta(data, file)
    parse = schema.parse_text if text else schema.parse
    return parse(getattr(schema, message), data, file=file)
