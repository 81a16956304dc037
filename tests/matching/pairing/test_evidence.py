"""Each kind of evidence by itself."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from leaves import leaf, leaves, looks

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.pairing import evidence
from tfpersist.matching.sides import facts
from tfpersist.matching.sides.facts import Leaf, Member, Side


def by_names(live, saved):
    return evidence.by_names(live, saved, lambda one: one.named)


def test_equal_chains_go_before_chains_that_end_others():
    found = by_names(leaves("a", "net/a"), leaves("old/net/a", "a"))
    assert found == {0: 1, 1: 0}


def test_the_longer_chain_may_be_on_either_side():
    assert by_names(leaves("net/a"), leaves("a")) == {0: 0}
    assert by_names(leaves("a"), leaves("net/a")) == {0: 0}
    assert by_names(leaves("net/a"), leaves("other/a")) == {}
    assert by_names(leaves("net"), leaves("net/a")) == {}


@pytest.mark.parametrize(
    ("live", "saved"),
    [(["x/a", "y/a"], ["a"]), (["a"], ["x/a", "y/a"]), (["a"], ["a", "a"]), (["a", "a"], ["a"])],
)
def test_what_two_could_be_is_neither(live, saved):
    assert by_names(leaves(*live), leaves(*saved)) == {}


def test_a_shape_can_decide_between_two():
    saved = [leaf(0, "x", "a", shape=(3,)), leaf(1, "y", "a", shape=(2,))]
    assert by_names(leaves("a"), saved) == {0: 1}


def test_one_name_with_another_shape_is_still_that_name():
    assert by_names(leaves("a"), leaves("a", shape=(9,))) == {0: 0}


def test_an_empty_chain_pairs_nothing():
    assert by_names([leaf(0)], [leaf(0)]) == {}


def test_equally_many_are_paired_in_order():
    live, saved = leaves("a", "b", "c"), leaves("x", "y", "z")
    assert evidence.by_order(live, saved, {}, looks(live, saved)) == {0: 0, 1: 1, 2: 2}
    assert evidence.by_order(live, saved[:2], {}, looks(live, saved[:2])) == {}


def test_pairs_separate_what_is_before_from_what_is_behind():
    live, saved = leaves("a", "m", "b", "c"), leaves("m", "x", "y")
    found = evidence.by_order(live, saved, {1: 0}, looks(live[2:], saved[1:]))
    assert found == {2: 1, 3: 2}
    found = evidence.by_order(live, saved, {1: 0}, looks([live[0], live[2]], saved[1:2]))
    assert found == {2: 1}


def test_what_is_alone_separates_too():
    live, saved = leaves(*"abcd"), leaves(*"wxyz")
    mine, theirs = looks(live, saved)
    mine[1] = theirs[1] = "alone"
    assert evidence.by_order(live, saved, {}, (mine, theirs)) == {0: 0, 1: 1, 2: 2, 3: 3}
    moved = {0: 0, 1: "alone", 2: 0, 3: 0}
    found = evidence.by_order(live, saved, {}, (moved, {0: "alone", 1: 0, 2: 0, 3: 0}))
    assert found == {1: 0}


def test_pairs_that_cross_leave_only_what_is_alone():
    live, saved = leaves(*"abcde"), leaves(*"vwxyz")
    mine, theirs = {2: 0, 3: 0, 4: "alone"}, {2: 0, 3: 0, 4: "alone"}
    assert evidence.by_order(live, saved, {0: 1, 1: 0}, (mine, theirs)) == {}
    other = {"kernel": facts.Member("k", ("x",)), "bias": facts.Member("b", ("x",))}
    live[4], saved[4] = (attrs.evolve(one, members=other) for one in (live[4], saved[4]))
    assert evidence.by_order(live, saved, {0: 1, 1: 0}, (mine, theirs)) == {4: 4}


def test_what_alone_has_moved_is_still_the_same_if_no_other_layer_looks_so():
    live, saved = leaves("a", "new"), leaves("old", "a")
    other = {"kernel": facts.Member("k", ("x",)), "bias": facts.Member("b", ("x",))}
    live[1], saved[0] = (attrs.evolve(one, members=other) for one in (live[1], saved[0]))
    assert evidence.by_order(live, saved, {0: 1}, ({1: "x"}, {0: "x"})) == {1: 0}
    saved[1] = attrs.evolve(saved[1], members=other)
    assert evidence.by_order(live, saved, {0: 1}, ({1: "x"}, {0: "x"})) == {}


@given(st.lists(st.sampled_from("AB"), max_size=8), st.lists(st.sampled_from("AB"), max_size=8))
def test_pairs_in_order_never_cross_and_always_look_alike(one, other):
    live = [leaf(number, look) for number, look in enumerate(one)]
    saved = [leaf(number, look) for number, look in enumerate(other)]
    found = evidence.by_order(live, saved, {}, (dict(enumerate(one)), dict(enumerate(other))))
    assert all(one[mine] == other[theirs] for mine, theirs in found.items())
    assert len(set(found.values())) == len(found)
    for look in "AB":
        ordered = [theirs for mine, theirs in sorted(found.items()) if one[mine] == look]
        assert ordered == sorted(ordered)


def test_names_that_count_give_an_order():
    saved = leaves("conv10/bn", "conv9/bn", "conv1/bn")
    assert [one.number for one in evidence.counted(saved)] == [2, 1, 0]
    assert evidence.counted(leaves("conv1", "stem")) is None
    assert evidence.counted(leaves("a", "a")) is None
    assert evidence.counted([]) == []


def test_roots_are_paired_where_all_pairs_agree():
    live = Side(leaves("a", "b"))
    root = Leaf(2, {"kernel": Member("k", TensorSpec("float32", ()))}, (), ())
    live = Side([*live.leaves, root])
    saved = Side(leaves("net/a", "net/b", "net"))
    assert evidence.by_root(live, saved, {0: 0, 1: 1}) == {2: 2}
    for order in (("net", "other"), ("other", "net")):
        apart = Side(leaves("net/a", "other/b", *order))
        assert evidence.by_root(live, apart, {0: 0, 1: 1}) == {}
    assert evidence.by_root(live, saved, {0: 0, 1: 1, 2: 2}) == {}


def test_roles_have_partners():
    spec = TensorSpec("float32", (2,))
    one = Leaf(0, {"embeddings": Member(0, spec)}, (), ())
    other = Leaf(0, {"value": Member(0, spec)}, (), ())
    both = Leaf(0, {"kernel": Member(0, spec), "bias": Member(1, spec)}, (), ())
    assert evidence.partner("embeddings", one, other) == "value"
    assert evidence.partner("embeddings", one, both) is None
    assert evidence.partner("bias", both, both) == "bias"
    assert evidence.fits(one, other)
    assert not evidence.fits(both, one)


def joined(number, text):
    return attrs.evolve(leaf(number, "net"), joined=text)


def item(name, label):
    """A layer in a list, with the name that it has."""
    one = leaf(0, "blocks", label)
    return attrs.evolve(one, path=("blocks", *name.split("/")))


def test_joined_names_are_those_of_a_path_or_of_its_end():
    live = leaves("blocks/b", "a/q")
    saved = [joined(0, "a_q"), joined(1, "b")]
    assert evidence.by_joined(live, saved) == {0: 1, 1: 0}
    assert evidence.by_joined(live, [*saved, joined(2, "b")]) == {1: 0}


def test_joined_names_that_keras_gives_pair_nothing():
    assert evidence.by_joined([item("dense_1", "#0")], [joined(0, "dense_1")]) == {}
    assert evidence.by_joined([item("up/lstm_cell", "up")], [joined(0, "up_lstm_cell")]) == {0: 0}


def test_the_numbers_of_automatic_names_do_not_count_in_joined_names():
    live = [item("user/dense", "#0"), attrs.evolve(item("layer_2/dense_1", "#1"), number=1)]
    saved = [joined(0, "layer_2_dense"), joined(1, "user_dense_1"), joined(2, "layer_3_dense")]
    assert evidence.by_joined(live, saved) == {0: 1, 1: 0}


def test_a_file_may_list_the_parts_of_a_layer_by_their_names():
    def parts(*paths):
        return [
            leaf(at, *path.split("/"), tail=(path.split("/")[-1],)) for at, path in enumerate(paths)
        ]

    live = parts("one/query", "one/key", "two/query", "two/key")
    saved = parts("one/key", "one/query", "two/key", "two/query")
    looks = tuple({one.number: one.tail for one in side[:2]} for side in (live, saved))
    assert evidence.by_order(live, saved, {2: 3, 3: 2}, looks) == {0: 1, 1: 0}
    moved = parts("two/key", "two/query", "one/key", "one/query")
    looks = looks[0], {one.number: one.tail for one in moved[2:]}
    assert evidence.by_order(live, moved, {0: 3, 3: 0}, looks) == {}


def test_layers_of_another_kind_have_no_name_in_common():
    member = Member("k", TensorSpec("float32", (2,)))
    dense, separable, bare = (
        attrs.evolve(leaf(0, "head"), members=dict.fromkeys(roles, member))
        for roles in (
            ("kernel", "bias"),
            ("depthwise_kernel", "pointwise_kernel", "bias"),
            ("kernel",),
        )
    )
    assert by_names([dense], [separable]) == by_names([separable], [dense]) == {}
    assert by_names([dense], [bare]) == by_names([bare], [dense]) == {0: 0}


def test_one_leaf_between_two_neighbours_is_the_one_between_them():
    live, saved = leaves("x", "a", "y", "c", "z"), leaves("a", "b", "c", "d")
    anchors = {1: 0, 3: 2}
    assert evidence.by_neighbours(live, saved, anchors, looks(live, saved)) == {2: 1}
    more = leaves("a", "b", "b2", "c")
    assert evidence.by_neighbours(live, more, {1: 0, 3: 3}, looks(live, more)) == {}
    assert evidence.by_neighbours(live, saved, {1: 2, 3: 0}, looks(live, saved)) == {}


def test_joined_names_do_not_begin_with_that_of_an_own_class():
    inside = attrs.evolve(leaf(0, "table", "block", "up"), called=("", "up"))
    assert evidence.by_joined([inside], [joined(0, "block_up")]) == {}
    assert evidence.by_joined([inside], [joined(0, "_up")]) == {}
    assert evidence.by_joined([inside], [joined(0, "up")]) == {0: 0}
