"""The checkpoint side of a restore."""

from __future__ import annotations

from trees import dense, objects

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.pairing.saved import Saved
from tfpersist.matching.sides.object_graph import OBJECT_GRAPH_KEY

SPEC = TensorSpec("float32", (2,))


def saved(*keys, **more):
    return Saved(dict.fromkeys(keys, SPEC), **more)


def test_slots_and_the_object_graph_are_no_leaves():
    side = saved("w", "w/Adam", "beta1_power", OBJECT_GRAPH_KEY).names()
    assert [leaf.members["kernel"].id for leaf in side.leaves] == ["w"]
    assert not side.ordered


def test_the_order_of_creation_orders_keys():
    side = saved("a/w", "b/w", "table").names({"b/w": 0, "a/w": 1})
    assert side.ordered
    assert [leaf.named for leaf in side.leaves] == [("b",), ("a",), ("table",)]


def test_what_the_index_lacks_fits_nothing():
    made = objects({"a": dense("a")})
    side = Saved({}, made.graph.message).objects.side
    members = [member for leaf in side.leaves for member in leaf.members.values()]
    assert [member.spec for member in members] == [("VARIABLE_VALUE",)] * 2


def test_the_key_of_an_object_is_that_of_its_tensor():
    made = objects({"a": dense("a")})
    one = Saved({"a/_kernel": SPEC}, made.graph.message)
    node = made.graph.children[made.graph.children[0]["a"]]["_kernel"]
    assert one.key_of(node) == "a/_kernel"


def test_names_from_the_sidecar_are_names():
    made = objects({"blocks": {"0": dense("net"), "1": dense("net")}})
    numbers = made.graph.children[made.graph.children[0]["blocks"]]
    keys = [f"blocks/{at}/{role}" for at in (0, 1) for role in ("_kernel", "bias")]
    specs = dict.fromkeys(keys, SPEC)
    one = Saved(specs, made.graph.message, layers={numbers["0"]: "stem", numbers["1"]: "end"})
    assert one.objects.side.items == {("blocks",): {0: "stem", 1: "end"}}
    assert one.objects.side.leaves[1].named == ("blocks", "end")
