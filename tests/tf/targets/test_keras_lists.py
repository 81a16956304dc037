import keras
import pytest

from tfpersist.matching.sides.object_facts import Names
from tfpersist.tf.targets.keras import KerasTarget
from tfpersist.tf.targets.keras_lists import as_in_file


@pytest.fixture
def live():
    dense = keras.layers.Dense

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.blocks = [dense(1), keras.layers.Dropout(0.5), dense(1)]
            self.heads = {"b": dense(1), "a": dense(1)}
            self.last = dense(1)

        def call(self, x):
            for block in self.blocks:
                x = block(x)
            return self.last(self.heads["a"](self.heads["b"](x)))

    model = Net()
    model(keras.ops.ones((1, 1)))
    return KerasTarget(model).live


def node(live, *path):
    number = 0
    for name in path:
        number = live.graph.children[number][name]
    return number


def test_items_of_lists_and_dicts_are_counted_by_class(live):
    places = as_in_file(live, Names(), by_names=False).places
    assert places[node(live, "blocks", "0")] == ("dense", 0)
    assert places[node(live, "blocks", "1")] == ("dropout", 0)
    assert places[node(live, "blocks", "2")] == ("dense", 1)
    assert places[node(live, "heads", "b")] == ("dense", 0)
    assert places[node(live, "heads", "a")] == ("dense", 1)


def test_what_a_model_holds_may_be_in_its_list_of_layers(live):
    placed = as_in_file(live, Names(), by_names=False).placed
    assert {node(live, "last"), node(live, "blocks", "2"), node(live, "heads", "a")} <= placed


def test_where_only_names_count_every_layer_has_a_place(live):
    names = Names(layers={3: "dense"})
    assert as_in_file(live, names, by_names=True).placed == {3}


def test_weights_have_the_order_of_the_model(live):
    ranks = as_in_file(live, Names(), by_names=False).ranks
    weights = live.objects[0].weights
    assert [live.objects[at] is weight for at, weight in zip(ranks, weights, strict=True)] == [
        True
    ] * len(weights)
