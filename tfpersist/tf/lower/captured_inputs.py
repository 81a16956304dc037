"""Turn what a ConcreteFunction has captured into variables, constants and tables of its graph."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import TargetError
from tfpersist.formats import dtypes, schema, tensor_proto
from tfpersist.formats.graphdef import Graph, with_payload
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Payload, TensorSpec, payload_of
from tfpersist.graph.constants.tables import size_is_read, table_types
from tfpersist.graph.structure.functions import unused
from tfpersist.tf.lower.values import as_array, node_name, uninitialized

# A table that the graph only asks for its size may hold keys and values of any type.
_INT64 = dtypes.BY_NAME["int64"].number


@attrs.frozen
class CapturedInputs:
    """A graph whose placeholders of captured tensors have become nodes of their own.

    Args:
        proto: the GraphDef, with the nodes still under their old names.
        payloads: the values of its constants, by name of the node.
        new_names: the name that each node of a variable has to get, by its old name.
        variables: the value of each variable, by its new name.
        objects: the variables themselves, by their new names.
        tables: functions that return the keys and values of a table, by name of its node.
    """

    proto: Message
    payloads: dict[str, Payload]
    new_names: dict[str, str] = attrs.field(factory=dict)
    variables: dict[str, Payload] = attrs.field(factory=dict)
    objects: dict[str, object] = attrs.field(factory=dict)
    tables: dict[str, Any] = attrs.field(factory=dict)


def replace_captured_inputs(function: Any, graph: Graph) -> CapturedInputs:
    """Replace each captured tensor of a function by a node that holds it.

    A variable becomes a VarHandleOp, a tensor a Const, and a lookup table an empty table of the
    same types. Whatever else was captured stays a placeholder.

    Args:
        function: the ConcreteFunction.
        graph: its graph; it is not changed.

    Returns:
        The changed graph and the values that go with it.

    Raises:
        TargetError: a variable of the function does not exist any more.
    """
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    nodes = {node.name: node for node in proto.node}
    names = set(nodes)
    result = CapturedInputs(proto, dict(graph.payloads))
    variables = _variables_by_handle(function)
    captured = list(function.captured_inputs)
    placeholders = function.inputs[len(function.inputs) - len(captured) :]
    for outside, inside in zip(captured, placeholders, strict=True):
        node = nodes[inside.op.name]
        variable = variables.get(id(outside))
        if variable is not None:
            name = unused(node_name(variable.name.partition(":")[0]), names)
            names.add(name)
            result.new_names[node.name] = name
            result.variables[name] = _value_of(variable, name)
            result.objects[name] = variable
            _make_handle(node, name, result.variables[name].spec)
        elif hasattr(outside, "numpy") and dtypes.BY_NAME[outside.dtype.name].numpy is not None:
            _make_constant(node, outside, result.payloads)
        elif outside.dtype == "resource":
            contents = _table_contents(graph, inside.op.name, outside)
            if contents is not None:
                types, keys, values = contents
                _make_table(node, types, values.shape[1:])
                result.tables[node.name] = partial(tuple[Any, Any], (keys, values))
    return result


def _variables_by_handle(function: Any) -> Mapping[int, Any]:
    try:
        return {id(variable.handle): variable for variable in function.graph.variables}
    except AssertionError as error:
        raise TargetError(
            "the variables of this function do not exist any more",
            advice="Keep a reference to the object that owns them.",
        ) from error


def _value_of(variable: Any, name: str) -> Payload:
    spec = TensorSpec(variable.dtype.name, tuple(variable.shape.as_list()))

    def load() -> np.ndarray[Any, Any]:
        import tensorflow as tf

        try:
            return _elements(variable.read_value())
        except tf.errors.FailedPreconditionError as error:
            raise uninitialized(name) from error

    return payload_of(load(), spec.dtype) if spec.elements is None else Payload(spec, load)


def _elements(tensor: Any) -> np.ndarray[Any, Any]:
    """Return the elements of an eager tensor, which never change, without a copy if possible."""
    dtype = dtypes.BY_NAME[tensor.dtype.name]
    if dtype.numpy is None or not dtype.size or dtype.numpy.isbuiltin != 1:
        return as_array(tensor.numpy(), dtype.name)
    return np.asarray(memoryview(tensor)).reshape(tensor.shape)


def _make_handle(node: Message, name: str, spec: TensorSpec) -> None:
    node.op = "VarHandleOp"
    node.ClearField("attr")
    node.attr["dtype"].type = dtypes.BY_NAME[spec.dtype].number
    node.attr["shared_name"].s = name.encode()
    node.attr["shape"].shape.SetInParent()
    for size in spec.shape or ():
        node.attr["shape"].shape.dim.add(size=size)


def _make_constant(node: Message, tensor: Any, payloads: dict[str, Payload]) -> None:
    payload = payload_of(_elements(tensor), tensor.dtype.name)
    node.ClearField("attr")
    if payload.spec.nbytes:
        with_payload(node, payload.spec)
        payloads[node.name] = payload
        return
    node.op = "Const"
    node.attr["dtype"].type = dtypes.BY_NAME[payload.spec.dtype].number
    constant = tensor_proto.from_array(payload.load(), payload.spec.dtype)
    node.attr["value"].tensor.CopyFrom(constant)


def _make_table(node: Message, types: tuple[int, int], value_shape: tuple[int, ...]) -> None:
    node.op = "MutableHashTableOfTensorsV2" if value_shape else "MutableHashTableV2"
    node.ClearField("attr")
    node.attr["shared_name"].s = node.name.encode()
    node.attr["key_dtype"].type, node.attr["value_dtype"].type = types
    for size in value_shape:
        node.attr["value_shape"].shape.dim.add(size=size)


def _table_contents(
    graph: Graph, name: str, handle: Any
) -> tuple[tuple[int, int], Any, Any] | None:
    """Return the types, keys and values of a table; None for one that cannot be described."""
    types = table_types(graph, name)
    if types is not None:
        exported = _exported(handle, types)
        return None if exported is None else (types, *exported)
    if size_is_read(graph, name):
        keys = _numbered_keys(handle)
        return (_INT64, _INT64), keys, keys
    return None


def _numbered_keys(handle: Any) -> np.ndarray[Any, Any]:
    """Return 0, 1, 2 ..., as many as a table has keys: the types of the real ones are unknown."""
    import tensorflow as tf

    return np.arange(tf.raw_ops.LookupTableSizeV2(table_handle=handle).numpy(), dtype=np.int64)


def _exported(handle: Any, types: tuple[int, int]) -> tuple[Any, Any] | None:
    """Return the keys and values of a table; None where its keys are vectors."""
    import tensorflow as tf

    exported = tf.raw_ops.LookupTableExportV2(
        table_handle=handle,
        Tkeys=tf.dtypes.as_dtype(types[0]),
        Tvalues=tf.dtypes.as_dtype(types[1]),
    )
    keys, values = (tensor.numpy() for tensor in exported)
    if keys.ndim == 1:
        return keys, values
    if keys.shape[1:] != (1,):
        return None
    # A dense table exports all of its buckets. Only the key of the empty ones occurs repeatedly.
    distinct, first, counts = np.unique(keys[:, 0], return_index=True, return_counts=True)
    values = values[first[counts == 1]]
    return distinct[counts == 1], values[:, 0] if values.shape[1:] == (1,) else values
