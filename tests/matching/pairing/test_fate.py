"""The decisions on the tensors of a layer, from its evidence."""

from __future__ import annotations

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.pairing import fate
from tfpersist.matching.sides.name_facts import side_of

SPEC = TensorSpec("float32", (2,))


def side(*names):
    return side_of([(name, name, SPEC) for name in names], ordered=True)


def test_a_tensor_that_the_layer_lacks_has_no_source():
    found = fate.pair_tensors(side("a/kernel", "a/bias"), side("a/w"), {})
    assert found["a/kernel"].source == "a/w"
    assert found["a/bias"] == fate.Fate()


def test_a_tensor_that_the_checkpoint_lacks_fixes_nothing():
    assert fate.fixed_leaves(side("x/kernel"), side("p/w"), {"x/kernel": "nowhere"}) == {}
