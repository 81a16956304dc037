"""Pairing what Keras 2 saved with what Keras 3 made, on small graphs written by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tfpersist.formats import schema
from tfpersist.matching import keras_eras, object_graph
from tfpersist.matching.object_graph import ObjectGraph


def graph(tree, slots=()):
    """A graph from nested dicts, whose leaves are the keys of tensors; paths name its nodes."""
    message, numbers = schema.TrackableObjectGraph(), {}

    def add(member, path):
        number = numbers[path] = len(message.nodes)
        node = message.nodes.add()
        if isinstance(member, str):
            node.attributes.add(name="VARIABLE_VALUE", checkpoint_key=member)
            return number
        for name, child in member.items():
            below = f"{path}/{name}".strip("/")
            target = add(child, below)
            message.nodes[number].children.add(local_name=name, node_id=target)
        return number

    add(tree, "")
    for owner, name, variable, slot in slots:
        message.nodes[numbers[owner]].slot_variables.add(
            slot_name=name,
            original_variable_node_id=numbers[variable],
            slot_variable_node_id=numbers[slot],
        )
    return ObjectGraph.of(message), numbers


def found(saved, live):
    """{path of the live variable: key of the saved one}."""
    (saved, _), (live, numbers) = saved, live
    layers = {
        number for path, number in numbers.items() if path.split("/")[-1].isdecimal() and number
    }
    pairs = object_graph.match(
        saved, live, lambda bound: keras_eras.pair(saved, live, bound, layers)
    )
    return {
        path: saved.message.nodes[pairs[number]].attributes[0].checkpoint_key
        for path, number in numbers.items()
        if live.valued(number) and number in pairs and saved.valued(pairs[number])
    }


def dense(name):
    return {"kernel": f"{name}.kernel", "bias": f"{name}.bias"}


KERAS_2 = {"layer_with_weights-1": dense("b"), "layer_with_weights-0": dense("a"), "layer-2": {}}


def keras_3(*members):
    layers = {str(at): member for at, member in enumerate(members)}
    return {"_functional": {"_operations": layers}}


NEW = {"_kernel": "K", "bias": "B"}


def test_layers_go_by_their_order_and_weights_by_their_name():
    assert found(graph(KERAS_2), graph(keras_3({}, NEW, {}, NEW))) == {
        "_functional/_operations/1/_kernel": "a.kernel",
        "_functional/_operations/1/bias": "a.bias",
        "_functional/_operations/3/_kernel": "b.kernel",
        "_functional/_operations/3/bias": "b.bias",
    }


def test_another_number_of_layers_pairs_nothing():
    assert found(graph(KERAS_2), graph(keras_3(NEW, NEW, NEW))) == {}


def test_layers_of_another_kind_pair_nothing():
    assert found(graph(KERAS_2), graph(keras_3(NEW, {"_kernel": "K", "scale": "S"}))) == {}


def test_more_than_ten_layers_are_counted_and_not_spelt():
    saved = {f"layer_with_weights-{n}": {"kernel": f"k{n}"} for n in range(12)}
    pairs = found(graph(saved), graph(keras_3(*({"_kernel": "K"} for _ in range(12)))))
    assert pairs["_functional/_operations/11/_kernel"] == "k11"


def test_a_model_in_a_model_is_paired_layer_by_layer():
    saved = {"layer_with_weights-0": KERAS_2, "layer_with_weights-1": dense("c")}
    inner = keras_3(NEW, NEW)["_functional"]
    pairs = found(graph(saved), graph(keras_3(inner, NEW)))
    assert pairs["_functional/_operations/0/_operations/1/_kernel"] == "b.kernel"
    assert pairs["_functional/_operations/1/bias"] == "c.bias"


def test_slots_go_into_the_lists_of_the_optimizer():
    saved = {
        "w": "w",
        "optimizer": {"iter": "iter", "learning_rate": "rate", "decay": "decay"},
        "slots": {"m": "slot m", "v": "slot v"},
    }
    slots = [("optimizer", name, "w", f"slots/{name}") for name in "mv"]
    message, numbers = graph(
        {
            "w": "W",
            "optimizer": {
                "_iterations": "I",
                "_learning_rate": "R",
                "_variables": {},
                "_trainable_variables": {},
                "_momentums": {"0": "M"},
                "_velocities": {"0": "V"},
            },
        }
    )
    trained = message.message.nodes[numbers["optimizer/_trainable_variables"]]
    trained.children.add(local_name="0", node_id=numbers["w"])
    live = ObjectGraph.of(message.message), numbers
    assert found(graph(saved, slots), live) == {
        "w": "w",
        "optimizer/_iterations": "iter",
        "optimizer/_learning_rate": "rate",
        "optimizer/_momentums/0": "slot m",
        "optimizer/_velocities/0": "slot v",
    }


_NAMES = st.sampled_from(
    [
        *("layer_with_weights-0", "layer_with_weights-1", "_functional", "_operations"),
        *("_trainable_variables", "_variables", "_momentums", "_iterations", "iter"),
        *("kernel", "_kernel", "__kernel", "model", "optimizer", "save_counter"),
        *("0", "1", "\u0663", "9" * 5000),
    ]
)


@st.composite
def any_graph(draw):
    size = draw(st.integers(1, 9))
    ids = st.integers(0, size - 1)
    message = schema.TrackableObjectGraph()
    for number in range(size):
        node = message.nodes.add()
        for name, child in draw(st.dictionaries(_NAMES, ids, max_size=5)).items():
            node.children.add(local_name=name, node_id=child)
        for variable, slot in draw(st.lists(st.tuples(ids, ids), max_size=2)):
            node.slot_variables.add(
                slot_name="m", original_variable_node_id=variable, slot_variable_node_id=slot
            )
        if draw(st.booleans()):
            node.attributes.add(name="VARIABLE_VALUE", checkpoint_key=str(number))
    return ObjectGraph.of(message)


@given(any_graph(), any_graph(), st.sets(st.integers(0, 9)))
def test_any_two_graphs_are_paired_in_the_end(saved, live, layers):
    pairs = object_graph.match(
        saved, live, lambda bound: keras_eras.pair(saved, live, bound, layers)
    )
    assert all(mine < len(live.children) for mine in pairs)
    assert all(theirs < len(saved.children) for theirs in pairs.values())
    for node in range(len(saved.children)):
        object_graph.trained_by(saved, node)
        object_graph.averages_in(saved, node)
    object_graph.slots_of(saved)
