"""Check whether an older TensorFlow release, or another runtime, has every op of a graph.

`releases.txt` lists the ops that each release registers, with the attrs that they do not have yet
in that release. tools/make_release_table.py makes it from the releases themselves. A release can
register an op and still have no kernel for some data type. `runtimes.txt` lists the ops that other
runtimes have converters for; a converter can still reject some forms of an op.
tools/make_runtime_table.py makes it from those runtimes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Literal, get_args

import attrs

from tfpersist.errors import FreezeError, printable
from tfpersist.formats import dtypes
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph.runtimes.downgrade import downgrade, without_lowering
from tfpersist.graph.structure.functions import all_nodes

Release = Literal["1.15", "2.4"]
Runtime = Literal["1.15", "2.4", "openvino", "onnx"]
RELEASES: tuple[Release, ...] = get_args(Release)
DISPLAY_NAMES: Mapping[Runtime, str] = MappingProxyType(
    {
        **{release: f"TensorFlow {release}" for release in RELEASES},
        "openvino": "OpenVINO 2026.4",
        "onnx": "tf2onnx 1.17",
    }
)
# The number of uint64, the last data type that these releases have. The numbers of reference types
# are these plus an offset.
_LAST_DTYPE = 23
_MOST_SHOWN = 8
_TABLE_FILES = ("releases", "runtimes")
# The releases in `releases.txt`, oldest first.
_LISTED = ("1.4", "1.15", "2.4")


@attrs.frozen
class Blocker:
    """One node that a TensorFlow release, or another runtime, cannot load.

    Args:
        node: name of the node.
        op: op of the node.
        function: name of the function that contains the node; None for the main graph.
        attrs: the attrs that the op does not have yet in this release; empty where the op itself is
            unknown.
        types: the data types that the release does not have yet.

    Example:
        >>> print(Blocker("mm", "BatchMatMulV3", None))
        node mm (BatchMatMulV3)
    """

    node: str
    op: str
    function: str | None
    attrs: tuple[str, ...] = ()
    types: tuple[str, ...] = ()

    def __str__(self) -> str:
        inside = f" in function {self.function}" if self.function else ""
        newer = [f"attr {name!r}" for name in self.attrs]
        newer += [f"data type {name}" for name in self.types]
        reason = f" uses {' and '.join(newer)}, which this release lacks" if newer else ""
        return printable(f"node {self.node} ({self.op}){inside}{reason}")


@attrs.frozen
class Portability:
    """The nodes of a graph that a TensorFlow release, or another runtime, cannot load.

    Args:
        target: "1.15", "2.4", "openvino" or "onnx".
        blockers: the nodes that it cannot load.

    Example:
        >>> print(Portability("1.15", (Blocker("mm", "BatchMatMulV3", None),)))
        TensorFlow 1.15 cannot load 1 node: node mm (BatchMatMulV3)
    """

    target: Runtime
    blockers: tuple[Blocker, ...] = ()

    @property
    def ok(self) -> bool:
        """True if the runtime knows every op; for a release, every attr and data type too."""
        return not self.blockers

    def __str__(self) -> str:
        name = DISPLAY_NAMES[self.target]
        if self.ok:
            return f"{name} knows every op{' and attr' if self.target in RELEASES else ''}"
        shown = "; ".join(map(str, self.blockers[:_MOST_SHOWN]))
        hidden = len(self.blockers) - _MOST_SHOWN
        count = f"{len(self.blockers)} node" + ("" if len(self.blockers) == 1 else "s")
        return f"{name} cannot load {count}: {shown}" + (f"; and {hidden} more" * (hidden > 0))


def known_ops(target: str) -> Mapping[str, frozenset[str]]:
    """Return the ops of a release or runtime.

    Args:
        target: the release or runtime.

    Returns:
        {op: the attrs that it does not have yet}.

    Raises:
        FreezeError: tfpersist has no op list for this release or runtime.

    Example:
        >>> "AddV2" in known_ops("1.15"), known_ops("1.15")["MatMul"] >= {"grad_a"}
        (True, True)
    """
    return _tables()[runtime_of(target)]


@functools.cache
def added_attrs(op: str) -> frozenset[str] | None:
    """Return the attrs that an op got after it came: after the oldest release listed that has it.

    Args:
        op: the name of an op.

    Returns:
        Their names; None if no release listed has the op.

    Example:
        >>> sorted(added_attrs("MatMul")), added_attrs("NoSuchOp")
        (['grad_a', 'grad_b'], None)
    """
    tables = _tables()
    return next((tables[release][op] for release in _LISTED if op in tables[release]), None)


def runtime_of(target: str) -> Runtime:
    """Return the runtime, or the release without its patch number: all patches have the same ops.

    Args:
        target: a runtime, or a release such as "1.15" or "1.15.5".

    Raises:
        FreezeError: tfpersist has no op list for it, or it is a number.

    Example:
        >>> runtime_of("v2.4.1")
        '2.4'
    """
    if not isinstance(target, str):
        raise FreezeError(
            "a release is written as a string, because 2.1 and 2.10 are the same number",
            expected=_choices(),
            found=repr(target),
            advice=f"Write {str(target)!r}.",
        )
    for runtime in DISPLAY_NAMES:
        if runtime == target:
            return runtime
    match = re.fullmatch(r"v?(\d+)\.(\d+)(\.\w+)*", target)
    version = tuple(map(int, match.groups()[:2])) if match else ()
    not_newer = [release for release in RELEASES if _version(release) <= version]
    if not not_newer or _version(not_newer[-1]) != version:
        name = f"TensorFlow {target}" if match else repr(target)
        raise FreezeError(
            f"there is no op list for {name}",
            expected=_choices(),
            advice=f"Use {not_newer[-1]!r}: {target} loads every graph that {not_newer[-1]} loads."
            if not_newer
            else None,
        )
    return not_newer[-1]


def _version(release: Release) -> tuple[int, ...]:
    return tuple(map(int, release.split(".")))


def _choices() -> str:
    return " or ".join(map(repr, DISPLAY_NAMES))


@functools.cache
def _tables() -> Mapping[str, Mapping[str, frozenset[str]]]:
    folder = resources.files(__package__)
    text = "".join(folder.joinpath(f"{name}.txt").read_text("ascii") for name in _TABLE_FILES)
    tables: dict[str, dict[str, frozenset[str]]] = {}
    for section in text.split("[")[1:]:
        runtime, _, lines = section.partition("]\n")
        rows = (line.split() for line in lines.splitlines())
        tables[runtime] = {op: frozenset(missing_attrs) for op, *missing_attrs in rows}
    return tables


def check(graph: Graph, target: Runtime) -> Portability:
    """Find the nodes that a release or runtime cannot load, after newer ops are replaced.

    Args:
        graph: the graph, without attrs that are equal to their defaults.
        target: the release or runtime.

    Raises:
        FreezeError: tfpersist has no op list for this release or runtime.
    """
    return _portability(downgrade(graph, known_ops(target)), runtime_of(target))


def _portability(graph: Graph, target: Runtime) -> Portability:
    table = known_ops(target)
    blockers = []
    for node, function in all_nodes(graph.proto):
        newer_attrs = table.get(node.op, frozenset()) & node.attr.keys()
        newer_types = _newer_types(node) if target in RELEASES else ()
        is_unknown = node.op not in table and node.op not in graph.functions
        if newer_attrs or newer_types or is_unknown:
            blockers.append(
                Blocker(node.name, node.op, function, tuple(sorted(newer_attrs)), newer_types)
            )
    return Portability(target, tuple(blockers))


def convert(graph: Graph, target: Runtime) -> Graph:
    """Return a graph that a release or runtime can load.

    Args:
        graph: the graph, without attrs that are equal to their defaults.
        target: the release or runtime.

    Raises:
        FreezeError: some nodes have no older equal; the message lists them.
    """
    downgraded = downgrade(graph, known_ops(target))
    portability = _portability(downgraded, runtime_of(target))
    if not portability.ok:
        raise FreezeError(str(portability), advice="Freeze an output that does not need them.")
    return without_lowering(downgraded) if target == "onnx" else downgraded


def _newer_types(node: Message) -> tuple[str, ...]:
    """Return the names of the data types of a node that the releases do not have."""
    numbers: set[int] = set()
    for value in node.attr.values():
        numbers |= {value.type, value.tensor.dtype, *value.list.type}
        numbers |= {tensor.dtype for tensor in value.list.tensor}
    names = []
    for number in sorted({number % dtypes.REF_OFFSET for number in numbers}):
        if number > _LAST_DTYPE:
            dtype = dtypes.by_number(number)
            names.append(str(number) if dtype is None else dtype.name)
    return tuple(names)
