"""The private TensorFlow APIs that assign many eager variables; tested as `internals` is.

An operation that is run by itself costs more than the few hundred bytes that it assigns. One call
of a function of many assignments costs less than half as much for each. The function is made of
its definition, so that nothing is traced, and belongs to TensorFlow's eager context alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

# Longer functions take longer to set up than they save.
TOGETHER = 100


def has_context() -> bool:
    """Return whether TensorFlow's eager context has started; it starts the first threads."""
    context = getattr(sys.modules.get("tensorflow.python.eager.context"), "_context", None)
    return getattr(context, "_context_handle", None) is not None


def assign_together(handles: Sequence[Any], values: Sequence[np.ndarray[Any, Any]]) -> bool:
    """Assign values of one data type to as many variables as one function takes.

    Args:
        handles: of `TOGETHER` eager variables.
        values: one for each, in memory that is the variable's from now on.

    Returns:
        Whether it was done; False where a variable is not on the processor, or is there twice.
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
    from tensorflow.core.framework import function_pb2, types_pb2

    made = function_pb2.FunctionDef()
    made.signature.name = name
    made.signature.is_stateful = True
    for number in range(count):
        made.signature.input_arg.add(name=f"handle{number}", type=types_pb2.DT_RESOURCE)
    for number in range(count):
        made.signature.input_arg.add(name=f"value{number}", type=dtype)
        assigned = f"assign{number}"
        node = made.node_def.add(name=assigned, op="AssignVariableOp")
        node.input.extend([f"handle{number}", f"value{number}"])
        node.attr["dtype"].type = dtype
        made.signature.control_output.append(assigned)
        made.control_ret[assigned] = assigned
    return made
