"""Keras 3 models and optimizers: object graphs with more to say about them.

A Keras checkpoint also goes into a model of another era, an optimizer that was never used is built
when there is state for it, and what has not been built is named instead of being skipped.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from tfpersist import keras_eras, object_graph
from tfpersist.errors import RestoreError, SelectionError
from tfpersist.object_graph import ObjectGraph
from tfpersist.selection import Entry
from tfpersist.tf import internals, objects
from tfpersist.tf.target import Target


def adapt(target: object) -> Target | None:
    """Adapt a trackable, or a dict with trackables in it, if there is any Keras around."""
    if "keras" not in sys.modules or not objects.holds_trackables(target):
        return None
    return KerasTarget(target)


@attrs.define
class KerasTarget(objects.ObjectTarget):
    """An object graph that may hold Keras objects."""

    def pair(self) -> None:
        """Find the objects in the saved graph, and build the optimizers that it has state for."""
        saved = self._pair_once()
        unbuilt = self._unbuilt_optimizers(saved)
        for optimizer, variables in unbuilt:
            optimizer.build(variables)
        if unbuilt:
            self.live = internals.live_graph(self.root)
            self._pair_once()

    def require_variables(self) -> None:
        """Refuse layers and optimizers that are not built and that the checkpoint has state of."""
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
            names = [self._called(mine) for mine in outermost]
            raise RestoreError(
                f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} not built yet, so"
                f" {sum(waiting[mine] for mine in outermost)} tensors of the checkpoint have"
                " nowhere to go",
                advice="Build the model first: call it once on an input, or model.build(shape);"
                " an optimizer with optimizer.build(model.trainable_variables).",
            )
        super().require_variables()

    def averages_of(
        self, averages: object, entries: Sequence[Entry]
    ) -> Mapping[str, Sequence[str]]:
        """Find the averages that a Keras optimizer kept, from what the checkpoint says of them."""
        import keras

        if isinstance(averages, keras.Model):
            averages = getattr(averages, "optimizer", None) or "average"
        if isinstance(averages, keras.optimizers.Optimizer):
            if not averages.use_ema:
                raise SelectionError(
                    f"the optimizer {averages.name!r} keeps no moving averages",
                    expected="an optimizer with use_ema=True",
                    advice='averages("average") takes those that the saved optimizer kept.',
                )
            return self._shadows(entries, self._saved_node(averages))
        if averages == "average" and self.saved is not None:
            return self._shadows(entries, None)
        return super().averages_of(averages, entries)

    def _shadows(
        self, entries: Sequence[Entry], optimizer: int | None
    ) -> Mapping[str, Sequence[str]]:
        if self.saved is None:
            return {}
        shadows = object_graph.averages_in(self.saved, optimizer)
        return {e.key: (shadows[e.key],) for e in entries if e.key in shadows}

    def _saved_node(self, optimizer: object) -> int | None:
        nodes = self.live.nodes
        return next(
            (s for mine, s in self.bound.items() if nodes[mine].trackable is optimizer), None
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
        return saved

    def _unbuilt_optimizers(self, saved: ObjectGraph) -> list[tuple[Any, list[Any]]]:
        import keras

        back = {theirs: mine for mine, theirs in self.bound.items()}
        found = []
        for mine, theirs in self.bound.items():
            optimizer = self.live.nodes[mine].trackable
            if not isinstance(optimizer, keras.optimizers.Optimizer) or optimizer.built:
                continue
            trained = object_graph.trained_by(saved, theirs)
            if trained and all(node in back for node in trained):
                found.append(
                    (optimizer, [self.live.nodes[back[node]].trackable for node in trained])
                )
        return found

    def _is_inside(self, node: int, others: Mapping[int, int]) -> bool:
        return any(other != node and node in self.live.graph.below(other) for other in others)

    def _called(self, node: int) -> str:
        thing = self.live.nodes[node].trackable
        path = self.live.nodes[node].path
        return f"{type(thing).__name__} {path or getattr(thing, 'name', '')!r}"


def _is_unbuilt(thing: object) -> bool:
    import keras

    kinds = (keras.layers.Layer, keras.optimizers.Optimizer)
    return isinstance(thing, kinds) and not getattr(thing, "built", True)
