import pytest

from tfpersist.matching.keras_files.config import LayerConfig, layer_of
from tfpersist.matching.keras_files.names import NamedWeights, base_of
from tfpersist.matching.sides.object_graph import ObjectGraph


def weights_of(layers, model=None, base=""):
    """Describe a file with these weights: {layer: names of its weights}."""
    texts = {base: {"layer_names": tuple(layers)}, "": {}}
    texts = {"": {}, base: {"layer_names": tuple(layers)}}
    keys = set()
    for layer, names in layers.items():
        path = f"{base}/{layer}".lstrip("/")
        texts[path] = {"weight_names": tuple(names)}
        keys |= {f"{path}/{name}" for name in names}
    return NamedWeights(texts, frozenset(keys), model or LayerConfig())


def paths_of(named):
    """Return the path through the graph that leads to each key."""
    graph = ObjectGraph.of(named.graph.message)
    found = {}
    waiting = [(0, "")]
    while waiting:
        node, path = waiting.pop()
        for attribute in graph.message.nodes[node].attributes:
            found[attribute.checkpoint_key] = path
        waiting += [(child, f"{path}/{name}") for name, child in graph.children[node].items()]
    return found


@pytest.mark.parametrize("base", ["", "model_weights"])
def test_layers_have_their_order_and_their_names(base):
    named = weights_of({"b": ["b/kernel:0"], "input": [], "a": ["a/kernel:0"]}, base=base)
    assert list(named.layers.values()) == ["b", "input", "a"]
    assert base_of(named.texts) == base
    assert list(paths_of(named).values()).count("/_operations/2/kernel") == 1


def test_a_file_without_a_list_of_layers_is_another_format():
    assert base_of({"": {}, "layers": {}}) is None


def test_long_lists_are_cut_into_several_attributes():
    texts = {"": {"layer_names0": ("a",), "layer_names1": ("b",)}}
    named = NamedWeights(texts, frozenset(), LayerConfig())
    assert list(named.layers.values()) == ["a", "b"]


@pytest.mark.parametrize("scopes", ["stem", "encoder/stem", "net/encoder/stem"])
def test_a_layer_in_a_model_has_its_own_name(scopes):
    named = weights_of({"encoder": [f"{scopes}/kernel:0"]})
    assert paths_of(named) == {f"encoder/{scopes}/kernel:0": "/_operations/0/_operations/0/kernel"}
    assert list(named.layers.values()) == ["encoder", "stem"]


def test_what_is_not_trained_comes_last_in_a_nested_model_and_keeps_its_place():
    names = ["dense_1/kernel:0", "dense/kernel:0"]
    assert list(weights_of({"net": names}).layers.values()) == ["net", "dense", "dense_1"]


def test_the_configuration_knows_the_order_of_a_nested_model():
    inner = [{"class_name": "Dense", "config": {"name": name}} for name in ("b", "a")]
    nested = {"class_name": "Sequential", "config": {"name": "net", "layers": inner}}
    model = layer_of({"class_name": "Sequential", "config": {"layers": [nested]}})
    named = weights_of({"net": ["a/kernel:0", "b/kernel:0"]}, model)
    assert list(named.layers.values()) == ["net", "b", "a"]


@pytest.mark.parametrize(
    ("names", "paths"),
    [
        (["rnn/lstm_cell_3/kernel:0"], ["cell/kernel"]),
        (
            ["rnn/forward_l/lstm_cell/bias:0", "rnn/backward_l/lstm_cell/bias:0"],
            ["forward_layer/cell/bias", "backward_layer/cell/bias"],
        ),
        (
            [f"rnn/{name}/bias:0" for name in ("query", "key", "value", "attention_output")],
            [f"_{name}_dense/bias" for name in ("query", "key", "value", "output")],
        ),
    ],
)
def test_the_parts_of_layers_of_keras(names, paths):
    found = paths_of(weights_of({"rnn": names}))
    assert sorted(found.values()) == sorted(f"/_operations/0/{path}" for path in paths)


def test_the_cell_of_a_convolutional_recurrent_layer_is_not_named():
    found = paths_of(weights_of({"conv_lstm2d_1": ["conv_lstm2d_1/kernel:0"]}))
    assert list(found.values()) == ["/_operations/0/cell/kernel"]


def test_weights_that_are_listed_and_not_there_are_left_out():
    texts = {"": {"layer_names": ("a",)}, "a": {"weight_names": ("a/kernel:0",)}}
    assert paths_of(NamedWeights(texts, frozenset(), LayerConfig())) == {}
