"""Read the HDF5 files in which Keras 2 lists names: layers, their weights, the optimizer's. Pure.

Keras 3 still writes such files where `save` or `save_weights` gets a path that ends in ".h5".
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from tfpersist.matching.keras_files.config import LayerConfig
from tfpersist.matching.keras_files.graph_writer import GraphWriter
from tfpersist.matching.keras_files.slots import Slots
from tfpersist.matching.sides import facts

_LAYERS = "layer_names"
_WEIGHTS = "weight_names"
_INSIDE = "model_weights"
_OF_OPTIMIZER = "optimizer_weights"
_OF_MODEL = "top_level_model_weights"
# The sublayers of MultiHeadAttention, by the attributes that hold them.
_ATTENTION = {
    "query": "_query_dense",
    "key": "_key_dense",
    "value": "_value_dense",
    "attention_output": "_output_dense",
}
_DIRECTIONS = ("forward", "backward")

Texts = Mapping[str, Mapping[str, tuple[str, ...]]]


def base_of(texts: Texts) -> str | None:
    """Return the path of the group that lists layers; None if the file does not list them.

    Args:
        texts: the attributes of each group.
    """
    for path in (_INSIDE, ""):
        if path in texts and _listed(texts[path], _LAYERS) is not None:
            return path
    return None


def _listed(texts: Mapping[str, tuple[str, ...]], name: str) -> list[str] | None:
    """Return a list, which may be cut into several attributes because it is long."""
    if name in texts:
        return list(texts[name])
    if f"{name}0" not in texts:
        return None
    parts = itertools.takewhile(texts.__contains__, (f"{name}{at}" for at in itertools.count()))
    return [one for part in parts for one in texts[part]]


class NamedWeights:
    """The layers and weights of a file that lists their names, as an object graph.

    Args:
        texts: the attributes of each group.
        keys: the paths of its tensors.
        model: the configuration of the model; empty if there is none.
    """

    def __init__(self, texts: Texts, keys: frozenset[str], model: LayerConfig) -> None:
        self.texts, self.keys = texts, keys
        self.graph = GraphWriter()
        self.layers: dict[int, str] = {}
        self.classes: dict[int, str] = {}
        # The variables by their full names, in the order of the file.
        self.names: dict[str, list[int]] = {}
        self._base = base_of(texts) or ""
        configs = {one.name: one for one in model.layers}
        for layer in _listed(texts[self._base], _LAYERS) or ():
            node = self._item(0, layer)
            self._layer(node, layer, configs.get(layer, LayerConfig()))
        for name, key in self._weights(_OF_MODEL):
            self._variable(0, name, key)

    def optimizer(self, classes: Sequence[str]) -> Slots | None:
        """Return the state of the optimizer; None if the file has none.

        Args:
            classes: the class of the optimizer and those of the ones that it wraps.
        """
        listed = _listed(self.texts.get(_OF_OPTIMIZER, {}), _WEIGHTS)
        if listed is None:
            return None
        found = Slots(classes)
        for name in listed:
            key = f"{_OF_OPTIMIZER}/{name}"
            if key in self.keys:
                found.add_named(name.removesuffix(":0"), key, self.names)
        return found

    def _weights(self, layer: str) -> list[tuple[str, str]]:
        """Return the weights of a layer: the name and the key of each."""
        path = "/".join(part for part in (self._base, layer) if part)
        names = _listed(self.texts.get(path, {}), _WEIGHTS) or []
        pairs = [(name.removesuffix(":0"), f"{path}/{name}") for name in names]
        return [(name, key) for name, key in pairs if key in self.keys]

    def _layer(self, node: int, layer: str, config: LayerConfig) -> None:
        weights = self._weights(layer)
        inner: dict[str, tuple[str, ...]] = {}
        for name, _ in weights:
            scopes = tuple(name.split("/")[:-1])
            # Keras 2 names what is inside of a model without the model, or with all around it.
            at = scopes.index(layer) + 1 if layer in scopes else 0
            inner[name] = scopes[at:]
        self._add(node, inner, weights, config)

    def _add(
        self,
        node: int,
        inner: Mapping[str, tuple[str, ...]],
        weights: Sequence[tuple[str, str]],
        config: LayerConfig,
    ) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for name, key in weights:
            scopes = inner[name]
            groups.setdefault(scopes[0] if scopes else "", []).append((name, key))
        name = self.layers.get(node, "")
        kind = config.kind or (facts.stem_of(name) if facts.is_automatic(name) else "")
        if node:
            self.classes[node] = kind
        holder = self.graph.child(node, "cell") if "" in groups and kind in _CELLS else node
        for name, key in groups.pop("", ()):
            self._variable(holder, name, key)
        configs = {one.name: one for one in config.layers}
        for scope in self._in_order(groups, config):
            child = self._inner(node, scope, groups)
            below = {name: inner[name][1:] for name, _ in groups[scope]}
            self._add(child, below, groups[scope], configs.get(scope, LayerConfig()))

    def _inner(self, node: int, scope: str, groups: Mapping[str, object]) -> int:
        """Return the layer that a scope below a layer is, with the edge that leads to it."""
        if _ATTENTION.keys() <= groups.keys() and scope in _ATTENTION:
            child = self.graph.child(node, _ATTENTION[scope])
            self.layers[child] = scope
            return child
        for direction in _DIRECTIONS:
            if len(groups) == 2 and scope.startswith(f"{direction}_"):
                return self.graph.child(node, f"{direction}_layer")
        if len(groups) == 1 and facts.stem_of(scope).endswith(("_cell", "_cells")):
            return self.graph.child(node, "cell")
        return self._item(node, scope)

    def _in_order(self, groups: Mapping[str, object], config: LayerConfig) -> list[str]:
        """Return scopes in the order of their layers, as far as it is known.

        In a model inside of a model, weights that are not trained come last.
        """
        if config.is_model:
            places = {one.name: at for at, one in enumerate(config.layers)}
            return sorted(groups, key=lambda scope: places.get(scope, len(places)))
        ordered = list(groups)
        stems: dict[str, list[int]] = {}
        for at, scope in enumerate(ordered):
            if facts.is_automatic(scope):
                stems.setdefault(facts.stem_of(scope), []).append(at)
        for places_of in stems.values():
            counted = sorted((ordered[at] for at in places_of), key=facts.natural)
            for at, scope in zip(places_of, counted, strict=True):
                ordered[at] = scope
        return ordered

    def _item(self, node: int, name: str) -> int:
        """Return a new layer at the end of the list of layers of another one."""
        items = self.graph.child(node, "_operations")
        child = self.graph.child(items, str(self.graph.size(items)))
        self.layers[child] = name
        return child

    def _variable(self, node: int, name: str, key: str) -> None:
        number = self.graph.tensor(node, name.rpartition("/")[2], key, name)
        self.names.setdefault(name, []).append(number)


# Layers whose weights are those of a cell, of which Keras 2 says nothing.
_CELLS = frozenset({"conv_lstm1d", "conv_lstm2d", "conv_lstm3d"})
