"""Layers of object graphs: their names, attributes and places."""

from __future__ import annotations

import attrs
from trees import LINE, Var, dense, layers, objects

from tfpersist.matching.sides import object_facts


def leaves(tree, **more):
    return objects(tree, **more).side.leaves


def test_a_layer_in_a_list_of_layers_has_a_place_and_the_name_in_its_variables():
    one, other = leaves(layers(dense("stem"), dense("dense_4")))
    assert (one.named, one.held, one.tail, one.is_named) == (("stem",), ("stem",), (), True)
    assert (other.named, other.tail, other.is_named) == ((), (), False)
    assert list(one.members) == ["kernel", "bias"]


def test_an_attribute_is_a_label_and_the_name_is_another():
    (one,) = leaves({"enc": dense("encoder")}, names={"enc": "encoder"})
    assert (one.named, one.held, one.tail) == (("encoder",), ("enc",), None)


def test_what_is_inside_of_a_layer_is_its_tail():
    cell = {"cell": dense("lstm/lstm_cell")}
    one, other = leaves({"_operations": {"0": cell, "1": {"cell": dense("rnn/cell")}}})
    assert one.tail == other.tail == ("cell",)


def test_keras_3_leaves_out_what_is_inside_of_a_layer():
    block = {"up": dense("layer_0"), "down": dense("layer_0")}
    other = {"up": dense("layer_1"), "down": dense("layer_1")}
    found = leaves(layers(block, other))
    assert [leaf.named for leaf in found] == [
        ("layer_0", "up"),
        ("layer_0", "down"),
        ("layer_1", "up"),
        ("layer_1", "down"),
    ]


def test_a_layer_that_calls_its_parts_gives_them_its_name():
    def attention(name):
        return {"_query_dense": dense(f"{name}/query"), "_key_dense": dense(f"{name}/key")}

    found = leaves({"stage": layers(attention("one"), attention("two"))})
    assert [leaf.named for leaf in found] == [
        ("stage", "one", "query"),
        ("stage", "one", "key"),
        ("stage", "two", "query"),
        ("stage", "two", "key"),
    ]


def test_the_number_in_the_name_of_a_direction_is_no_name():
    def both(name):
        return {"forward_layer": dense(f"up/forward_{name}")}

    one, *_ = leaves(layers(both("lstm_2"), dense("end")))
    assert one.named == ("up", "forward_lstm")
    one, *_ = leaves(layers(both("user_2"), dense("end")))
    assert one.named == ("up", "forward_user_2")


def test_a_name_that_an_attribute_has_is_that_of_the_attribute():
    def part(name):
        return {"up": {"inner": dense(f"{name}/up")}}

    one, other = leaves(layers(part("layer_0"), part("layer_1")))
    assert one.named == ("layer_0", "up", "inner")
    assert other.named == ("layer_1", "up", "inner")


def test_what_a_person_named_leads_to_a_layer_before_its_place():
    (one,) = leaves({"_layers": {"0": dense("n/a")}, "blocks": {"0": "_layers/0"}})
    assert one.held == ("blocks", "#0")
    assert one.tail is None


def test_the_name_of_the_model_is_no_name_of_a_layer():
    found = leaves({"a": dense("net/one"), "b": dense("net/two")})
    assert [leaf.named for leaf in found] == [("one",), ("two",)]


def test_positions_in_lists_of_ones_own_are_kept():
    found = objects({"blocks": {"1": dense("x/b"), "0": dense("x/a")}}).side
    assert [leaf.held for leaf in found.leaves] == [("blocks", "#0"), ("blocks", "#1")]
    assert found.leaves[0].lists == ((("blocks",), 0),)
    assert found.items == {("blocks",): {0: "a", 1: "b"}}


def test_numbered_attributes_are_in_the_order_of_their_numbers():
    found = leaves({"l10": dense("n/p"), "l9": dense("n/q"), "head": dense("n/r")})
    assert [leaf.held for leaf in found] == [("l9",), ("l10",), ("head",)]


def test_the_variables_that_a_saved_model_lists_are_those_of_its_layers():
    tree = {
        "layer_with_weights-0": dense("a"),
        "variables": {"0": "layer_with_weights-0/_kernel"},
        "keras_api": {"metrics": {"0": {"total": Var("total", LINE)}}},
    }
    one, metric = leaves(tree)
    assert (one.named, one.tail) == (("a",), ())
    assert list(metric.members) == ["total"]


def test_an_export_has_each_variable_once():
    def listed():
        return {
            str(at): Var(f"{name}/{role}", LINE)
            for at, (name, role) in enumerate(
                (n, r) for n in ("a", "b") for r in ("kernel", "bias")
            )
        }

    found = leaves({"variables": listed(), "_all_variables": listed()})
    assert [(leaf.named, list(leaf.members)) for leaf in found] == [
        (("a",), ["kernel", "bias"]),
        (("b",), ["kernel", "bias"]),
    ]


def test_other_names_than_roles_are_leaves_of_their_own():
    one, other, kernel = leaves({"pair": {"left": Var(), "right": Var(), "kernel": Var()}})
    assert (one.held, other.held, kernel.held) == (("pair", "left"), ("pair", "right"), ("pair",))


def test_the_counter_of_saves_and_optimizers_are_left_out():
    optimizer = {"_iterations": Var("i", LINE), "_learning_rate": Var("r", LINE), "_variables": {}}
    tree = {"save_counter": Var("c", LINE), "optimizer": optimizer, "w": Var("w")}
    assert [leaf.held for leaf in leaves(tree)] == [()]


def test_cycles_and_empty_graphs_end():
    assert leaves({"a": {"w": Var(), "back": ""}})[0].held == ("a",)
    assert leaves({}) == []


def test_the_layers_on_a_path_are_called_without_the_dicts_that_hold_them():
    inner = {"table": {"part": dense("query")}}
    names = {"net": "tower", "net/table/part": "query"}
    (leaf,) = objects({"net": inner}, names=names).side.leaves
    assert leaf.path == ("tower", "table", "query")
    assert leaf.called == ("tower", "query")
    (leaf,) = objects({"net": inner}).side.leaves
    assert leaf.called == leaf.path


def test_a_name_that_keras_makes_from_an_own_class_calls_nothing():
    names = {"net": "block_2", "net/table/part": "query"}
    side = objects({"net": {"table": {"part": dense("query")}}}, names=names)
    known = attrs.evolve(side.names, classes={"block"})
    (leaf,) = object_facts.side_of(side.graph, side.spec_of, known).leaves
    assert leaf.called == ("", "query")


def test_a_name_that_ends_in_zero_is_given_and_so_are_those_that_count_on():
    def named(*names):
        tree = {"blocks": {str(at): dense(name) for at, name in enumerate(names)}}
        known = {f"blocks/{at}": name for at, name in enumerate(names)}
        return [leaf.named for leaf in leaves(tree, names=known, classes={"block"})]

    assert named("block_0", "block_1") == [("blocks", "block_0"), ("blocks", "block_1")]
    assert named("block", "block_1") == [("blocks", "#0"), ("blocks", "#1")]


def test_slots_tell_the_layers_apart_that_only_an_optimizer_holds():
    """TensorFlow does not track a dict of Keras 3, and its variables are called by the model."""
    roles = {"conv1d": ("kernel", "bias"), "embedding": ("embeddings",), "norm": ("gamma", "beta")}
    variables = [(name, role) for name, some in roles.items() for role in some]
    tree = {
        "o": {
            "_iterations": Var("i", LINE),
            "_variables": {},
            "_trainable_variables": {
                str(at): Var(f"net/{role}", LINE) for at, (_, role) in enumerate(variables)
            },
            "_accumulators": {
                str(at): Var(f"adagrad/net_{name}_{role}_accumulator", LINE)
                for at, (name, role) in enumerate(variables)
            },
        }
    }
    found = leaves(tree)
    assert [(leaf.joined, (*leaf.members,)) for leaf in found] == [*roles.items()]
