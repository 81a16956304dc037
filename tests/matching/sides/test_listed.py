"""Layers of variables that only a list holds."""

from __future__ import annotations

import pytest
from trees import LINE, Var, objects

from tfpersist.matching.sides.listed import joined, runs


def layers_of(*names):
    return [*runs(list(enumerate(names))).values()]


def test_equal_names_count_the_layers_of_a_scope():
    assert layers_of("n/kernel", "n/bias", "n/kernel", "n/bias") == [0, 0, 1, 1]
    assert layers_of("n/kernel", "n/kernel", "n/bias", "n/bias") == [0, 1, 0, 1]


def test_layers_with_other_tensors_begin_with_their_kernel():
    assert layers_of("n/kernel", "n/gamma", "n/beta", "n/kernel") == [0, 1, 1, 2]
    assert layers_of("n/kernel", "n/bias", "n/kernel") == [0, 0, 1]
    separable = ["n/depthwise_kernel", "n/pointwise_kernel", "n/bias"]
    assert layers_of("n/kernel", "n/bias", *separable) == [0, 0, 1, 1, 1]


def test_scopes_are_apart():
    assert layers_of("a/kernel", "b/kernel", "a/bias", "b/bias") == [0, 0, 0, 0]


def optimizer(*slots, inner=""):
    state = {"_momentums": {str(at): Var(slot, LINE) for at, slot in enumerate(slots)}}
    trained = {str(at): Var("net/kernel", LINE) for at in range(len(slots))}
    own = {"_iterations": Var("i", LINE), "_variables": {}}
    state = {inner: {**own, **state}} if inner else state
    return objects({"o": {**own, "_trainable_variables": trained, **state}}).graph


@pytest.mark.parametrize("inner", ["", "inner_optimizer"])
def test_a_slot_says_the_layers_of_its_variable(inner):
    graph = optimizer("adam/net_alpha_kernel_momentum", "adam/net_b_up_kernel_m", inner=inner)
    node = graph.children[0]["o"]
    assert joined(graph, node, "0", graph.full_name) == "alpha"
    assert joined(graph, node, "1", graph.full_name) == "b_up"


@pytest.mark.parametrize("slot", ["adam/other_alpha_kernel_m", "adam/net_alpha_bias_m", "m", ""])
def test_a_slot_of_another_name_says_nothing(slot):
    graph = optimizer(slot)
    assert joined(graph, graph.children[0]["o"], "0", graph.full_name) == ""
