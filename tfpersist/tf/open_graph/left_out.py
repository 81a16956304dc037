"""Leave nodes out of a MetaGraphDef: those with unknown ops, Savers and input pipelines.

Savers and input pipelines would access files, which most policies refuse. They are not needed: the
caller restores the variables and feeds the inputs. The tensors that a Saver would restore become
placeholders, because the assignments that use them are needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import Any

from tfpersist.graph.structure import capabilities
from tfpersist.graph.structure.functions import names_in
from tfpersist.graph.structure.names import producer
from tfpersist.safety import Policy

_SAVES = frozenset({"MergeV2Checkpoints", "Save", "SaveSlices", "SaveV2"})
_RESTORES = {"Restore": "dt", "RestoreSlice": "dt", "RestoreV2": "dtypes"}
_PIPELINE = re.compile(r"\w+(Dataset|Reader)(V\d+)?")
_SHOWN = 5


def drop_unknown(meta: Any) -> list[str]:
    """Leave out the nodes whose op this TensorFlow lacks, with all nodes that need them.

    Args:
        meta: a MetaGraphDef, which is changed.

    Returns:
        Notes for the user.
    """
    functions = {function.signature.name for function in meta.graph_def.library.function}
    ops = {node.op for node in meta.graph_def.node} - functions
    unknown = sorted(op for op in ops if not _is_registered(op))
    if not unknown:
        return []
    first = {node.name for node in meta.graph_def.node if node.op in unknown}
    dropped = _drop(meta, first)
    return [
        f"this TensorFlow has no op {', '.join(unknown)}: {len(first)} nodes left out, and"
        f" {len(dropped) - len(first)} that depend on them"
    ]


def drop_refused(meta: Any, policy: Policy) -> list[str]:
    """Leave out Savers and input pipelines that could do more than the policy allows.

    Nodes that save are left out with all nodes that need them. So are calls of functions that save
    or restore, datasets and readers. Nodes that restore become placeholders.

    Args:
        meta: a MetaGraphDef, which is changed.
        policy: what the graph may do.

    Returns:
        Notes for the user: none if only parts of Savers were left out.
    """
    graph = meta.graph_def
    functions = {function.signature.name for function in graph.library.function}

    def is_refused(name: str) -> bool:
        can = capabilities.of_op(name, functions)
        return name not in policy.ops and not can.issubset(policy.allowed)

    savers = set(filter(is_refused, _SAVES.union(_RESTORES)))
    for node in [node for node in graph.node if node.op in savers.intersection(_RESTORES)]:
        _make_placeholder(graph, node)
    saving = _running(graph.library, savers.__contains__)
    harmful = _running(graph.library, is_refused)
    first = {n.name for n in graph.node if not saving.union(savers).isdisjoint(_runs(n))}
    scopes = tuple(f"{scope}/" for name in first if (scope := name.rpartition("/")[0]))
    first.update(
        node.name
        for node in graph.node
        if _PIPELINE.fullmatch(node.op)
        and any(name in harmful or is_refused(name) for name in _runs(node))
    )
    dropped = _drop(meta, first)
    _drop_functions(graph.library, saving)
    others = sorted(name for name in dropped if not name.startswith(scopes))
    if not others:
        return []
    more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    shown = ", ".join(others[:_SHOWN])
    return [f"nodes that could access files, or need one that could, are left out: {shown}{more}"]


def _runs(node: Any) -> Iterable[str]:
    """Return the op of a node, and the functions and ops that its attrs name."""
    return (node.op, *names_in(node.attr))


def _running(library: Any, is_searched: Callable[[str], bool]) -> set[str]:
    """Return the functions that run certain ops, directly or through another function.

    Args:
        library: a FunctionDefLibrary.
        is_searched: returns whether an op is one of those.
    """
    result: set[str] = set()
    count = -1
    while len(result) > count:
        count = len(result)
        for function in library.function:
            runs = (name for node in function.node_def for name in _runs(node))
            if any(name in result or is_searched(name) for name in runs):
                result.add(function.signature.name)
    return result


def _called(library: Any, nodes: Iterable[Any]) -> set[str]:
    """Return the functions that nodes run, directly or through another function."""
    bodies = {function.signature.name: function.node_def for function in library.function}
    result: set[str] = set()
    pending = list(nodes)
    while pending:
        for name in _runs(pending.pop()):
            if name in bodies and name not in result:
                result.add(name)
                pending.extend(bodies[name])
    return result


def _drop_functions(library: Any, names: Collection[str]) -> None:
    functions = [function for function in library.function if function.signature.name not in names]
    gradients = [
        gradient
        for gradient in library.gradient
        if gradient.function_name not in names and gradient.gradient_func not in names
    ]
    del library.function[:], library.gradient[:]
    library.function.extend(functions)
    library.gradient.extend(gradients)


def _make_placeholder(graph: Any, node: Any) -> None:
    """Replace a node that restores by placeholders, under the same names of outputs."""
    attr = node.attr[_RESTORES[node.op]]
    types = list(attr.list.type) if node.op == "RestoreV2" else [attr.type]
    del node.input[:]
    node.attr.clear()
    if len(types) == 1:
        node.op = "Placeholder"
        node.attr["dtype"].type = types[0]
        return
    node.op = "IdentityN"
    node.attr["T"].list.type.extend(types)
    for number, dtype in enumerate(types):
        value = graph.node.add(name=f"{node.name}/value_{number}", op="Placeholder")
        value.attr["dtype"].type = dtype
        node.input.append(value.name)


def _drop(meta: Any, first: Collection[str]) -> set[str]:
    """Leave out nodes, all nodes that need them and all functions that no other node calls.

    Args:
        meta: a MetaGraphDef, which is changed.
        first: names of the nodes.

    Returns:
        The names of all nodes that were left out.
    """
    dropped = set(first)
    if not dropped:
        return dropped
    users: dict[str, list[str]] = {}
    for node in meta.graph_def.node:
        for edge in node.input:
            users.setdefault(producer(edge), []).append(node.name)
    reached = list(dropped)
    for name in reached:
        for user in users.get(name, ()):
            if user not in dropped:
                dropped.add(user)
                reached.append(user)
    kept = [node for node in meta.graph_def.node if node.name not in dropped]
    library = meta.graph_def.library
    called = _called(library, (node for node in meta.graph_def.node if node.name in dropped))
    others = [f.node_def for f in library.function if f.signature.name not in called]
    used = _called(library, [*kept, *(node for body in others for node in body)])
    _drop_functions(library, called - used)
    colocations = {f"loc:@{name}".encode() for name in dropped}
    for node in kept:
        if "_class" in node.attr and not colocations.isdisjoint(node.attr["_class"].list.s):
            remaining = [text for text in node.attr["_class"].list.s if text not in colocations]
            node.attr["_class"].list.s[:] = remaining
    del meta.graph_def.node[:]
    meta.graph_def.node.extend(kept)
    _drop_from_collections(meta, dropped)
    if meta.HasField("saver_def") and _mentions(
        "savers", meta.saver_def.SerializeToString(), dropped
    ):
        meta.ClearField("saver_def")
    return dropped


def _is_registered(op: str) -> bool:
    import tensorflow as tf

    if hasattr(tf.raw_ops, op):
        return True
    probe = tf.compat.v1.GraphDef()
    probe.node.add(name="probe", op=op)
    try:
        with tf.Graph().as_default():
            tf.graph_util.import_graph_def(probe)
    except (tf.errors.OpError, ValueError) as error:
        return "not registered" not in str(error)
    return True


def _drop_from_collections(meta: Any, dropped: set[str]) -> None:
    for key in list(meta.collection_def):
        collection = meta.collection_def[key]
        list_field = collection.WhichOneof("kind")
        if list_field not in ("node_list", "bytes_list"):
            continue
        values = getattr(collection, list_field).value
        kept = [value for value in values if not _mentions(key, value, dropped)]
        if len(kept) == len(values):
            continue
        del values[:]
        values.extend(kept)
        if not kept:
            del meta.collection_def[key]


def _mentions(key: str, value: Any, dropped: set[str]) -> bool:
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework.variable_pb2 import VariableDef
    from tensorflow.core.protobuf import control_flow_pb2, saver_pb2

    if isinstance(value, str):
        return producer(value) in dropped
    kinds = {
        "cond_context": control_flow_pb2.CondContextDef,
        "while_context": control_flow_pb2.WhileContextDef,
        "savers": saver_pb2.SaverDef,
    }
    try:
        proto = kinds.get(key, VariableDef).FromString(value)
    except DecodeError:
        return False
    names: Iterable[str]
    if key == "savers":
        names = (proto.save_tensor_name, proto.restore_op_name)
    elif key in kinds:
        names = (proto.pivot_name, *proto.values_def.values)
    else:
        names = (
            proto.variable_name,
            proto.initializer_name,
            proto.snapshot_name,
            proto.initial_value_name,
        )
    return any(producer(name) in dropped for name in names)
