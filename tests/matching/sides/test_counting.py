"""The order of what one object holds."""

from __future__ import annotations

from tfpersist.matching.sides import counting


def order(*labels):
    return [labels[at] for at in counting.ordered(range(len(labels)), labels.__getitem__)]


def test_numbers_order_what_the_alphabet_has_ordered_and_nothing_else():
    assert order("head", "up_1", "up_10", "up_2") == ["head", "up_1", "up_2", "up_10"]
    assert order("up_3", "up_2", "up_1") == ["up_3", "up_2", "up_1"]


def test_places_are_in_their_order_however_they_are_listed():
    assert order("2", "0", "10", "1") == ["0", "1", "2", "10"]
    assert order("layer-2", "layer-0", "layer-1") == ["layer-0", "layer-1", "layer-2"]


def test_each_stem_keeps_its_own_places():
    assert order("a_10", "b_1", "a_2", "b_2") == ["a_2", "b_1", "a_10", "b_2"]
