"""MetaGraphs: what goes into a `.meta` file, and what has to be mended before one is imported."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from tfpersist.errors import CorruptionError, GraphError, SaveError, TargetError
from tfpersist.tf.execute import translated

_VERSION = re.compile(r"\d+(\.\d+)*")
# VarHandleOp shares its variable with every handle of an equal name, even of the empty name.
_HANDLE = "VarHandleOp"


@attrs.frozen
class Imported:
    """A graph that came from a `.meta` file.

    Args:
        graph: the tf.Graph that holds it.
        scope: the name scope it is under; empty for none.
        notes: what had to be left out or changed.
    """

    graph: Any
    scope: str
    notes: tuple[str, ...] = ()


def export(graph: Any) -> bytes:
    """Encode a graph with its collections, as Saver writes them into a `.meta` file.

    Args:
        graph: a tf.Graph; nothing is added to it.

    Returns:
        The encoded MetaGraphDef, with the SaverDef of the graph's last Saver where it has one.

    Raises:
        SaveError: TensorFlow cannot encode it, for example because it is over 2 GB.
    """
    from tensorflow.compat import v1

    savers = graph.get_collection(v1.GraphKeys.SAVERS)
    saver_def = savers[-1].as_saver_def() if savers else None
    with translated(SaveError), graph.as_default():
        meta = v1.train.export_meta_graph(graph=graph, saver_def=saver_def)
    return bytes(meta.SerializeToString(deterministic=True))


def import_meta(
    encoded: bytes, *, scope: str, session: Any = None, file: str = "<bytes>"
) -> Imported:
    """Import a MetaGraphDef of any TensorFlow since 0.12.

    What this TensorFlow refuses is mended in a copy: version numbers that are none, devices that
    are absent, shapes that the ops of today contradict. Ops that it no longer has are left out,
    with all that depends on them.

    Args:
        encoded: the MetaGraphDef.
        scope: put everything under this name scope, with variables and tables of its own.
        session: import into the graph of this session; None for a new graph.
        file: where it comes from, for errors.

    Returns:
        The graph.

    Raises:
        CorruptionError: these bytes are no MetaGraphDef.
        GraphError: TensorFlow cannot import it even so.
        TargetError: the session's graph is finalized.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

    try:
        meta = MetaGraphDef.FromString(encoded)
    except DecodeError as error:
        raise CorruptionError(f"this is no MetaGraphDef: {error}", file=file) from error
    if session is not None and session.graph.finalized:
        raise TargetError(
            "the session's graph is finalized, so nothing can be imported into it",
            advice="Leave `session` out: open_graph() makes a graph and a session of its own.",
        )
    notes = [*_mend_version(meta), *_drop_unknown(meta), *_clear_devices(meta, session)]
    _make_tables_fillable(meta)
    if not meta.HasField("saver_def"):
        # Without one, the import would build a Saver, and so add ops.
        meta.saver_def.filename_tensor_name = "save/Const:0"
        meta.saver_def.save_tensor_name = "save/control_dependency:0"
        meta.saver_def.restore_op_name = "save/restore_all"
    name = scope
    if session is not None and scope:
        name = session.graph.unique_name(scope, mark_as_used=False)
    if name:
        _scope_resources(meta, name)
    try:
        with translated(GraphError):
            # A failed import would leave its name scope in the graph, so it is tried in another.
            graph, ignored = _import_alone(meta, scope)
            if session is not None:
                graph = _import(meta, scope, session.graph)
    except DecodeError as error:
        raise CorruptionError(f"a collection cannot be read: {error}", file=file) from error
    return Imported(graph, name, (*notes, *ignored))


def _import(meta: Any, scope: str, graph: Any) -> Any:
    from tensorflow.compat import v1

    with graph.as_default():
        v1.train.import_meta_graph(meta, import_scope=scope or None)
    return graph


def _import_alone(meta: Any, scope: str) -> tuple[Any, list[str]]:
    import tensorflow as tf

    try:
        return _import(meta, scope, tf.Graph()), []
    except (tf.errors.OpError, ValueError):
        for node in _nodes(meta):
            node.attr.pop("_output_shapes", None)
        graph = _import(meta, scope, tf.Graph())
        return graph, ["recorded shapes that this TensorFlow contradicts are ignored"]


def _nodes(meta: Any) -> Iterator[Any]:
    yield from meta.graph_def.node
    for function in meta.graph_def.library.function:
        yield from function.node_def


def _mend_version(meta: Any) -> Iterator[str]:
    version = meta.meta_info_def.tensorflow_version
    numbers = _VERSION.match(version)
    plain = numbers[0] if numbers else ""
    if version and not re.fullmatch(r"\d+(\.\d+)*(-?rc\d+)?(-?dev\d+)?", version):
        meta.meta_info_def.tensorflow_version = plain
        yield f"written by TensorFlow {version!r}, read as {plain!r}"


def _drop_unknown(meta: Any) -> list[str]:
    functions = {function.signature.name for function in meta.graph_def.library.function}
    ops = {node.op for node in meta.graph_def.node} - functions
    unknown = sorted(op for op in ops if not _is_registered(op))
    if not unknown:
        return []
    dropped = {node.name for node in meta.graph_def.node if node.op in unknown}
    first = len(dropped)
    users: dict[str, list[str]] = {}
    for node in meta.graph_def.node:
        for edge in node.input:
            users.setdefault(_node_of(edge), []).append(node.name)
    reached = list(dropped)
    for name in reached:
        for user in users.get(name, ()):
            if user not in dropped:
                dropped.add(user)
                reached.append(user)
    kept = [node for node in meta.graph_def.node if node.name not in dropped]
    del meta.graph_def.node[:]
    meta.graph_def.node.extend(kept)
    _drop_from_collections(meta, dropped)
    return [
        f"this TensorFlow has no op {', '.join(unknown)}: {first} nodes left out, and"
        f" {len(dropped) - first} that depend on them"
    ]


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
        kind = collection.WhichOneof("kind")
        if kind not in ("node_list", "bytes_list"):
            continue
        values = getattr(collection, kind).value
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
    from tensorflow.core.protobuf import control_flow_pb2

    if isinstance(value, str):
        return _node_of(value) in dropped
    contexts = {
        "cond_context": control_flow_pb2.CondContextDef,
        "while_context": control_flow_pb2.WhileContextDef,
    }
    try:
        proto = contexts.get(key, VariableDef).FromString(value)
    except DecodeError:
        return False
    if key in contexts:
        names: Iterable[str] = (proto.pivot_name, *proto.values_def.values)
    else:
        names = (
            proto.variable_name,
            proto.initializer_name,
            proto.snapshot_name,
            proto.initial_value_name,
        )
    return any(_node_of(name) in dropped for name in names)


def _node_of(edge: str) -> str:
    return edge.removeprefix("^").partition(":")[0]


def _clear_devices(meta: Any, session: Any) -> list[str]:
    import tensorflow as tf

    named = {node.device for node in _nodes(meta)} - {""}
    if not named:
        return []
    if session is not None:
        present = session.list_devices()
    else:
        with tf.compat.v1.Session(graph=tf.Graph()) as probe:
            present = probe.list_devices()
    specs = [tf.DeviceSpec.from_string(device.name) for device in present]
    absent = {device for device in named if not any(_is_on(device, spec) for spec in specs)}
    for node in _nodes(meta):
        if node.device in absent:
            node.device = ""
    return [f"device {device} is not here: its nodes may run anywhere" for device in sorted(absent)]


def _is_on(device: str, present: Any) -> bool:
    import tensorflow as tf

    try:
        wanted = tf.DeviceSpec.from_string(device)
    except ValueError:
        return False
    return all(
        getattr(wanted, field) in (None, getattr(present, field))
        for field in ("job", "replica", "task", "device_type", "device_index")
    )


def _make_tables_fillable(meta: Any) -> None:
    """Add an op that fills each table that can be read, where no Saver has added one."""
    filled = {node.input[0] for node in meta.graph_def.node if node.op == "LookupTableImportV2"}
    exports = {
        node.input[0]: node
        for node in meta.graph_def.node
        if node.op == "LookupTableExportV2" and node.input[0] not in filled
    }
    for table, export in exports.items():
        base = f"tfpersist/{_node_of(table)}"
        fill = meta.graph_def.node.add(name=f"{base}/fill", op="LookupTableImportV2")
        fill.attr["Tin"].type = export.attr["Tkeys"].type
        fill.attr["Tout"].type = export.attr["Tvalues"].type
        fill.input.extend([table, f"{base}/keys", f"{base}/values"])
        for part, attr in (("keys", "Tin"), ("values", "Tout")):
            node = meta.graph_def.node.add(name=f"{base}/{part}", op="Placeholder")
            node.attr["dtype"].type = fill.attr[attr].type


def _scope_resources(meta: Any, scope: str) -> None:
    for node in meta.graph_def.node:
        if "shared_name" in node.attr and (node.attr["shared_name"].s or node.op == _HANDLE):
            node.attr["shared_name"].s = f"{scope}/".encode() + node.attr["shared_name"].s
        elif node.op == _HANDLE:
            node.attr["shared_name"].s = f"{scope}/".encode()
