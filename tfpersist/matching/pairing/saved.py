"""Describe the checkpoint side of a restore. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property

import attrs

from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.keras_files.keras_file import KerasFile
from tfpersist.matching.pairing import optimizers
from tfpersist.matching.pairing.fate import Fate, pair_tensors
from tfpersist.matching.pairing.pair_objects import Objects
from tfpersist.matching.sides import name_facts
from tfpersist.matching.sides.facts import Side
from tfpersist.matching.sides.naming import slot_of
from tfpersist.matching.sides.object_facts import Names
from tfpersist.matching.sides.object_graph import OBJECT_GRAPH_KEY, ObjectGraph

_VARIABLE = "VARIABLE_VALUE"


@attrs.frozen(eq=False, slots=False)
class Saved:
    """The contents of a checkpoint, for a target that is to be restored from it.

    Args:
        specs: its tensors, by key.
        message: its TrackableObjectGraph; None if names are its keys.
        fixed: the keys of variables as the user says them, by the identity of the variable.
        creation: returns its keys in the order in which their variables were created, as far as
            the graph beside it tells; read only where the order decides.
        layers: the names of layers that are in no full name, by the number of the object.
        file: what an HDF5 file of Keras says about its tensors; None for any other checkpoint.
        forget_biases: returns what LSTM cells add to the bias of the forget gate when they run, by
            the keys of their biases, as far as the graph beside it tells.
    """

    specs: Mapping[str, TensorSpec]
    message: Message | None = None
    fixed: Mapping[int, str] = attrs.field(factory=dict)
    creation: Callable[[], Sequence[str]] = tuple
    layers: Mapping[int, str] = attrs.field(factory=dict)
    file: KerasFile | None = None
    forget_biases: Callable[[], Mapping[str, float]] = dict

    @cached_property
    def graph(self) -> ObjectGraph:
        """The object graph; only for a checkpoint that has one."""
        assert self.message is not None
        return ObjectGraph.of(self.message)

    @cached_property
    def objects(self) -> Objects:
        """The objects; only for a checkpoint that has an object graph."""
        found = frozenset(optimizers.optimizers_in(self.graph))
        names = Names(self.layers, optimizers=found)
        if self.file is None:
            return Objects(self.graph, self._spec_of, names)
        whole = () if self.file.by_names else range(len(self.graph.children))
        names = attrs.evolve(
            names,
            classes=frozenset(filter(None, self.file.classes.values())),
            kinds=self.file.classes,
            ordered=self.file.ordered,
            whole=whole,
            of_file=True,
        )
        return Objects(self.graph, self._spec_of, names, self.file.kinds, guessed=self.file.guessed)

    def pair_names(self, live: Side, fixed: Mapping[Hashable, Hashable]) -> dict[Hashable, Fate]:
        """Pair the leaves of a target with those that the keys describe.

        Args:
            live: the target.
            fixed: {tensor of the target: key} as the user says it, or as names say it.

        Returns:
            What becomes of each tensor of the target.
        """
        found = pair_tensors(live, self.names(), fixed)
        if all(fate.reason for fate in found.values()):
            return found
        order = {key: at for at, key in enumerate(self.creation())}
        if not order:
            return found
        return pair_tensors(live, self.names(order), fixed)

    def names(self, order: Mapping[str, int] | None = None) -> Side:
        """Return the leaves that the keys describe, without slots of optimizers.

        Args:
            order: the places of keys in the order of creation; None if that is not known.
        """
        known = {key for key in self.specs if key != OBJECT_GRAPH_KEY}
        keys = [key for key in self.specs if key in known and slot_of(key, known) is None]
        if order is not None:
            # What the graph does not list was not created in it, such as a table.
            keys.sort(key=lambda key: order.get(key, len(order)))
        return name_facts.side_of(
            ((key, key, self.specs[key]) for key in keys), ordered=order is not None
        )

    @cached_property
    def full_names(self) -> dict[str, str]:
        """The full names of the variables of the object graph, by their keys."""
        return {
            attribute.checkpoint_key: attribute.full_name or attribute.checkpoint_key
            for node in (self.message.nodes if self.message is not None else ())
            for attribute in node.attributes
        }

    def key_of(self, node: int) -> str:
        """Return the key of the variable that an object is."""
        key: str = self.graph.message.nodes[node].attributes[0].checkpoint_key
        return key

    def _spec_of(self, node: int) -> TensorSpec | tuple[str, ...] | None:
        attributes = self.graph.message.nodes[node].attributes
        if not attributes:
            return None
        if len(attributes) == 1 and attributes[0].name == _VARIABLE:
            spec = self.specs.get(attributes[0].checkpoint_key)
            return spec if spec is not None else (_VARIABLE,)
        return tuple(sorted(attribute.name for attribute in attributes))
