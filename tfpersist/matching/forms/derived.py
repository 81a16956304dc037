"""Find layers whose tensors a checkpoint holds in another form, and propose recipes. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property

import attrs

from tfpersist.errors import SelectionError
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.forms.form import Form
from tfpersist.matching.forms.form_sizes import recipe_of, solved
from tfpersist.matching.forms.forms import CELLS, DIRECTIONS, FORMS, LABELS, LINEAR, TRANSPOSED
from tfpersist.matching.pairing.fate import Fate, pair_tensors
from tfpersist.matching.pairing.saved import Saved
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.recipes.recipe import Recipe
from tfpersist.matching.recipes.recipe_steps import Transpose
from tfpersist.matching.sides import facts
from tfpersist.matching.sides.facts import Chain, Leaf, Member, Side
from tfpersist.matching.sides.naming import slot_of
from tfpersist.matching.sides.object_graph import OBJECT_GRAPH_KEY

# How many parts of a name a form may say.
_DEEPEST = 3
_ACRONYM, _WORD = re.compile(r"(.)([A-Z][a-z]+)"), re.compile(r"([a-z0-9])([A-Z])")
# What the engine calls evidence by names.
_BY_NAME = frozenset({"same name", "same attributes", "shared words"})

_Specs = tuple[TensorSpec, ...]


@attrs.frozen
class Derived:
    """The tensors of a checkpoint that hold a variable in another form.

    Args:
        recipe: how the value would be made; None if that is not known, or cannot be.
        reason: by which evidence, and what is done.
        alternatives: other ways that fit equally, or if a default was changed.
        refused: why no value can be made; empty if one can.
    """

    recipe: Recipe | None
    reason: str = ""
    alternatives: tuple[Recipe, ...] = ()
    refused: str = ""


@attrs.frozen
class _Group:
    """Tensors below one scope, by the names that forms give them.

    Args:
        scope: the scope.
        members: what each side calls the tensors, by their names below the scope.
    """

    scope: Chain
    members: Mapping[str, Hashable]

    @property
    def own(self) -> frozenset[str]:
        """The tensors that lie in the scope itself, and in no scope below it."""
        return frozenset(name for name in self.members if "/" not in name)


def derived(entries: Sequence[Entry], saved: Saved) -> dict[int, Derived]:
    """Return what could be made for the variables that have no fitting tensor.

    Args:
        entries: the variables, under the keys that other evidence gives them.
        saved: the checkpoint.

    Returns:
        What there is, by the place of the variable in `entries`. A layer has all its tensors in
        it, also those that have a tensor of their name, which is of the other form too.

    Example:
        >>> live = {"lstm/kernel": (3, 8), "lstm/recurrent_kernel": (2, 8), "lstm/bias": (8,)}
        >>> entries = [Entry(k, k, TensorSpec("float32", shape)) for k, shape in live.items()]
        >>> cell = {"rnn/lstm_cell/kernel": (5, 8), "rnn/lstm_cell/bias": (8,)}
        >>> specs = {key: TensorSpec("float32", shape) for key, shape in cell.items()}
        >>> print(derived(entries, Saved(specs))[0].recipe)
        rnn/lstm_cell/kernel: slice(axis=0, start=0, stop=3), reorder(axis=1, order=[0, 2, 1, 3])
    """
    search = _Search(entries, saved)
    return search.result() if search.open else {}


class _Search:
    def __init__(self, entries: Sequence[Entry], saved: Saved) -> None:
        self.entries, self.saved = entries, saved
        self.names = {
            at: _labels(entry.name)
            for at, entry in enumerate(entries)
            if entry.slot is None and entry.part is None and entry.default and not entry.said
        }
        self.keys = {
            at: entry.proposal[0] if (entry := entries[at]).proposal else entry.key
            for at in self.names
        }
        self.open = {at for at in self.names if not self._fits(at)}
        self.found: dict[int, Derived] = {}

    def result(self) -> dict[int, Derived]:
        families: dict[frozenset[str], list[Form]] = {}
        for form in FORMS:
            families.setdefault(frozenset(form.wanted), []).append(form)
        for wanted, forms in families.items():
            live = self._wanted(wanted)
            if live:
                self._pair(live, forms)
        transposed = {
            self._label(one.recipe.keys[0])
            for one in self.found.values()
            if one.recipe is not None and one.recipe.steps and one.reason.endswith(TRANSPOSED)
        }
        self._doubt_squares(transposed)
        return self.found

    def _fits(self, at: int) -> bool:
        """Return whether a variable has a tensor that fits as it is, or one is proposed."""
        entry, spec = self.entries[at], self.saved.specs.get(self.keys[at])
        return entry.recipe is not None or (spec is not None and entry.wanted.accepts(spec))

    def _spec(self, at: int) -> TensorSpec:
        return self.entries[at].wanted

    def _wanted(self, wanted: frozenset[str]) -> list[_Group]:
        """Return the layers of the target that have these tensors and lack some."""
        own = frozenset(name for name in wanted if "/" not in name)
        return [
            group
            for group in self._live_groups
            if group.own == own
            and wanted <= group.members.keys()
            and not any(group.members[name] in self.found for name in wanted)
            and any(group.members[name] in self.open for name in wanted)
            and all(_is_known(self._spec(_place(group.members[name]))) for name in wanted)
        ]

    @cached_property
    def _live_groups(self) -> list[_Group]:
        near = {scope for at in self.open for scope in _scopes(self.names[at])}
        return _groups(
            (at, labels)
            for at, labels in self.names.items()
            if any(scope in near for scope in _scopes(labels))
        )

    @cached_property
    def _saved_groups(self) -> list[_Group]:
        """Return the layers of the checkpoint of which no tensor has found its variable."""
        scopes = {self.names[at][:-1] for at in self.open}
        used = {
            self.keys[at]
            for at in self.names
            if at not in self.open and self.names[at][:-1] not in scopes
        }
        for entry in self.entries:
            if entry.said:
                used |= {entry.key, *(entry.recipe.keys if entry.recipe else ())}
        known = set(self.saved.specs) - {OBJECT_GRAPH_KEY}
        names = self.saved.full_names
        return _groups(
            (key, _labels(names.get(key, key)))
            for key in self.saved.specs
            if key in known and key not in used and slot_of(key, known) is None
        )

    def _pair(self, live: Sequence[_Group], forms: Sequence[Form]) -> None:
        mine = [self._leaf(number, group, forms[0].wanted) for number, group in enumerate(live)]
        made = list(self._made(live, forms))
        order = {key: at for at, key in enumerate(self._order())} if made else {}
        fates: dict[Hashable, Fate] = {}
        for ordered in (False, True):
            if ordered and not order:
                break
            if ordered:
                made.sort(key=lambda one: min(order.get(key, len(order)) for key in one.keys))
            theirs = [one.leaf(number) for number, one in enumerate(made)]
            fates = pair_tensors(Side(mine), Side(theirs, ordered=ordered), {})
            if all(fate.reason or fate.proposal for fate in fates.values()):
                break
        for at, fate in fates.items():
            one = self._judged(fate)
            if one is not None:
                self.found[_place(at)] = one

    def _order(self) -> Sequence[str]:
        if self.saved.message is not None:
            return list(self.saved.full_names)
        return self.saved.creation()

    def _judged(self, fate: Fate) -> Derived | None:
        source, reason = (fate.source, fate.reason) if fate.reason else fate.proposal or (None, "")
        if isinstance(source, _Value):
            if not source.form.by_order and reason not in _BY_NAME:
                return None
            if source.form.refused:
                return Derived(None, reason, refused=source.form.refused)
            return Derived(source.recipe, f"{reason}; {source.form.title}", source.others)
        others = tuple(
            one.recipe
            for one in fate.alternatives
            if isinstance(one, _Value) and one.recipe is not None and one.form.by_order
        )
        return Derived(None, alternatives=others) if others else None

    def _leaf(self, number: int, group: _Group, wanted: Iterable[str]) -> Leaf:
        members = {
            name: Member(group.members[name], self._spec(_place(group.members[name])))
            for name in wanted
        }
        return _leaf(number, group.scope, members)

    def _made(self, live: Sequence[_Group], forms: Sequence[Form]) -> Iterator[_Layer]:
        """Yield each layer of the checkpoint in the form of a layer of the target."""
        for form in forms:
            wanted = {
                tuple(self._spec(_place(group.members[name])) for name in form.wanted)
                for group in live
            }
            stored: dict[_Specs, list[_Group]] = {}
            for group in self._saved_groups:
                if self._has_form(group, form):
                    specs = tuple(self.saved.specs[str(group.members[n])] for n in form.stored)
                    stored.setdefault(specs, []).append(group)
            for there, here, sizes in _fitting(form, stored, wanted):
                for group in stored[there]:
                    layer = self._layer(form, group, here, sizes)
                    if layer is not None:
                        yield layer

    def _has_form(self, group: _Group, form: Form) -> bool:
        """Return whether a layer of the checkpoint has the tensors of a form, by their names."""
        label = _plain(group.scope[-1]) if group.scope else ""
        return (
            group.own == frozenset(name for name in form.stored if "/" not in name)
            and form.stored.keys() <= group.members.keys()
            and not form.without & group.members.keys()
            and label not in form.other_scopes
            and (not form.scopes or label in form.scopes)
            and all(_is_known(self.saved.specs[str(group.members[n])]) for n in form.stored)
        )

    def _layer(
        self, form: Form, group: _Group, wanted: _Specs, sizes: Mapping[str, int]
    ) -> _Layer | None:
        keys = {name: str(group.members[name]) for name in form.stored}
        known = self._forget_biases.get(keys["bias"]) if form.others and form.adds else None
        if known is not None:
            form = form.with_forget_bias(known)
        values = {}
        for name, spec in zip(form.wanted, wanted, strict=True):
            recipe: Recipe | None = None
            others: tuple[Recipe, ...] = ()
            if not form.refused:
                recipe = recipe_of(form.ways[name], keys, sizes)
                if name in form.others:
                    others = (recipe_of(form.others[name], keys, sizes),)
                try:
                    if any(one.spec_of(self.saved.specs) != spec for one in (recipe, *others)):
                        return None
                except SelectionError:
                    # The sizes that no shape ties together do not fit.
                    return None
            values[name] = Member(_Value(form, group.scope, name, recipe, others), spec)
        return _Layer(group.scope, values, tuple(keys.values()))

    @cached_property
    def _forget_biases(self) -> Mapping[str, float]:
        return self.saved.forget_biases()

    def _label(self, key: str) -> str:
        return _labels(self.saved.full_names.get(key, key))[-1]

    def _doubt_squares(self, transposed: Collection[str]) -> None:
        """Leave open what may be transposed as others of its name are, where no shape tells."""
        for at, labels in self.names.items():
            key, shape = self.keys[at], self.entries[at].wanted.shape
            if at in self.open or at in self.found or shape is None or len(shape) != 2:
                continue
            is_kernel = facts.role_of(labels[-1]) == "kernel"
            if shape[0] == shape[1] and is_kernel and self._label(key) in transposed:
                ways = Recipe((key,)), Recipe((key,), (Transpose((1, 0)),))
                self.found[at] = Derived(None, alternatives=ways)


@attrs.frozen
class _Value:
    """A tensor that can be made. Equal ones of two layers differ in their scope."""

    form: Form = attrs.field(eq=False, repr=False)
    scope: Chain
    name: str
    recipe: Recipe | None
    others: tuple[Recipe, ...] = ()


@attrs.frozen
class _Layer:
    """A layer of the checkpoint, in the form of one of the target."""

    scope: Chain
    members: Mapping[str, Member]
    keys: tuple[str, ...]

    def leaf(self, number: int) -> Leaf:
        return _leaf(number, self.scope, self.members)


def _fitting(
    form: Form, stored: Iterable[_Specs], wanted: Iterable[_Specs]
) -> Iterator[tuple[_Specs, _Specs, dict[str, int]]]:
    """Yield which tensors of the checkpoint and of the target have shapes of one form."""
    theirs = _solved(form.stored, stored)
    mine = _solved(form.wanted, wanted)
    if not mine or not theirs:
        return
    # Thousands of layers are not compared each with each, but only where the same letters mean the
    # same on both sides.
    common = sorted(set.intersection(*map(set, (*mine.values(), *theirs.values()))))
    places: dict[tuple[int, ...], list[_Specs]] = {}
    for here, sizes in mine.items():
        places.setdefault(tuple(sizes[letter] for letter in common), []).append(here)
    for there, sizes in theirs.items():
        for here in places.get(tuple(sizes[letter] for letter in common), ()):
            if here == there and form.wanted.keys() == form.stored.keys():
                # A square kernel fits as it is, as far as shapes tell.
                continue
            both = solved(
                [
                    *zip(form.wanted.values(), (one.known_shape for one in here), strict=True),
                    *zip(form.stored.values(), (one.known_shape for one in there), strict=True),
                ]
            )
            if both is not None:
                yield there, here, both


def _solved(shapes: Mapping[str, str], all_specs: Iterable[_Specs]) -> dict[_Specs, dict[str, int]]:
    """Return what the letters of one side mean for each choice of tensors that fits it."""
    found = {}
    for specs in sorted(all_specs, key=str):
        known = [spec.known_shape for spec in specs]
        sizes = solved(zip(shapes.values(), known, strict=True))
        if sizes is not None:
            found[specs] = sizes
    return found


def _leaf(number: int, scope: Chain, members: Mapping[str, Member]) -> Leaf:
    path = tuple(map(_plain_direction, scope))
    named = tuple(label for label in path if not _is_automatic(label))
    tail = () if len(named) < len(path) else None
    return Leaf(number, members, named, named, tail, (), path, is_named=bool(named))


def _is_automatic(label: str) -> bool:
    return _plain(label) in CELLS or facts.is_automatic(label)


def _plain(label: str) -> str:
    """Return a label in snake case, without the number that a framework has added.

    TensorFlow 0.12 called the scopes of cells by their classes, such as BasicLSTMCell.
    """
    snake = _WORD.sub(r"\1_\2", _ACRONYM.sub(r"\1_\2", label)).lower()
    numbered = facts.number_in(snake)
    return numbered[0] if numbered and numbered[0] else snake


def _plain_direction(label: str) -> str:
    """Return "forward" or "backward" for what runs so; a label that a person gave stays."""
    lowered = label.strip("_").lower()
    if lowered in DIRECTIONS:
        return DIRECTIONS[lowered]
    # Bidirectional of Keras puts the direction before the name of the layer that it copies.
    first, _, rest = label.partition("_")
    if first in ("forward", "backward"):
        return first if _is_automatic(rest) else f"{first}_{rest}"
    return label


def _labels(name: str) -> Chain:
    return tuple(name.removesuffix(":0").removesuffix("/.ATTRIBUTES/VARIABLE_VALUE").split("/"))


def _scopes(labels: Chain) -> Iterator[Chain]:
    """Yield the scopes that a form may say a tensor lies below."""
    return (labels[:-depth] for depth in range(1, min(_DEEPEST, len(labels)) + 1))


def _groups(names: Iterable[tuple[Hashable, Chain]]) -> list[_Group]:
    """Return the tensors below each scope. One tensor lies below several."""
    below: dict[Chain, dict[str, Hashable]] = {}
    for identity, labels in names:
        linear = LINEAR.get(labels[-2:])
        path = (*labels[:-2], linear) if linear else labels
        role = facts.role_of(path[-1])
        for depth in range(1, min(_DEEPEST, len(path)) + 1):
            scope, inner = path[: len(path) - depth], path[len(path) - depth : -1]
            parts = [LABELS.get(label.strip("_").lower(), label) for label in inner]
            below.setdefault(scope, {}).setdefault("/".join((*parts, role)), identity)
    return [_Group(scope, members) for scope, members in below.items()]


def _is_known(spec: TensorSpec) -> bool:
    return spec.shape is not None and None not in spec.shape


def _place(identity: Hashable) -> int:
    assert isinstance(identity, int)
    return identity
