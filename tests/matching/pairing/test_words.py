"""Evidence of words that names share."""

from __future__ import annotations

from leaves import leaf, leaves, looks

from tfpersist.matching.pairing import words


def test_words_that_count_apart_share_nothing():
    looks = ({0: "x"}, {0: "x"})
    assert words.by_words([leaf(0, "norm_c")], [leaf(0, "norm_a")], looks) == {}
    assert words.by_words([leaf(0, "block_1")], [leaf(0, "lstm_1")], looks) == {}
    assert words.by_words([leaf(0, "up_query")], [leaf(0, "down_query")], looks) == {0: 0}


def test_words_need_a_best_on_both_sides():
    live, saved = leaves("l0_q", "l0_k"), leaves("l0/key", "l0/query", "l0/value")
    assert words.by_words(live, saved, looks(live, saved)) == {0: 1, 1: 0}
    live, saved = leaves("left", "right"), leaves("user", "item")
    assert words.by_words(live, saved, looks(live, saved)) == {}


def test_two_that_share_as_many_words_are_no_best():
    live, saved = leaves("x_norm", "y_head"), leaves("a/norm", "b/norm", "c/head")
    assert words.by_words(live, saved, looks(live, saved)) == {1: 2}
    live, saved = leaves("x_norm", "y_norm", "z_head"), leaves("a/norm", "c/head")
    assert words.by_words(live, saved, looks(live, saved)) == {2: 1}


def test_numbers_that_differ_contradict():
    live, saved = leaves("block0/norm"), leaves("layer_1/norm", "layer_0/norm")
    assert words.by_words(live, saved, looks(live, saved)) == {0: 1}
    assert words.by_words(live, saved[:1], looks(live, saved[:1])) == {}


def test_numbers_from_zero_and_from_one_are_not_compared():
    live, saved = leaves("block1", "block2", "block3"), leaves("layer_0", "layer_1", "layer_2")
    assert words.by_words(live, saved, looks(live, saved)) == {}
    live, saved = leaves("block1", "block2", "block3"), leaves("layer_2", "layer_1", "layer_3")
    assert words.by_words(live, saved, looks(live, saved)) == {0: 1, 1: 0, 2: 2}


def test_positions_count_as_words_only_if_both_sides_have_the_same_numbers():
    attributes = [leaf(at, f"block{at + 1}") for at in range(3)]
    items = [leaf(at, "blocks", f"#{at}") for at in range(3)]
    looks = ({0: "x", 1: "x", 2: "x"}, {0: "x", 1: "x", 2: "x"})
    assert words.by_words(attributes, items, looks) == {}
    attributes = [leaf(at, f"block{at}") for at in (2, 0, 1)]
    assert words.by_words(attributes, items, looks) == {0: 0, 1: 1, 2: 2}
