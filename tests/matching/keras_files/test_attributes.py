import pytest

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.keras_files.attributes import SavedAttributes, is_saved
from tfpersist.matching.keras_files.config import LayerConfig, layer_of
from tfpersist.matching.sides.object_graph import ObjectGraph

KERNEL, BIAS = (2, 2), (2,)


def saved(layers, model=None, names=None):
    """Describe a file with these tensors: {path of a layer: their shapes}."""
    specs, texts = {}, {"": {}}
    for path, shapes in layers.items():
        parts = [*path.split("/"), "vars"]
        for at in range(1, len(parts) + 1):
            texts.setdefault("/".join(parts[:at]), {})
        for at, shape in enumerate(shapes):
            specs["/".join([*parts, str(at)])] = TensorSpec("float32", shape)
    for path, name in (names or {}).items():
        texts[f"{path}/vars"] = {"name": (name,)}
    return SavedAttributes(specs, texts, model or LayerConfig())


def keys_in(found, node=0, path=""):
    """Return the key at each path through the graph."""
    graph = ObjectGraph.of(found.graph.message)
    keys = dict.fromkeys([path] * len(graph.message.nodes[node].attributes))
    keys |= {path: found.graph.key_of(node) for path in keys}
    for name, child in graph.children[node].items():
        keys |= keys_in(found, child, f"{path}/{name}".lstrip("/"))
    return keys


def test_the_layers_of_a_model_are_counted_by_their_class():
    found = saved({"layers/dense_10": [KERNEL], "layers/dense_9": [KERNEL], "layers/dense": []})
    assert list(found.layers.values()) == ["dense", "dense_9", "dense_10"]
    assert keys_in(found) == {
        "_operations/1/kernel": "layers/dense_9/vars/0",
        "_operations/2/kernel": "layers/dense_10/vars/0",
    }
    assert found.ordered


def test_the_order_of_two_classes_is_not_known():
    layers = {"layers/dense": [KERNEL], "layers/conv2d": [(1, 1, 2, 2)]}
    assert not saved(layers).ordered
    config = {"class_name": "Sequential", "config": {"layers": []}}
    for name in ("Dense", "Conv2D"):
        config["config"]["layers"].append({"class_name": name, "config": {"name": f"my {name}"}})
    found = saved(layers, layer_of(config))
    assert found.ordered
    assert list(found.layers.values()) == ["my Dense", "my Conv2D"]


def test_a_name_is_one_that_a_person_gave():
    layers = {"layers/dense": [KERNEL], "layers/dense_1": [KERNEL], "head": [KERNEL]}
    names = {"layers/dense": "stem", "layers/dense_1": "dense_7", "head": "dense_8"}
    assert list(saved(layers, names=names).layers.values()) == ["stem", "dense_1"]


def test_the_items_of_a_list_are_counted_by_their_class():
    found = saved({"blocks/dense": [KERNEL], "blocks/dense_1": [KERNEL], "blocks/conv2d": [BIAS]})
    assert keys_in(found) == {
        "blocks/conv2d/0/kernel": "blocks/conv2d/vars/0",
        "blocks/dense/0/kernel": "blocks/dense/vars/0",
        "blocks/dense/1/kernel": "blocks/dense_1/vars/0",
    }


def test_a_list_in_a_list_is_a_container():
    found = saved({"blocks/container/dense": [KERNEL], "blocks/container_1/dense": [KERNEL]})
    assert sorted(keys_in(found)) == [
        "blocks/container/0/dense/0/kernel",
        "blocks/container/1/dense/0/kernel",
    ]


def test_a_class_whose_name_ends_in_a_number_is_not_counted():
    assert list(keys_in(saved({"blocks/block_2": [KERNEL]}))) == ["blocks/block_2/0/0"]


def test_a_layer_that_was_saved_elsewhere_counts():
    assert list(keys_in(saved({"blocks/dense_2": [KERNEL]}))) == ["blocks/dense/2/kernel"]


def test_a_layer_of_an_unknown_class_has_numbers():
    assert list(keys_in(saved({"mine": [KERNEL, BIAS]}))) == ["mine/0", "mine/1"]


def test_the_metrics_and_the_optimizer_are_no_layers():
    found = saved({"metrics/mean": [()], "optimizer": [()], "head": [KERNEL]})
    assert list(keys_in(found)) == ["head/0"]


@pytest.mark.parametrize("names", [{}, {"a": "dense_2", "b": "dense_1"}])
def test_attributes_have_an_order_only_by_the_numbers_of_their_names(names):
    found = saved({"a": [KERNEL], "b": [KERNEL]}, names=names)
    assert found.trained.guessed == bool(names)
    assert [len(chain) for chain in found.trained.chains] == ([2] if names else [1, 1])
    if names:
        first = found.trained.chains[0][0].own[0]
        assert found.graph.key_of(first) == "b/vars/0"


def test_a_frozen_layer_is_not_trained():
    inner = {"class_name": "Dense", "config": {"name": "d", "trainable": False}}
    config = layer_of({"class_name": "Sequential", "config": {"layers": [inner]}})
    (chain,) = saved({"layers/dense": [KERNEL]}, config).trained.chains
    assert chain[0].own == ()


def test_files_without_variables_in_groups_are_of_another_kind():
    assert not is_saved({"": {}, "layers": {}})
