"""Save random Keras models, edit them at random, restore, and compare every value with the truth.

    python fuzz/edits.py --seconds 600
    python fuzz/edits.py --families 100
    python fuzz/edits.py --first 517 --families 1  one family again, with all that happened

A family is a random model and some edits of it. Each of them is saved, and restored into each
other one. Family n is the same in every run, and so are its cases, such as 517.03 (from member 0
into member 3). Every layer has an identity that its edits keep, and every saved tensor has values
of its own. So the truth is known without any rule of matching: a variable may get only what the
layer with the same identity had. A failure is: a value of another tensor, with or without "skip"
or by `rename(report.suggestion)`; or a variable that is left as it was without a word. Edits that
nobody could tell from another edit are left out.

A case is knowable if for each layer that stayed a name, an attribute or the order tells which it
is. `Knowable` says it, by what people see in a model and in the names of a file.
"""

from __future__ import annotations

import argparse
import collections
import copy
import functools
import gc
import io
import itertools
import os
import random
import re
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import attrs
import h5py
import keras
import numpy as np
import tensorflow as tf

import tfpersist as tfp

WIDTH = 4
LENGTH = 2
FILES = ("weights.h5", "h5", "keras")
ALL_FILES = ("tfpersist", *FILES)
MEMBERS = 10
# "dense" and "time" have tensors of the same shapes.
KINDS = (
    *("dense", "dense", "dense", "norm", "batch", "conv", "lstm", "attention", "wide"),
    *("gru", "both", "separable", "time", "embedding"),
)
# What a head may be in place of another one.
HEADS = ("wide", "wider", "dense", "conv", "norm", "lstm", "gru", "separable", "attention")
ALIKE = {"time": "dense"}
BY_CALLS = ("functional", "sequential")
IN_LISTS = ("list", "private", "lists", "tuple", "table of lists")
IN_DICTS = ("dict", "numbers", "private dict")
HELD = ("attributes", "dict", "private dict")
STYLES = (*BY_CALLS, "attributes", *IN_LISTS, *IN_DICTS)
OPTIMIZERS = (
    *("", "Adam", "AdamW", "SGD", "RMSprop", "Adam", "Nadam", "Adagrad", "Ftrl", "Adamax"),
    *("Adadelta", "Lion"),
)
OPTIONS = {"SGD": {"momentum": 0.9}, "RMSprop": {"momentum": 0.5}}

# What each list of an optimizer holds, by what the optimizers themselves compute with it.
SLOTS = {
    "Adam": {"_momentums": "m", "_velocities": "v", "_velocity_hats": "vhat"},
    "SGD": {"momentums": "momentum"},
    "RMSprop": {"_velocities": "rms", "_momentums": "momentum", "_average_gradients": "mg"},
    "Adagrad": {"_accumulators": "accumulator"},
    "Ftrl": {"_accumulators": "accumulator", "_linears": "linear"},
    "Adamax": {"_m": "m", "_u": "v"},
    "Adadelta": {"_accumulated_grads": "accum_grad", "_accumulated_delta_vars": "accum_var"},
    "Lion": {"_momentums": "m", "momentums": "m"},
}
LETTERS = "abcdefghkmprstw"
WORDS = (
    *("alpha", "beta", "gamma", "stem", "body", "head", "left", "right", "query", "item", "user"),
    *("layer_0", "layer_1", "layer_2", "layer_3", "block1", "block2", "block10", "conv9", "conv10"),
    *("up", "down", "norm_a", "norm_b", "encoder", "decoder", "proj", "tower", "mix", "out"),
)


@attrs.define
class Item:
    """A layer or a group of layers.

    Args:
        identity: what its edits keep.
        kind: which layer; "group" for a group.
        name: the name that a person gave; empty for none.
        held: the attribute or the key of a dict that holds it, where its group has such.
        style: how a group holds its items.
        items: those of a group; one that occurs twice is used twice.
        frozen: whether it is not trained.
    """

    identity: int
    kind: str
    name: str = ""
    held: str = ""
    style: str = ""
    items: list[Item] = attrs.field(factory=list)
    frozen: bool = False

    def walk(self) -> list[Item]:
        """Return all items of a group, with those of groups in it, each once."""
        found = {id(one): one for item in self.items for one in (item, *item.walk())}
        return list(found.values())

    def paths(self, above: tuple[Item, ...] = ()) -> Iterator[tuple[Item, ...]]:
        """Yield each layer with the groups above it, the outermost first."""
        for item in self.items:
            if item.kind == "group":
                yield from item.paths((*above, item))
            else:
                yield (*above, item)

    def uses(self, wanted: Item) -> int:
        """Return how often a group, with those in it, has an item."""
        groups = [self, *(one for one in self.walk() if one.kind == "group")]
        return sum(one is wanted for group in groups for one in group.items)

    def look(self) -> str:
        """Return what layers that could be taken for each other have in common."""
        return ALIKE.get(self.kind, self.kind)


class Maker:
    """Makes random models, and edits them."""

    def __init__(self, seed: str, era: str) -> None:
        self.rng = random.Random(seed)
        self.identities = itertools.count(1)
        self.era = era
        self.names = list(WORDS)
        self.rng.shuffle(self.names)

    def fresh_name(self) -> str:
        """Return a name that this case has not used yet."""
        return self.names.pop() if self.names else f"more_{next(self.identities)}"

    def layer(self, named: float) -> Item:
        """Return a random layer."""
        name = self.fresh_name() if self.rng.random() < named else ""
        return Item(next(self.identities), self.rng.choice(KINDS), name, f"part_{self.word()}")

    def word(self) -> str:
        """Return a word that is not used otherwise."""
        return self.rng.choice(LETTERS) + str(next(self.identities))

    def model(self, writer: str, *, trained: bool) -> Item:
        """Return a random model."""
        rng = self.rng
        named = rng.choice((0.0, 0.5, 1.0, 1.0))
        styles = self._styles(writer, trained=trained)
        style = rng.choice(styles)
        items = [self.layer(named) for _ in range(rng.randint(1, rng.choice((3, 4, 6, 12))))]
        if rng.random() < 0.25:
            items.insert(rng.randint(0, len(items)), self._group(styles, named, deep=True))
        if rng.random() < 0.25:
            first = self._group(styles, named, deep=False)
            stack = [first, *(self._twin(first, named) for _ in range(rng.randint(1, 3)))]
            at = rng.randint(0, len(items))
            items[at:at] = stack
        groups = [one for one in items if one.kind == "group" and one.style != "sequential"]
        while rng.random() < 0.2:
            shared = rng.choice([one for one in items if one.kind != "wide"] or items)
            if groups and shared.kind != "group" and rng.random() < 0.5:
                rng.choice(groups).items.append(shared)
            elif style != "sequential":
                items.append(shared)
        for item in items:
            item.frozen = rng.random() < 0.1
        return Item(0, "group", "", "", style, items)

    def _styles(self, writer: str, *, trained: bool) -> list[str]:
        if self.era == "keras2":
            return [*BY_CALLS, "attributes", "list", "private", "dict"]
        if writer == "export":
            return list(BY_CALLS)
        # TensorFlow itself does not track the layers of Keras 3 in private or nested lists.
        untracked = {*IN_LISTS, *IN_DICTS}
        untracked -= {"list", "dict"} if trained else set()
        return [one for one in STYLES if writer != "tf" or one not in untracked]

    def _group(self, styles: list[str], named: float, *, deep: bool) -> Item:
        some = [self.layer(named) for _ in range(self.rng.randint(1, 4))]
        if deep and self.rng.random() < 0.3:
            some.append(self._group(styles, named, deep=False))
        name = self.fresh_name() if self.rng.random() < max(named, 0.5) else ""
        style = self.rng.choice(styles)
        return Item(next(self.identities), "group", name, f"part_{self.word()}", style, some)

    def _twin(self, group: Item, named: float) -> Item:
        """Return another group whose layers have the same names."""
        items = [attrs.evolve(one, identity=next(self.identities)) for one in group.items]
        name = self.fresh_name() if group.name else ""
        return Item(next(self.identities), "group", name, f"part_{self.word()}", group.style, items)

    def edited(self, model: Item, writer: str) -> tuple[Item, list[str], dict[str, set[str]]]:
        """Return a copy with random edits, what they were, and what became of which layers."""
        new = copy.deepcopy(model)
        said: list[str] = []
        # What came, went or was renamed, by what it looks like: nobody could tell, for example, a
        # layer that was renamed from one that went and another one that came.
        changed: dict[str, set[str]] = collections.defaultdict(set)
        for _ in range(self.rng.choice((0, 1, 1, 1, 2, 2, 3))):
            edits = [self._swap, self._insert, self._remove] * 2
            edits += [self._rename, self._rename_all, self._nest, self._un_nest, self._head]
            edits += [self._rename_half, self._swap_and_rename, self._other_head]
            edit = self.rng.choice([*edits, self._style, self._reorder, self._freeze])
            done = edit(new, changed, writer)
            if done:
                said.append(done)
        return new, said, changed

    def _groups(self, model: Item) -> list[Item]:
        return [model, *(one for one in model.walk() if one.kind == "group")]

    def _swap(self, model: Item, changed: dict[str, set[str]], writer: str) -> str:
        group = self.rng.choice(self._groups(model))
        if len(group.items) < 2 or (group.style in IN_LISTS and not self._tells_lists(writer)):
            return ""
        one, other = self.rng.sample(range(len(group.items)), 2)
        a, b = group.items[one], group.items[other]
        once = model.uses(a) == model.uses(b) == 1
        told = (a.name and b.name) or self._tells_held(group, writer)
        if not once or not told or not self._mark("moved", {"renamed"}, changed, a, b):
            return ""
        group.items[one], group.items[other] = b, a
        return f"swap {a.identity} and {b.identity}"

    def _mark(
        self, what: str, against: set[str], changed: dict[str, set[str]], *items: Item
    ) -> bool:
        """Note what becomes of items; return False if nobody could tell it from another edit."""
        parts = [part for one in items for part in (one, *one.walk()) if part.kind != "group"]
        if any(changed[part.look()] & against for part in parts):
            return False
        for part in parts:
            changed[part.look()].add(what)
        return True

    def _tells_lists(self, writer: str) -> bool:
        return writer in ("tfpersist", "h5") or self.era == "keras2"

    def _tells_held(self, group: Item, writer: str) -> bool:
        """Return whether a file says by which attributes or keys a group holds its items."""
        return group.style in ("attributes", *IN_DICTS) and writer != "h5"

    def _reorder(self, model: Item, changed: dict[str, set[str]], writer: str) -> str:
        group = self.rng.choice(self._groups(model))
        if group.style in IN_LISTS and not self._tells_lists(writer):
            return ""
        told = self._tells_held(group, writer) or all(one.name for one in group.items)
        if not told or not self._mark("moved", {"renamed"}, changed, *group.items):
            return ""
        self.rng.shuffle(group.items)
        return f"reorder {group.identity}"

    def _freeze(self, model: Item, changed: dict[str, set[str]], writer: str) -> str:
        one = self.rng.choice(model.walk())
        one.frozen = not one.frozen
        return f"freeze {one.identity}: {one.frozen}"

    def _insert(self, model: Item, changed: dict[str, set[str]], writer: str) -> str:
        group = self.rng.choice(self._groups(model))
        named = self.rng.choice((0.0, 1.0))
        groups = [one for one in group.items if one.kind == "group"]
        if groups and self.rng.random() < 0.5:
            new = self._twin(groups[0], named)
        else:
            new = self.layer(named)
        if not self._mark("inserted", {"removed", "renamed"}, changed, new):
            return ""
        at = self.rng.randint(0, len(group.items))
        group.items.insert(at, new)
        return f"insert {new.kind} {new.identity} at {at}"

    def _remove(self, model: Item, changed: dict[str, set[str]], writer: str) -> str:
        group = self.rng.choice(self._groups(model))
        gone = self.rng.choice(group.items)
        if len(group.items) < 2 or any(model.uses(one) > 1 for one in (gone, *gone.walk())):
            return ""
        if not self._mark("removed", {"inserted", "renamed"}, changed, gone):
            return ""
        group.items.remove(gone)
        return f"remove {gone.identity}"

    def _rename(self, model: Item, changed: dict[str, set[str]], writer: str) -> str:
        one = self.rng.choice(model.walk())
        if not self._mark("renamed", {"moved", "removed", "inserted", "renamed"}, changed, one):
            return ""
        one.name = self.fresh_name() if self.rng.random() < 0.8 else ""
        if self.rng.random() < 0.5:
            one.held = f"part_{self.word()}"
        return f"rename {one.identity} to {one.name!r}, {one.held}"

    def _rename_all(self, model: Item, changed: dict[str, set[str]], writer: str) -> str:
        if any(changed.values()):
            return ""
        ends = self.rng.sample(range(100, 999), len(model.walk()))
        for one, end in zip(model.walk(), sorted(ends), strict=True):
            changed[one.look()].add("renamed")
            if one.name:
                one.name = f"new_{end}"
        return "rename all"

    def _rename_half(self, model: Item, changed: dict[str, set[str]], writer: str) -> str:
        if any(changed.values()):
            return ""
        some = [one for one in model.walk() if one.name and self.rng.random() < 0.5]
        for one in some:
            for part in (one, *one.walk()):
                changed[part.look()].add("renamed")
            one.name = self.fresh_name()
        return f"rename {[one.identity for one in some]}"

    def _swap_and_rename(self, model: Item, changed: dict[str, set[str]], writer: str) -> str:
        """Swap two named layers, and rename a third one that keeps its attribute."""
        group = self.rng.choice(self._groups(model))
        named = [one for one in group.items if one.name and model.uses(one) == 1]
        if len(named) < 3 or any(changed.values()):
            return ""
        if group.style in IN_LISTS and not self._tells_lists(writer):
            return ""
        a, b, third = self.rng.sample(named, 3)
        for part in (part for one in (a, b, third) for part in (one, *one.walk())):
            changed[part.look()] |= {"moved", "renamed"}
        one, other = group.items.index(a), group.items.index(b)
        group.items[one], group.items[other] = b, a
        third.name = self.fresh_name()
        return f"swap {a.identity} and {b.identity}, rename {third.identity}"

    def _other_head(self, model: Item, changed: dict[str, set[str]], writer: str) -> str:
        """Replace the last layer by one of another kind or width, with or without its name."""
        old = model.items[-1]
        kind = self.rng.choice([one for one in HEADS if one != old.kind])
        if old.kind in ("group", "time") or model.uses(old) > 1 or len(model.items) < 2:
            return ""
        name = old.name if self.rng.random() < 0.7 else self.fresh_name()
        new = Item(next(self.identities), kind, name, old.held)
        if not self._mark("removed", {"inserted", "renamed"}, changed, old):
            return ""
        if not self._mark("inserted", {"removed", "renamed"}, changed, new):
            return ""
        model.items[-1] = new
        return f"{kind} {new.identity} in place of {old.identity}"

    def _nest(self, model: Item, changed: dict[str, set[str]], writer: str) -> str:
        if (model.style in IN_LISTS and not self._tells_lists(writer)) or len(model.items) < 2:
            return ""
        start = self.rng.randint(0, len(model.items) - 2)
        end = self.rng.randint(start + 1, len(model.items))
        some = model.items[start:end]
        if any(not one.name or model.uses(one) > 1 or one.kind == "group" for one in some):
            return ""
        styles = (*BY_CALLS, "attributes", *(IN_LISTS if self._tells_lists(writer) else ()))
        if self.era == "keras2":
            styles = (*BY_CALLS, "attributes", "list")
        style = self.rng.choice(styles)
        group = Item(
            next(self.identities), "group", self.fresh_name(), f"part_{self.word()}", style, some
        )
        for one in some:
            changed[one.look()].add(self._moved(model))
        model.items[start:end] = [group]
        return f"nest {[one.identity for one in some]}"

    def _moved(self, *groups: Item) -> str:
        """Return what becomes of layers that leave a group or enter one."""
        # An attribute is lost, and a file says no other name of what one holds.
        is_held = any(one.style in ("attributes", *IN_DICTS) for one in groups)
        return "renamed" if is_held else "moved"

    def _un_nest(self, model: Item, changed: dict[str, set[str]], writer: str) -> str:
        groups = [one for one in model.items if one.kind == "group"]
        if not groups or (model.style in IN_LISTS and not self._tells_lists(writer)):
            return ""
        group = groups[0]
        if any(not one.name or model.uses(one) > 1 for one in (group, *group.items)):
            return ""
        if any(changed[one.look()] for one in group.items):
            return ""
        for one in group.items:
            changed[one.look()].add(self._moved(model, group))
        at = model.items.index(group)
        model.items[at : at + 1] = group.items
        return f"un-nest {group.identity}"

    def _head(self, model: Item, changed: dict[str, set[str]], writer: str) -> str:
        new = Item(next(self.identities), "wide", self.fresh_name(), f"part_{self.word()}")
        if model.style == "sequential" and model.items[-1].kind == "wide":
            return ""
        if changed["wide"] & {"removed", "renamed"}:
            return ""
        changed["wide"].add("inserted")
        model.items.append(new)
        return f"head {new.identity}"

    def _style(self, model: Item, changed: dict[str, set[str]], writer: str) -> str:
        group = self.rng.choice(self._groups(model))
        if any(not one.name for one in group.items) or any(changed.values()):
            return ""
        if group.style in IN_LISTS and not self._tells_lists(writer):
            return ""
        before, group.style = group.style, self.rng.choice((*BY_CALLS, "attributes", "list"))
        if group.style == "sequential" and len(set(map(id, group.items))) < len(group.items):
            group.style = "functional"
        for one in group.walk():
            if one.kind != "group":
                changed[one.look()].add("renamed")
        return f"hold {group.identity} by {group.style}, before by {before}"


class Knowable:
    """Says of which layers people could tell which is which."""

    def __init__(self, before: Item, after: Item, case: Case) -> None:
        self.case = case
        self.sides = [
            {path[-1].identity: path for path in side.paths()} for side in (before, after)
        ]

    def layers(self, looks: list[dict[int, Any]]) -> set[int]:
        """Return the identities of the layers that can be told.

        Args:
            looks: for both sides, the shapes and roles of each layer's tensors.
        """
        both = self.sides[0].keys() & self.sides[1].keys()
        told = {one for one in both if self._is_named(one) or self._is_held(one)}
        rest = [
            [one for one in side if one not in told and one in look]
            for side, look in zip(self.sides, looks, strict=True)
        ]
        for look in {looks[0][one] for one in rest[0]}:
            alike = [
                [one for one in some if looks[at][one] == look] for at, some in enumerate(rest)
            ]
            if alike[0] == alike[1] and (self.case.is_tracked() or not self.case.said):
                told |= set(alike[0])
        return told

    def _is_named(self, identity: int) -> bool:
        chains = [self._names(side[identity]) for side in self.sides]
        own = [chain[-1] for chain in chains]
        if not own[0] or own[0] != own[1] or not self.case.shows_name(identity):
            return False
        if all(self._once(side, own[0], lambda path: path[-1].name) for side in self.sides):
            return True
        # Equal names in several groups: the names of the groups tell, where the file has them.
        return (
            self.case.source.writer == "tfpersist"
            and all(chains[0])
            and chains[0] == chains[1]
            and all(self._once(side, chains[0], self._names) for side in self.sides)
        )

    def _is_held(self, identity: int) -> bool:
        paths = [side[identity] for side in self.sides]
        if not self.case.is_tracked() or self.case.source.writer in FILES:
            return False
        styles = [
            [one.style for one in (model, *path[:-1])]
            for model, path in zip((self.case.source.item, self.case.live.item), paths, strict=True)
        ]
        # The numbers of a dict may as well be positions in a list with gaps.
        if any(style not in HELD for one in styles for style in one):
            return False
        return [one.held for one in paths[0]] == [one.held for one in paths[1]]

    @staticmethod
    def _names(path: tuple[Item, ...]) -> tuple[str, ...]:
        return tuple(one.name for one in path)

    @staticmethod
    def _once(side: dict[int, Any], wanted: Any, of: Any) -> bool:
        return sum(of(path) == wanted for path in side.values()) == 1


def call(k: Any, part: Any, value: Any) -> Any:
    """Call a layer; attention is that of a sequence to itself, an embedding takes numbers."""
    if isinstance(part, k.layers.MultiHeadAttention):
        return part(value, value)
    if isinstance(part, k.layers.Embedding):
        return part(value[..., 0])
    return part(value)


def width_after(item: Item, width: int) -> int:
    """Return the width of what a layer or a group returns."""
    if item.kind == "group":
        for one in item.items:
            width = width_after(one, width)
        return width
    kept = {"norm": width, "batch": width, "attention": width}
    kept |= {"wide": WIDTH + 1, "wider": WIDTH + 2}
    return kept.get(item.kind, WIDTH)


@functools.cache
def classes(k: Any) -> dict[str, type]:
    """Return the classes of models and layers that people write."""

    def set_up(self: Any, style: str, items: list[tuple[str, Any]]) -> None:
        parts = [part for _, part in items]
        if style == "attributes":
            for held, part in items:
                setattr(self, held, part)
        elif style == "list":
            self.parts = parts
        elif style == "private":
            self._parts = parts
        elif style == "lists":
            self.stages = [parts[:2], parts[2:]]
        elif style == "tuple":
            self.parts = tuple(parts)
        elif style == "table of lists":
            self.table = {"first": parts[:2], "rest": parts[2:]}
        elif style == "numbers":
            # Each in an order of its own, as people number what they have, such as 3, 7, 1.
            self.table = {
                int(held.strip(f"part_{LETTERS}")) * 37 % 101: part for held, part in items
            }
        elif style == "private dict":
            self._table = dict(items)
        else:
            self.table = dict(items)
        self.use = lambda x: functools.reduce(lambda value, part: call(k, part, value), parts, x)

    class Net(k.Model):
        def __init__(self, style: str, items: list[tuple[str, Any]], name: str | None = None):
            super().__init__(name=name)
            set_up(self, style, items)

        def call(self, x: Any) -> Any:
            return self.use(x)

    class Block(k.layers.Layer):
        def __init__(self, style: str, items: list[tuple[str, Any]], name: str | None = None):
            super().__init__(name=name)
            set_up(self, style, items)

        def call(self, x: Any) -> Any:
            return self.use(x)

    return {"model": Net, "layer": Block}


class Built:
    """A model of Keras made from an item, with its layers by identity."""

    def __init__(self, k: Any, item: Item, optimizer: Optimizer) -> None:
        self.k = k
        self.layers: dict[int, Any] = {}
        self.parts: dict[int, Any] = {}
        self.is_legacy = False
        self.model = self._group(item, "model", WIDTH)
        if item.style not in BY_CALLS:
            self.model(np.zeros((1, LENGTH, WIDTH), np.float32))
        for one in item.walk():
            if one.frozen:
                self.parts[one.identity].trainable = False
        self.optimizer: Any = None
        if optimizer.name:
            self._compile(optimizer)

    def _compile(self, one: Optimizer) -> None:
        k = self.k
        module = k.optimizers.legacy if one.legacy and k is not keras else k.optimizers
        options = {**OPTIONS.get(one.name, {}), **one.options}
        inner = self.optimizer = getattr(module, one.name)(**({} if one.legacy else options))
        outer = k.mixed_precision.LossScaleOptimizer(inner) if one.scaled else inner
        self.model.compile(outer, "mse")
        self.is_legacy = hasattr(inner, "get_slot_names")
        self.trained = list(self.model.trainable_variables)
        if one.built and self.trained:
            # Where it builds itself, in the first step, it names its variables by this scope.
            scope = "" if self.is_legacy else inner.name
            with tf.name_scope(scope), tf.init_scope():
                (inner._create_all_weights if self.is_legacy else outer.build)(self.trained)

    def _layer(self, item: Item, width: int) -> Any:
        if item.identity in self.parts:
            return self.parts[item.identity]
        if item.kind == "group":
            part = self._group(item, "layer" if item.identity % 2 else "model", width)
        else:
            make, options = self.k.layers, {"name": item.name or None}
            zero = {"kernel_initializer": "zeros"}
            cell = {**zero, "recurrent_initializer": "zeros", "return_sequences": True}
            cell["unroll"] = True
            part = self.layers[item.identity] = {
                "dense": lambda: make.Dense(WIDTH, **zero, **options),
                "wide": lambda: make.Dense(WIDTH + 1, **zero, **options),
                "wider": lambda: make.Dense(WIDTH + 2, **zero, **options),
                "norm": lambda: make.LayerNormalization(**options),
                "batch": lambda: make.BatchNormalization(**options),
                "conv": lambda: make.Conv1D(WIDTH, 2, padding="same", **zero, **options),
                "lstm": lambda: make.LSTM(WIDTH, **cell, **options),
                "gru": lambda: make.GRU(WIDTH, **cell, **options),
                "both": lambda: make.Bidirectional(make.LSTM(WIDTH // 2, **cell), **options),
                "separable": lambda: make.SeparableConv1D(WIDTH, 2, padding="same", **options),
                "time": lambda: make.TimeDistributed(make.Dense(WIDTH, **zero), **options),
                "embedding": lambda: make.Embedding(7, WIDTH, **options),
                "attention": lambda: make.MultiHeadAttention(2, 2, **zero, **options),
            }[item.kind]()
        self.parts[item.identity] = part
        return part

    def _group(self, item: Item, kind: str, width: int) -> Any:
        parts = []
        outer = width
        for one in item.items:
            parts.append((one.held, self._layer(one, outer)))
            outer = width_after(one, outer)
        name = item.name or None
        takes_all = all(one.kind not in ("embedding", "attention") for one in item.items)
        if item.style == "sequential" and takes_all:
            inputs = self.k.Input((LENGTH, width))
            return self.k.Sequential([inputs, *(part for _, part in parts)], name=name)
        if item.style in BY_CALLS:
            inputs = value = self.k.Input((LENGTH, width))
            for _, part in parts:
                value = call(self.k, part, value)
            return self.k.Model(inputs, value, name=name)
        return classes(self.k)[kind](item.style, parts, name)

    def looks(self) -> dict[int, Any]:
        """Return the roles and shapes of each layer's tensors."""
        return {
            identity: tuple((one.name.split("/")[-1], tuple(one.shape)) for one in layer.weights)
            for identity, layer in self.layers.items()
        }

    def variables(self) -> dict[tuple[Any, ...], Any]:
        """Return all variables that count, by layer and place, and by slot of such a one."""
        found: dict[tuple[Any, ...], Any] = {}
        for identity, layer in self.layers.items():
            for at, variable in enumerate(layer.weights):
                found[identity, at] = variable
        if self.optimizer is not None:
            kept = {id(variable): label for label, variable in found.items()}
            name = type(self.optimizer).__name__
            kind = "Adam" if name in ("AdamW", "Nadam") else name
            for slot, variable, state in self._slots(kind):
                if id(variable) in kept:
                    of = "" if slot == "average" else kind
                    found[(of, slot, *kept[id(variable)])] = state
        return found

    def _slots(self, kind: str) -> Iterator[tuple[str, Any, Any]]:
        if self.is_legacy:
            for variable in self.trained:
                for slot in self.optimizer.get_slot_names():
                    if variable.ref() in self.refs():
                        yield slot, variable, self.optimizer.get_slot(variable, slot)
            return
        lists = {**SLOTS[kind], "_model_variables_moving_average": "average"}
        for name, slot in lists.items():
            states = getattr(self.optimizer, name, None) or ()
            for variable, state in zip(self.trained, states, strict=False):
                if state is not None:
                    yield slot, variable, state

    def refs(self) -> set[Any]:
        """Return what a legacy optimizer keeps slots for."""
        known = self.optimizer._slots
        return {one.ref() for one in self.trained if one._shared_name in known}


class Values:
    """Gives each variable values of its own, and finds out whose values one has."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.owners: dict[bytes, tuple[Any, ...]] = {}

    def fill(self, variables: dict[tuple[Any, ...], Any]) -> None:
        """Assign new values to all variables."""
        for label, variable in variables.items():
            value = self.rng.normal(size=variable.shape).astype(np.float32)
            variable.assign(value)
            self.owners[value.tobytes()] = label

    def owner(self, variable: Any) -> tuple[Any, ...] | None:
        """Return the label of the variable that these values were given to; None for no one."""
        return self.owners.get(np.asarray(variable).tobytes())


@attrs.define
class Verdict:
    """The result of a case; `wrong` says what is not true."""

    outcome: str
    said: str
    wrong: str = ""


@attrs.define
class Optimizer:
    """The optimizer of a model; `name` is empty for none."""

    name: str = ""
    legacy: bool = False
    scaled: bool = False
    built: bool = True
    options: dict[str, Any] = attrs.field(factory=dict)


def optimizer_of(rng: random.Random, names: tuple[str, ...], *, keras2: bool) -> Optimizer:
    """Return a random optimizer."""
    name = rng.choice(names)
    options: dict[str, Any] = {}
    if name in ("Adam", "AdamW") and rng.random() < 0.15:
        options["amsgrad"] = True
    if rng.random() < 0.1:
        options["use_ema"] = True
    legacy = keras2 and rng.random() < 0.4 and name not in ("AdamW", "Lion")
    if legacy:
        options = {}
    return Optimizer(name, legacy, rng.random() < 0.1, True, options)


@attrs.define(eq=False)
class Member:
    """A model of a family, built and saved.

    Args:
        item: the model.
        said: the edits that made it from the first.
        changed: what became of which layers, by what they look like.
        era: its Keras.
        optimizer: its optimizer.
        writer: what saves it; empty for one that is only restored into.
        wraps: whether it is saved and restored in a tf.train.Checkpoint.
        folder: where it is saved.
    """

    item: Item
    said: list[str]
    changed: dict[str, set[str]]
    era: str
    optimizer: Optimizer
    writer: str
    wraps: bool
    folder: str
    built: Any = None
    values: Any = None
    shapes: dict[Any, Any] = attrs.field(factory=dict)
    looks: dict[int, Any] = attrs.field(factory=dict)
    paths: dict[int, list[str]] = attrs.field(factory=dict)
    full: dict[int, list[str]] = attrs.field(factory=dict)
    held: set[Any] = attrs.field(factory=set)
    texts: set[str] = attrs.field(factory=set)

    def build(self, rng: random.Random) -> str:
        """Build the model, and save it; return why there is no such model."""
        k = _clear(self.era)
        if rng.random() < 0.3:
            for _ in range(2):
                k.Sequential([k.Input((LENGTH, WIDTH)), k.layers.Dense(WIDTH)])
        try:
            self.built = Built(k, self.item, self.optimizer)
        except (ValueError, TypeError, AttributeError, tf.errors.InvalidArgumentError) as error:
            return str(error)[:100]
        variables = self.built.variables()
        self.shapes = {label: tuple(one.shape) for label, one in variables.items()}
        self.looks = self.built.looks()
        if self.writer:
            self.values = Values(rng.randrange(2**31))
            self.values.fill(variables)
            self.paths = {
                identity: getattr(layer.weights[0], "path", layer.weights[0].name).split("/")
                for identity, layer in self.built.layers.items()
            }
            # TensorFlow's own names of variables are those that stand in a file.
            self.full = {
                identity: (first if self.era == "keras2" else first.value).name.split("/")
                for identity, layer in self.built.layers.items()
                for first in layer.weights[:1]
            }
            try:
                self._save()
            except (NotImplementedError, ValueError, TypeError) as error:
                # Not every model can be saved in each format.
                return str(error)[:100] or "not saved"
            self.held = self._labels_in_file()
        return ""

    def _save(self) -> None:
        path = f"{self.folder}/w"
        if self.writer in FILES:
            path = f"{path}.{self.writer}"
            if self.writer == "weights.h5" or not self.is_by_calls():
                self.built.model.save_weights(path)
            else:
                self.built.model.save(path)
        elif self.writer == "weights":
            self.built.model.save_weights(path, save_format="tf")
        elif self.writer == "tf":
            tf.train.Checkpoint(self.target()).write(path)
        elif self.writer == "export":
            self.built.model.export(self.folder, verbose=False)
        else:
            tfp.ModelStore(self.folder).save(self.target())

    def is_by_calls(self) -> bool:
        """Return whether Keras itself makes all groups, so that a file has their configuration."""
        groups = (one for one in self.item.walk() if one.kind == "group")
        return all(one.style in BY_CALLS for one in (self.item, *groups))

    def target(self) -> Any:
        """Return what is saved and restored: the model, or a tf.train.Checkpoint around it."""
        model = self.built.model
        if not self.wraps:
            return model
        parts = {"net": model, "step": tf.Variable(3, dtype=tf.int64)}
        if self.built.optimizer is not None:
            parts["opt"] = model.optimizer
        return tf.train.Checkpoint(**parts)

    def store(self) -> Any:
        """Return the store that has the model."""
        if self.writer in FILES:
            return tfp.ModelStore(f"{self.folder}/w.{self.writer}")
        name = {"name": "w"} if self.writer in ("weights", "tf") else {}
        return tfp.ModelStore(self.folder, **name)

    def _labels_in_file(self) -> set[Any]:
        if self.writer in FILES:
            return self._labels_in(f"{self.folder}/w.{self.writer}")
        prefix = f"{self.folder}/w"
        if self.writer == "export":
            prefix = f"{self.folder}/variables/variables"
        elif self.writer == "tfpersist":
            prefix = tf.train.latest_checkpoint(self.folder)
        reader = tf.train.load_checkpoint(prefix)
        found = set()
        for key, dtype in reader.get_variable_to_dtype_map().items():
            if dtype == tf.float32:
                owner = self.values.owner(reader.get_tensor(key))
                found |= {owner} if owner else set()
        return found

    def _labels_in(self, path: str) -> set[Any]:
        """Return the labels of the values in an HDF5 file, and note the names in it."""
        found: set[Any] = set()

        def visit(at: str, one: Any) -> None:
            texts = [at, one.attrs.get("name", ""), *one.attrs.get("weight_names", ())]
            self.texts |= {part for text in texts for part in _str(text).split("/")}
            if isinstance(one, h5py.Dataset):
                owner = self.values.owner(one[()])
                found.update([owner] if owner else [])

        content: Any = path
        if path.endswith(".keras"):
            with zipfile.ZipFile(path) as archive:
                content = io.BytesIO(archive.read("model.weights.h5"))
                self.texts |= set(re.findall('"name": "([^"]*)"', str(archive.read("config.json"))))
        with h5py.File(content, "r") as file:
            file.visititems(visit)
        return found


def _str(text: Any) -> str:
    return text.decode() if isinstance(text, bytes) else str(text)


def family(number: int, folder: str) -> Iterator[Member]:
    """Yield the members of a family, the model without edits first."""
    rng = random.Random(f"family {number}")
    era = rng.choice(("keras3", "keras3", "keras3", "keras2"))
    writers = {
        "keras3": ("tfpersist", "tfpersist", "tf", "weights.h5", "h5", "keras"),
        "keras2": ("weights", "tfpersist", "tf", "h5"),
    }
    # What not every writer can save, none of a family has.
    first = rng.choice(
        (("tfpersist",), ("tfpersist", "tf"), ("tfpersist",), ("tfpersist", "tf"), ALL_FILES)
    )
    names = rng.choices(OPTIMIZERS, k=2)
    maker = Maker(f"model {number}", era)
    model = maker.model("h5" if first is ALL_FILES else first[-1], trained=all(names))
    for at in range(MEMBERS):
        said: list[str] = []
        item, changed = model, {}
        if at:
            item, said, changed = maker.edited(model, "h5" if first is ALL_FILES else first[-1])
        of = "keras2" if era == "keras2" and rng.random() < 0.5 else "keras3"
        options = [
            one
            for one in writers[of]
            if one in first or (of == "keras2" and (one not in FILES or first is ALL_FILES))
        ]
        is_by_calls = all(
            one.style in BY_CALLS for one in (item, *item.walk()) if one.kind == "group"
        )
        if not is_by_calls and of == "keras3":
            options = [one for one in options if one not in ("h5", "keras")]
        writer = rng.choice(options)
        if is_by_calls:
            writer = "export" if of == "keras3" and rng.random() < 0.03 else writer
        optimizer = optimizer_of(rng, tuple(names), keras2=of == "keras2")
        if at == MEMBERS - 1:
            writer, optimizer.built = "", False
        wraps = rng.random() < 0.15 and writer not in ("export", "weights", *FILES)
        inside = os.path.join(folder, str(at))
        os.mkdir(inside)
        yield Member(item, said, changed, of, optimizer, writer, wraps, inside)


class Case:
    """One case: the restore of a member of a family into another."""

    def __init__(self, source: Member, live: Member, number: int) -> None:
        self.source, self.live, self.number = source, live, number
        self.here = live.built
        self.said = [*source.said, *live.said]
        self.rng = random.Random(f"case {number} {source.folder[-2:]} {live.folder[-2:]}")

    def run(self) -> Verdict:
        """Restore and compare."""
        if not self._is_plain():
            return Verdict("cannot be told", "")
        return self._judge()

    def _is_plain(self) -> bool:
        """Return whether people could tell what was edited, from one to the other."""
        undone = {"inserted": "removed", "removed": "inserted"}
        before, after = self.source.changed, self.live.changed
        for look in before.keys() & after.keys():
            some = {undone.get(one, one) for one in before[look]}
            both = some | after[look]
            if some and after[look] and ("renamed" in both or {"inserted", "removed"} <= both):
                return False
        if not self._hides_edits():
            return not self._lacks_edited()
        return False

    def _lacks_edited(self) -> bool:
        """Return whether the file lacks a layer that looks like one that went or was renamed."""
        kinds = {path[-1].identity: path[-1].look() for path in self.source.item.paths()}
        lost = {
            kinds[one[0]]
            for one in self.source.shapes
            if one not in self.source.held and isinstance(one[0], int)
        }
        edits = [self.live.changed, self.source.changed]
        return any(
            one.get(look, set()) & {"removed", "renamed", "inserted"}
            for one in edits
            for look in lost
        )

    def is_tracked(self) -> bool:
        """Return whether the file has each layer where its model holds it."""
        if self.source.writer in FILES:
            # It has the order of layers of one class in one list, and not that of others.
            return self.source.is_by_calls()
        if self.source.writer == "tfpersist" or self.source.era == "keras2":
            return True
        model = self.source.item
        groups = [model, *(one for one in model.walk() if one.kind == "group")]
        return all(one.style in (*BY_CALLS, "attributes") for one in groups)

    def shows_name(self, identity: int) -> bool:
        """Return whether the file says the name of a layer."""
        if self.source.writer == "tfpersist":
            return True
        if self.source.writer in FILES:
            return self.name_of(identity) in self.source.texts
        names = {path[-1].identity: path[-1].name for path in self.source.item.paths()}
        return names[identity] in self.source.paths[identity]

    def name_of(self, identity: int) -> str:
        """Return the name of a layer of the model that was saved."""
        return {one.identity: one.name for one in self.source.item.walk()}[identity]

    def _hides_edits(self) -> bool:
        """Return whether a layer without a lasting name has other shapes: it could be any other."""
        names = {one.identity: one.name for one in self.source.item.walk()}
        there = self.source.shapes
        changed = {
            label[0]
            for label, one in self.here.variables().items()
            if label in there and there[label] != tuple(one.shape)
        }
        return any(
            one.identity in changed
            and not (
                one.name
                and one.name
                == names[one.identity]
                in (*self.source.full[one.identity], *self.source.texts)
            )
            for one in self.live.item.walk()
        )

    def _judge(self) -> Verdict:
        here, shapes = self.here.variables(), self.source.shapes
        known = Knowable(self.source.item, self.live.item, self)
        told = known.layers([self.source.looks, self.live.looks])
        whole = {
            label[0]
            for label in shapes
            if isinstance(label[0], int)
            and all(one in self.source.held for one in shapes if one[0] == label[0])
        }

        def is_due(label: tuple[Any, ...]) -> bool:
            layer = label[-2]
            return (
                layer in told & whole
                and label in self.source.held
                and (len(label) == 2 or self.source.writer not in FILES)
                and all(
                    shapes.get(each) == tuple(other.shape)
                    for each, other in here.items()
                    if each[0] == layer
                )
            )

        due = {label for label in here if is_due(label)}
        spoil = Values(self.number + 1)
        store = self.source.store()
        best, suggestion = set(), {}
        # What is skipped changes the other variables in no way, so both are tried for a part only.
        for skip in (True, False) if self.rng.random() < 0.25 else (True,):
            spoil.fill(self.here.variables())
            options = {"missing": "skip", "mismatched": "skip"} if skip else {}
            report, problem = self._restore(store, options)
            if problem:
                return Verdict("WRONG", f"{options}", problem)
            best = max(best, self._landed(), key=len)
            suggestion = suggestion or dict(report.suggestion if report else {})
        # An optimizer that was not built has been built by now.
        due |= {label for label in self.here.variables() if is_due(label)}
        left = due - best
        if suggestion:
            spoil.fill(self.here.variables())
            options = {"missing": "skip", "mismatched": "skip"}
            _, problem = self._restore(store.rename(suggestion), options)
            if problem:
                return Verdict("WRONG SUGGESTION", f"{suggestion}", problem)
            if left and due <= self._landed():
                return Verdict("right with suggestion", "")
            left = left - self._landed()
        outcome = "right" if not left else "refused partly" if due - left else "refused"
        if not due:
            outcome = "nothing knowable"
        return Verdict(outcome, "" if not left else f"left {sorted(map(str, left))}")

    def _landed(self) -> set[tuple[Any, ...]]:
        here, owner = self.here.variables(), self.source.values.owner
        return {label for label, one in here.items() if owner(one) is not None}

    def _restore(self, store: Any, options: dict[str, Any]) -> tuple[Any, str]:
        report = None
        try:
            report = store.restore(self.live.target(), **options)
        except tfp.RestoreError as error:
            failed, report = True, error.report
        else:
            failed = False
        owners = {
            label: self.source.values.owner(one) for label, one in self.here.variables().items()
        }
        for label, owner in owners.items():
            if owner is not None and failed:
                return report, f"{label} was assigned although the restore failed"
            if owner is not None and owner != label:
                return report, f"{label} has the values of {owner}"
        here = self.here.variables()
        # Variables of one name stand in the report once.
        unsaid = {
            getattr(here[label], "path", here[label].name)
            for label, owner in owners.items()
            if isinstance(label[0], int) and owner is None
        }
        if not failed and len(unsaid) > len(report.kept):
            return report, f"left as it was without a word: {unsaid}"
        return report, ""

    def describe(self) -> str:
        """Return both models and their edits as text."""
        lines = []
        for one in (self.source, self.live):
            lines.append(f"{one.era} {one.writer} {'wrapped ' * one.wraps}{one.optimizer}")
            lines += [f"  {_text(one.item)}", *(f"    {said}" for said in one.said)]
        return "\n  ".join(lines)


def _clear(era: str) -> Any:
    keras.backend.clear_session()
    if era == "keras3":
        return keras
    import tf_keras

    tf_keras.backend.clear_session()
    return tf_keras


def _text(item: Item) -> str:
    if item.kind != "group":
        frozen = ",frozen" if item.frozen else ""
        return f"{item.identity}:{item.kind}({item.name},{item.held}{frozen})"
    inside = ", ".join(map(_text, item.items))
    return f"{item.identity}:{item.style}({item.name},{item.held})[{inside}]"


def main() -> int:
    """Run until there are enough families or seconds; return 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--families", type=int, default=0, help="how many; 0 for no end")
    parser.add_argument("--seconds", type=float, default=0, help="in all; 0 for no end")
    parser.add_argument("--first", type=int, default=0, help="number of the first family")
    parser.add_argument("--step", type=int, default=1, help="run every so many-th family")
    parser.add_argument("--show", nargs="*", default=(), help="show cases with these outcomes")
    parser.add_argument("--only", help="run only this case, such as 517.03")
    arguments = parser.parse_args()
    if arguments.only:
        arguments.first, arguments.families = int(arguments.only.partition(".")[0]), 1
    if not arguments.families and not arguments.seconds:
        arguments.families = 50
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    failed: list[str] = []
    start = time.monotonic()
    for number in itertools.count(arguments.first, arguments.step):
        done = (number - arguments.first) // arguments.step
        if arguments.families and done >= arguments.families:
            break
        if arguments.seconds and time.monotonic() - start > arguments.seconds:
            break
        with tempfile.TemporaryDirectory() as folder:
            run_family(number, folder, arguments, counts, failed)
        gc.collect()
        if done == 0:
            # What lives until the end need not be looked at each time a model is thrown away.
            gc.freeze()
        if done % 20 == 19:
            show(counts)
    counts["all"] = sum(counts.values(), collections.Counter())
    show(counts)
    print(f"{len(failed)} failed: {failed}")
    return 1 if failed else 0


def run_family(
    number: int,
    folder: str,
    arguments: argparse.Namespace,
    counts: dict[str, collections.Counter[str]],
    failed: list[str],
) -> None:
    """Restore each member of a family into each other."""
    members = []
    for at, member in enumerate(family(number, folder)):
        if not member.build(random.Random(f"built {number} {at}")):
            members.append((at, member))
    for (at, source), (to, live) in itertools.permutations(members, 2):
        name = f"{number}.{at}{to}"
        # The last member has an optimizer that a restore builds, which can be done only once.
        once = live.writer or at == number % MEMBERS
        if not source.writer or not once or arguments.only not in (None, name):
            continue
        case = Case(source, live, number)
        try:
            verdict = case.run()
        except Exception:
            verdict = Verdict("CRASH", "", traceback.format_exc(limit=-6))
        counts[f"{source.era} {source.writer} to {live.era}"][verdict.outcome] += 1
        if verdict.wrong:
            failed.append(name)
        if verdict.wrong or verdict.outcome in arguments.show:
            print(f"{name} {verdict.outcome}: {verdict.wrong} {verdict.said}")
            print(f"  {case.describe()}", flush=True)


def show(counts: dict[str, collections.Counter[str]]) -> None:
    """Print how often each outcome was seen."""
    for writer, outcomes in counts.items():
        print(f"{writer}: " + ", ".join(f"{n} {text}" for text, n in sorted(outcomes.items())))


if __name__ == "__main__":
    sys.exit(main())
