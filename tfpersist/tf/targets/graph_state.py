"""The state in a graph: its variables and tables, the tensors that read them, the ops that write.

Only what the graph already has is used, so that nothing is ever added to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from tfpersist.errors import TargetError
from tfpersist.formats.tensors import Slice, TensorSpec
from tfpersist.matching.naming import slot_of
from tfpersist.matching.plan import Entry

VARIABLE_OPS = frozenset({"VarHandleOp", "VariableV2", "Variable", "TemporaryVariable"})
_ASSIGN_OPS = frozenset({"Assign", "AssignVariableOp"})
EXPORT_OPS = frozenset({"LookupTableExportV2", "LookupTableExport"})
_IMPORT_OPS = frozenset({"LookupTableImportV2", "LookupTableImport"})


@attrs.frozen
class Write:
    """An op of the graph that gives a variable or a table its value.

    Args:
        op: the operation to run.
        feeds: the tensors it reads the value from: one, or a table's keys and values.
    """

    op: Any
    feeds: tuple[Any, ...]


def entries_of(graph: Any) -> list[Entry]:
    """List the variables and tables of a graph.

    Args:
        graph: a tf.Graph.

    Returns:
        Those that a Saver would take, then, with `default` off, the variables that are in no
        collection or only in others, such as LOCAL_VARIABLES.

    Raises:
        TargetError: a strategy keeps some of them on several devices.
    """
    from tensorflow.compat import v1

    known: dict[int, Any] = {}
    collected: set[int] = set()
    for collection in dict.fromkeys(
        (v1.GraphKeys.GLOBAL_VARIABLES, *graph.get_all_collection_keys())
    ):
        for member in graph.get_collection(collection):
            _refuse_replicas(member)
            op: Any = getattr(member, "op", None)
            if getattr(op, "type", None) in VARIABLE_OPS and op.graph is graph:
                known.setdefault(id(op), member)
                if collection == v1.GraphKeys.GLOBAL_VARIABLES:
                    collected.add(id(op))
    ops = [op for op in graph.get_operations() if op.type in VARIABLE_OPS]
    loose = [op for op in ops if id(op) not in collected]
    first = [op for op in ops if id(op) in collected]
    names = {op.name for op in ops}
    with graph.as_default():
        return [
            *(_variable(op, known.get(id(op)), names, default=True) for op in first),
            *_tables(graph),
            *(_variable(op, known.get(id(op)), names, default=not first) for op in loose),
        ]


def _refuse_replicas(member: Any) -> None:
    import tensorflow as tf

    if isinstance(member, tf.distribute.DistributedValues) and len(member.values) > 1:
        raise TargetError(
            f"the variable {member.name!r} lies on {len(member.values)} devices, where a"
            " tf.distribute strategy of a session keeps it",
            expected="eager mode, or a graph that was built outside of the strategy's scope",
            advice="Save this session with a tf.compat.v1.train.Saver() that is made in the scope;"
            " tfpersist restores its checkpoint into a graph without a strategy.",
        )


def read_of(entry: Entry) -> Any | None:
    """Find a tensor whose value is the variable's; None where the graph reads it nowhere."""
    held: Any = entry.handle
    if not hasattr(held, "outputs"):
        return held
    if held.type != "VarHandleOp":
        return held.outputs[0]
    reads = [
        op
        for op in held.outputs[0].consumers()
        if op.type == "ReadVariableOp" and not op.control_inputs
    ]
    at_home = [op for op in reads if op.device == held.device]
    return next((op.outputs[0] for op in (*at_home, *reads)), None)


def is_initialized_of(entry: Entry) -> Any | None:
    """Find a tensor that tells whether the variable has a value; None where there is none."""
    held: Any = entry.handle
    if not hasattr(held, "outputs"):
        return None
    wanted = ("VarIsInitializedOp", "IsVariableInitialized")
    return next((op.outputs[0] for op in held.outputs[0].consumers() if op.type in wanted), None)


def writes_of(entry: Entry) -> list[Write]:
    """List the ops that give the variable a value, those without side effects first."""
    held: Any = entry.handle
    if not hasattr(held, "outputs"):
        table = held.op.inputs[0]
        return [
            Write(op, tuple(op.inputs)[1:]) for op in table.consumers() if op.type in _IMPORT_OPS
        ]
    found = [
        Write(op, (op.inputs[1],))
        for op in held.outputs[0].consumers()
        if op.type in _ASSIGN_OPS
        and op.inputs[0] is held.outputs[0]
        and op.inputs[1].op.type not in VARIABLE_OPS
        and op.graph.is_feedable(op.inputs[1])
    ]
    return sorted(found, key=lambda write: len(write.op.control_inputs))


def is_resource(entry: Entry) -> bool:
    """Whether the entry is a resource variable."""
    return getattr(entry.handle, "type", None) == "VarHandleOp"


def is_table(entry: Entry) -> bool:
    """Whether the entry is the keys or the values of a table."""
    held: Any = entry.handle
    return not hasattr(held, "outputs") and held.op.type in EXPORT_OPS


def _variable(op: Any, variable: Any, names: set[str], *, default: bool) -> Entry:
    import tensorflow as tf

    dtype = tf.dtypes.as_dtype(op.get_attr("dtype")).base_dtype.name
    if op.type == "VarHandleOp":
        shape = tf.TensorShape(op.get_attr("shape"))
    else:
        shape = op.outputs[0].shape
    spec = TensorSpec(dtype, None if shape.rank is None else tuple(shape.as_list()))
    part = _part(variable)
    key = op.name if part is None else part.full_name
    return Entry(
        key, op.name, spec, variable, part, handle=op, slot=slot_of(op.name, names), default=default
    )


def _part(variable: Any) -> Slice | None:
    if not hasattr(variable, "to_proto"):
        return None
    proto = variable.to_proto()
    if proto is None or not proto.HasField("save_slice_info_def"):
        return None
    info = proto.save_slice_info_def
    return Slice(
        info.full_name, tuple(info.full_shape), tuple(info.var_offset), tuple(info.var_shape)
    )


def _tables(graph: Any) -> Iterator[Entry]:
    from tensorflow.compat import v1

    exported: set[int] = set()
    imported: set[int] = set()
    for saveable in graph.get_collection(v1.GraphKeys.SAVEABLE_OBJECTS):
        # A collection that came from a `.meta` file holds the tables' operations instead.
        imported.add(id(saveable))
        for spec in getattr(saveable, "specs", ()):
            if spec.tensor.op.type in EXPORT_OPS:
                exported.add(id(spec.tensor.op.inputs[0].op))
            yield _tensor_entry(spec.name, spec.name, spec.tensor, saveable.op)
    operations = graph.get_operations()
    for save in (op for op in operations if op.type == "SaveV2"):
        for key, tensor in zip(_strings(save.inputs[1]), tuple(save.inputs)[3:], strict=False):
            if tensor.op.type in EXPORT_OPS and id(tensor.op.inputs[0].op) not in exported:
                yield _tensor_entry(key, _table_name(tensor), tensor, tensor.op.inputs[0].op)
        exported.update(
            id(tensor.op.inputs[0].op) for tensor in save.inputs if tensor.op.type in EXPORT_OPS
        )
    for op in (op for op in operations if op.type in EXPORT_OPS):
        table = op.inputs[0].op
        if id(table) in imported and id(table) not in exported:
            exported.add(id(table))
            for tensor in op.outputs:
                yield _tensor_entry(_table_name(tensor), _table_name(tensor), tensor, table)


def _table_name(tensor: Any) -> str:
    return f"{tensor.op.inputs[0].op.name}-{('keys', 'values')[tensor.value_index]}"


def _tensor_entry(key: str, name: str, tensor: Any, owner: object) -> Entry:
    shape = tensor.shape
    spec = TensorSpec(
        tensor.dtype.base_dtype.name, None if shape.rank is None else tuple(shape.as_list())
    )
    return Entry(key, name, spec, owner, handle=tensor)


def _strings(tensor: Any) -> Sequence[str]:
    import tensorflow as tf

    if tensor.op.type != "Const":
        return ()
    values = tf.make_ndarray(tensor.op.get_attr("value")).reshape(-1)
    return [value.decode("utf-8", "surrogateescape") for value in values]
