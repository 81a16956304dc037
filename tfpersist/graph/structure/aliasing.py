"""Which nodes keep what flows into them for longer than a run, or write into it."""

from __future__ import annotations

from collections.abc import Iterable

from tfpersist.formats.schema import Message
from tfpersist.graph.structure import ops
from tfpersist.graph.structure.capabilities import mentioned

# They write into their input, whoever else reads it.
WRITERS = frozenset({"InplaceUpdate", "InplaceAdd", "InplaceSub"})
# Stateful, yet they keep nothing that flows in.
_KEEPS_NOTHING = frozenset({"VarHandleOp", "ReadVariableOp", "VariableV2", "Variable"})


def keeps(op: str, *, stateful: bool) -> bool:
    """Tell whether an op may keep what flows into it, or write there.

    Args:
        op: its name.
        stateful: whether TensorFlow calls it so.

    Example:
        >>> keeps("AssignVariableOp", stateful=True), keeps("InplaceAdd", stateful=False)
        (True, True)
    """
    return op in WRITERS or (stateful and op not in _KEEPS_NOTHING)


def keeping(functions: Iterable[Message]) -> frozenset[str]:
    """Name the functions that have such a node, or call a function that does.

    Args:
        functions: FunctionDefs.
    """
    callers: dict[str, set[str]] = {}
    found: set[str] = set()
    bodies = {function.signature.name: function.node_def for function in functions}
    for name, nodes in bodies.items():
        for node in nodes:
            for called in (node.op, *mentioned(node.attr)):
                callers.setdefault(called, set()).add(name)
            op = ops.table().get(node.op)
            if node.op not in bodies and keeps(node.op, stateful=op is None or op.is_stateful):
                found.add(name)
    pending = list(found)
    while pending:
        new = callers.get(pending.pop(), set()) - found
        found |= new
        pending += new
    return frozenset(found)
