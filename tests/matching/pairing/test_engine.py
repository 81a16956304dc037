"""The rounds of evidence together, and what they say about each tensor."""

from __future__ import annotations

import subprocess
import sys

from leaves import leaf
from trees import dense, layers, objects, paired, proposed

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.pairing import engine, fate
from tfpersist.matching.sides.facts import Side
from tfpersist.matching.sides.name_facts import side_of

SPEC = TensorSpec("float32", (2,))


def side(*names, ordered=True):
    return side_of([(name, name, SPEC) for name in names], ordered=ordered)


def fates(live, saved):
    return fate.fates(live, saved, engine.pair(live, saved))


def test_a_name_is_carried_out_and_an_order_is_proposed():
    live = side("a/kernel", "x/kernel", "y/kernel")
    found = fates(live, side("a/w", "p/w", "q/w"))
    assert (found["a/kernel"].source, found["a/kernel"].reason) == ("a/w", "same name")
    assert found["x/kernel"].proposal == ("p/w", "same order")
    assert found["y/kernel"].proposal == ("q/w", "same order")


def test_without_an_order_there_are_alternatives():
    found = fates(side("x/kernel", "y/kernel"), side("p/w", "q/w", ordered=False))
    assert found["x/kernel"].alternatives == found["y/kernel"].alternatives == ("p/w", "q/w")
    assert found["x/kernel"].proposal is None


def test_what_the_user_says_goes_before_and_separates():
    live, saved = side("x/kernel", "y/kernel", "z/kernel"), side("p/w", "q/w", "r/w")
    fixed = fate.fixed_leaves(live, saved, {"y/kernel": "r/w"})
    assert fixed == {1: 2}
    pairing = engine.pair(live, saved, fixed)
    assert pairing.pairs[1] == 2
    assert 2 not in pairing.proposals


def test_no_more_alternatives_are_listed_than_somebody_reads():
    found = fates(side("x/kernel"), side(*(f"{label}/w" for label in "pqrstuvw"), ordered=False))
    assert len(found["x/kernel"].alternatives) == 5


def test_nothing_depends_on_the_seed_of_hashes():
    program = (
        "from tfpersist.matching.pairing import engine, fate\n"
        "from tfpersist.matching.sides.name_facts import side_of\n"
        "from tfpersist.formats.tensors import TensorSpec\n"
        "def side(names): return side_of([(n, n, TensorSpec('float32', (2,))) for n in names],"
        " ordered=False)\n"
        "live = side(f'{a}{b}/kernel' for a in 'abc' for b in range(4))\n"
        "saved = side(f'{a}_{b}/w' for a in 'xbc' for b in range(5))\n"
        "print(fate.fates(live, saved, engine.pair(live, saved)))\n"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(texts) == 1
    assert "shared words" in texts.pop()


def test_in_lists_of_lists_names_decide_over_positions():
    def stages(*rows):
        tree = {
            str(at): {str(place): dense(name) for place, name in enumerate(row)}
            for at, row in enumerate(rows)
        }
        names = {
            f"stages/{at}/{place}": name
            for at, row in enumerate(rows)
            for place, name in enumerate(row)
        }
        return objects({"stages": tree}, names=names)

    found = paired(stages(("a", "b"), ("c",)), stages(("c", "a"), ("b",)))
    assert found["stages/0/0/_kernel"] == "stages/1/0/_kernel"
    assert found["stages/0/1/_kernel"] == "stages/0/0/_kernel"
    assert found["stages/1/0/_kernel"] == "stages/0/1/_kernel"
    found = paired(stages(("a", "b"), ("c",)), stages(("a",), ("b",)))
    assert found["stages/1/0/_kernel"] == "stages/0/1/_kernel"


def test_models_in_the_blocks_of_a_list_go_with_their_blocks():
    def blocks(count):
        tree = {
            str(at): {"norm": dense(f"dense_{2 * at}"), "ff": layers(dense(f"dense_{2 * at + 1}"))}
            for at in range(count)
        }
        return objects({"blocks": tree})

    inside = "blocks/{}/ff/_operations/1/_kernel"
    found = paired(blocks(3), blocks(3))
    assert [found[inside.format(at)] for at in range(3)] == [inside.format(at) for at in range(3)]
    # A block came or went, and nothing tells which.
    for live, saved in ((4, 3), (2, 3)):
        assert paired(blocks(live), blocks(saved)) == {}


def test_words_of_given_names_go_before_places():
    def stack(*names):
        return objects(layers(*map(dense, names)))

    found = paired(stack("q", "k", "v"), stack("query", "key", "value"))
    assert found["_operations/2/_kernel"] == "_operations/2/_kernel"
    found = paired(stack("stem_old", "mid_old", "top_old"), stack("top", "mid", "stem"))
    assert found == {}


def test_last_names_that_groups_share_go_before_places():
    """A file of Keras 2 does not name the groups around its layers."""

    def layers_of(*chains):
        return Side([leaf(at, *one.split("/"), tail=()) for at, one in enumerate(chains)])

    live = layers_of("a/tower", "a/mix", "b/tower", "b/mix", "c/tower", "c/mix")
    saved = layers_of(*(f"net/{name}" for name in ("tower", "mix", "mix", "tower", "tower", "mix")))
    pairing = engine.pair(live, saved)
    # Layers have moved, so that a place is no more than a proposal.
    assert pairing.pairs == {}
    assert pairing.proposals == {0: 0, 1: 1, 2: 3, 3: 2, 4: 4, 5: 5}
    saved = layers_of(*(f"net/{name}" for name in ("tower", "mix", "mix", "tower", "mix", "tower")))
    pairing = engine.pair(live, saved)
    assert (pairing.pairs, pairing.proposals) == ({0: 0, 1: 1}, {})


def test_positions_in_lists_that_have_changed_are_no_words():
    def stages(*rows):
        numbers = iter(range(9))
        return objects(
            {
                "stages": {
                    str(at): {str(place): dense(f"dense_{next(numbers)}") for place in range(row)}
                    for at, row in enumerate(rows)
                }
            }
        )

    # The first of three went: the last one is now where the second one was.
    assert paired(stages(2, 1), stages(2)) == proposed(stages(2, 1), stages(2)) == {}


def test_a_position_is_that_in_the_same_list():
    """A list in an item of another list may have the same attribute."""

    def parts(inside, *names):
        group = {"parts": {str(at): dense(f"dense_{at}") for at in range(inside)}}
        rest = {str(at): dense(name) for at, name in enumerate(names, 1)}
        return objects({"parts": {"0": group, **rest}})

    # The file calls what is in the outer list by the name of the model alone.
    found = paired(parts(3, "net", "net"), parts(4, "dense_4", "dense_5"))
    assert {key: found[key] for key in found if "kernel" in key} == {
        f"parts/{at}/_kernel": f"parts/{at}/_kernel" for at in (1, 2)
    }


def test_no_order_is_proposed_that_words_or_numbers_contradict():
    live = side("k/kernel", "q/kernel", "up/kernel")
    found = fates(live, side("query/w", "key/w", "mid/w"))
    assert not any(one.proposal for one in found.values())
    found = fates(live, side("key/w", "query/w", "mid/w"))
    assert [one.proposal[0] for one in found.values()] == ["key/w", "query/w", "mid/w"]
    live, saved = side("p1/kernel", "p2/kernel"), ("fc_2/w", "fc_1/w")
    assert not any(one.proposal for one in fates(live, side(*saved)).values())
    found = fates(live, side(*saved, ordered=False))
    assert [one.proposal[0] for one in found.values()] == ["fc_1/w", "fc_2/w"]


def test_a_layer_that_no_other_looks_like_keeps_its_place_where_others_have_moved():
    def layers_of(role, *names):
        found = [leaf(at, role, name, tail=()) for at, name in enumerate(names)]
        return Side([*found, leaf(len(found), role, f"{role}_end", shape=(3,), tail=())])

    live, saved = layers_of("net", "up", "down", "mix"), layers_of("model", "down", "up", "mix")
    pairing = engine.pair(live, saved)
    assert pairing.pairs == {3: 3}
    assert pairing.proposals == {0: 1, 1: 0, 2: 2}
