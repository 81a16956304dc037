"""What known values decide: which branch is taken, whether a dropout drops anything.

Values are followed from the constants on. A Switch or Merge, an If or Case whose predicate is known
loses the branches that are never taken; arithmetic that changes nothing goes, and with it a dropout
that keeps everything.
"""

from __future__ import annotations

from collections.abc import Collection
from types import MappingProxyType

import attrs
import numpy as np

from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph.optimize import fold
from tfpersist.graph.optimize.fold import Array
from tfpersist.graph.optimize.identities import Arithmetic, set_inputs
from tfpersist.graph.structure.functions import unused
from tfpersist.graph.structure.kinds import CONTROL_FLOW, LOOP_ENDS
from tfpersist.graph.structure.names import full_name, producer
from tfpersist.graph.structure.order import ordered

_LARGEST = 1024
# The value of one side that makes the other side of no matter.
_SETTLES = MappingProxyType({"LogicalAnd": False, "LogicalOr": True})
_CALLS = MappingProxyType(
    {
        "If": "StatefulPartitionedCall",
        "StatelessIf": "PartitionedCall",
        "Case": "StatefulPartitionedCall",
        "StatelessCase": "PartitionedCall",
    }
)


def decide(graph: Graph, keep: Collection[str] = ()) -> Graph:
    """Take the decisions of a graph that its constants allow.

    Args:
        graph: the graph, which stays as it is.
        keep: names of nodes that stay computations, though their values are known.

    Returns:
        A graph without the nodes that can never run. Nodes that are left have their old names; what
        only those used that are gone is still there.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''
        ...     node { name: "p" op: "Const" attr { key: "dtype" value { type: DT_BOOL } }
        ...       attr { key: "value" value { tensor {
        ...         dtype: DT_BOOL tensor_shape {} bool_val: true } } } }
        ...     node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
        ...     node { name: "s" op: "Switch" input: "x" input: "p"
        ...       attr { key: "T" value { type: DT_FLOAT } } }
        ...     node { name: "never" op: "Neg" input: "s" }
        ...     node { name: "y" op: "Neg" input: "s:1" }''')
        >>> [(node.name, node.op, *node.input) for node in decide(graph).proto.node]
        [('p', 'Const'), ('x', 'Placeholder'), ('s', 'Identity', 'x'), ('y', 'Neg', 's')]
    """
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    copy = Graph(proto, dict(graph.payloads))
    walk = _Walk(copy, keep)
    for name in ordered(copy.nodes):
        walk.visit(copy.nodes[name])
    for number in reversed(range(len(proto.node))):
        if proto.node[number].name in walk.dead:
            del proto.node[number]
    kept = {name: payload for name, payload in copy.payloads.items() if name not in walk.dead}
    return Graph(proto, kept)


@attrs.define(eq=False)
class _Walk:
    """One pass over the nodes in the order of their data.

    Args:
        graph: a graph of the caller's own.
        keep: names of nodes that stay computations.
        known: values of tensors.
        moved: other names of tensors, by their old ones.
        dead: names of nodes that never run.
        ended: tensors that never have a value, of nodes that do run.
        taken: names of nodes.
    """

    graph: Graph
    keep: Collection[str]
    known: dict[str, Array] = attrs.field(factory=dict)
    moved: dict[str, str] = attrs.field(factory=dict)
    dead: set[str] = attrs.field(factory=set)
    ended: set[str] = attrs.field(factory=set)
    taken: set[str] = attrs.field(init=False)
    arithmetic: Arithmetic = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.taken = set(self.graph.nodes)
        self.arithmetic = Arithmetic(self.graph, self.known, self.moved)

    def visit(self, node: Message) -> None:
        """Decide about one node, whose inputs have been decided about."""
        data = [full_name(text) for text in node.input if not text.startswith("^")]
        controls = [text for text in node.input if text.startswith("^")]
        gone = [self._gone(text) for text in data]
        merges = node.op in ("Merge", "RefMerge")
        first = [ended for text, ended in zip(data, gone, strict=True) if not self._back(text)]
        if any(text[1:] in self.dead for text in controls) or (
            first and all(first) if merges else any(gone)
        ):
            self.dead.add(node.name)
            return
        data = [self.moved.get(text, text) for text in data]
        if any(text in self.moved for text in map(full_name, node.input)):
            set_inputs(node, data, controls)
        if merges:
            self._merge(node, data, controls, gone)
        elif node.op in ("Switch", "RefSwitch") and data[-1] in self.known:
            self._switch(node, data, controls)
        elif node.op in _CALLS and data and data[0] in self.known:
            self._call(node, data, controls)
        else:
            self._compute(node, data, controls)

    def _gone(self, tensor: str) -> bool:
        return tensor in self.ended or producer(tensor) in self.dead

    def _back(self, tensor: str) -> bool:
        """Whether a tensor comes from the end of a loop's body, about which nothing is known."""
        source = self.graph.nodes.get(producer(tensor))
        return source is not None and source.op in LOOP_ENDS

    def _switch(self, node: Message, data: list[str], controls: list[str]) -> None:
        taken = int(bool(self.known[data[1]]))
        self.ended.add(f"{node.name}:{1 - taken}")
        self.moved[f"{node.name}:{taken}"] = f"{node.name}:0"
        self._pass_on(node, data[0], [*controls, *self.arithmetic.waits(data[1:])])

    def _merge(self, node: Message, data: list[str], controls: list[str], gone: list[bool]) -> None:
        if any(map(self._back, data)) or gone.count(False) != 1 or len(data) < 2:
            return
        taken = gone.index(False)
        if any(f"{node.name}:1" in other.input for other in self.graph.nodes.values()):
            name = unused(f"{node.name}/value_index", self.taken)
            self.taken.add(name)
            index = self.graph.proto.node.add(name=name)
            fold.become_constant(index, np.array(taken, np.int32), [f"^{node.name}"])
            self.moved[f"{node.name}:1"] = f"{name}:0"
        self._pass_on(node, data[taken], controls)

    def _pass_on(self, node: Message, tensor: str, controls: list[str]) -> None:
        """Let a Switch or a Merge give the one tensor that it can give."""
        value = self.known.get(tensor)
        if value is not None:
            self.known[f"{node.name}:0"] = value
            waits = dict.fromkeys([*controls, *self.arithmetic.waits([tensor])])
            fold.become_constant(node, value, list(waits))
            return
        node.op = "RefIdentity" if node.op.startswith("Ref") else "Identity"
        for name in [name for name in node.attr if name not in ("T", "_class")]:
            del node.attr[name]
        set_inputs(node, [tensor], list(dict.fromkeys(controls)))

    def _call(self, node: Message, data: list[str], controls: list[str]) -> None:
        value = self.known[data[0]]
        if value.ndim:
            return
        if node.op.endswith("If"):
            branch = "then_branch" if value else "else_branch"
            target = schema.AttrValue(func=node.attr[branch].func)
        else:
            branches = node.attr["branches"].list.func
            index = int(value)
            target = schema.AttrValue(
                func=branches[index if 0 <= index < len(branches) else len(branches) - 1]
            )
        node.op = _CALLS[node.op]
        kept = {"Tin", "Tout"}
        for name in [name for name in node.attr if name not in kept]:
            del node.attr[name]
        node.attr["f"].CopyFrom(target)
        waits = dict.fromkeys([*controls, *self.arithmetic.waits(data[:1])])
        set_inputs(node, data[1:], list(waits))

    def _compute(self, node: Message, data: list[str], controls: list[str]) -> None:
        if node.op == "Const":
            value = None if node.name in self.graph.payloads else fold.constant(node)
            if value is not None and value.nbytes <= _LARGEST:
                self.known[f"{node.name}:0"] = value
            return
        if node.op == "Enter" and node.attr["is_constant"].b and data[0] in self.known:
            self.known[f"{node.name}:0"] = self.known[data[0]]
            return
        if self._settled(node, data, controls):
            return
        if data and all(text in self.known for text in data):
            value = fold.evaluate(node, [self.known[text] for text in data])
            if value is not None and value.nbytes <= _LARGEST:
                self.known[f"{node.name}:0"] = value
                if node.name in self.keep:
                    return
                waits = [*controls, *self.arithmetic.waits(data)]
                fold.become_constant(node, value, list(dict.fromkeys(waits)))
                return
        if len(data) and not self.arithmetic.same(node, data, controls):
            self.arithmetic.follow(node, data, controls)

    def _settled(self, node: Message, data: list[str], controls: list[str]) -> bool:
        """Decide about an "and" or "or" of which one side is known, and settles it."""
        if node.op not in _SETTLES or len(data) != 2:
            return False
        for text, other in (data, data[::-1]):
            value = self.known.get(text)
            settles = value is not None and not value.ndim and bool(value) is _SETTLES[node.op]
            source = self.graph.nodes.get(producer(other))
            if not settles or source is None or source.op in CONTROL_FLOW:
                continue
            if other in self.known or self.arithmetic.shape(other) != ():
                continue
            waits = [*controls, *self.arithmetic.waits([text]), f"^{source.name}"]
            value = np.array(_SETTLES[node.op])
            self.known[f"{node.name}:0"] = value
            fold.become_constant(node, value, list(dict.fromkeys(waits)))
            return True
        return False
