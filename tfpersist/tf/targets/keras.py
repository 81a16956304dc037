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
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching import keras_eras, object_graph
from tfpersist.matching.object_graph import ObjectGraph
from tfpersist.matching.plan import Entry
from tfpersist.tf.internals import replicas, trackables
from tfpersist.tf.internals.keras import build_optimizer, is_optimizer_built
from tfpersist.tf.internals.live import LiveGraph
from tfpersist.tf.internals.object_graph import live_graph
from tfpersist.tf.targets import keras_kinds, keras_layers, objects
from tfpersist.tf.targets.target import Target


def adapt_keras(target: object) -> Target | None:
    """Adapt a trackable, or a dict with trackables in it, if the program has imported Keras."""
    if sys.modules.keys().isdisjoint({"keras", "tf_keras"}) or not objects.holds_trackables(target):
        return None
    return KerasTarget(target)


@attrs.define(eq=False)
class KerasTarget(objects.ObjectTarget):
    """An object graph that may contain Keras objects."""

    def walk(self) -> LiveGraph:
        """Walk the objects, with the layers in lists and dicts that TensorFlow does not track."""
        live = live_graph(self.root)
        if not _untracked_weights(live):
            return live
        live = live_graph(self.root, _containers)
        weights = _untracked_weights(live)
        if weights:
            some = ", ".join(weights[:5])
            raise TargetError(
                f"no attribute of a layer leads to {len(weights)} weights: {some}",
                advice="Assign the layers that own them to attributes of the model.",
            )
        return live

    def entries(self, object_graph: Message | None = None) -> Sequence[Entry]:
        """Return what the objects save; for a restore also states that layers lack."""
        entries = super().entries(object_graph)
        return entries if object_graph is None else [*entries, *keras_layers.unfilled(self.live)]

    def entries_by_name(self, specs: Mapping[str, TensorSpec]) -> Sequence[Entry]:
        """Return what the objects save, and states that layers lack."""
        return [*super().entries_by_name(specs), *keras_layers.unfilled(self.live)]

    def assign(self, values: Sequence[tuple[Entry, np.ndarray[Any, Any]]]) -> None:
        """Assign the values, and make layers recompute what they derive from them."""
        super().assign(values)
        keras_layers.finalize(self.live, {id(entry.ref) for entry, _ in values})

    def pair(self) -> None:
        """Find each object in the saved graph, and build the optimizers that it has state for.

        An optimizer is built for the variables that the saved optimizer trained. If the restore is
        refused afterwards, the variables of the optimizer have their initial values.
        """
        saved = self._pair_once()
        unbuilt = self._unbuilt_optimizers(saved)
        for optimizer, variables in unbuilt:
            if not is_optimizer_built(optimizer):  # an outer optimizer builds its inner one
                with replicas.scope_of(map(trackables.variable_in, variables)):
                    build_optimizer(optimizer, variables)
        if unbuilt:
            self.live = self.walk()
            self._pair_once()

    def require_variables(self) -> None:
        """Refuse layers and optimizers that are not built if the checkpoint has state for them."""
        assert self.saved is not None
        used = set(self.bound.values())
        waiting: dict[int, int] = {}
        for mine, theirs in self.bound.items():
            if not _is_unbuilt(self.live.nodes[mine].trackable):
                continue
            tensors = sum(
                len(self.saved.message.nodes[node].attributes)
                for node in self.saved.below(theirs)
                if node not in used
            ) + sum(node not in used for node in self.saved.slots(theirs).values())
            if tensors:
                waiting[mine] = tensors
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
        super().require_variables()

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

    def _pair_once(self) -> ObjectGraph:
        import keras

        assert self.saved is not None
        saved, live = self.saved, self.live.graph
        layers = {
            number
            for number, node in enumerate(self.live.nodes)
            if isinstance(node.trackable, keras.layers.Layer)
        }
        self.bound = object_graph.match(
            saved, live, lambda bound: keras_eras.pair(saved, live, bound, layers)
        )
        self.bound |= self._by_training_order(saved)
        return saved

    def _by_training_order(self, saved: ObjectGraph) -> dict[int, int]:
        """Pair variables by the order in which the saved optimizer lists what it trains.

        That is the order of the model's trainable variables.
        """
        import keras

        pairs: dict[int, int] = {}
        numbers = {id(node.trackable): number for number, node in enumerate(self.live.nodes)}
        trained = {
            tuple(object_graph.trained_by(saved, node)) for node in range(len(saved.children))
        }
        for model in [node.trackable for node in self.live.nodes]:
            if not isinstance(model, keras.Model):
                continue
            mine = [numbers[id(variable)] for variable in model.trainable_variables]
            fits = [
                theirs
                for theirs in trained
                if len(theirs) == len(mine)
                and {self.bound.get(a, b) == b for a, b in zip(mine, theirs, strict=True)} == {True}
                and any(number in self.bound for number in mine)
            ]
            if len(fits) == 1:
                pairs |= dict(zip(mine, fits[0], strict=True))
        return pairs

    def _unbuilt_optimizers(self, saved: ObjectGraph) -> list[tuple[Any, list[Any]]]:
        """Return the optimizers to build, and the variables that each is to train."""
        classes, old_classes = keras_kinds.optimizers(), keras_kinds.optimizers("tf_keras")
        live_numbers = {theirs: mine for mine, theirs in self.bound.items()}
        unbuilt = []
        for mine, theirs in self.bound.items():
            optimizer = self.live.nodes[mine].trackable
            if not isinstance(optimizer, classes) or is_optimizer_built(optimizer):
                continue
            inner = saved.children[theirs].get("inner_optimizer", theirs)
            trained = object_graph.trained_by(saved, theirs)
            trained = trained or object_graph.trained_by(saved, inner)
            if trained and all(node in live_numbers for node in trained):
                variables = [self.live.nodes[live_numbers[node]].trackable for node in trained]
                unbuilt.append((optimizer, variables))
            elif trained or not isinstance(optimizer, old_classes):
                continue
            elif len(saved.item(theirs, "_variables") or ()) > 1:
                # An optimizer of tf-keras does not save which variables it trained. If it has more
                # than the step counter, it trained those of its model.
                unbuilt += [(optimizer, variables) for variables in self._trained_with(optimizer)]
        return unbuilt

    def _trained_with(self, optimizer: object) -> list[list[Any]]:
        """Return the trainable variables of the model of an optimizer; empty if there is none."""
        models = (
            n.trackable for n in self.live.nodes if isinstance(n.trackable, keras_kinds.models())
        )
        owners = [model for model in models if getattr(model, "optimizer", None) is optimizer]
        return [list(model.trainable_variables) for model in owners[:1]]

    def _is_inside(self, node: int, others: Mapping[int, int]) -> bool:
        return any(other != node and node in self.live.graph.below(other) for other in others)

    def _description(self, node: int) -> str:
        thing = self.live.nodes[node].trackable
        path = self.live.nodes[node].path
        return f"{type(thing).__name__} {path or getattr(thing, 'name', '')!r}"


def _untracked_weights(live: LiveGraph) -> list[str]:
    """Return the paths of the weights of Keras layers that are not in the object graph."""
    import keras

    reached = set(map(id, live.objects))
    inside: set[int] = set()
    untracked: dict[int, str] = {}
    for number, thing in enumerate(live.objects):
        if number not in inside and isinstance(thing, keras.layers.Layer):
            inside.update(live.graph.below(number))
            for weight in thing.weights:
                if id(weight) not in reached:
                    untracked[id(weight)] = weight.path
    return list(untracked.values())


def _containers(thing: object) -> Iterator[tuple[str, Any]]:
    """Yield the lists and dicts among the attributes of a layer, as TensorFlow tracks them."""
    import keras

    if isinstance(thing, keras.layers.Layer):
        for name, value in vars(thing).items():
            wrapped = trackables.container(value)
            if wrapped is not None and not name.startswith("_"):
                yield name, wrapped


def _is_unbuilt(thing: object) -> bool:
    if isinstance(thing, keras_kinds.optimizers()):
        return not is_optimizer_built(thing)
    return isinstance(thing, keras_kinds.layers()) and not getattr(thing, "built", True)
