"""Import a `.meta` file, after mending what this TensorFlow would refuse."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import attrs

from tfpersist.errors import CorruptionError, GraphError, TargetError
from tfpersist.formats.graphdef import Graph
from tfpersist.graph.structure import trusted_values
from tfpersist.graph.structure.names import producer
from tfpersist.safety import Policy, scan
from tfpersist.tf.open_graph import left_out, scopes
from tfpersist.tf.run.translate import translated

_VERSION = re.compile(r"\d+(\.\d+)*")


@attrs.frozen
class Imported:
    """A graph that came from a `.meta` file.

    Args:
        graph: the tf.Graph that holds it.
        scope: the name scope it is under; empty for none.
        notes: what had to be left out or changed.
        before: names of the operations that were in the graph already.
    """

    graph: Any
    scope: str
    notes: tuple[str, ...] = ()
    before: frozenset[str] = frozenset()


def import_meta(
    encoded: bytes,
    *,
    scope: str,
    session: Any = None,
    file: str = "<bytes>",
    policy: Policy | None = None,
) -> Imported:
    """Import a MetaGraphDef of any TensorFlow since 0.12.

    What this TensorFlow refuses is mended in a copy: version numbers that are none, devices that
    are absent, shapes that the ops of today contradict. Ops that it no longer has are left out,
    with all that depends on them, and so are Savers and input pipelines that may not reach files.

    Args:
        encoded: the MetaGraphDef.
        scope: put everything under this name scope, with variables and tables of its own; one that
            is in use gets a number, and a note tells so. Empty for none.
        session: import into the graph of this session; None for a new graph.
        file: where it comes from, for errors.
        policy: what the graph may do; nothing is imported of one that could do more. By default it
            may compute, keep state and draw random numbers.

    Returns:
        The graph.

    Raises:
        CorruptionError: these bytes are no MetaGraphDef.
        UnsafeModelError: it could do more than the policy allows.
        GraphError: TensorFlow cannot import it even so.
        TargetError: the session's graph is finalized, it has some of the names and there is no
            scope, or the scope is no name of one.
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
    scope = scopes.checked(scope)
    policy = policy or Policy.default()
    notes = [*_mend_version(meta), *left_out.drop_unknown(meta)]
    notes += left_out.drop_refused(meta, policy)
    policy.check(scan(meta, file))
    trusted_values.refuse_invalid(Graph(meta.graph_def))
    notes += _clear_devices(meta, session)
    _make_tables_fillable(meta)
    if not meta.HasField("saver_def"):
        # Without one, the import would build a Saver, and so add ops.
        meta.saver_def.filename_tensor_name = "save/Const:0"
        meta.saver_def.save_tensor_name = "save/control_dependency:0"
        meta.saver_def.restore_op_name = "save/restore_all"
    before: frozenset[str] = frozenset()
    name = scope
    if session is not None:
        before = frozenset(operation.name for operation in session.graph.get_operations())
        name = scopes.free(scope, session.graph, before)
        if not scope:
            scopes.refuse_shared(meta, session.graph, before)
    if name != scope:
        notes.append(f"the scope {scope!r} is in use: everything is under {name!r}")
    if name:
        scopes.scope_resources(meta, name)
    try:
        with translated(GraphError):
            # A failed import would leave its name scope in the graph, so it is tried in another.
            graph, ignored = _import_alone(meta, name)
            if session is not None:
                graph = _import(meta, name, session.graph)
    except DecodeError as error:
        raise CorruptionError(f"a collection cannot be read: {error}", file=file) from error
    return Imported(graph, name, (*notes, *ignored), before)


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
        base = f"tfpersist/{producer(table)}"
        fill = meta.graph_def.node.add(name=f"{base}/fill", op="LookupTableImportV2")
        fill.attr["Tin"].type = export.attr["Tkeys"].type
        fill.attr["Tout"].type = export.attr["Tvalues"].type
        fill.input.extend([table, f"{base}/keys", f"{base}/values"])
        for part, attr in (("keys", "Tin"), ("values", "Tout")):
            node = meta.graph_def.node.add(name=f"{base}/{part}", op="Placeholder")
            node.attr["dtype"].type = fill.attr[attr].type
