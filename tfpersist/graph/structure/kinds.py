"""Kinds of nodes, by op: placeholders, variables, lookup tables, control flow."""

from __future__ import annotations

import functools
import re

from tfpersist.errors import FreezeError
from tfpersist.formats import dtypes
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import TensorSpec

# The name of the node that sets up the variables and tables that a frozen graph keeps.
INIT = "tfpersist/init"

PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"})
REFERENCES = frozenset({"VariableV2", "Variable"})
HANDLES = frozenset({"VarHandleOp"})
VARIABLES = REFERENCES | HANDLES
ASSIGNS = frozenset({"Assign", "AssignVariableOp"})
# The nodes that close a loop of TensorFlow 1.
LOOP_ENDS = frozenset({"NextIteration", "RefNextIteration"})
CONTROL_FLOW = LOOP_ENDS | {
    *("Switch", "Merge", "Enter", "Exit", "LoopCond", "ControlTrigger"),
    *("RefSwitch", "RefMerge", "RefEnter", "RefExit", "_SwitchN"),
}
_TABLES = re.compile(r"(Mutable|MutableDense)?HashTable(OfTensors)?(V2)?")


@functools.cache
def is_table(op: str) -> bool:
    """Return whether an op makes a lookup table.

    Example:
        >>> is_table("HashTableV2"), is_table("LookupTableFindV2")
        (True, False)
    """
    return _TABLES.fullmatch(op) is not None


def declared_spec(node: Message) -> TensorSpec:
    """Return the type and shape that the node of a variable declares.

    Args:
        node: the NodeDef of a variable.

    Raises:
        FreezeError: TensorFlow has no such data type.

    Example:
        >>> from tfpersist.formats import schema
        >>> node = schema.NodeDef(name="v", op="VariableV2")
        >>> node.attr["dtype"].type = 1
        >>> print(declared_spec(node))
        float32[...]
    """
    dtype = dtypes.by_number(node.attr["dtype"].type if "dtype" in node.attr else 0)
    if dtype is None or dtype.numpy is None:
        raise FreezeError(
            "the data type of this variable cannot be a constant",
            where=f"variable {node.name}",
            expected="a number, a boolean or a string",
            found="no data type" if dtype is None else dtype.name,
            advice="Freeze an output that does not need it.",
        )
    shape = node.attr["shape"].shape if "shape" in node.attr else None
    # The op Variable of TensorFlow 0.x writes a scalar's shape where the shape is unknown.
    if shape is None or shape.unknown_rank or (node.op == "Variable" and not shape.dim):
        return TensorSpec(dtype.name, None)
    return TensorSpec(dtype.name, tuple(None if dim.size < 0 else dim.size for dim in shape.dim))
