"""The private APIs that read and assign many eager variables.

An operation that is run by itself costs more than the few hundred bytes that it assigns. One call
of a function with many assignments costs less than half as much for each of them. The function is
made from its definition, so that nothing is traced, and only TensorFlow's eager context has it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfpersist.formats import variant_tensor
from tfpersist.tf.internals import replicas

# The number of variables that one function assigns. Longer functions take more time to set up than
# they save.
GROUP = 100
# The operation that reads many variables takes longer for each the more there are.
_MOST_READ_AT_ONCE = 250
_PLAIN_KINDS = frozenset("biufc")


def has_context() -> bool:
    """Return whether TensorFlow's eager context has started; it starts the first threads."""
    context = getattr(sys.modules.get("tensorflow.python.eager.context"), "_context", None)
    return getattr(context, "_context_handle", None) is not None


def view(tensor: Any) -> np.ndarray[Any, Any]:
    """Return the elements of an eager tensor, read-only, without a copy where that is possible."""
    if tensor.dtype.name == "variant":
        import tensorflow as tf

        return variant_tensor.from_proto(tf.io.serialize_tensor(tensor).numpy())
    array = tensor._numpy_internal() if hasattr(tensor, "_numpy_internal") else tensor.numpy()
    if tensor.dtype.name == "string":
        strings = np.empty(tensor.shape.as_list(), object)
        strings[...] = array
        return strings
    elements = np.asarray(array).view()
    elements.flags.writeable = False
    return elements


def read_together(variables: Sequence[Any]) -> Sequence[np.ndarray[Any, Any]] | None:
    """Return the elements of many eager variables, read by few operations.

    Args:
        variables: TensorFlow's own variables.

    Returns:
        The elements, read-only and not copied. None where the variables are on several devices,
        are made of replicas that may differ, or where one has no value.
    """
    import tensorflow as tf
    from tensorflow.python.eager import context, execute

    if any(map(replicas.is_read_as_one, variables)):
        return None
    handles = [replicas.primary(variable).handle for variable in variables]
    types = [variable.dtype.as_datatype_enum for variable in variables]
    if len({handle.device for handle in handles}) != 1:
        return None
    values = []
    try:
        for start in range(0, len(handles), _MOST_READ_AT_ONCE):
            end = start + _MOST_READ_AT_ONCE
            some = handles[start:end]
            attributes = ("N", len(some), "dtypes", types[start:end])
            tensors = execute.execute(
                b"_ReadVariablesOp", len(some), some, attributes, context.context()
            )
            for tensor in tensors:
                array = tensor._numpy_internal()
                if type(array) is np.ndarray and array.dtype.kind in _PLAIN_KINDS:
                    array.setflags(write=False)
                    values.append(array)
                else:
                    values.append(view(tensor))
    except (tf.errors.OpError, AttributeError):
        return None
    return values


def assign_together(handles: Sequence[Any], values: Sequence[np.ndarray[Any, Any]]) -> bool:
    """Assign values of one data type to a group of variables.

    Args:
        handles: the handles of eager variables, as a rule `GROUP` of them.
        values: one for each, in memory that the variable owns from now on.

    Returns:
        Whether it was done; False where a variable is not on the CPU or occurs twice.
    """
    from tensorflow.python.eager import context, execute
    from tensorflow.python.framework import dtypes, ops

    devices = {handle.device for handle in handles}
    device = devices.pop()
    if devices or not device.endswith("CPU:0") or len(set(map(id, handles))) != len(handles):
        return False
    current = context.context()
    tensors = [ops.EagerTensor(value, device, None) for value in values]
    dtype = dtypes.as_dtype(values[0].dtype)
    name = f"tfpersist_assign_{len(handles)}_{dtype.name}"
    if not current.has_function(name):
        current.add_function_def(_assignments(name, len(handles), dtype.as_datatype_enum))
    execute.execute(name, 0, [*handles, *tensors], (), current)
    return True


def _assignments(name: str, count: int, dtype: int) -> Any:
    """Return the FunctionDef that assigns `count` values to `count` variables."""
    from tensorflow.core.framework import function_pb2, types_pb2

    function = function_pb2.FunctionDef()
    function.signature.name = name
    function.signature.is_stateful = True
    for number in range(count):
        function.signature.input_arg.add(name=f"handle{number}", type=types_pb2.DT_RESOURCE)
    for number in range(count):
        function.signature.input_arg.add(name=f"value{number}", type=dtype)
        node_name = f"assign{number}"
        node = function.node_def.add(name=node_name, op="AssignVariableOp")
        node.input.extend([f"handle{number}", f"value{number}"])
        node.attr["dtype"].type = dtype
        function.signature.control_output.append(node_name)
        function.control_ret[node_name] = node_name
    return function
