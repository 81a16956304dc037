"""Read the HDF5 files in which Keras 3 saves attributes: `.weights.h5` and `.keras`. Pure.

A group is a layer: its tensors are numbered in "vars", its other groups are its attributes. A list
of layers names its items by their class and a number, and so does the list of all layers of a
model. tf-keras writes the same, without the names of layers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import attrs

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.keras_files import roles as keras_roles
from tfpersist.matching.keras_files.config import LayerConfig
from tfpersist.matching.keras_files.graph_writer import GraphWriter
from tfpersist.matching.sides import facts
from tfpersist.matching.sides.eras import PARTS

_OWN = "vars"
# The groups of all layers of a model; the second is that of TensorFlow 2.11 and 2.12.
_LISTS = ("layers", "_layer_checkpoint_dependencies")
# The groups that hold no layers.
_OTHERS = frozenset({"optimizer", "metrics", "_metrics", "compile_metrics", "_compile_metrics"})
_COUNTED = re.compile(r"(.+)_([0-9]{1,9})")
# The layers that a layer of Keras holds, in the order in which it makes them.
_MADE = (
    *("query_dense", "key_dense", "value_dense", "output_dense"),
    *("forward_layer", "backward_layer", "cell", "layer"),
)
_CONFIGURED = {"forward_layer": ("layer",), "backward_layer": ("backward_layer", "layer")}
_UNTRAINED = frozenset(
    {"moving_mean", "moving_variance", "mean", "variance", "count", "seed_generator_state"}
)

Texts = Mapping[str, Mapping[str, Sequence[str]]]


@attrs.frozen
class Part:
    """A layer, for the order in which an optimizer trains variables.

    Args:
        own: its own variables that can be trained.
        chains: the layers in it; the order is known in each chain, and not between the chains.
        guessed: whether an order is that in which automatic names were given, which need not be
            the order in the model.
    """

    own: tuple[int, ...]
    chains: tuple[tuple[Part, ...], ...] = ()
    guessed: bool = False


@attrs.frozen
class _Child:
    """A layer that another one holds, with what tells its order among the others.

    Args:
        part: the layer.
        path: the path of its group.
        chain: the layers that `place` counts it among; empty for none.
        place: its place among them.
        named: the layers that its automatic name counts it among, and the number; None for none.
    """

    part: Part
    path: str
    chain: str = ""
    place: int = 0
    named: tuple[str, int] | None = None


def is_saved(texts: Texts) -> bool:
    """Return whether a file is one of these.

    Args:
        texts: the attributes of each group, by its path.

    Example:
        >>> is_saved({"": {}, "layers": {}, "layers/dense": {}, "layers/dense/vars": {}})
        True
    """
    return any(path == _OWN or path.endswith(f"/{_OWN}") for path in texts)


class SavedAttributes:
    """The layers and tensors of such a file, as an object graph.

    Args:
        specs: its tensors, by path.
        texts: the attributes of each group, by its path.
        model: the configuration of the model; empty if there is none.
    """

    def __init__(self, specs: Mapping[str, TensorSpec], texts: Texts, model: LayerConfig) -> None:
        self.specs, self.texts = specs, texts
        self.graph = GraphWriter()
        self.layers: dict[int, str] = {}
        self.classes: dict[int, str] = {}
        # Whether the order of all layers is known.
        self.ordered = True
        self._groups: dict[str, list[str]] = {}
        for path in sorted(filter(None, texts), key=facts.natural):
            above, _, name = path.rpartition("/")
            self._groups.setdefault(above, []).append(name)
        self._keys: dict[str, list[str]] = {}
        for key in sorted(specs, key=facts.natural):
            self._keys.setdefault(key.rpartition("/")[0], []).append(key)
        # The groups with a tensor in them, or in a group below.
        self._filled: set[str] = set()
        for above in self._keys:
            parts = above.split("/")
            self._filled.update("/".join(parts[:at]) for at in range(1, len(parts) + 1))
        # The variables that an optimizer may train.
        self.trained = self._layer("", 0, model, (), frozen=False)

    def variables_of(self, path: str) -> list[str]:
        """Return the keys of the numbered tensors of a group, in their order.

        Args:
            path: the path of the group.
        """
        keys = self._keys.get(_inside(path, _OWN), [])
        return [key for key in keys if facts.is_index(key.rpartition("/")[2])]

    def name_of(self, path: str) -> str:
        """Return the name that a layer or an optimizer says it has; empty if it says none.

        Args:
            path: the path of its group.
        """
        said = self.texts.get(_inside(path, _OWN), {}).get("name", ())
        return said[0] if said else ""

    def _layer(
        self, path: str, node: int, config: LayerConfig, scopes: tuple[str, ...], *, frozen: bool
    ) -> Part:
        """Add what is in the group of a layer."""
        frozen = frozen or config.facts.get("trainable") is False
        own = self._own(path, node, config, scopes)
        children: list[_Child] = []
        listed: list[_Child] = []
        for name in self._groups.get(path, ()):
            inside = _inside(path, name)
            if name == _OWN or name in _OTHERS:
                continue
            if name in _LISTS:
                listed += self._listed(inside, node, config, scopes, frozen)
            elif _inside(inside, _OWN) in self.texts:
                children.append(self._attribute(inside, node, config, scopes, frozen))
            else:
                child = self.graph.child(node, name)
                children += self._container(inside, child, (*scopes, name), frozen)
        return self._part(() if frozen else own, listed, children)

    def _own(
        self, path: str, node: int, config: LayerConfig, scopes: tuple[str, ...]
    ) -> tuple[int, ...]:
        """Add the tensors of a layer itself; return those that can be trained."""
        keys = self.variables_of(path)
        specs = [self.specs[key] for key in keys]
        roles = keras_roles.roles_of(config.kind, specs, config.facts) if keys else ()
        names = list(roles) if roles is not None else [str(at) for at in range(len(keys))]
        nodes = [
            self.graph.tensor(node, name, key, "/".join((*scopes, name)))
            for name, key in zip(names, keys, strict=True)
        ]
        return tuple(n for n, name in zip(nodes, names, strict=True) if name not in _UNTRAINED)

    def _attribute(
        self, path: str, node: int, config: LayerConfig, scopes: tuple[str, ...], frozen: bool
    ) -> _Child:
        """Add a layer that an attribute holds."""
        attribute = path.rpartition("/")[2]
        plain = attribute.strip("_")
        child = self.graph.child(node, attribute)
        inner = config.inside(*_CONFIGURED.get(plain, (plain,)))
        kind = inner.kind or keras_roles.part_of(config.kind, attribute)
        name = self.name_of(path) or inner.name
        if not kind and facts.is_automatic(name):
            kind = facts.stem_of(name)
        self.classes[child] = kind
        if not kind and plain in PARTS:
            kind = keras_roles.WRAPPED
        if plain not in PARTS and not self._is_automatic(name, kind):
            self.layers[child] = name
        inner = attrs.evolve(inner, kind=kind)
        part = self._layer(path, child, inner, (*scopes, name or plain), frozen=frozen)
        if plain in PARTS:
            return _Child(part, path, _ALL, _MADE.index(plain))
        return _Child(part, path, named=self._count(name, kind))

    def _listed(
        self, path: str, node: int, config: LayerConfig, scopes: tuple[str, ...], frozen: bool
    ) -> list[_Child]:
        """Add the layers of a model, in their order if the configuration tells it."""
        labels = _counted(self._groups.get(path, ()))
        known: dict[str, tuple[int, LayerConfig]] = {}
        counts: dict[str, int] = {}
        for at, one in enumerate(config.layers):
            count = counts[one.kind] = counts.get(one.kind, -1) + 1
            known[f"{one.kind}_{count}" if count else one.kind] = at, one
        is_known = bool(known) and labels.keys() <= known.keys()
        ordered = sorted(labels, key=lambda label: known[label][0]) if is_known else list(labels)
        items = self.graph.child(node, "_operations")
        found = []
        for at, label in enumerate(ordered):
            kind, count = labels[label]
            inside = _inside(path, label)
            inner = known[label][1] if is_known else LayerConfig(kind)
            name = self.name_of(inside) or inner.name
            child = self.graph.child(items, str(at))
            self.classes[child] = kind
            shown = label if self._is_automatic(name, kind) else name
            self.layers[child] = shown
            part = self._layer(inside, child, inner, (*scopes, shown), frozen=frozen)
            chain = (_ALL, at) if is_known else (f"{path}/{kind}", count)
            found.append(_Child(part, inside, *chain, named=self._count(name, kind)))
        return found

    def _container(
        self, path: str, node: int, scopes: tuple[str, ...], frozen: bool
    ) -> list[_Child]:
        """Add the layers in a list or dict, which are counted by their classes."""
        found = []
        for label, (kind, count) in _counted(self._groups.get(path, ())).items():
            inside = _inside(path, label)
            child = self.graph.child(self.graph.child(node, kind), str(count))
            if _inside(inside, _OWN) not in self.texts:
                found += self._container(inside, child, (*scopes, ""), frozen)
                continue
            name = self.name_of(inside)
            self.classes[child] = kind
            if not self._is_automatic(name, kind):
                self.layers[child] = name
            inner = LayerConfig(kind)
            part = self._layer(inside, child, inner, (*scopes, name or label), frozen=frozen)
            chain = f"{path}/{kind}", count
            found.append(_Child(part, inside, *chain, named=self._count(name, kind)))
        return found

    def _is_automatic(self, name: str, kind: str) -> bool:
        """Return whether a layer has no name that a person gave."""
        return not name or facts.is_automatic(name, {kind})

    def _count(self, name: str, kind: str) -> tuple[str, int] | None:
        """Return the class that an automatic name counts, and the number; None for another name."""
        if not kind or not name or not self._is_automatic(name, kind):
            return None
        counted = facts.number_in(name)
        return (kind, counted[1]) if counted and counted[0] == kind else (kind, -1)

    def _part(self, own: tuple[int, ...], listed: Sequence[_Child], held: Sequence[_Child]) -> Part:
        """Put the layers of a layer into chains, and note whether their order is known."""
        filled = [one for one in (*listed, *held) if self._holds_tensors(one.path)]
        kinds = [one.named[0] for one in filled if one.named]
        chains: dict[str, list[tuple[int, Part]]] = {}
        guessed = False
        for one in filled:
            chain, place = one.chain or one.path, one.place
            # Attributes have no order. But Keras counts the layers of a class as they are made.
            if chain != _ALL and held and one.named and kinds.count(one.named[0]) > 1:
                chain, place = one.named
                guessed = True
            chains.setdefault(chain, []).append((place, one.part))
        self.ordered = self.ordered and len(chains) < 2 and not guessed
        return Part(
            own,
            tuple(
                tuple(part for _, part in sorted(chain, key=lambda one: one[0]))
                for chain in chains.values()
            ),
            guessed,
        )

    def _holds_tensors(self, path: str) -> bool:
        return path in self._filled


# The chain of layers whose order among each other is known.
_ALL = "all"


def _inside(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _counted(labels: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Return the class and the number in each label of a list: "dense", "dense_1", "dense_2"."""
    known = set(labels)
    found = {}
    for label in sorted(labels, key=facts.natural):
        match = _COUNTED.fullmatch(label)
        # A layer that is saved elsewhere in the file counts too, and is not listed again.
        counts = match is not None and (match[1] in known or facts.is_automatic(match[1]))
        found[label] = (match[1], int(match[2])) if match and counts else (label, 0)
    return found
