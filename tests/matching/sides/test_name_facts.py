"""Layers that keys describe."""

from __future__ import annotations

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.sides.name_facts import side_of

SPEC = TensorSpec("float32", (2,))


def leaves(*names):
    return side_of([(name, name, SPEC) for name in names], ordered=False).leaves


def test_tensors_with_roles_belong_to_the_layer_that_the_rest_names():
    one, other = leaves("net/a/weights", "net/a/biases:0", "net/b/gamma")
    assert (one.named, list(one.members)) == (("net", "a"), ["kernel", "bias"])
    assert (other.named, list(other.members)) == (("net", "b"), ["gamma"])


def test_any_other_name_is_a_leaf_of_its_own():
    one, other = leaves("bert/embeddings/word_embeddings", "bert/embeddings/position_embeddings")
    assert one.named == ("bert", "embeddings", "word_embeddings")
    assert list(other.members) == ["value"]


def test_a_role_twice_in_one_scope_makes_two_leaves():
    one, other = leaves("net/w", "net/weights")
    assert list(one.members) == ["kernel"]
    assert other.named == ("net", "weights")


def test_automatic_names_are_no_labels_and_leave_a_place():
    first, second, given = leaves("net/dense/kernel", "net/dense_1/kernel", "net/head/kernel")
    assert first.named == second.named == ("net",)
    assert first.tail == second.tail == ()
    assert not first.is_named
    assert given.is_named
    assert given.tail is None
    assert second.path == ("net", "dense_1")


def test_the_only_kernel_of_a_layer_is_its_kernel():
    (one,) = leaves("conv/depthwise_weights")
    assert list(one.members) == ["kernel"]
    (both,) = leaves("conv/depthwise_weights", "conv/pointwise_weights")
    assert list(both.members) == ["depthwise_kernel", "pointwise_kernel"]
