"""Replace variables with constants."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping

from tfpersist.errors import FreezeError
from tfpersist.formats import dtypes, schema
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Payload
from tfpersist.graph.constants.handle_flow import Specializer
from tfpersist.graph.constants.nodes import set_constant
from tfpersist.graph.constants.rewrites import HandleValue
from tfpersist.graph.structure.kinds import REFERENCES, VARIABLES, declared_spec
from tfpersist.graph.structure.lowered import Lowered


def replace_variables(lowered: Lowered, keep: Collection[str] = ()) -> Graph:
    """Replace the variables of a graph with constants.

    Args:
        lowered: a graph that is pruned to the wanted outputs, and the values of its variables.
        keep: names of the variables that stay variables.

    Returns:
        The graph. Its constants have the names of the variables. It shares only payloads with
        `lowered`.

    Raises:
        FreezeError: a variable has no value, or a value of another data type or shape than its node
            declares; or a node uses the variable in a way that a constant does not allow.
    """
    proto = schema.GraphDef()
    proto.CopyFrom(lowered.graph.proto)
    nodes: dict[str, Message] = {node.name: node for node in proto.node}
    names = [name for name, node in nodes.items() if node.op in VARIABLES and name not in keep]
    values = {name: _value(nodes[name], lowered) for name in names}
    library = dict(lowered.graph.functions)
    handle_values = {
        name: HandleValue(
            dtypes.BY_NAME[payload.spec.dtype].number,
            payload.spec.known_shape,
            (name,),
            nodes[name].op in REFERENCES,
        )
        for name, payload in values.items()
    }
    first_handles = _first_handles(nodes, names)
    try:
        rewritten = Specializer(library, handle_values).rewrite_main(nodes)
    except RecursionError as error:
        raise FreezeError(
            "calls of functions that use variables are nested too deep",
            expected=f"a depth within Python's recursion limit, {sys.getrecursionlimit()} frames",
            advice="Call functions one after the other, or raise sys.setrecursionlimit().",
        ) from error
    payloads = dict(lowered.graph.payloads)
    for name, payload in values.items():
        if name in first_handles:
            _read_other(nodes[name], first_handles[name], payload)
        else:
            set_constant(nodes[name], payload, payloads)
    if len(rewritten) != len(nodes):
        proto = schema.GraphDef(node=rewritten, versions=proto.versions, version=proto.version)
        proto.library.gradient.extend(lowered.graph.proto.library.gradient)
    proto.library.ClearField("function")
    proto.library.function.extend(library.values())
    return Graph(proto, payloads)


def _value(node: Message, lowered: Lowered) -> Payload:
    declared = declared_spec(node)
    where = f"variable {node.name} ({node.op})"
    payload = lowered.variables.get(node.name)
    if payload is None:
        raise FreezeError(
            lowered.problems.get(node.name, "the variable has no value"),
            where=where,
            advice="Initialize or restore it first, or freeze an output that does not need it.",
        )
    if not declared.accepts(payload.spec) or payload.spec.elements is None:
        raise FreezeError(
            "the value does not fit the variable",
            where=where,
            expected=declared,
            found=payload.spec,
            advice="Use the graph and the values of the same model.",
        )
    return payload


def _first_handles(nodes: Mapping[str, Message], names: list[str]) -> dict[str, str]:
    """Return {handle: the first handle of the same variable}, without the first handles."""
    firsts: dict[tuple[bytes, bytes], str] = {}
    others: dict[str, str] = {}
    for name in names:
        node = nodes[name]
        shared_name = node.attr["shared_name"].s if "shared_name" in node.attr else b""
        container = node.attr["container"].s if "container" in node.attr else b""
        first = firsts.setdefault((container, shared_name or name.encode()), name)
        if first != name:
            others[name] = first
    return others


def _read_other(node: Message, other: str, payload: Payload) -> None:
    """Turn a handle into the Identity of another constant, so that the bytes are there once."""
    node.ClearField("attr")
    node.op = "Identity"
    node.attr["T"].type = dtypes.BY_NAME[payload.spec.dtype].number
    node.input[:] = [other, *node.input]
