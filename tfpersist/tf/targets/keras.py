"""Save and restore Keras models and optimizers: object graphs with some additions.

A checkpoint of one version of Keras can be restored into a model of another one. An optimizer that
was never used is built if the checkpoint has state for it. Layers and optimizers that are not built
are reported, not skipped.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import RestoreError, SelectionError, TargetError
from tfpersist.matching.keras_files.config import snake
from tfpersist.matching.keras_files.keras_file import NUMBERS, KerasFile
from tfpersist.matching.pairing import optimizers
from tfpersist.matching.pairing.pair_objects import ObjectPairing, Objects
from tfpersist.matching.pairing.saved import Saved
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.sides import object_graph
from tfpersist.matching.sides.facts import is_automatic
from tfpersist.matching.sides.object_facts import Names
from tfpersist.tf.internals import replicas, trackables
from tfpersist.tf.internals.keras import build_optimizer, is_optimizer_built
from tfpersist.tf.internals.live import LiveGraph
from tfpersist.tf.targets import (
    containers,
    keras_kinds,
    keras_layers,
    keras_lists,
    keras_optimizers,
    objects,
)
from tfpersist.tf.targets.target import Captured, Target


def adapt_keras(target: object) -> Target | None:
    """Adapt a trackable, or a dict with trackables in it, if the program has imported Keras."""
    if sys.modules.keys().isdisjoint({"keras", "tf_keras"}) or not objects.holds_trackables(target):
        return None
    return KerasTarget(target)


@attrs.define(eq=False)
class KerasTarget(objects.ObjectTarget):
    """An object graph that may contain Keras objects."""

    def walk(self) -> LiveGraph:
        """Walk the objects; refuse weights that no attribute leads to."""
        live = super().walk()
        weights = _untracked_weights(live)
        if weights:
            some = ", ".join(weights[:5])
            raise TargetError(
                f"no attribute of a layer leads to {len(weights)} weights: {some}",
                advice="Assign the layers that own them to attributes of the model.",
            )
        return live

    def entries_for(self, saved: Saved) -> Sequence[Entry]:
        """Return what the objects save, and states that layers lack."""
        if saved.message is None and keras_optimizers.build_by_names(
            self.live, saved.specs, self._trained_with
        ):
            self.live = self.walk()
        entries = super().entries_for(saved)
        unused = keras_optimizers.unused(self.live)
        if unused and (saved.message is None or not saved.objects.names.optimizers):
            entries = [attrs.evolve(e, spare=True) if id(e.ref) in unused else e for e in entries]
        specs = saved.specs
        if any(e.key not in specs or not e.wanted.accepts(specs[e.key]) for e in entries):
            states = self.described().states
            entries = keras_optimizers.with_owners(entries, self.live.objects, states)
        return [*entries, *keras_layers.unfilled(self.live)]

    def assign(self, values: Sequence[tuple[Entry, np.ndarray[Any, Any]]]) -> None:
        """Assign the values, and make layers recompute what they derive from them."""
        super().assign(values)
        keras_layers.finalize(self.live, {id(entry.ref) for entry, _ in values})

    def pair(self, saved: Saved) -> ObjectPairing:
        """Find each object in the saved graph, and build the optimizers that it has state for.

        An optimizer is built for the variables that its model trains. If the restore is refused
        afterwards, the variables of the optimizer have their initial values.
        """
        pairing = super().pair(saved)
        unbuilt = self._unbuilt_optimizers(pairing)
        for optimizer, variables in unbuilt:
            if not is_optimizer_built(optimizer):  # an outer optimizer builds its inner one
                with replicas.scope_of(map(trackables.variable_in, variables)):
                    build_optimizer(optimizer, variables)
        if unbuilt:
            self.live = self.walk()
            pairing = super().pair(saved)
        return pairing

    def layers(self) -> Mapping[int, str]:
        """Return the names of layers that are in no full name, by the number of the object."""
        if "layers" not in self.live.facts:
            self.live.facts["layers"] = dict(_named_layers(self.live))
        named: Mapping[int, str] = self.live.facts["layers"]
        return named

    def capture(self, entries: Sequence[Entry]) -> Captured:
        """Return the present values, with the object graph and the names of layers."""
        return attrs.evolve(super().capture(entries), layers=self.layers())

    def capture_all(self) -> Captured | None:
        """Return the same of all variables, without making an entry for each."""
        captured = super().capture_all()
        return captured and attrs.evolve(captured, layers=self.layers())

    def described(self, file: KerasFile | None = None) -> Objects:
        """Return the objects with the names of layers, and the optimizers with their kinds.

        Args:
            file: what the HDF5 file of Keras says that they are compared with, if it is one.
        """
        layers, known, kinds = keras_kinds.layers(), keras_kinds.optimizers(), {}
        names: dict[int, str] = {}
        classes: set[str] = set()
        for number, thing in enumerate(self.live.objects):
            if isinstance(thing, layers):
                classes.add(snake(type(thing).__name__))
                if number:
                    names[number] = thing.name
            elif isinstance(thing, known):
                kinds[number] = keras_optimizers.kind_of(thing)
        found = frozenset({*kinds, *super().described().names.optimizers})
        inner = {
            node
            for number in found
            for name, node in self.live.graph.children[number].items()
            if name in optimizers.INNER
        }
        is_sorted = trackables.is_sorted(self.root)
        inside = Names(names, frozenset(classes), found - inner, alphabetical=is_sorted)
        if file is not None and file.message is not None:
            inside = keras_lists.as_in_file(self.live, inside, by_names=file.by_names)
        core = {number: kinds.get(number, "") for number in found - inner}
        numbers = {id(thing): number for number, thing in enumerate(self.live.objects)}
        trained = [
            [numbers[id(one)] for one in model.trainable_variables if id(one) in numbers]
            for model in self.live.objects
            if isinstance(model, keras_kinds.models())
        ]
        return Objects(self.live.graph, self.spec_of, inside, core, trained)

    def require_variables(self, pairing: ObjectPairing) -> None:
        """Refuse layers and optimizers that are not built if the checkpoint has state for them."""
        assert self.saved is not None
        waiting = self._waiting(pairing)
        outermost = [mine for mine in waiting if not self._is_inside(mine, waiting)]
        if outermost:
            names = [self._description(mine) for mine in outermost]
            raise RestoreError(
                f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} not built yet, so there"
                f" are no variables for {sum(waiting[mine] for mine in outermost)} tensors of the"
                " checkpoint",
                advice="Build the model first: call it once on an input, or model.build(shape);"
                " a layer with a vocabulary by set_vocabulary() or adapt(), an optimizer with"
                " optimizer.build(model.trainable_variables).",
            )
        super().require_variables(pairing)

    def _waiting(self, pairing: ObjectPairing) -> dict[int, int]:
        """Return what is not built, and how many tensors of the checkpoint wait for each."""
        assert self.saved is not None
        used = set(self.bound.values())
        edges = object_graph.match_from(self.saved, self.live.graph, [(0, 0)])
        optimizers_there = {mine.node: theirs for mine, theirs in pairing.optimizers}
        waiting: dict[int, int] = {}
        for mine, thing in enumerate(self.live.objects):
            if not _is_unbuilt(thing):
                continue
            state = optimizers_there.get(mine)
            if state is not None:
                if self._trains_nothing(thing):
                    continue
                # Numbers of a configuration are there for optimizers that keep them as variables.
                tensors = sum(
                    node not in used and not self.saved.key_of(node).startswith(NUMBERS)
                    for (_, variable), node in state.states.items()
                    if variable >= 0 or _is_legacy(thing)
                )
            elif mine in edges and not isinstance(thing, keras_kinds.optimizers()):
                tensors = sum(
                    len(self.saved.message.nodes[node].attributes)
                    for node in self.saved.below(edges[mine])
                    if node not in used
                )
            else:
                continue
            if tensors:
                waiting[mine] = tensors
        return waiting

    def averages_of(
        self, averages: object, entries: Sequence[Entry]
    ) -> Mapping[str, Sequence[str]]:
        """Return the keys of the averages that a Keras optimizer has saved."""
        import keras

        if isinstance(averages, keras.Model):
            averages = getattr(averages, "optimizer", None) or "average"
        if isinstance(averages, keras.optimizers.Optimizer):
            if not averages.use_ema:
                raise SelectionError(
                    f"the optimizer {averages.name!r} keeps no moving averages",
                    expected="an optimizer with use_ema=True",
                    advice='averages("average") uses the averages of the saved optimizer.',
                )
            return self._averages_in_saved(entries, self._saved_node(averages))
        if averages == "average" and self.saved is not None:
            return self._averages_in_saved(entries, None)
        return super().averages_of(averages, entries)

    def _averages_in_saved(
        self, entries: Sequence[Entry], optimizer: int | None
    ) -> Mapping[str, Sequence[str]]:
        if self.saved is None:
            return {}
        shadows = object_graph.averages_in(self.saved, optimizer)
        return {e.key: (shadows[e.key],) for e in entries if e.key in shadows}

    def _saved_node(self, optimizer: object) -> int | None:
        nodes = self.live.nodes
        return next(
            (theirs for mine, theirs in self.bound.items() if nodes[mine].trackable is optimizer),
            None,
        )

    def _unbuilt_optimizers(self, pairing: ObjectPairing) -> list[tuple[Any, list[Any]]]:
        """Return the optimizers to build, and the variables that each is to train."""
        live_numbers = {theirs: mine for mine, theirs in self.bound.items()}
        unbuilt = []
        for mine, theirs in pairing.optimizers:
            optimizer = self.live.nodes[mine.node].trackable
            known = isinstance(optimizer, keras_kinds.optimizers())
            # Only legacy optimizers have all their numbers later, and not from the first on.
            needed = theirs.states if _is_legacy(optimizer) else theirs.slots
            if not known or is_optimizer_built(optimizer) or not needed:
                continue
            variables = self._trained_with(optimizer) or [
                self.live.nodes[live_numbers[node]].trackable
                for node in theirs.trained
                if node in live_numbers
            ]
            if variables:
                unbuilt.append((optimizer, variables))
        return unbuilt

    def _trained_with(self, optimizer: object) -> list[Any]:
        """Return the trainable variables of the model of an optimizer; empty if there is none.

        In a `tf.train.Checkpoint` of one model and one optimizer they belong together.
        """
        owners = self._owners(optimizer)
        return list(owners[0].trainable_variables) if owners else []

    def _trains_nothing(self, optimizer: object) -> bool:
        """Return whether all layers of the model of an optimizer are frozen."""
        owners = self._owners(optimizer)
        return bool(owners) and not owners[0].trainable_variables

    def _owners(self, optimizer: object) -> list[Any]:
        return [
            node.trackable
            for node in self.live.nodes
            if isinstance(node.trackable, keras_kinds.models())
            and getattr(node.trackable, "optimizer", None) is optimizer
        ]

    def _is_inside(self, node: int, others: Mapping[int, int]) -> bool:
        return any(other != node and node in self.live.graph.below(other) for other in others)

    def _description(self, node: int) -> str:
        thing = self.live.nodes[node].trackable
        path = self.live.nodes[node].path
        return f"{type(thing).__name__} {path or getattr(thing, 'name', '')!r}"


def _is_legacy(optimizer: object) -> bool:
    return hasattr(type(optimizer), "get_slot_names")


def _named_layers(live: LiveGraph) -> Iterator[tuple[int, str]]:
    """Yield the layers whose names are not in the full names of their variables."""
    layers = keras_kinds.layers()
    for number, layer in enumerate(live.objects):
        if not number or not isinstance(layer, layers):
            continue
        if is_automatic(layer.name, {snake(type(layer).__name__)}):
            continue
        first = next(filter(live.graph.valued, live.graph.below(number)), None)
        # What the variable is called in its layer, such as "gamma", is the name of no layer.
        if first is not None and layer.name not in live.graph.full_name(first).split("/")[:-1]:
            yield number, layer.name


def _untracked_weights(live: LiveGraph) -> list[str]:
    """Return the paths of the weights of Keras layers that are not in the object graph."""
    import keras

    if not any(isinstance(thing, keras.layers.Layer) for thing in live.objects):
        return []
    reached = containers.reached_by_attributes(live)
    outermost = live.facts.get("outermost")
    if outermost is None:
        outermost = live.facts["outermost"] = _outermost_layers(live)
    untracked: dict[int, str] = {}
    for number in outermost:
        for weight in live.objects[number].weights:
            if id(weight) not in reached:
                untracked[id(weight)] = weight.path
    return list(untracked.values())


def _outermost_layers(live: LiveGraph) -> list[int]:
    """Return the numbers of the layers that are in no other one."""
    import keras

    inside: set[int] = set()
    found = []
    for number, thing in enumerate(live.objects):
        if number not in inside and isinstance(thing, keras.layers.Layer):
            inside.update(live.graph.below(number))
            found.append(number)
    return found


def _is_unbuilt(thing: object) -> bool:
    if isinstance(thing, keras_kinds.optimizers()):
        return not is_optimizer_built(thing)
    return isinstance(thing, keras_kinds.layers()) and not getattr(thing, "built", True)
