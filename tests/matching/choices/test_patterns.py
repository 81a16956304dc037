"""Patterns in rename(): names made of the keys of a checkpoint."""

from __future__ import annotations

import re

import pytest

from tfpersist.errors import SelectionError
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.choices.selection import Selection
from tfpersist.matching.plans.entry import Entry

SPEC = TensorSpec("float32", (2,))
BLOCKS = [Entry(name, name, SPEC) for name in ("blocks/0/kernel", "blocks/1/kernel", "head")]
LAYERS = re.compile(r"layer_(\d+)/w")


def pairs(renames, keys, entries=BLOCKS):
    plan = Selection(renames=renames).for_restore(dict.fromkeys(keys, SPEC), entries)
    return {one.entry.name: one.key for one in plan.assignments}, plan


def test_a_pattern_stands_for_all_keys_that_it_matches_whole():
    keys = ["layer_0/w", "layer_1/w", "layer_1/w/Adam", "head"]
    found, plan = pairs({LAYERS: r"blocks/\1/kernel"}, keys)
    assert found == {
        "blocks/0/kernel": "layer_0/w",
        "blocks/1/kernel": "layer_1/w",
        "head": "head",
    }
    assert plan.unexpected == ("layer_1/w/Adam",)


def test_a_name_goes_before_a_pattern_and_a_pattern_before_a_beginning():
    entries = [*BLOCKS, Entry("blocks/2/kernel", "blocks/2/kernel", SPEC)]
    keys = ["first", "layer_0/w", "layer_1/w", "old/1/kernel", "old/2/kernel", "head"]
    renames = {"first": "blocks/0/kernel", LAYERS: r"blocks/\1/kernel", "old/": "blocks/"}
    found, _ = pairs(renames, keys, entries)
    assert found == {
        "blocks/0/kernel": "first",
        "blocks/1/kernel": "layer_1/w",
        "blocks/2/kernel": "old/2/kernel",
        "head": "head",
    }


def test_the_end_of_an_objects_key_need_not_be_spelt():
    end = "/.ATTRIBUTES/VARIABLE_VALUE"
    entries = [Entry(f"net/b/0/kernel{end}", "net/b/0/kernel", SPEC)]
    for pattern in (LAYERS, re.compile(r"layer_(\d+)/w/.ATTRIBUTES/VARIABLE_VALUE")):
        found, _ = pairs({pattern: r"net/b/\1/kernel"}, [f"layer_0/w{end}"], entries)
        assert found == {"net/b/0/kernel": f"layer_0/w{end}"}


@pytest.mark.parametrize(
    ("renames", "problem"),
    [
        ({re.compile("layr_.*"): "head"}, r"no key that the pattern 'layr_\.\*' matches whole"),
        ({LAYERS: r"block/\1/kernel"}, r"'block/0/kernel'.*no variable.*Did you mean 'blocks/0"),
        ({LAYERS: r"blocks/\2/kernel"}, "cannot make names.*group"),
        ({LAYERS: 7}, "pattern without a replacement.*int"),
        ({re.compile(b"layer"): "head"}, "pattern of str"),
        ({re.compile("layer_(.)/w"): "head"}, "'head' gets two keys"),
    ],
)
def test_a_pattern_that_finds_nothing_is_an_error(renames, problem):
    with pytest.raises(SelectionError, match=f"(?s){problem}"):
        pairs(renames, ["layer_0/w", "layer_1/w"])


def test_a_save_takes_no_patterns():
    with pytest.raises(SelectionError, match="a save needs keys for names"):
        Selection(renames={LAYERS: r"blocks/\1/kernel"}).for_save(BLOCKS)
