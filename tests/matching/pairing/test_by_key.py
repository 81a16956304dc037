"""Variables with names: equal names, and what else might be meant."""

from __future__ import annotations

from tfpersist.formats.tensors import Slice, TensorSpec
from tfpersist.matching.choices.selection import Selection
from tfpersist.matching.pairing.by_key import keyed
from tfpersist.matching.pairing.saved import Saved
from tfpersist.matching.plans.entry import Entry


def spec(*shape):
    return TensorSpec("float32", shape)


def suggestion(variables, saved, order=()):
    """The suggestion for variables {name: shape}; given to rename(), it is carried out."""
    entries = [Entry(name, name, spec(*shape)) for name, shape in variables]
    specs = {key: spec(*shape) for key, shape in saved}
    side = Saved(specs, creation=lambda: order)
    plan = Selection().for_restore(specs, keyed(entries, side))
    if plan.suggestion:
        renamed = Selection(renames=plan.suggestion).for_restore(specs, keyed(entries, side))
        assert len(renamed.assignments) == len(plan.assignments) + len(plan.suggestion)
    return dict(plan.suggestion)


def test_equal_names_need_no_word():
    entries = [Entry("net/w", "net/w", spec(2))]
    (entry,) = keyed(entries, Saved({"net/w": spec(3)}))
    assert (entry.key, entry.proposal) == ("net/w", None)


def test_what_is_alone_of_its_shape_is_proposed():
    found = suggestion([("a/x", (2, 3)), ("b/y", (3,))], [("p", (3,)), ("q", (2, 3))])
    assert found == {"p": "b/y", "q": "a/x"}


def test_numbers_give_the_order():
    names = [f"blocks/{at}/kernel" for at in range(12)]
    found = suggestion([(n, (4, 4)) for n in names], [(f"l{n}/w", (4, 4)) for n in range(12)])
    assert found == {f"l{at}/w": name for at, name in enumerate(names)}


def test_roles_keep_the_tensors_of_a_layer_apart():
    norm = ("gamma", "beta", "moving_mean", "moving_variance")
    variables, saved, expected = [], [], {}
    for at in (1, 2):
        variables += [(f"norm{at}/{name}", (8,)) for name in norm]
        saved += [(f"c{at}/BN/{name}", (8,)) for name in reversed(norm)]
        expected |= {f"c{at}/BN/{name}": f"norm{at}/{name}" for name in norm}
    assert suggestion(variables, saved) == expected


def test_where_there_is_more_than_one_way_nothing_is_suggested():
    two = [("a/x", (2,)), ("b/y", (2,))]
    assert suggestion(two, [("p/u", (2,)), ("q/v", (2,))]) == {}
    assert suggestion(two, [("p", (2,))]) == {}
    assert suggestion([("a/x", (2,))], [("p", (2,)), ("q", (2,))]) == {}


def test_the_order_of_creation_decides_where_it_is_known():
    two = [("a/x", (2,)), ("b/y", (2,))]
    saved = [("p/u", (2,)), ("q/v", (2,))]
    assert suggestion(two, saved, ("q/v", "p/u")) == {"q/v": "a/x", "p/u": "b/y"}


def test_the_order_of_creation_is_not_asked_for_without_need():
    def never():
        raise AssertionError("nobody needs the order")

    entries = [Entry("net/a/w", "net/a/w", spec(2))]
    (entry,) = keyed(entries, Saved({"a/w": spec(2)}, creation=never))
    assert entry.proposal == ("a/w", "same name")


def test_words_that_both_share_decide():
    variables = [(f"l0_{part}/w", (4, 4)) for part in ("q", "k", "v")]
    saved = [(f"l0/{part}/w", (4, 4)) for part in ("key", "query", "value")]
    assert suggestion(variables, saved) == {
        "l0/query/w": "l0_q/w",
        "l0/key/w": "l0_k/w",
        "l0/value/w": "l0_v/w",
    }


def test_slots_are_left_out():
    saved = [("p", (2,)), ("p/Adam", (2,)), ("p/Adam_1", (2,))]
    assert suggestion([("a/x", (2,))], saved) == {"p": "a/x"}


def test_parts_of_a_variable_are_left_out():
    part = Slice("a", (2,), (0,), (2,))
    (entry,) = keyed([Entry("a", "a/part_0", spec(2), part=part)], Saved({"p": spec(2)}))
    assert entry.proposal is None


def test_alternatives_are_listed():
    (entry,) = keyed([Entry("a/x", "a/x", spec(2))], Saved({"p/u": spec(2), "q/v": spec(2)}))
    assert entry.alternatives == ("p/u", "q/v")
