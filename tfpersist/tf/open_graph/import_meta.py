"""Import a `.meta` file, after a repair of what this TensorFlow would refuse."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import attrs

from tfpersist.errors import CorruptionError, GraphError, TargetError
from tfpersist.formats import graphdef
from tfpersist.formats.graphdef import Graph
from tfpersist.graph.constants import from_saver
from tfpersist.graph.constants.from_saver import Sources
from tfpersist.graph.structure import trusted_values
from tfpersist.graph.structure.names import producer
from tfpersist.safety import Policy, scan
from tfpersist.tf.open_graph import left_out, scopes
from tfpersist.tf.run.translate import translated

_VERSION = re.compile(r"\d+(\.\d+)*")


@attrs.frozen
class Imported:
    """A graph that came from a `.meta` file, in a tf.Graph of its own.

    Args:
        graph: the tf.Graph that holds it.
        scope: the name scope it is under; "" for none.
        meta: the MetaGraphDef, repaired.
        sources: the places of the values in a checkpoint, by the names of nodes in the `.meta`.
        notes: what was left out or changed.
        other_operations: names of the operations of the session's graph.
    """

    graph: Any
    scope: str
    meta: Any
    sources: Sources
    notes: tuple[str, ...] = ()
    other_operations: frozenset[str] = frozenset()

    def add_to(self, graph: Any) -> None:
        """Import the same graph into another tf.Graph.

        Raises:
            GraphError: TensorFlow cannot import it.
        """
        with translated(GraphError):
            _import(self.meta, self.scope, graph)


def import_meta(
    encoded: bytes,
    *,
    scope: str,
    session: Any = None,
    file: str = "<bytes>",
    policy: Policy | None = None,
) -> Imported:
    """Import a MetaGraphDef of any TensorFlow since 0.12.

    What this TensorFlow would refuse is repaired in a copy: malformed version numbers, devices that
    do not exist here, shapes that contradict the ops of today. Nodes with ops that it does not have
    any more are left out, with all nodes that depend on them. So are Savers and input pipelines
    that may not access files.

    Args:
        encoded: the MetaGraphDef, binary or text.
        scope: put everything under this name scope, with variables and tables of its own. If it is
            in use, a number is appended, and a note says so. "" for none.
        session: the session into whose graph it will be added, so that the names do not collide;
            None for none. Nothing is added yet.
        file: where it comes from, for errors.
        policy: what the graph may do; a graph that could do more is refused. By default it may
            compute, keep state and draw random numbers.

    Returns:
        The graph.

    Raises:
        CorruptionError: the bytes are not a MetaGraphDef.
        UnsafeModelError: the graph could do more than the policy allows.
        GraphError: TensorFlow cannot import it after the repair.
        TargetError: the session's graph is finalized; or there is no scope, and it has some of the
            names; or the scope is not a valid name.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

    parsed = graphdef.parse_meta(encoded, file)
    sources = from_saver.all_sources(Graph(parsed.graph_def), parsed)
    meta = MetaGraphDef.FromString(parsed.SerializeToString())
    if session is not None and session.graph.finalized:
        raise TargetError(
            "the session's graph is finalized, so nothing can be imported into it",
            advice="Leave `session` out: open_graph() makes a graph and a session of its own.",
        )
    scope = scopes.checked(scope)
    policy = policy or Policy.default()
    notes = [*_repair_version(meta), *left_out.drop_unknown(meta)]
    notes += left_out.drop_refused(meta, policy)
    policy.check(scan(meta, file))
    trusted_values.refuse_invalid(Graph(meta.graph_def))
    notes += _clear_devices(meta, session)
    _make_tables_fillable(meta)
    if not meta.HasField("saver_def"):
        # Without a SaverDef, the import would build a Saver, and so add operations.
        meta.saver_def.filename_tensor_name = "save/Const:0"
        meta.saver_def.save_tensor_name = "save/control_dependency:0"
        meta.saver_def.restore_op_name = "save/restore_all"
    other_operations: frozenset[str] = frozenset()
    name = scope
    if session is not None:
        other_operations = frozenset(op.name for op in session.graph.get_operations())
        name = scopes.unused_scope(scope, session.graph, other_operations)
        if not scope:
            scopes.refuse_shared(meta, session.graph, other_operations)
    if name != scope:
        notes.append(f"the scope {scope!r} is in use: everything is under {name!r}")
    if name:
        scopes.scope_resources(meta, name)
    try:
        with translated(GraphError):
            # A failed import would leave its name scope in the graph. So the import is tried in
            # another graph first.
            graph, ignored = _import_alone(meta, name)
    except DecodeError as error:
        raise CorruptionError(f"a collection cannot be read: {error}", file=file) from error
    return Imported(graph, name, meta, sources, (*notes, *ignored), other_operations)


def _import(meta: Any, scope: str, graph: Any) -> Any:
    from tensorflow.compat import v1

    # The name scope and the control dependencies that are open where a user opens a graph are not
    # meant for it.
    with graph.as_default(), graph.name_scope(None), graph.control_dependencies(None):
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
        return graph, ["recorded shapes are ignored: some contradict this TensorFlow"]


def _nodes(meta: Any) -> Iterator[Any]:
    yield from meta.graph_def.node
    for function in meta.graph_def.library.function:
        yield from function.node_def


def _repair_version(meta: Any) -> Iterator[str]:
    version = meta.meta_info_def.tensorflow_version
    numbers = _VERSION.match(version)
    plain = numbers[0] if numbers else ""
    if version and not re.fullmatch(r"\d+(\.\d+)*(-?rc\d+)?(-?dev\d+)?", version):
        meta.meta_info_def.tensorflow_version = plain
        yield f"written by TensorFlow {version!r}, read as {plain!r}"


def _clear_devices(meta: Any, session: Any) -> list[str]:
    import tensorflow as tf

    devices = {node.device for node in _nodes(meta)} - {""}
    if not devices:
        return []
    if session is not None:
        present = session.list_devices()
    else:
        with tf.compat.v1.Session(graph=tf.Graph()) as probe:
            present = probe.list_devices()
    specs = [tf.DeviceSpec.from_string(device.name) for device in present]
    absent = {device for device in devices if not any(_is_on(device, spec) for spec in specs)}
    for node in _nodes(meta):
        if node.device in absent:
            node.device = ""
    return [
        f"device {device} does not exist here: its nodes may run on any device"
        for device in sorted(absent)
    ]


def _is_on(device: str, present: Any) -> bool:
    import tensorflow as tf

    try:
        spec = tf.DeviceSpec.from_string(device)
    except ValueError:
        return False
    return all(
        getattr(spec, field) in (None, getattr(present, field))
        for field in ("job", "replica", "task", "device_type", "device_index")
    )


def _make_tables_fillable(meta: Any) -> None:
    """Add an operation that fills a table, for each table that can be read and has none."""
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
