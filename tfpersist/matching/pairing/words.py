"""Pair leaves by the words that their names share. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from tfpersist.matching.pairing.evidence import Looks, Pairs, groups
from tfpersist.matching.sides import facts
from tfpersist.matching.sides.eras import COUNTING
from tfpersist.matching.sides.facts import Chain, Leaf

# Of so many equal leaves nobody compares each with each.
_MOST_COMPARED = 64


def by_words(live: Sequence[Leaf], saved: Sequence[Leaf], looks: Looks) -> Pairs:
    """Pair leaves that look alike by the words and numbers that their names share.

    A pair is taken if each of the two shares more with the other than with any third. An
    abbreviation shares the word that it begins: "q" and "query".
    """
    pairs: Pairs = {}
    mine, theirs = groups(live, looks[0]), groups(saved, looks[1])
    for look, some in mine.items():
        others = theirs.get(look, [])
        if others and max(len(some), len(others)) <= _MOST_COMPARED:
            pairs |= _best_words(some, others)
    return pairs


def _best_words(live: Sequence[Leaf], saved: Sequence[Leaf]) -> Pairs:
    words = {id(one): _words(one.named) for one in (*live, *saved)}
    numbers = [
        {word for one in side for word in words[id(one)] if word.isdecimal()}
        for side in (live, saved)
    ]
    if numbers[0] != numbers[1]:
        # A position in a list is a number only if the other side has all these numbers too.
        words = {id(one): _words(_without_positions(one.named)) for one in (*live, *saved)}
    # Blocks that count from zero on one side and from one on the other share no number.
    by_number = min(numbers[0], key=int, default="") == min(numbers[1], key=int, default="")
    # A word that all leaves of a side have tells nothing.
    common = _in_all([words[id(one)] for one in live]) | _in_all([words[id(one)] for one in saved])
    scores: dict[tuple[int, int], float] = {}
    for one in live:
        for other in saved:
            score = _shared(words[id(one)], words[id(other)], common, by_number=by_number)
            if score > 0:
                scores[one.number, other.number] = score
    pairs: Pairs = {}
    while True:
        found = _mutual_best(scores)
        if not found:
            return pairs
        pairs |= found
        used = set(found.values())
        scores = {
            pair: score
            for pair, score in scores.items()
            if pair[0] not in found and pair[1] not in used
        }


def _words(labels: Iterable[str]) -> list[str]:
    # The number of an automatic name, as in "forward_lstm_1", is no number that a person gave.
    return facts.words_of(map(facts.without_counters, labels))


def _without_positions(chain: Chain) -> Iterator[str]:
    return (label for label in chain if not label.startswith("#"))


def _in_all(sides: Sequence[Sequence[str]]) -> set[str]:
    if len(sides) < 2:
        return set()
    return set.intersection(*map(set, sides))


def _shared(
    mine: Sequence[str], theirs: Sequence[str], common: Collection[str], *, by_number: bool
) -> float:
    """Return how much two lists of words share; below zero where they count apart.

    Args:
        mine: the words of one leaf.
        theirs: those of the other.
        common: words that tell nothing.
        by_number: numbers count although nothing else is shared.
    """
    score = 0.0
    counts = by_number
    left = Counter(word for word in theirs if word not in common)
    for word in mine:
        if word in common:
            continue
        if left[word]:
            left[word] -= 1
            score += 2.0
            counts |= not word.isdecimal()
        else:
            longer = next((w for w in left if left[w] and _abbreviates(word, w)), None)
            if longer is not None:
                left[longer] -= 1
                score += 1.0
                counts = True
    if not counts:
        return 0.0
    numbers = [next((w for w in words if w.isdecimal()), None) for words in (mine, theirs)]
    if None not in numbers and numbers[0] != numbers[1]:
        return -1.0
    return -1.0 if _count_apart(mine, theirs) else score


def _count_apart(mine: Sequence[str], theirs: Sequence[str]) -> bool:
    """Return whether two lists of words count differently, as "norm_a" and "norm_c" do."""
    for series in COUNTING:
        here, there = {*mine}.intersection(series), {*theirs}.intersection(series)
        if here and there and here.isdisjoint(there):
            return True
    return False


def _abbreviates(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    return short.isalpha() and long.isalpha() and long.startswith(short)


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
