"""Pair leaves by the words that their names share. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import cached_property

import attrs

from tfpersist.matching.pairing.evidence import Looks, Pairs, groups, is_same_kind
from tfpersist.matching.sides import facts
from tfpersist.matching.sides.eras import COUNTING, ONLY_PARTS
from tfpersist.matching.sides.facts import Leaf

# Begins the words that are around a list, which are no words of its items.
_AROUND = "^"

# Of so many equal leaves nobody compares each with each.
_MOST_COMPARED = 64
# Nor each word with each, of so many pairs of words.
_MOST_PAIRS = 4_000_000


@attrs.frozen(slots=False)
class _Name:
    """The words of a leaf's name.

    Args:
        leaf: the leaf.
        labels: the words of each label.
        words: all of them.
        numbers: each number with the word before it.
        common: words that all names of its side have.
    """

    leaf: Leaf
    labels: Sequence[Sequence[str]]
    words: Sequence[str]
    numbers: Sequence[tuple[str, str]]
    common: Set[str] = frozenset()

    @cached_property
    def own(self) -> Set[str]:
        """The words of the last label that tells something.

        It names the leaf itself, or what is right around a leaf whose name all others have.
        """
        for words in reversed(self.labels):
            # What is around an item of a list does not tell which item it is.
            if not words or not {*words} <= self.common:
                return frozenset(words)
        return frozenset()

    @cached_property
    def initials(self) -> Set[str]:
        """The first letters of all words; a number stands for itself."""
        return frozenset(map(_initial, self.words))

    def may_share(self, other: _Name) -> bool:
        """Return whether its own words may be among those of another name."""
        return not other.initials.isdisjoint(map(_initial, self.own))


def by_words(
    live: Sequence[Leaf],
    saved: Sequence[Leaf],
    looks: Looks,
    *,
    ordered: bool = False,
    placed: bool = True,
) -> Pairs:
    """Pair leaves that look alike by the words and numbers that their names share.

    A pair is taken if each of the two shares more with the other than with any third, also with one
    of other shapes. An abbreviation shares the word that it begins: "q" and "query".

    Args:
        live: the leaves of the target that are not paired yet.
        saved: those of the checkpoint.
        looks: what those look like that may be paired.
        ordered: whether their order is known. Then numbers alone pair nothing against it.
        placed: whether positions in lists count as numbers.
    """
    scored: dict[tuple[int, int], float] = {}
    mine, theirs = groups(live, looks[0]), groups(saved, looks[1])
    for look, some in mine.items():
        others = theirs.get(look, [])
        if others and max(len(some), len(others)) <= _MOST_COMPARED:
            found = _best_words(some, others, placed=placed)
            if not ordered or not _only_numbers_cross(found, some, others):
                scored |= found
    if not scored:
        return {}
    rivals = _Rivals(live, saved, placed=placed)
    return {one: other for (one, other), score in scored.items() if not rivals.beat(one, other)}


def without_contradicted(
    pairs: Pairs, live: Sequence[Leaf], saved: Sequence[Leaf], looks: Looks
) -> Pairs:
    """Leave out pairs by order where a name shares more words with that of another pair.

    Args:
        pairs: leaves that look alike, in their order.
        live: the leaves of the target that are not paired yet.
        saved: those of the checkpoint.
        looks: what those look like that may be paired.
    """
    mine, theirs = groups(live, looks[0]), groups(saved, looks[1])
    kept: Pairs = {}
    for look, some in mine.items():
        others = {pairs[one.number] for one in some if one.number in pairs}
        paired = [one for one in some if one.number in pairs]
        rest = [other for other in theirs.get(look, ()) if other.number in others]
        if len(paired) > _MOST_COMPARED or not _prefer_others(pairs, paired, rest):
            kept |= {one.number: pairs[one.number] for one in paired}
    return kept


def _prefer_others(pairs: Pairs, live: Sequence[Leaf], saved: Sequence[Leaf]) -> bool:
    scores = _scores(*_compared(live, saved), letters=True)
    return any(
        score > max(scores.get((one, pairs[one]), 0.0), scores.get((partner, other), 0.0))
        for (one, other), score in scores.items()
        for partner in (number for number, paired in pairs.items() if paired == other)
    )


def _only_numbers_cross(
    scored: Mapping[tuple[int, int], float], live: Sequence[Leaf], saved: Sequence[Leaf]
) -> bool:
    """Return whether pairs that share nothing but numbers have another order on each side."""
    words = [
        {one.number: [w for w in _name(one).words if w.isalpha()] for one in side}
        for side in (live, saved)
    ]
    if any(
        mine == theirs or _fit(mine, theirs)
        for one, other in scored
        for mine in words[0][one]
        for theirs in words[1][other]
    ):
        return False
    order = [other for _, other in sorted(scored)]
    return order != sorted(order)


def _best_words(
    live: Sequence[Leaf], saved: Sequence[Leaf], *, placed: bool
) -> dict[tuple[int, int], float]:
    names = _compared(live, saved, placed=placed)
    found = _best(_scores(*names, letters=True))
    # One letter stands for a word if all do, as q, k and v; a single one is chance.
    is_chance = not 1 < len(found) == min(map(len, names))
    return _best(_scores(*names, letters=False)) if is_chance else found


def _compared(
    live: Sequence[Leaf], saved: Sequence[Leaf], *, placed: bool = True
) -> tuple[Sequence[_Name], Sequence[_Name]]:
    mine, theirs = _names(live, saved, placed=placed)
    return _without_common(mine), _without_common(theirs)


def _scores(
    live: Sequence[_Name], saved: Sequence[_Name], *, letters: bool
) -> dict[tuple[int, int], float]:
    """Return how much each two names share that share something, by the numbers of their leaves."""
    if math.prod(sum(len(one.words) for one in side) for side in (live, saved)) > _MOST_PAIRS:
        return {}
    # Blocks that count from zero on one side and from one on the other share no number.
    numbers = [sorted({int(n) for one in side for _, n in one.numbers}) for side in (live, saved)]
    by_number = numbers[0][:1] == numbers[1][:1]
    is_series = by_number and min(map(len, numbers)) > 1
    scores: dict[tuple[int, int], float] = {}
    for one in live:
        for other in saved:
            score = _shared(one, other, by_number=by_number, is_series=is_series, letters=letters)
            if score > 0:
                scores[one.leaf.number, other.leaf.number] = score
    return scores


def _best(scores: dict[tuple[int, int], float]) -> dict[tuple[int, int], float]:
    """Return the pairs of which each side has no better one, and their scores."""
    best: dict[tuple[int, int], float] = {}
    while found := _mutual_best(scores):
        best |= {pair: scores[pair] for pair in found.items()}
        used = set(found.values())
        scores = {
            pair: score
            for pair, score in scores.items()
            if pair[0] not in found and pair[1] not in used
        }
    return best


def _names(
    live: Sequence[Leaf], saved: Sequence[Leaf], *, placed: bool
) -> tuple[list[_Name], list[_Name]]:
    names = [_name(one) for one in live], [_name(one) for one in saved]
    numbers = [{number for one in side for _, number in one.numbers} for side in names]
    if placed and numbers[0] == numbers[1]:
        return names
    # A position in a list is a number only if the other side has all these numbers too.
    return (
        [_name(one, positions=False, apart=not placed) for one in live],
        [_name(one, positions=False, apart=not placed) for one in saved],
    )


def _name(leaf: Leaf, *, positions: bool = True, apart: bool = False) -> _Name:
    # What is around a list that has changed is no name of an item in it.
    around = len(leaf.lists[-1][0]) if apart and leaf.lists else 0
    called = [_AROUND * (at < around) + label for at, label in enumerate(leaf.named)]
    kept = [label for label in called if positions or not label.startswith("#")]
    # Words of a name that Keras gives, as "layer" in "layer_normalization", were chosen by nobody.
    kept += [leaf.joined] if leaf.joined and not facts.is_automatic(leaf.joined) else []
    labels = [_words(label) for label in kept if label not in ONLY_PARTS]
    if called and called[-1] not in kept:
        labels.append([])
    words = [word for one in map(_words, kept) for word in one]
    numbers = [
        (words[at - 1] if at else "", word) for at, word in enumerate(words) if word.isdecimal()
    ]
    return _Name(leaf, labels, words, numbers)


def _words(label: str) -> list[str]:
    # The number of an automatic name, as in "forward_lstm_1", is no number that a person gave.
    words = facts.words_of([facts.without_counters(label)])
    return [_AROUND + word for word in words] if label.startswith(_AROUND) else words


def _without_common(names: Sequence[_Name]) -> Sequence[_Name]:
    """Return names that know the words that all of them have, which tell nothing."""
    if len(names) < 2:
        return names
    common = frozenset(set.intersection(*({*one.words} for one in names)))
    return [attrs.evolve(one, common=common) for one in names]


def _shared(
    one: _Name,
    other: _Name,
    *,
    by_number: bool = True,
    is_series: bool = True,
    letters: bool = True,
) -> float:
    """Return how much two names share; not above zero where they count apart.

    What is around two leaves says nothing if the leaves themselves share no word with the other.

    Args:
        one: the name of a leaf.
        other: that of another one.
        by_number: whether numbers count although nothing else is shared that tells something.
        is_series: whether they count although their own names share nothing else.
        letters: whether one letter may stand for a word.
    """
    if not one.may_share(other) or not other.may_share(one):
        return 0.0
    shared: set[str] = set()
    left = Counter(other.words)
    score = 0.0
    counts = by_number
    for word, times in Counter(one.words).items():
        for longer in _partners(word, times, left, letters=letters):
            shared |= {word, longer}
            if not any(w in names.common for w in (word, longer) for names in (one, other)):
                score += 2.0 if longer == word else 1.0
                counts |= not word.isdecimal()
    if not is_series and all(map(str.isdecimal, shared & (one.own | other.own))):
        return 0.0
    if not counts or shared.isdisjoint(one.own) or shared.isdisjoint(other.own):
        return 0.0
    return 0.0 if _numbers_differ(one, other) or _count_apart(one, other) else score


def _partners(word: str, times: int, left: Counter[str], *, letters: bool) -> list[str]:
    """Take out what a word stands for, as often as it is there: itself before abbreviations."""
    found: list[str] = []
    for other in (word, *left) if word in left else [*left]:
        if other == word or (_fit(word, other) and (letters or min(len(word), len(other)) > 1)):
            count = min(times - len(found), left[other])
            left[other] -= count
            found += [other] * count
        if len(found) == times:
            break
    return found


def _initial(word: str) -> str:
    return word if word.isdecimal() else word[0]


def _numbers_differ(one: _Name, other: _Name) -> bool:
    """Return whether two names count differently, as "layer_1/norm" and "block0/norm" do."""
    if not one.numbers or not other.numbers:
        return False
    both = {*one.numbers} & {*other.numbers}
    if not both:
        return one.numbers[0][1] != other.numbers[0][1]
    # What has a number in common is told apart only by a word that counts on both sides.
    return any(
        mine != theirs and (word == like or _fit(word, like))
        for word, mine in {*one.numbers} - both
        for like, theirs in {*other.numbers} - both
    )


def _count_apart(one: _Name, other: _Name) -> bool:
    """Return whether two lists of words count differently, as "norm_a" and "norm_c" do."""
    for series in COUNTING:
        here, there = {*one.words}.intersection(series), {*other.words}.intersection(series)
        if here and there and here.isdisjoint(there):
            return True
    return False


def _fit(one: str, other: str) -> bool:
    """Return whether one of two words is an abbreviation of the other."""
    if one[0] != other[0] or not (one.isalpha() and other.isalpha()):
        return False
    return one.startswith(other) or other.startswith(one)


def _mutual_best(scores: Mapping[tuple[int, int], float]) -> Pairs:
    best: tuple[dict[int, list[tuple[float, int]]], ...] = ({}, {})
    for (one, other), score in scores.items():
        best[0].setdefault(one, []).append((score, other))
        best[1].setdefault(other, []).append((score, one))
    leaders = tuple({number: _leader(options) for number, options in side.items()} for side in best)
    return {
        one: other
        for one, other in leaders[0].items()
        if other is not None and leaders[1].get(other) == one
    }


def _leader(options: Sequence[tuple[float, int]]) -> int | None:
    ordered = sorted(options, reverse=True)
    if len(ordered) > 1 and ordered[0][0] == ordered[1][0]:
        return None
    return ordered[0][1]


class _Rivals:
    """Tells whether a leaf of another shape has a better name than the one of a pair."""

    def __init__(self, live: Sequence[Leaf], saved: Sequence[Leaf], *, placed: bool) -> None:
        names = _names(live, saved, placed=placed)
        self.by_number = [{one.leaf.number: one for one in side} for side in names]
        self.with_word: list[dict[str, list[int]]] = [{}, {}]
        for found, side in zip(self.with_word, names, strict=True):
            for one in side:
                for word in {*one.words}:
                    found.setdefault(word, []).append(one.leaf.number)

    def beat(self, one: int, other: int) -> bool:
        """Return whether a third leaf shares more words with one of a pair than the pair does."""
        mine, theirs = self.by_number[0][one], self.by_number[1][other]
        score = _shared(mine, theirs)
        return any(
            is_same_kind(mine.leaf, third.leaf) and _shared(mine, third) > score
            for third in self._near(mine, 1, score)
        ) or any(
            is_same_kind(third.leaf, theirs.leaf) and _shared(third, theirs) > score
            for third in self._near(theirs, 0, score)
        )

    def _near(self, name: _Name, side: int, score: float) -> Iterator[_Name]:
        """Yield the names of a side that share so many words that they may share more."""
        counts = Counter[int]()
        for word in sorted({*name.words}):
            numbers = self.with_word[side].get(word, ())
            if len(numbers) <= _MOST_COMPARED:
                counts.update(numbers)
        return (self.by_number[side][n] for n, count in counts.items() if 2 * count > score)
