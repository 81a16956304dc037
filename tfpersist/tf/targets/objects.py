"""Save and restore the object graph below a module or a `tf.train.Checkpoint`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import RestoreError, SelectionError, TargetError, value_text
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.keras_files.keras_file import KerasFile
from tfpersist.matching.pairing import optimizers
from tfpersist.matching.pairing.fate import Fate
from tfpersist.matching.pairing.pair_objects import ObjectPairing, Objects, pair_objects
from tfpersist.matching.pairing.saved import Saved
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.sides import object_graph
from tfpersist.matching.sides.object_facts import Names
from tfpersist.matching.sides.object_graph import ATTRIBUTES, ObjectGraph
from tfpersist.tf.internals import trackables
from tfpersist.tf.internals.live import LiveGraph, SaveableState
from tfpersist.tf.internals.object_graph import live_graph
from tfpersist.tf.internals.slots import create_slots
from tfpersist.tf.targets import containers, eager, states
from tfpersist.tf.targets.capture_all import capture_live_graph, payload_of_variable
from tfpersist.tf.targets.object_entries import (
    Row,
    by_name,
    explained,
    identity,
    is_variable,
    rows_of,
)
from tfpersist.tf.targets.target import Captured, Target

_PYTHON_STATE = f"{ATTRIBUTES}{states.PYTHON_STATE}"


def adapt_objects(target: object) -> Target | None:
    """Adapt a trackable, or a dict with trackables in it; return None for anything else."""
    return ObjectTarget(target) if holds_trackables(target) else None


def holds_trackables(target: object) -> bool:
    """Return whether an object is the root of an object graph, or a dict that can become one."""
    if trackables.is_trackable(target):
        return not trackables.is_variable(target)
    return isinstance(target, dict) and any(map(trackables.is_trackable, target.values()))


@attrs.define(eq=False)
class ObjectTarget:
    """All objects that can be reached from a root, under the keys that `tf.train.Checkpoint` uses.

    Args:
        root: a trackable, which is its own root as in `tf.train.Checkpoint(root)`; a
            `tf.train.Checkpoint`, whose save counter is neither created nor incremented; or a
            dict, which stands for `tf.train.Checkpoint(**root)`.
    """

    root: Any
    live: LiveGraph = attrs.field(init=False)
    saved: ObjectGraph | None = attrs.field(init=False, default=None)
    # The number of an object in the saved graph, by its number in the live graph.
    bound: dict[int, int] = attrs.field(init=False, factory=dict)
    _listed: tuple[LiveGraph, list[Row]] | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.live = self.walk()

    def walk(self) -> LiveGraph:
        """Walk the objects as they are now, with those in lists that TensorFlow does not track."""
        live = live_graph(self.root)
        lacking = containers.lacking(live)
        if not lacking:
            return live
        fuller = live_graph(self.root, containers.untracked)
        return fuller if containers.hold_state(lacking, fuller) else live

    def entries(self) -> Sequence[Entry]:
        """Return what the objects save."""
        self.saved = None
        return [entry for _, _, entry in self._rows()]

    def entries_for(self, saved: Saved) -> Sequence[Entry]:
        """Return what the objects save, under the keys of a checkpoint.

        Raises:
            RestoreError: the checkpoint has values for variables that do not exist yet.
        """
        if saved.message is None:
            return self._entries_by_name(saved)
        if "save_counter" in saved.graph.children[0] and trackables.make_save_counter(self.root):
            self.live = self.walk()
        is_same = saved.message == self.live.graph.message and saved.layers == self.layers()
        if is_same and not saved.fixed:
            self.saved = self.live.graph
            self.bound = {number: number for number in range(len(self.live.objects))}
            return [entry for _, _, entry in self._rows()]
        self.saved = saved.graph
        pairing = self.pair(saved)
        self.require_variables(pairing)
        keys = self._saved_keys(saved.graph)
        all_keys = {a.checkpoint_key for node in saved.message.nodes for a in node.attributes}
        entries = []
        for number, state, entry in self._rows():
            key = keys.get((number, state.key))
            if key is None and number == self.live.graph.children[0].get("save_counter"):
                continue
            if key is None and state.attribute_key in all_keys:
                key = f"{entry.name} (another object has its key)"
            fate = pairing.fates.get(number, Fate())
            explained_entry = explained(entry.under(key or state.key), fate, saved.key_of)
            if getattr(type(entry.ref), "is_spare", False):
                explained_entry = attrs.evolve(explained_entry, spare=True)
            entries.append(explained_entry)
        return entries

    def pair(self, saved: Saved) -> ObjectPairing:
        """Find each object in the saved graph."""
        pairing = self._pair_once(saved)
        if self._create_slots(pairing):
            self.live = self.walk()
            pairing = self._pair_once(saved)
        return pairing

    def layers(self) -> Mapping[int, str]:
        """Return the names of layers that are in no full name, by the number of the object."""
        return {}

    def described(self, file: KerasFile | None = None) -> Objects:
        """Return the objects, and what is known of them beside their graph.

        Args:
            file: what the HDF5 file of Keras says that they are compared with, if it is one.
        """
        unused = {
            number
            for number, thing in enumerate(self.live.objects)
            if hasattr(type(thing), "get_slot_names")
        }
        found = frozenset({*unused, *optimizers.optimizers_in(self.live.graph)})
        names = Names(optimizers=found, alphabetical=trackables.is_sorted(self.root))
        return Objects(self.live.graph, self.spec_of, names)

    def spec_of(self, number: int) -> TensorSpec | tuple[str, ...] | None:
        """Return the spec of the variable that an object is, or the names of its states."""
        states = self.live.nodes[number].states
        if not states:
            return None
        if len(states) == 1 and states[0].attribute == "VARIABLE_VALUE":
            return states[0].spec
        return tuple(sorted({state.attribute for state in states}))

    def _pair_once(self, saved: Saved) -> ObjectPairing:
        pairing = pair_objects(self.described(saved.file), saved.objects, self._fixed(saved))
        self.bound = dict(pairing.bound)
        for mine, theirs in pairing.optimizers:
            self.bound.setdefault(mine.node, theirs.node)
        return pairing

    def _fixed(self, saved: Saved) -> dict[int, int]:
        """Return the objects that the user has paired by their keys."""
        if not saved.fixed:
            return {}
        nodes = {
            attribute.checkpoint_key: number
            for number, node in enumerate(saved.graph.message.nodes)
            for attribute in node.attributes
        }
        return {
            number: nodes[key]
            for number, thing in enumerate(self.live.objects)
            if (key := saved.fixed.get(id(thing))) in nodes
        }

    def _entries_by_name(self, saved: Saved) -> Sequence[Entry]:
        self.saved = None
        fixed: dict[Hashable, Hashable] = {
            number: saved.fixed[id(thing)]
            for number, thing in enumerate(self.live.objects)
            if id(thing) in saved.fixed
        }
        fates = saved.pair_names(self.described().side, fixed)
        return [by_name(entry, fates.get(number, Fate())) for number, _, entry in self._rows()]

    def require_variables(self, pairing: ObjectPairing) -> None:
        """Refuse objects that create all their variables later: nothing would be restored."""
        assert self.saved is not None
        if self.saved.children and self.saved.holds_values(0) and not self._rows():
            raise RestoreError(
                "the target has no variables yet, so there is nothing to restore into",
                found=type(self.root).__name__,
                advice="Call it once on an input, so that it creates its variables, and restore"
                " after that.",
            )

    def capture(self, entries: Sequence[Entry]) -> Captured:
        """Return the present values, and the object graph that goes with them."""
        rows = self._rows()
        all_unchanged = len(entries) == len(rows) and all(
            entry is row[2] for entry, row in zip(entries, rows, strict=True)
        )
        encoded = self.live.encoded
        if not all_unchanged and [e.key for e in entries] != [state.key for _, state, _ in rows]:
            states_by_entry = {identity(entry): state for _, state, entry in rows}
            keys = _attribute_keys([(entry, states_by_entry[identity(entry)]) for entry in entries])
            message = object_graph.rewritten(self.live.graph.message, keys)
            encoded = message.SerializeToString()
        items = [
            Item(entry.key, payload_of_variable(value, entry.spec))
            for entry, value in zip(entries, self.read(entries), strict=True)
        ]
        # TensorFlow writes Python state after all tensors.
        items.sort(key=lambda item: item.key.endswith(_PYTHON_STATE))
        return Captured(items, None, encoded)

    def capture_all(self) -> Captured | None:
        """Return the values of all variables, without making an entry for each.

        Returns:
            What `capture` returns; None unless all objects are eager variables with values.
        """
        return capture_live_graph(self.live)

    def read(self, entries: Sequence[Entry]) -> Sequence[np.ndarray[Any, Any]]:
        """Return the present values."""
        return _read_in_session(entries) if _are_symbolic(entries) else _read(entries)

    def assign(self, values: Sequence[tuple[Entry, np.ndarray[Any, Any]]]) -> None:
        """Assign to variables and other objects; all values are converted before the first one."""
        variables = [(entry, value) for entry, value in values if is_variable(entry)]
        others: dict[int, tuple[str, Any, dict[str, Any]]] = {}
        for entry, value in values:
            if not is_variable(entry):
                state: Any = entry.handle
                tensor = (
                    value[()]
                    if state.local == states.PYTHON_STATE
                    else eager.tensor(entry.spec.dtype, value)
                )
                known = others.setdefault(id(entry.ref), (entry.name, entry.ref, {}))
                known[2][state.local] = tensor
        for _, thing, tensors in others.values():
            self._require_whole_state(thing, tensors)
        if _are_symbolic([entry for entry, _ in variables]):
            session = _default_session()
            states.assign(others.values())
            session.assign(variables)
            return
        converted = eager.converted(variables)
        states.assign(others.values())
        eager.assign(variables, converted)

    def averages_of(
        self, averages: object, entries: Sequence[Entry]
    ) -> Mapping[str, Sequence[str]]:
        """Return the keys of the shadow variables of an ExponentialMovingAverage or of a suffix."""
        average = getattr(averages, "average", None)
        suffix = averages if isinstance(averages, str) else getattr(averages, "name", None)
        if not isinstance(suffix, str) or not (isinstance(averages, str) or callable(average)):
            raise SelectionError(
                "averages() cannot use this argument",
                expected="a tf.train.ExponentialMovingAverage, a Keras optimizer with use_ema=True,"
                " or the last part of the names of the shadow variables",
                found=value_text(averages),
            )
        keys_by_name = object_graph.names_of(self.saved.message) if self.saved else {}
        keys_by_handle = {id(entry.handle): entry.key for entry in entries}
        result: dict[str, Sequence[str]] = {}
        for entry in entries:
            if not is_variable(entry):
                continue
            shadow = average(entry.handle) if average else None
            name = f"{trackables.name_of(entry.ref)}/{suffix.strip('/')}"
            keys = [keys_by_handle.get(id(shadow)), keys_by_name.get(name)]
            if self.saved is None:
                keys.append(f"{entry.key}/{suffix.strip('/')}")
            result[entry.key] = tuple(dict.fromkeys(key for key in keys if key))
        return {key: shadows for key, shadows in result.items() if shadows}

    def value_of(self, tensor: object) -> None:
        """Return None: there is no session."""

    def global_step(self) -> None:
        """Return None: there is no graph that counts steps."""

    def _rows(self) -> list[Row]:
        if self._listed is None or self._listed[0] is not self.live:
            self._listed = self.live, rows_of(self.live)
        return self._listed[1]

    def _create_slots(self, pairing: ObjectPairing) -> bool:
        """Let TF1 optimizers create slots that the saved graph has; return whether one did."""
        live_numbers = {theirs: mine for mine, theirs in self.bound.items()}
        created = False
        for mine, theirs in pairing.optimizers:
            variables = [
                self.live.nodes[live_numbers[node]].trackable
                for node in theirs.trained
                if node in live_numbers
            ]
            optimizer = self.live.objects[mine.node]
            if variables and not mine.slots and hasattr(type(optimizer), "get_slot_names"):
                created |= create_slots(optimizer, variables)
        return created

    def _saved_keys(self, saved: ObjectGraph) -> dict[tuple[int, str], str]:
        """Return the key in the checkpoint, by the number of an object and the key of its state."""
        keys: dict[tuple[int, str], str] = {}
        for number, node in enumerate(self.live.nodes):
            if number not in self.bound or not node.states:
                continue
            attributes = {
                attribute.name: attribute.checkpoint_key
                for attribute in saved.message.nodes[self.bound[number]].attributes
            }
            for state in node.states:
                if state.attribute in attributes:
                    keys[number, state.key] = attributes[state.attribute] + state.suffix
        return keys

    def _require_whole_state(self, thing: object, tensors: Mapping[str, object]) -> None:
        node = next(node for node in self.live.nodes if node.trackable is thing)
        lacking = [state.key for state in node.states if state.local not in tensors]
        if lacking:
            raise SelectionError(
                f"{node.path!r} is restored as a whole, and {lacking[0]!r} is not selected",
                advice=f"Name the object itself, or {node.path!r}.",
            )


def _attribute_keys(chosen: Sequence[tuple[Entry, SaveableState]]) -> dict[str, str]:
    """Return the new key of each attribute, by its key in the live graph."""
    keys: dict[str, str] = {}
    for entry, state in chosen:
        key = entry.key.removesuffix(state.suffix)
        if keys.setdefault(state.attribute_key, key) != key or key + state.suffix != entry.key:
            raise SelectionError(
                f"all tensors of the object of {state.key!r} must be renamed together",
                found=entry.key,
                advice='Rename the object: rename({"new/": "old/"}).',
            )
    return keys


def _are_symbolic(entries: Sequence[Entry]) -> bool:
    import tensorflow as tf

    return any(isinstance(entry.handle, tf.Operation) for entry in entries)


def _default_session() -> Target:
    import tensorflow as tf

    from tfpersist.tf.targets.session import adapt_session

    current = tf.compat.v1.get_default_session()
    target = adapt_session(current) if current is not None else None
    if target is None:
        raise TargetError(
            "these variables belong to a TF1 graph and have values only in a session",
            advice="Call this inside of `with session.as_default():`, or pass the session itself.",
        )
    return target


def _read(entries: Sequence[Entry]) -> list[np.ndarray[Any, Any]]:
    variables = [entry for entry in entries if is_variable(entry)]
    values = eager.read(variables)
    if len(variables) == len(entries):
        return values
    return _merged(entries, values)


def _read_in_session(entries: Sequence[Entry]) -> list[np.ndarray[Any, Any]]:
    variables = [entry for entry in entries if is_variable(entry)]
    captured = _default_session().capture(variables).items
    return _merged(entries, [item.payload.load() for item in captured])


def _merged(
    entries: Sequence[Entry], values: Sequence[np.ndarray[Any, Any]]
) -> list[np.ndarray[Any, Any]]:
    """Return the values of variables and of other objects in the order of their entries."""
    of_variables = iter(values)
    of_others = states.export([entry for entry in entries if not is_variable(entry)])
    return [next(of_variables if is_variable(entry) else of_others) for entry in entries]
