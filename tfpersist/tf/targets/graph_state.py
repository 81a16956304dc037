"""Find the variables and tables of a graph, the tensors that read them, the ops that write them.

Nothing is added to the graph, except for saveable objects of other types (`saveables`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import TargetError
from tfpersist.formats.tensors import Slice, TensorSpec
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.sides.naming import slot_of
from tfpersist.tf.internals import saveables

VARIABLE_OPS = frozenset({"VarHandleOp", "VariableV2", "Variable", "TemporaryVariable"})
_ASSIGN_OPS = frozenset({"Assign", "AssignVariableOp"})
EXPORT_OPS = frozenset({"LookupTableExportV2", "LookupTableExport"})
_IMPORT_OPS = frozenset({"LookupTableImportV2", "LookupTableImport"})


@attrs.frozen
class Write:
    """An operation of the graph that assigns a variable or fills a table.

    Args:
        op: the operation to run.
        feeds: the tensors that hold the value: one, or the keys and the values of a table.
        shapes: the declared shapes of these tensors; None for one of any rank.
        dtypes: their data types as numpy has them.
    """

    op: Any
    feeds: tuple[Any, ...]
    shapes: tuple[tuple[int | None, ...] | None, ...] = attrs.field(init=False)
    dtypes: tuple[np.dtype[Any], ...] = attrs.field(init=False)

    @shapes.default
    def _declared(self) -> tuple[tuple[int | None, ...] | None, ...]:
        ranked = (feed.shape for feed in self.feeds)
        return tuple(None if shape.rank is None else tuple(shape.as_list()) for shape in ranked)

    @dtypes.default
    def _stored(self) -> tuple[np.dtype[Any], ...]:
        return tuple(np.dtype(feed.dtype.base_dtype.as_numpy_dtype) for feed in self.feeds)


def entries_of(graph: Any) -> list[Entry]:
    """Return the variables and tables of a graph.

    Args:
        graph: a tf.Graph.

    Returns:
        First those that a Saver would save. Then, with `default` off, the variables that are not in
        the collection GLOBAL_VARIABLES, such as local variables.

    Raises:
        TargetError: a strategy keeps some of them on several devices.
    """
    from tensorflow.compat import v1

    variables: dict[int, Any] = {}
    global_ops: set[int] = set()
    for collection in dict.fromkeys(
        (v1.GraphKeys.GLOBAL_VARIABLES, *graph.get_all_collection_keys())
    ):
        for member in graph.get_collection(collection):
            _refuse_replicas(member)
            op: Any = getattr(member, "op", None)
            if getattr(op, "type", None) in VARIABLE_OPS and op.graph is graph:
                variables.setdefault(id(op), member)
                if collection == v1.GraphKeys.GLOBAL_VARIABLES:
                    global_ops.add(id(op))
    ops = [op for op in graph.get_operations() if op.type in VARIABLE_OPS]
    first = [op for op in ops if id(op) in global_ops]
    others = [op for op in ops if id(op) not in global_ops]
    names = {op.name for op in ops}
    with graph.as_default():
        return [
            *(_variable(op, variables.get(id(op)), names, default=True) for op in first),
            *_tables(graph),
            *(_variable(op, variables.get(id(op)), names, default=not first) for op in others),
        ]


def _refuse_replicas(member: Any) -> None:
    import tensorflow as tf

    if isinstance(member, tf.distribute.DistributedValues) and len(member.values) > 1:
        raise TargetError(
            f"a tf.distribute strategy keeps the variable {member.name!r} on"
            f" {len(member.values)} devices, and a session of it cannot be saved or restored",
            expected="eager mode, or a graph that was built outside of the strategy's scope",
            advice="Save this session with a tf.compat.v1.train.Saver() that is made in the scope."
            " tfpersist can restore its checkpoint into a graph without a strategy.",
        )


def read_of(entry: Entry) -> Any | None:
    """Return a tensor with the value of a variable; None if no operation reads the variable."""
    handle: Any = entry.handle
    if saveables.is_saveable(entry):
        return saveables.fetched(entry)
    if not hasattr(handle, "outputs"):
        return handle
    if handle.type != "VarHandleOp":
        return handle.outputs[0]
    reads = [
        op
        for op in handle.outputs[0].consumers()
        if op.type == "ReadVariableOp" and not op.control_inputs
    ]
    same_device = [op for op in reads if op.device == handle.device]
    return next((op.outputs[0] for op in (*same_device, *reads)), None)


def is_initialized_of(entry: Entry) -> Any | None:
    """Return a tensor that is true if the variable has a value; None if there is none."""
    handle: Any = entry.handle
    if not hasattr(handle, "outputs"):
        return None
    types = ("VarIsInitializedOp", "IsVariableInitialized")
    return next((op.outputs[0] for op in handle.outputs[0].consumers() if op.type in types), None)


def writes_of(entry: Entry) -> list[Write]:
    """Return the operations that assign the variable, those without side effects first."""
    handle: Any = entry.handle
    if saveables.is_saveable(entry):
        op, feeds = saveables.restored(entry)
        return [Write(op, tuple(feeds))]
    if not hasattr(handle, "outputs"):
        table = handle.op.inputs[0]
        return [
            Write(op, tuple(op.inputs)[1:]) for op in table.consumers() if op.type in _IMPORT_OPS
        ]
    writes = [
        Write(op, (op.inputs[1],))
        for op in handle.outputs[0].consumers()
        if op.type in _ASSIGN_OPS
        and op.inputs[0] is handle.outputs[0]
        and op.inputs[1].op.type not in VARIABLE_OPS
        and op.graph.is_feedable(op.inputs[1])
    ]
    return sorted(writes, key=lambda write: len(write.op.control_inputs))


def is_resource(entry: Entry) -> bool:
    """Return whether an entry is a resource variable."""
    return getattr(entry.handle, "type", None) == "VarHandleOp"


def is_variable(entry: Entry) -> bool:
    """Return whether an entry is a variable: no table and no saveable object."""
    return hasattr(entry.handle, "outputs")


def is_table(entry: Entry) -> bool:
    """Return whether an entry is the keys or the values of a table."""
    handle: Any = entry.handle
    return not hasattr(handle, "outputs") and handle.op.type in EXPORT_OPS


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
        # In a collection from a `.meta` file the members are the operations of tables.
        imported.add(id(saveable))
        for entry in saveables.entries_of(saveable) if hasattr(saveable, "specs") else ():
            tensor: Any = entry.handle
            if tensor.op.type in EXPORT_OPS:
                exported.add(id(tensor.op.inputs[0].op))
                yield attrs.evolve(entry, ref=saveable.op)
            else:
                yield entry
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
