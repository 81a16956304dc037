"""Remove the branches that never run, because their condition depends on constants only.

One walk over the graph computes the values that depend on constants only. Where such a value is the
condition of a Switch, Merge, If or Case, the branches that never run are removed. Arithmetic
without effect is removed too, and with it a dropout that keeps every element.
"""

from __future__ import annotations

from collections.abc import Collection
from types import MappingProxyType

import attrs
import numpy as np

from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Array
from tfpersist.graph.optimize import fold
from tfpersist.graph.optimize.edit import Edit
from tfpersist.graph.optimize.identities import IdentityFinder, set_inputs
from tfpersist.graph.structure.functions import unused
from tfpersist.graph.structure.kinds import CONTROL_FLOW, LOOP_ENDS
from tfpersist.graph.structure.names import full_name, producer
from tfpersist.graph.structure.order import ordered

_MOST_BYTES = 1024
# The value of one input that is then the result, whatever the other input is.
_DOMINANT = MappingProxyType({"LogicalAnd": False, "LogicalOr": True})
_CALLS = MappingProxyType(
    {
        "If": "StatefulPartitionedCall",
        "StatelessIf": "PartitionedCall",
        "Case": "StatefulPartitionedCall",
        "StatelessCase": "PartitionedCall",
    }
)


def remove_dead_branches(graph: Graph, keep: Collection[str] = ()) -> Graph:
    """Remove the nodes that never run, because a constant condition excludes them.

    Args:
        graph: the graph; it is not changed.
        keep: names of nodes that stay computed, though their values are known.

    Returns:
        A graph without the nodes that never run. The other nodes keep their names. Nodes that only
        the removed ones read are still there. Where nothing changes, it is the graph itself.

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
        >>> graph = remove_dead_branches(graph)
        >>> [(node.name, node.op, *node.input) for node in graph.proto.node]
        [('p', 'Const'), ('x', 'Placeholder'), ('s', 'Identity', 'x'), ('y', 'Neg', 's')]
    """
    edit = Edit(graph)
    walk = _Walk(edit, keep)
    for name in ordered(graph.nodes):
        walk.visit(graph.nodes[name])
    return edit.result(walk.dead)


@attrs.define(eq=False)
class _Walk:
    """One walk over the nodes, inputs first.

    Args:
        edit: the changes to the graph.
        keep: names of nodes that stay computed.
        known: the values of tensors that depend on constants only.
        renamed: {name of a tensor: its new name}.
        dead: names of nodes that never run.
        dead_tensors: tensors that never have a value, though their nodes run.
        used_names: all names of nodes.
        second_outputs: all tensors that some node reads and that are the second output of another.
    """

    edit: Edit
    keep: Collection[str]
    known: dict[str, Array] = attrs.field(factory=dict)
    renamed: dict[str, str] = attrs.field(factory=dict)
    dead: set[str] = attrs.field(factory=set)
    dead_tensors: set[str] = attrs.field(factory=set)
    used_names: set[str] = attrs.field(init=False)
    second_outputs: set[str] = attrs.field(init=False)
    identities: IdentityFinder = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.used_names = set(self.edit.nodes)
        self.second_outputs = {
            text for node in self.edit.nodes.values() for text in node.input if text.endswith(":1")
        }
        self.identities = IdentityFinder(self.edit, self.known, self.renamed)

    def visit(self, node: Message) -> None:
        """Rewrite one node, or add it to `dead`; its inputs have been visited before."""
        inputs = list(node.input)
        data = [full_name(text) for text in inputs if text[:1] != "^"]
        controls = inputs[len(data) :] and [text for text in inputs if text[:1] == "^"]
        is_dead = self._dead_inputs(data)
        is_merge = node.op in ("Merge", "RefMerge")
        if (self.dead and any(text[1:] in self.dead for text in controls)) or (
            self._is_dead_merge(data, is_dead) if is_merge else any(is_dead)
        ):
            self.dead.add(node.name)
            return
        if self.renamed and any(tensor in self.renamed for tensor in data):
            data = [self.renamed.get(tensor, tensor) for tensor in data]
            set_inputs(self.edit.change(node.name), data, controls)
        if is_merge:
            self._replace_merge(node, data, controls, is_dead)
        elif node.op in ("Switch", "RefSwitch") and data[-1] in self.known:
            self._replace_switch(node, data, controls)
        elif node.op in _CALLS and data and data[0] in self.known:
            self._replace_conditional(node, data, controls)
        else:
            self._compute(node, data, controls)

    def _dead_inputs(self, tensors: list[str]) -> list[bool]:
        """Return which of some tensors never have a value."""
        if not self.dead and not self.dead_tensors:
            return [False] * len(tensors)
        return [text in self.dead_tensors or producer(text) in self.dead for text in tensors]

    def _is_dead_merge(self, data: list[str], is_dead: list[bool]) -> bool:
        """Return whether a Merge never has a value.

        At the head of a loop it has none where the tensor that enters the loop is dead.
        """
        forward = [
            dead
            for tensor, dead in zip(data, is_dead, strict=True)
            if not self._is_loop_back(tensor)
        ]
        return bool(forward) and all(forward)

    def _is_loop_back(self, tensor: str) -> bool:
        """Return whether a tensor comes back from the end of a loop's body."""
        source = self.edit.nodes.get(producer(tensor))
        return source is not None and source.op in LOOP_ENDS

    def _replace_switch(self, node: Message, data: list[str], controls: list[str]) -> None:
        live = int(bool(self.known[data[1]]))
        self.dead_tensors.add(f"{node.name}:{1 - live}")
        self.renamed[f"{node.name}:{live}"] = f"{node.name}:0"
        controls = [*controls, *self.identities.controls_of(data[1:])]
        self._replace_by_identity(node, data[0], controls)

    def _replace_merge(
        self, node: Message, data: list[str], controls: list[str], is_dead: list[bool]
    ) -> None:
        if any(map(self._is_loop_back, data)) or is_dead.count(False) != 1 or len(data) < 2:
            return
        live = is_dead.index(False)
        if f"{node.name}:1" in self.second_outputs:
            name = unused(f"{node.name}/value_index", self.used_names)
            self.used_names.add(name)
            fold.set_constant(self.edit.add(name), np.array(live, np.int32), [f"^{node.name}"])
            self.renamed[f"{node.name}:1"] = f"{name}:0"
        self._replace_by_identity(node, data[live], controls)

    def _replace_by_identity(self, node: Message, tensor: str, controls: list[str]) -> None:
        """Turn a Switch or Merge into the Identity, or Const, of its one live tensor."""
        node = self.edit.change(node.name)
        value = self.known.get(tensor)
        if value is not None:
            self.known[f"{node.name}:0"] = value
            all_controls = dict.fromkeys([*controls, *self.identities.controls_of([tensor])])
            fold.set_constant(node, value, list(all_controls))
            return
        node.op = "RefIdentity" if node.op.startswith("Ref") else "Identity"
        for name in [name for name in node.attr if name not in ("T", "_class")]:
            del node.attr[name]
        set_inputs(node, [tensor], list(dict.fromkeys(controls)))

    def _replace_conditional(self, node: Message, data: list[str], controls: list[str]) -> None:
        """Turn an If or Case into the call of its one live branch."""
        condition = self.known[data[0]]
        if condition.ndim:
            return
        if node.op.endswith("If"):
            branch = node.attr["then_branch" if condition else "else_branch"].func
        else:
            branches = node.attr["branches"].list.func
            index = int(condition)
            # TensorFlow runs the last branch for any index out of range, negative ones too.
            branch = branches[index if 0 <= index < len(branches) else len(branches) - 1]
        called = schema.AttrValue(func=branch)
        node = self.edit.change(node.name)
        node.op = _CALLS[node.op]
        for name in [name for name in node.attr if name not in ("Tin", "Tout")]:
            del node.attr[name]
        node.attr["f"].CopyFrom(called)
        all_controls = dict.fromkeys([*controls, *self.identities.controls_of(data[:1])])
        set_inputs(node, data[1:], list(all_controls))

    def _compute(self, node: Message, data: list[str], controls: list[str]) -> None:
        if node.op == "Const":
            value = None if node.name in self.edit.payloads else fold.constant_value(node)
            if value is not None and value.nbytes <= _MOST_BYTES:
                self.known[f"{node.name}:0"] = value
            return
        if node.op == "Enter" and node.attr["is_constant"].b and data[0] in self.known:
            self.known[f"{node.name}:0"] = self.known[data[0]]
            return
        if self._fold_logic(node, data, controls):
            return
        if data and all(tensor in self.known for tensor in data):
            value = fold.evaluate(node, [self.known[tensor] for tensor in data])
            if value is not None and value.nbytes <= _MOST_BYTES:
                self.known[f"{node.name}:0"] = value
                if node.name in self.keep:
                    return
                all_controls = dict.fromkeys([*controls, *self.identities.controls_of(data)])
                fold.set_constant(self.edit.change(node.name), value, list(all_controls))
                return
        if data and not self.identities.replace(node, data, controls):
            self.identities.record_range(node, data, controls)

    def _fold_logic(self, node: Message, data: list[str], controls: list[str]) -> bool:
        """Fold a LogicalAnd or LogicalOr if one input decides the result."""
        if node.op not in _DOMINANT or len(data) != 2:
            return False
        result = _DOMINANT[node.op]
        for tensor, other in (data, data[::-1]):
            value = self.known.get(tensor)
            is_dominant = value is not None and not value.ndim and bool(value) is result
            source = self.edit.nodes.get(producer(other))
            if not is_dominant or source is None or source.op in CONTROL_FLOW:
                continue
            # The result has the shape of the other input.
            if other in self.known or self.identities.shape(other) != ():
                continue
            all_controls = [*controls, *self.identities.controls_of([tensor]), f"^{source.name}"]
            self.known[f"{node.name}:0"] = np.array(result)
            constant = self.edit.change(node.name)
            fold.set_constant(constant, np.array(result), list(dict.fromkeys(all_controls)))
            return True
        return False
