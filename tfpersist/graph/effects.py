"""What nodes do beside computing: which may be left out, run again or run at another time."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import attrs

from tfpersist.formats.schema import Message
from tfpersist.graph import functions, ops

CONTROL_FLOW = frozenset(
    {
        *("Switch", "Merge", "Enter", "Exit", "NextIteration", "LoopCond", "ControlTrigger"),
        *("RefSwitch", "RefMerge", "RefEnter", "RefExit", "RefNextIteration", "_SwitchN"),
    }
)
# They tell of an error, or write where they read, though no OpDef says so.
NOT_PURE = frozenset(
    {"Abort", "EnsureShape", "InplaceAdd", "InplaceSub", "InplaceUpdate", "CheckNumerics"}
)
# Their OpDefs say that they have state: they name it, read it or draw random numbers.
_TRACELESS = frozenset(
    {
        *("Variable", "VariableV2", "VarHandleOp", "ReadVariableOp", "ResourceGather"),
        *("ResourceGatherNd", "VariableShape", "VarIsInitializedOp", "IsVariableInitialized"),
        *("HashTable", "HashTableV2", "MutableHashTable", "MutableHashTableV2"),
        *("LookupTableFind", "LookupTableFindV2", "LookupTableSize", "LookupTableSizeV2"),
        *("RandomUniform", "RandomUniformInt", "RandomStandardNormal", "TruncatedNormal"),
        *("RandomShuffle", "RandomGamma", "RandomPoissonV2", "Multinomial"),
        *("ParameterizedTruncatedNormal", "TensorArrayV3", "Placeholder"),
    }
)
_CALLS = frozenset(
    {
        *("PartitionedCall", "StatefulPartitionedCall", "If", "StatelessIf"),
        *("Case", "StatelessCase", "While", "StatelessWhile"),
    }
)


@functools.cache
def is_pure(op: str) -> bool:
    """Whether an op only computes its outputs of its inputs, wherever and whenever it runs.

    Example:
        >>> is_pure("Add"), is_pure("ReadVariableOp"), is_pure("Switch")
        (True, False, False)
    """
    known = ops.definition(op)
    if known is None or known.is_stateful or op in NOT_PURE or op in CONTROL_FLOW:
        return False
    return not any(arg.is_ref for arg in (*known.input_arg, *known.output_arg))


@attrs.define(eq=False)
class Effects:
    """Which nodes leave a trace that others can see: a variable written, an assertion that fails.

    Args:
        library: FunctionDefs by name.
    """

    library: Mapping[str, Message]
    _known: dict[str, bool] = attrs.field(factory=dict)

    def leaves(self, node: Message) -> bool:
        """Whether a node, or a function that it calls, does more than compute.

        Example:
            >>> from tfpersist.formats import schema
            >>> [Effects({}).leaves(schema.NodeDef(op=op)) for op in ("Add", "Assert", "If")]
            [False, True, False]
        """
        if node.op in _CALLS or node.op in self.library:
            return any(map(self.inside, functions.called(node, self.library)))
        return not (is_pure(node.op) or node.op in _TRACELESS or node.op in CONTROL_FLOW)

    def inside(self, name: str) -> bool:
        """Whether a function of the library, or one that it calls, has such a node."""
        pending, seen = [name], {name}
        while pending and name not in self._known:
            current = pending.pop()
            for node in self.library[current].node_def:
                called = functions.called(node, self.library)
                if not (node.op in _CALLS or node.op in self.library) and self.leaves(node):
                    self._known[name] = True
                pending += (one for one in called if one not in seen)
                seen |= {*called}
        return self._known.setdefault(name, False)
