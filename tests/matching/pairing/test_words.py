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


def test_a_better_name_of_another_shape_goes_before():
    live, saved = leaves("user_query"), leaves("item/query")
    assert words.by_words(live, saved, looks(live, saved)) == {0: 0}
    other = leaf(1, "user/query", shape=(9,))
    assert words.by_words(live, [*saved, other], looks(live, saved)) == {}


def test_what_is_around_two_leaves_says_nothing_of_them():
    live, saved = leaves("net/parts/x"), leaves("net/parts/y")
    assert words.by_words(live, saved, looks(live, saved)) == {}
    live, saved = [leaf(0, "parts", "#4")], [leaf(0, "parts", "#3")]
    assert words.by_words(live, saved, looks(live, saved)) == {}


def test_a_number_in_common_tells_more_than_one_of_other_words():
    live, saved = leaves("layer_2/stem/block1"), leaves("part_m18/block1")
    assert words.by_words(live, saved, looks(live, saved)) == {0: 0}
    live, saved = leaves("layer_2/conv1"), leaves("layer_3/conv1")
    assert words.by_words(live, saved, looks(live, saved)) == {}


def test_what_all_are_called_tells_nothing_and_what_is_around_them_does():
    live, saved = leaves("user", "item"), leaves("item/fc", "user/fc")
    assert words.by_words(live, saved, looks(live, saved)) == {0: 1, 1: 0}


def test_a_number_alone_tells_nothing():
    live, saved = leaves("left/conv10"), leaves("left/part_k10")
    assert words.by_words(live, saved, looks(live, saved)) == {}


def test_the_words_of_joined_names_that_keras_gives_do_not_count():
    live = [leaf(0, "up", "layer_1"), leaf(1, "part")]
    for number in ("", "_2"):
        saved = [leaf(0, "net", joined=f"layer_normalization{number}")]
        assert words.by_words(live, saved, looks(live, saved)) == {}
    saved = [leaf(0, "net", joined="layer_one_1")]
    assert words.by_words(live, saved, looks(live, saved)) == {0: 0}


def test_the_words_of_joined_names_count():
    live = leaves("table/part/query")
    saved = [leaf(0, "stem", "query"), leaf(1, "net", joined="attention_query")]
    assert words.by_words(live, saved[:1], looks(live, saved)) == {0: 0}
    assert words.by_words(live, saved, looks(live, saved)) == {}


def test_one_letter_stands_for_a_word_only_if_all_do():
    live, saved = leaves("q", "k", "v"), leaves("query", "key", "value")
    assert words.by_words(live, saved, looks(live, saved)) == {0: 0, 1: 1, 2: 2}
    live, saved = leaves("part_g2", "part_a3"), leaves("gamma", "mix")
    assert words.by_words(live, saved, looks(live, saved)) == {}
    live, saved = leaves("part_g2"), leaves("gamma")
    assert words.by_words(live, saved, looks(live, saved)) == {}


def test_numbers_alone_pair_nothing_against_a_known_order():
    live, saved = leaves("p1", "p2"), leaves("fc_2", "fc_1")
    assert words.by_words(live, saved, looks(live, saved)) == {0: 1, 1: 0}
    assert words.by_words(live, saved, looks(live, saved), ordered=True) == {}
    live, saved = leaves("up1", "up2"), leaves("up_2", "up_1")
    assert words.by_words(live, saved, looks(live, saved), ordered=True) == {0: 1, 1: 0}
    live, saved = leaves("q2", "k1"), leaves("key_1", "query_2")
    assert words.by_words(live, saved, looks(live, saved), ordered=True) == {0: 1, 1: 0}


def test_an_order_that_words_contradict_is_left_out():
    live, saved = leaves("k", "q", "up"), leaves("query", "key", "dense")
    in_order = {0: 0, 1: 1, 2: 2}
    assert words.without_contradicted(in_order, live, saved, looks(live, saved)) == {}
    live = leaves("q", "k", "up")
    assert words.without_contradicted(in_order, live, saved, looks(live, saved)) == in_order


def test_words_contradict_only_what_looks_alike():
    live, saved = leaves("k", "q", "up"), leaves("query", "key", "dense")
    looks = {0: "x", 1: "x", 2: "y"}, {0: "x", 1: "x", 2: "y"}
    assert words.without_contradicted({0: 0, 1: 1, 2: 2}, live, saved, looks) == {2: 2}


def test_positions_are_numbers_only_if_they_count():
    live, saved = leaves("new/#0", "new/#1"), leaves("old/#0", "old/#1")
    facts = live, saved, looks(live, saved)
    assert words.by_words(*facts) == {0: 0, 1: 1}
    assert words.by_words(*facts, placed=False) == {}


def test_what_is_around_a_list_is_no_name_of_an_item_in_it():
    live = [leaf(0, "net", "parts", "#1", "head", lists=((("net", "parts"), 1),))]
    saved = [
        leaf(at, "parts", name, "head", lists=((("parts",), at + 1),))
        for at, name in enumerate(("net", "#2"))
    ]
    facts = live, saved, looks(live, saved)
    assert words.by_words(*facts, placed=False) == {}
    assert words.by_words(live, saved[:1], looks(live, saved[:1]), placed=False) == {0: 0}


def test_so_many_words_that_all_differ_are_not_compared():
    def side(letter, count):
        chains = ["/".join(f"a{letter * at}{letter * n}" for at in range(60)) for n in range(count)]
        return leaves(*chains)

    few, many = side("b", 2), side("b", 64)
    assert words.by_words(few, few, looks(few, few))
    assert not words.by_words(many, many, looks(many, many))
