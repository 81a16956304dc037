"""Describe what each side of a restore says about its tensors: names, places, order. Pure.

A *side* is a checkpoint or a living target. Its tensors are grouped into *leaves*: the tensors of
one layer, which are restored together. A leaf has one or more *chains* of labels, from the root to
the layer, and a place in the order of its side.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence

import attrs

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.sides.eras import COUNTING, LAYERS, ROLES

# A name from a file may have thousands of digits. Nobody counts so far.
_NUMBERED = re.compile(r"(.*?)[_-]?([0-9]{1,9})", re.DOTALL)
_INDEX = re.compile(r"[0-9]{1,9}")
_COUNTER = re.compile(r"_[0-9]+")
_COUNTED = re.compile(
    rf"(?<![^_])({'|'.join(sorted(LAYERS, key=len, reverse=True))})_[0-9]+(?![^_])"
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")

Chain = tuple[str, ...]


@attrs.frozen
class Member:
    """A tensor of a leaf.

    Args:
        id: what the side calls it: a key, or the number of an object.
        spec: its data type and shape; for another state than a variable, the names of its tensors.
    """

    id: Hashable
    spec: TensorSpec | tuple[str, ...]

    def accepts(self, other: Member) -> bool:
        """Return whether this tensor of a target can take another one of a checkpoint."""
        if isinstance(self.spec, TensorSpec) and isinstance(other.spec, TensorSpec):
            return self.spec.accepts(other.spec)
        return self.spec == other.spec


@attrs.frozen
class Leaf:
    """The tensors of one layer.

    Args:
        number: its place in the order of its side.
        members: its tensors by role, such as "kernel".
        named: its chain by the names that people gave to layers, else by attributes.
        held: its chain by attributes and positions in lists alone.
        tail: the labels below the last layer that is held by its position; None if no layer on its
            path is.
        lists: the lists on its path: the chain of each, and the position in it.
        path: all labels on its path, with those that Keras gives by itself.
        called: the names of the layers on its path, with those that Keras gives by itself; empty
            for one that Keras made from a class that it does not have.
        is_named: whether a person named the layer, by an attribute or by its name.
        joined: all names on its path, joined by "_", where only the state of an optimizer says it.
        kinds: the classes of the layers on its path, where both sides may know them.
        listed: whether only a list of variables holds it, which may not have all of its tensors.
        by_attribute: whether only an attribute names it, of which a file may say nothing.
    """

    number: int
    members: Mapping[str, Member]
    named: Chain
    held: Chain
    tail: Chain | None = None
    lists: tuple[tuple[Chain, int], ...] = ()
    path: Chain = ()
    is_named: bool = True
    joined: str = ""
    kinds: Chain = ()
    listed: bool = False
    by_attribute: bool = False
    called: Chain = ()

    @property
    def around(self) -> Chain:
        """The chain of what holds a layer without a name."""
        return self.named[: len(self.named) - len(self.tail or ())]

    @property
    def given(self) -> Chain:
        """The names on its path, without positions; empty if it has no name of its own."""
        if not self.is_named or not self.named or self.named[-1].startswith("#"):
            return ()
        return tuple(label for label in self.named if not label.startswith("#"))

    @property
    def signature(self) -> Hashable:
        """The roles and specs of its tensors; the role of a single tensor does not count."""
        if len(self.members) == 1:
            (member,) = self.members.values()
            return member.spec
        return frozenset((role, member.spec) for role, member in self.members.items())


@attrs.frozen
class Side:
    """All leaves of a checkpoint or of a target, in their order.

    Args:
        leaves: the leaves.
        ordered: whether the order is known: that of an object graph is, that of keys is not.
        objects: whether an object graph describes it, and not names alone.
        items: for each list, by its chain: the names of its items by their positions, empty where
            nobody gave one.
        alphabetical: whether what the root holds lies in the order of the alphabet.
    """

    leaves: Sequence[Leaf]
    ordered: bool = True
    objects: bool = False
    items: Mapping[Chain, Mapping[int, str]] = attrs.field(factory=dict)
    alphabetical: bool = False


def role_of(label: str) -> str:
    """Return the role of a tensor in its layer, as Keras 3 calls it.

    Example:
        >>> role_of("_kernel"), role_of("weights"), role_of("w_1")
        ('kernel', 'kernel', 'kernel')
    """
    plain = label.strip("_")
    known = ROLES.get(plain.lower())
    if known is None:
        known = ROLES.get(_COUNTER.sub("", plain).lower())
    return known or plain


def is_role(label: str) -> bool:
    """Return whether a label is the name of a tensor in a layer, such as "kernel" or "biases"."""
    return role_of(label) in _STANDARD


_STANDARD = frozenset(ROLES.values())


def is_automatic(name: str, classes: Iterable[str] = ()) -> bool:
    """Return whether Keras or TensorFlow gives a layer this name by itself.

    Args:
        name: the name.
        classes: further names of classes, in snake case.

    Example:
        >>> is_automatic("dense_3"), is_automatic("encoder"), is_automatic("block_2", {"block"})
        (True, False, True)
    """
    stem = stem_of(name)
    return stem in LAYERS or stem in classes


def is_own_class(name: str, classes: Iterable[str]) -> bool:
    """Return whether Keras makes a name from that of a class that it does not have itself.

    Example:
        >>> is_own_class("block_2", {"block"}), is_own_class("dense_2", {"dense"})
        (True, False)
    """
    return is_automatic(name, classes) and not is_automatic(name)


def stem_of(name: str) -> str:
    """Return a name without the number that Keras adds to it.

    Example:
        >>> stem_of("dense_3"), stem_of("conv2d"), stem_of("layer2")
        ('dense', 'conv2d', 'layer2')
    """
    return _COUNTER.sub("", name) if _COUNTER.fullmatch(name[name.rfind("_") :]) else name


def without_count(name: str) -> str:
    """Return the name of a layer without the number in what Bidirectional adds its word to.

    Example:
        >>> without_count("forward_lstm_2"), without_count("forward_user_2")
        ('forward_lstm', 'forward_user_2')
    """
    word, _, rest = name.partition("_")
    is_direction = word in ("forward", "backward") and is_automatic(rest)
    return f"{word}_{stem_of(rest)}" if is_direction else name


def without_counters(joined: str) -> str:
    """Return joined names without the numbers of the automatic names in them.

    Example:
        >>> without_counters("layer_2_dense_1"), without_counters("user_lstm_3_lstm_cell_1")
        ('layer_2_dense', 'user_lstm_lstm_cell')
    """
    return _COUNTED.sub(r"\1", joined)


def is_index(label: str) -> bool:
    """Return whether a label is a position in a list."""
    return _INDEX.fullmatch(label) is not None


def number_in(label: str) -> tuple[str, int] | None:
    """Return the stem and the number of a label that counts; None for any other label.

    Example:
        >>> number_in("layer_3"), number_in("#3"), number_in("conv2"), number_in("head")
        (('layer', 3), ('#', 3), ('conv', 2), None)
    """
    match = _NUMBERED.fullmatch(label)
    return (match[1], int(match[2])) if match else None


def precedes(one: str, other: str) -> bool | None:
    """Return whether one label counts less than another; None if they do not count together.

    Example:
        >>> precedes("conv9", "conv10"), precedes("beta", "alpha"), precedes("dense", "dense_1")
        (True, False, True)
        >>> precedes("user", "item")
    """
    mine, theirs = number_in(one) or (one, -1), number_in(other) or (other, -1)
    if mine[0] == theirs[0] and mine != theirs:
        return mine[1] < theirs[1]
    first, second = one.lower(), other.lower()
    for series in COUNTING:
        if first in series and second in series and first != second:
            return series.index(first) < series.index(second)
    return None


def words_of(labels: Iterable[str]) -> list[str]:
    """Return the words and numbers in labels, in lower case.

    Example:
        >>> words_of(["layer_0", "attentionOutput", "norm2"])
        ['layer', '0', 'attention', 'output', 'norm', '2']
    """
    return [word.lower() for label in labels for word in _WORD.findall(label)]


def natural(text: str) -> list[tuple[int, str]]:
    """Return a sort key that puts "a_2" before "a_10"."""
    parts = re.split(r"([0-9]{1,9})", text)
    return [(int(part), "") if is_index(part) else (-1, part) for part in parts]
