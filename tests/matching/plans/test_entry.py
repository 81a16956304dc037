"""Test what an entry says of its variable."""

from __future__ import annotations

from tfpersist.formats.tensors import Slice, TensorSpec
from tfpersist.matching.plans.entry import Entry

SPEC = TensorSpec("float32", (2,))


def test_an_entry_under_another_key_takes_its_part_along():
    part = Entry("v", "v/0", SPEC, part=Slice("v", (4,), (0,), (2,)))
    moved = part.under("u")
    assert (moved.key, moved.name, moved.part.full_name) == ("u", "v/0", "u")
    assert moved.wanted == TensorSpec("float32", (4,))
    assert part.under("v") is part
