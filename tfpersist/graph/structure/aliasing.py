"""Nodes that keep their inputs for longer than a run, or write into them."""

from __future__ import annotations

from collections.abc import Iterable

from tfpersist.formats.schema import Message
from tfpersist.graph.structure import ops
from tfpersist.graph.structure.functions import names_in

# Ops that write into their input, even if other nodes read it.
WRITERS = frozenset({"InplaceUpdate", "InplaceAdd", "InplaceSub"})
# Stateful ops that keep no input.
_KEEPS_NOTHING = frozenset({"VarHandleOp", "ReadVariableOp", "VariableV2", "Variable"})


def keeps_inputs(op: str, *, stateful: bool) -> bool:
    """Return whether an op may keep its inputs, or write into them.

    Args:
        op: the name of the op.
        stateful: whether its OpDef says that it is stateful.

    Example:
        >>> keeps_inputs("AssignVariableOp", stateful=True)
        True
        >>> keeps_inputs("InplaceAdd", stateful=False), keeps_inputs("Add", stateful=False)
        (True, False)
    """
    return op in WRITERS or (stateful and op not in _KEEPS_NOTHING)


def functions_that_keep_inputs(functions: Iterable[Message]) -> frozenset[str]:
    """Return the names of the functions with a node that `keeps_inputs`, their own or a callee's.

    Args:
        functions: FunctionDefs.
    """
    callers: dict[str, set[str]] = {}
    keepers: set[str] = set()
    bodies = {function.signature.name: function.node_def for function in functions}
    for name, nodes in bodies.items():
        for node in nodes:
            for called in (node.op, *names_in(node.attr)):
                callers.setdefault(called, set()).add(name)
            op = ops.table().get(node.op)
            stateful = op is None or op.is_stateful
            if node.op not in bodies and keeps_inputs(node.op, stateful=stateful):
                keepers.add(name)
    pending = list(keepers)
    while pending:
        new = callers.get(pending.pop(), set()) - keepers
        keepers |= new
        pending += new
    return frozenset(keepers)
