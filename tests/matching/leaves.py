"""Leaves for the tests of pairing: layers with a kernel, by the names on their paths."""

from __future__ import annotations

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.sides.facts import Leaf, Member


def leaf(number, *labels, shape=(2,), **facts):
    member = Member((number, labels), TensorSpec("float32", shape))
    return Leaf(number, {"kernel": member}, labels, labels, path=labels, **facts)


def leaves(*chains, **facts):
    return [leaf(number, *chain.split("/"), **facts) for number, chain in enumerate(chains)]


def looks(live, saved):
    return {one.number: 0 for one in live}, {one.number: 0 for one in saved}
