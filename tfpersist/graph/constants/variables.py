"""Variables become constants."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tfpersist.errors import FreezeError
from tfpersist.formats import dtypes, schema, tensor_proto
from tfpersist.formats.graphdef import Graph, with_payload
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Payload
from tfpersist.graph.constants.handle_flow import Specializer
from tfpersist.graph.constants.rewrites import HandleValue
from tfpersist.graph.structure.kinds import REFERENCES, VARIABLES, declared_spec
from tfpersist.graph.structure.lowered import Lowered


def replace_variables(lowered: Lowered, keep: Collection[str] = ()) -> Graph:
    """Turn the variables of a graph into constants.

    Args:
        lowered: a graph that is pruned to what is wanted, and the values of its variables.
        keep: names of variables that stay variables.

    Returns:
        The graph, whose constants have the variables' names; it shares nothing with `lowered` but
        the payloads.

    Raises:
        FreezeError: a variable has no value or another type or shape than its node says, or
            something uses it in a way that no constant allows.
    """
    proto = schema.GraphDef()
    proto.CopyFrom(lowered.graph.proto)
    nodes: dict[str, Message] = {node.name: node for node in proto.node}
    names = [name for name, node in nodes.items() if node.op in VARIABLES and name not in keep]
    values = {name: _value(nodes[name], lowered) for name in names}
    library = dict(lowered.graph.functions)
    held = {
        name: HandleValue(
            dtypes.BY_NAME[payload.spec.dtype].number,
            payload.spec.shape,  # type: ignore[arg-type]
            (name,),
            nodes[name].op in REFERENCES,
        )
        for name, payload in values.items()
    }
    twins = _twins(nodes, names)
    try:
        written = Specializer(library, held).rewrite_main(nodes)
    except RecursionError as error:
        raise FreezeError("functions that use variables call each other too deeply") from error
    payloads = dict(lowered.graph.payloads)
    for name, payload in values.items():
        _settle(nodes[name], payload, twins.get(name), payloads)
    if len(written) != len(nodes):
        proto = schema.GraphDef(node=written, versions=proto.versions, version=proto.version)
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
            advice="Take the graph and the values from the same model.",
        )
    return payload


def _twins(nodes: Mapping[str, Message], names: list[str]) -> dict[str, str]:
    """Find handles of the same variable; all but the first of them need no bytes of their own."""
    first: dict[tuple[bytes, bytes], str] = {}
    twins: dict[str, str] = {}
    for name in names:
        node = nodes[name]
        shared = node.attr["shared_name"].s if "shared_name" in node.attr else b""
        container = node.attr["container"].s if "container" in node.attr else b""
        original = first.setdefault((container, shared or name.encode()), name)
        if original != name:
            twins[name] = original
    return twins


def _settle(
    node: Message, payload: Payload, twin: str | None, payloads: dict[str, Payload]
) -> None:
    node.ClearField("attr")
    if twin is not None:
        node.op = "Identity"
        node.attr["T"].type = dtypes.BY_NAME[payload.spec.dtype].number
        controls = list(node.input)
        node.ClearField("input")
        node.input.extend([twin, *controls])
    elif payload.spec.nbytes:
        with_payload(node, payload.spec)
        payloads[node.name] = payload
    else:
        node.op = "Const"
        node.attr["dtype"].type = dtypes.BY_NAME[payload.spec.dtype].number
        proto = tensor_proto.from_array(payload.load(), payload.spec.dtype)
        node.attr["value"].tensor.CopyFrom(proto)
