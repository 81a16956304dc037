"""Side effects: which nodes may be left out, run again or run at another time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import attrs

from tfpersist.formats.schema import Message
from tfpersist.graph.structure import functions, ops
from tfpersist.graph.structure.kinds import CONTROL_FLOW

# They report an error or write into their input, though their OpDefs do not say so.
NOT_PURE = frozenset(
    {"Abort", "EnsureShape", "InplaceAdd", "InplaceSub", "InplaceUpdate", "CheckNumerics"}
)
# Stateful ops that change nothing: they create or read state, or draw random numbers.
_HARMLESS = frozenset(
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
    """Return whether the outputs of an op depend on its inputs alone, and it has no side effects.

    Args:
        op: the name of the op.

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
    """The side effects of nodes and of the functions that they call.

    Args:
        library: FunctionDefs by name.
    """

    library: Mapping[str, Message]
    _effects: dict[str, bool] = attrs.field(factory=dict)
    _impurities: dict[str, bool] = attrs.field(factory=dict)

    def has_effects(self, node: Message) -> bool:
        """Return whether a node, or what it calls, writes something or may fail on purpose.

        Example:
            >>> from tfpersist.formats import schema
            >>> [Effects({}).has_effects(schema.NodeDef(op=op)) for op in ("Add", "Assert", "If")]
            [False, True, False]
        """
        return self._any(node, _has_effect, self._effects)

    def function_has_effects(self, function: str) -> bool:
        """Return whether a function, or one that it calls, has a node with side effects."""
        return self._inside(function, _has_effect, self._effects)

    def is_pure(self, node: Message) -> bool:
        """Return whether a node, and all that it calls, is pure: see the function `is_pure`."""
        return not self._any(node, _is_impure, self._impurities)

    def _any(self, node: Message, test: _Test, known: dict[str, bool]) -> bool:
        if node.op in _CALLS or node.op in self.library:
            callees = functions.called(node, self.library)
            return any(self._inside(name, test, known) for name in callees)
        return test(node.op)

    def _inside(self, name: str, test: _Test, known: dict[str, bool]) -> bool:
        """Find out of a function, and of all that it calls: so each is looked at once."""
        pending = [name] if name not in known else []
        reached = set(pending)
        callers: dict[str, list[str]] = {}
        found: list[str] = []
        while pending:
            caller = pending.pop()
            for node in self.library[caller].node_def:
                if node.op not in _CALLS and node.op not in self.library and test(node.op):
                    found.append(caller)
                for callee in functions.called(node, self.library):
                    callers.setdefault(callee, []).append(caller)
                    if known.get(callee):
                        found.append(caller)
                    elif callee not in known and callee not in reached:
                        reached.add(callee)
                        pending.append(callee)
        known.update(dict.fromkeys(reached, False))
        while found:
            caller = found.pop()
            if not known[caller]:
                known[caller] = True
                found += callers.get(caller, ())
        return known[name]


_Test = Callable[[str], bool]


def _has_effect(op: str) -> bool:
    return not (is_pure(op) or op in _HARMLESS or op in CONTROL_FLOW)


def _is_impure(op: str) -> bool:
    return not is_pure(op)
