"""Children of a root that has no order of its own."""

from __future__ import annotations

from leaves import leaf, leaves

from tfpersist.matching.pairing import roots
from tfpersist.matching.sides.facts import Side


def side(*chains, shapes=(), **facts):
    sizes = dict(zip(chains, shapes, strict=False))
    found = [leaf(at, *one.split("/"), shape=sizes.get(one, (2,))) for at, one in enumerate(chains)]
    return Side(found, **facts)


def alike(live, saved):
    return [
        (some[0].path[0], others[0].path[0]) for some, others in roots.alike(live, saved) if some
    ]


def test_what_looks_like_one_and_no_second_is_that_one():
    live = side("g/a", "g/b", "d/a", alphabetical=True)
    saved = side("discriminator/x", "generator/x", "generator/y")
    assert alike(live, saved) == [("g", "generator"), ("d", "discriminator")]
    assert alike(side("g/a", "g/b", "d/a"), saved) == []


def test_of_two_that_look_alike_neither_is_taken():
    live = side("online/a", "slow/a", "head/a", alphabetical=True)
    saved = side("net/a", "target/a", "head/a")
    assert alike(live, saved) == []


def test_what_looks_alike_below_several_is_left_out():
    live = side("g/a", "g/b", "d/a").leaves
    looks = {0: "k", 1: "b", 2: "k"}, {0: "k", 1: "b"}
    assert roots.without_shared(live, looks) == ({1: "b"}, {0: "k", 1: "b"})


def test_names_around_all_layers_are_left_out_of_their_names():
    def named(*chains):
        return [leaf.named for leaf in roots.inside(Side(leaves(*chains)))]

    assert named("net/parts/a", "net/parts/b", "net", "step") == [("a",), ("b",), (), ("step",)]
    assert named("net/a", "other/b") == [("net", "a"), ("other", "b")]
    assert named("net/a", "step") == [("net", "a"), ("step",)]
    placed = leaf(0, "net", "parts", "#1", lists=((("net", "parts"), 1),))
    (inside, _) = roots.inside(Side([placed, *leaves("net/a")]))
    assert (inside.named, inside.lists) == (("parts", "#1"), ((("parts",), 1),))
