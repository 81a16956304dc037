"""Facts in labels: roles, automatic names of Keras, numbers, words."""

from __future__ import annotations

import keras
import pytest

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.sides import facts
from tfpersist.matching.sides.facts import Leaf, Member


@pytest.mark.parametrize(
    ("label", "role"),
    [
        ("_kernel", "kernel"),
        ("weights", "kernel"),
        ("W", "kernel"),
        ("biases", "bias"),
        ("b_3", "bias"),
        ("moving_var", "moving_variance"),
        ("depthwise_weights", "depthwise_kernel"),
        ("anything", "anything"),
    ],
)
def test_the_role_of_a_tensor_is_that_of_keras_3(label, role):
    assert facts.role_of(label) == role
    assert facts.is_role(label) is (role != "anything")


@pytest.mark.parametrize(
    "name", ["Dense", "Conv2DTranspose", "BatchNormalization", "LSTM", "PReLU"]
)
def test_names_that_keras_gives_are_automatic(name):
    make = getattr(keras.layers, name)
    layer = (
        make(2, 2)
        if "Conv" in name
        else make()
        if name in ("BatchNormalization", "PReLU")
        else make(2)
    )
    assert facts.is_automatic(layer.name)


@pytest.mark.parametrize("name", ["encoder", "layer_3", "block_2", "alpha", "dense_head", "dense2"])
def test_names_that_people_give_are_not(name):
    assert not facts.is_automatic(name)


def test_the_name_of_a_class_of_ones_own_is_automatic_where_it_is_known():
    assert facts.is_automatic("block_2", {"block"})
    assert facts.is_automatic("block", {"block"})
    assert not facts.is_automatic("block_end", {"block"})


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("conv9", "conv10", True),
        ("layer_2", "layer_1", False),
        ("dense", "dense_1", True),
        ("Alpha", "gamma", True),
        ("third", "first", False),
        ("query", "value", True),
        ("attention", "output", True),
        ("self", "output", True),
        ("user", "item", None),
        ("conv1", "dense2", None),
        ("conv1", "conv1", None),
        ("a", "first", None),
    ],
)
def test_labels_precede_others_where_they_count(one, other, expected):
    assert facts.precedes(one, other) is expected


def test_words_are_split_where_people_split_them():
    assert facts.words_of(["LayerNorm", "word_embeddings", "HTTPServer2", "q"]) == [
        *("layer", "norm", "word", "embeddings", "http", "server", "2", "q")
    ]


def test_natural_order_compares_numbers():
    assert sorted(["a10", "a9", "a"], key=facts.natural) == ["a", "a9", "a10"]


def member(*shape):
    return Member("k", TensorSpec("float32", shape))


def test_the_role_of_a_single_tensor_does_not_count():
    one = Leaf(0, {"embeddings": member(3, 2)}, (), ())
    other = Leaf(0, {"value": member(3, 2)}, (), ())
    assert one.signature == other.signature
    both = Leaf(0, {"kernel": member(2, 2), "bias": member(2)}, (), ())
    swapped = Leaf(0, {"bias": member(2, 2), "kernel": member(2)}, (), ())
    assert both.signature != swapped.signature


def test_a_member_takes_what_its_spec_accepts():
    open_shape = Member("a", TensorSpec("float32", (None, 2)))
    assert open_shape.accepts(member(3, 2))
    assert not open_shape.accepts(member(3, 3))
    assert Member("a", ("keys",)).accepts(Member("b", ("keys",)))
    assert not Member("a", ("keys",)).accepts(member(1))


def test_what_holds_a_layer_without_a_name_is_around_it():
    leaf = Leaf(0, {}, ("net", "cell"), ("net", "cell"), ("cell",))
    assert leaf.around == ("net",)
