"""Trackables: the object graph below a module or a `tf.train.Checkpoint`, saved and restored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import (
    RestoreError,
    SelectionError,
    TargetError,
    value_text,
)
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching import by_name, object_graph
from tfpersist.matching.object_graph import ATTRIBUTES, VALUE, ObjectGraph
from tfpersist.matching.plan import Entry
from tfpersist.tf.internals import trackables
from tfpersist.tf.internals.live import LiveGraph, Node, SaveableState
from tfpersist.tf.internals.object_graph import live_graph
from tfpersist.tf.internals.slots import create_slots
from tfpersist.tf.targets import capture_all as capturing
from tfpersist.tf.targets import eager, states
from tfpersist.tf.targets.target import Captured, Target

# The number of an object, one of its tensors, and that as a variable of the target.
_Row = tuple[int, SaveableState, Entry]
_PYTHON = f"{ATTRIBUTES}py_state"


def adapt_objects(target: object) -> Target | None:
    """Adapt a trackable, or a dict with trackables in it; None for anything else."""
    return ObjectTarget(target) if holds_trackables(target) else None


def holds_trackables(target: object) -> bool:
    """Whether an object is the root of an object graph, or a dict that can become one."""
    if trackables.is_trackable(target):
        return not trackables.is_variable(target)
    return isinstance(target, dict) and any(map(trackables.is_trackable, target.values()))


@attrs.define(eq=False)
class ObjectTarget:
    """Everything that can be reached from a root, under the keys that `tf.train.Checkpoint` uses.

    Args:
        root: a trackable, which is its own root as in `tf.train.Checkpoint(root)`; a
            `tf.train.Checkpoint`, whose counter of saves is neither made nor raised; or a dict,
            which stands for `tf.train.Checkpoint(**root)`.
    """

    root: Any
    live: LiveGraph = attrs.field(init=False)
    saved: ObjectGraph | None = attrs.field(init=False, default=None)
    bound: dict[int, int] = attrs.field(init=False, factory=dict)
    _rows: tuple[LiveGraph, list[_Row]] | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.live = self.walk()

    def walk(self) -> LiveGraph:
        """Walk the objects as they are now."""
        return live_graph(self.root)

    def entries(self, object_graph: Message | None = None) -> Sequence[Entry]:
        """List what the objects save.

        Args:
            object_graph: that of the checkpoint about to be restored; objects are found in it by
                the names of the edges that lead to them.

        Raises:
            RestoreError: the objects have not made the variables yet that it has values for.
        """
        self.saved = None
        if object_graph is None:
            return [entry for _, _, entry in self._each()]
        if object_graph == self.live.graph.message:
            self.saved = self.live.graph
            self.bound = {number: number for number in range(len(self.live.objects))}
            return [entry for _, _, entry in self._each()]
        self.saved = ObjectGraph.of(object_graph)
        self.pair()
        if self._complete_slots(self.saved):
            self.live = self.walk()
            self.pair()
        self.require_variables()
        keys = self._saved_keys()
        theirs = {a.checkpoint_key for node in object_graph.nodes for a in node.attributes}
        listed = []
        for number, state, entry in self._each():
            key = keys.get((number, state.key))
            if key is None and number == self.live.graph.children[0].get("save_counter"):
                continue
            if key is None and state.attribute_key in theirs:
                key = f"{entry.name} (another object has its key)"
            listed.append(entry.under(key or state.key))
        return listed

    def entries_by_name(self, specs: Mapping[str, TensorSpec]) -> Sequence[Entry]:
        """List what the objects save, keyed as a checkpoint without an object graph calls it.

        Args:
            specs: what the checkpoint holds.
        """
        self.saved = None
        members = [
            by_name.Named(
                entry,
                by_name.distinct([entry.name, trackables.name_of(entry.ref), _plain(state.key)]),
            )
            for _, state, entry in self._each()
        ]
        return by_name.pair(members, specs)

    def pair(self) -> None:
        """Find the objects in the saved graph."""
        assert self.saved is not None
        self.bound = object_graph.match(self.saved, self.live.graph)

    def _complete_slots(self, saved: ObjectGraph) -> bool:
        back = {theirs: mine for mine, theirs in self.bound.items()}
        made = False
        for mine, theirs in self.bound.items():
            variables = [
                self.live.nodes[back[node]].trackable
                for node in dict.fromkeys(variable for _, variable in saved.slots(theirs))
                if node in back
            ]
            if variables and not self.live.graph.slots(mine):
                made |= create_slots(self.live.nodes[mine].trackable, variables)
        return made

    def require_variables(self) -> None:
        """Refuse objects that will make their variables later: nothing would be restored."""
        assert self.saved is not None
        if self.saved.children and self.saved.holds_values(0) and not self._each():
            raise RestoreError(
                "the target has no variables yet, so there is nothing to restore into",
                found=type(self.root).__name__,
                advice="Call it once on an input, so that it makes its variables, and restore"
                " after that.",
            )

    def capture(self, entries: Sequence[Entry]) -> Captured:
        """Take all values as they are now, and the object graph that goes with them."""
        rows = self._each()
        as_listed = len(entries) == len(rows) and all(
            entry is row[2] for entry, row in zip(entries, rows, strict=True)
        )
        encoded = self.live.encoded
        if not as_listed and [e.key for e in entries] != [state.key for _, state, _ in rows]:
            known = {identity(entry): state for _, state, entry in rows}
            keys = _attribute_keys([(entry, known[identity(entry)]) for entry in entries])
            message = object_graph.rewritten(self.live.graph.message, keys)
            encoded = message.SerializeToString()
        items = [
            Item(entry.key, capturing.payload(value, entry.spec))
            for entry, value in zip(entries, self.read(entries), strict=True)
        ]
        # TensorFlow writes Python state after all tensors.
        items.sort(key=lambda item: item.key.endswith(_PYTHON))
        return Captured(items, None, encoded)

    def read(self, entries: Sequence[Entry]) -> Sequence[np.ndarray[Any, Any]]:
        """Give the values as they are now."""
        return self._read_graph(entries) if _symbolic(entries) else _read(entries)

    def capture_all(self) -> Captured | None:
        """Take everything, as `capture` does of all entries, without making any of these.

        Returns:
            The same; None where there is something else than eager variables with values.
        """
        return capturing.capture_all(self.live)

    def assign(self, values: Sequence[tuple[Entry, np.ndarray[Any, Any]]]) -> None:
        """Give variables and other objects their values; all are converted before the first."""

        variables = [(entry, value) for entry, value in values if _is_variable(entry)]
        stateful: dict[int, tuple[Any, dict[str, Any]]] = {}
        for entry, value in values:
            if not _is_variable(entry):
                state: Any = entry.handle
                tensor = (
                    value[()]
                    if state.local == "py_state"
                    else eager.tensor(entry.spec.dtype, value)
                )
                stateful.setdefault(id(entry.ref), (entry.ref, {}))[1][state.local] = tensor
        for thing, given in stateful.values():
            self._require_whole(thing, given)
        if _symbolic([entry for entry, _ in variables]):
            session = _session()
            states.assign(stateful.values())
            session.assign(variables)
            return
        converted = eager.converted(variables)
        states.assign(stateful.values())
        eager.assign(variables, converted)

    def averages_of(
        self, averages: object, entries: Sequence[Entry]
    ) -> Mapping[str, Sequence[str]]:
        """Find the shadow variables of an ExponentialMovingAverage, or those with a suffix."""
        average = getattr(averages, "average", None)
        suffix = averages if isinstance(averages, str) else getattr(averages, "name", None)
        if not isinstance(suffix, str) or not (isinstance(averages, str) or callable(average)):
            raise SelectionError(
                f"averages() is given {value_text(averages)}",
                expected="a tf.train.ExponentialMovingAverage, a Keras optimizer with use_ema=True,"
                " or the last part of the names of the shadow variables",
            )
        names = object_graph.names_of(self.saved.message) if self.saved else {}
        held = {id(entry.handle): entry.key for entry in entries}
        found: dict[str, Sequence[str]] = {}
        for entry in entries:
            if not _is_variable(entry):
                continue
            shadow = average(entry.handle) if average else None
            name = f"{trackables.name_of(entry.ref)}/{suffix.strip('/')}"
            keys = [held.get(id(shadow)), names.get(name)]
            if self.saved is None:
                keys.append(f"{entry.key}/{suffix.strip('/')}")
            found[entry.key] = tuple(dict.fromkeys(key for key in keys if key))
        return {key: shadows for key, shadows in found.items() if shadows}

    def value_of(self, tensor: object) -> None:
        """Return None: there is no session."""

    def global_step(self) -> None:
        """Return None: there is no graph that counts steps."""

    def _each(self) -> list[_Row]:
        if self._rows is None or self._rows[0] is not self.live:
            listed = self.live.facts.get("entries")
            rows = self._list() if listed is None else _relist(self.live.objects, listed)
            # Without the objects, which facts must not keep alive.
            self.live.facts["entries"] = [
                (number, state, attrs.evolve(entry, ref=None, handle=_kept(entry)))
                for number, state, entry in (rows if listed is None else ())
            ] or listed
            self._rows = self.live, rows
        return self._rows[1]

    def _list(self) -> list[_Row]:
        slots = object_graph.slots_of(self.live.graph)
        paths = self._paths()
        rows = []
        for number, node in enumerate(self.live.nodes):
            for state in node.states:
                aliases = (_plain(state.key), *paths.get(number, ()))
                entry = _entry(node, state, slots.get(number))
                rows.append((number, state, attrs.evolve(entry, aliases=aliases)))
        return rows

    def _paths(self) -> dict[int, list[str]]:
        """Give one path to each object through each object that holds it."""
        paths: dict[int, list[str]] = {}
        for number, node in enumerate(self.live.nodes):
            for name, child in self.live.graph.children[number].items():
                if self.live.nodes[child].states:
                    paths.setdefault(child, []).append(f"{node.path}/{name}".strip("/"))
        for number, held in paths.items():
            name = trackables.name_of(self.live.nodes[number].trackable)
            if name:
                held.append(name)
        return paths

    def _saved_keys(self) -> dict[tuple[int, str], str]:
        assert self.saved is not None
        keys: dict[tuple[int, str], str] = {}
        for number, node in enumerate(self.live.nodes):
            if number not in self.bound or not node.states:
                continue
            attributes = {
                each.name: each.checkpoint_key
                for each in self.saved.message.nodes[self.bound[number]].attributes
            }
            for state in node.states:
                if state.attribute in attributes:
                    keys[number, state.key] = attributes[state.attribute] + state.suffix
        return keys

    def _require_whole(self, thing: object, given: Mapping[str, object]) -> None:
        node = next(node for node in self.live.nodes if node.trackable is thing)
        lacking = [state.key for state in node.states if state.local not in given]
        if lacking:
            raise SelectionError(
                f"{node.path!r} is restored as a whole, and {lacking[0]!r} is not selected",
                advice=f"Name the object itself, or {node.path!r}.",
            )

    def _read_graph(self, entries: Sequence[Entry]) -> list[np.ndarray[Any, Any]]:
        variables = [entry for entry in entries if _is_variable(entry)]
        captured = _session().capture(variables).items
        loaded = {
            id(entry.ref): item.payload.load()
            for entry, item in zip(variables, captured, strict=True)
        }
        return [
            loaded[id(entry.ref)] if id(entry.ref) in loaded else states.export(entry)
            for entry in entries
        ]


def _is_variable(entry: Entry) -> bool:
    # Whatever else is saved has its state for a handle, and what is in no checkpoint has none.
    # Asking TensorFlow takes ten times as long.
    return entry.handle is not None and not isinstance(entry.handle, SaveableState)


def identity(entry: Entry) -> tuple[int, str]:
    """Tell entries of one target apart whatever their key is."""
    state = entry.handle
    return id(entry.ref), state.local if isinstance(state, SaveableState) else ""


def _relist(objects: Sequence[Any], listed: Sequence[_Row]) -> list[_Row]:
    """List the entries of eager objects again."""
    rows = []
    for number, state, bare in listed:
        thing = objects[number]
        handle = state if bare.handle is None else trackables.variable_in(thing)
        entry = Entry(
            bare.key, bare.name, bare.spec, thing, None, handle, bare.slot, aliases=bare.aliases
        )
        rows.append((number, state, entry))
    return rows


def _kept(entry: Entry) -> str | None:
    return "variable" if _is_variable(entry) else None


def _entry(node: Node, state: SaveableState, slot: str | None) -> Entry:
    if not trackables.is_variable(node.trackable):
        return Entry(state.key, node.path, state.spec, node.trackable, handle=state)
    inner = trackables.variable_in(node.trackable)
    handle = inner.op if trackables.is_symbolic(inner) else inner
    name = trackables.path_of(node.trackable) or _plain(state.key)
    return Entry(state.key, name, state.spec, node.trackable, handle=handle, slot=slot)


def _plain(key: str) -> str:
    return key.removesuffix(VALUE)


def _attribute_keys(chosen: Sequence[tuple[Entry, SaveableState]]) -> dict[str, str]:
    keys: dict[str, str] = {}
    for entry, state in chosen:
        key = entry.key.removesuffix(state.suffix)
        if keys.setdefault(state.attribute_key, key) != key or key + state.suffix != entry.key:
            raise SelectionError(
                f"{state.key!r} and what belongs to it have to be renamed together",
                found=entry.key,
                advice='Rename the object: rename({"new/": "old/"}).',
            )
    return keys


def _symbolic(entries: Sequence[Entry]) -> bool:
    import tensorflow as tf

    return any(isinstance(entry.handle, tf.Operation) for entry in entries)


def _session() -> Target:
    import tensorflow as tf

    from tfpersist.tf.targets import session

    current = tf.compat.v1.get_default_session()
    found = session.adapt_session(current) if current is not None else None
    if found is None:
        raise TargetError(
            "these variables belong to a TF1 graph and have values in a session only",
            advice="Call this inside of `with session.as_default():`, or pass the session itself.",
        )
    return found


def _read(entries: Sequence[Entry]) -> list[np.ndarray[Any, Any]]:
    variables = [entry for entry in entries if _is_variable(entry)]
    values = eager.read(variables)
    if len(variables) == len(entries):
        return values
    left = iter(values)
    return [next(left) if _is_variable(entry) else states.export(entry) for entry in entries]
