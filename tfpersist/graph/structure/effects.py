"""What nodes do beside computing: which may be left out, run again or run at another time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import attrs

from tfpersist.formats.schema import Message
from tfpersist.graph.structure import functions, ops
from tfpersist.graph.structure.kinds import CONTROL_FLOW

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
    """Which nodes do more than compute, they themselves or what they call.

    Args:
        library: FunctionDefs by name.
    """

    library: Mapping[str, Message]
    _leave: dict[str, bool] = attrs.field(factory=dict)
    _impure: dict[str, bool] = attrs.field(factory=dict)

    def leaves(self, node: Message) -> bool:
        """Whether a node leaves a trace: it writes a variable, or may fail on purpose.

        Example:
            >>> from tfpersist.formats import schema
            >>> [Effects({}).leaves(schema.NodeDef(op=op)) for op in ("Add", "Assert", "If")]
            [False, True, False]
        """
        return self._any(node, _leaves, self._leave)

    def inside(self, function: str) -> bool:
        """Whether a function of the library, or one that it calls, has a node that does."""
        return self._inside(function, _leaves, self._leave)

    def is_pure(self, node: Message) -> bool:
        """Whether a node gives the same for the same inputs whenever it runs."""
        return not self._any(node, _impure, self._impure)

    def _any(self, node: Message, test: _Test, known: dict[str, bool]) -> bool:
        if node.op in _CALLS or node.op in self.library:
            called = functions.called(node, self.library)
            return any(self._inside(name, test, known) for name in called)
        return test(node.op)

    def _inside(self, name: str, test: _Test, known: dict[str, bool]) -> bool:
        pending, seen = [name], {name}
        while pending and name not in known:
            for node in self.library[pending.pop()].node_def:
                called = functions.called(node, self.library)
                if node.op not in _CALLS and node.op not in self.library and test(node.op):
                    known[name] = True
                pending += (one for one in called if one not in seen)
                seen |= {*called}
        return known.setdefault(name, False)


_Test = Callable[[str], bool]


def _leaves(op: str) -> bool:
    return not (is_pure(op) or op in _TRACELESS or op in CONTROL_FLOW)


def _impure(op: str) -> bool:
    return not is_pure(op)
