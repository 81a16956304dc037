import json

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.keras_files.keras_file import Tree, described


def tree(texts, config=""):
    specs = {}
    for path, attributes in texts.items():
        for name in attributes.get("weight_names", ()):
            specs[f"{path}/{name}"] = TensorSpec("float32", (2,))
    return Tree(specs, texts, config)


def test_a_file_of_another_program_says_nothing():
    assert described(tree({"": {}, "data": {}}), "f").message is None


def test_an_optimizer_has_the_kind_that_the_configuration_says():
    training = json.dumps({"optimizer_config": {"class_name": "Custom>Adam", "config": {}}})
    found = described(
        tree(
            {
                "": {"training_config": (training,)},
                "model_weights": {"layer_names": ("a",)},
                "model_weights/a": {"weight_names": ("a/bias:0",)},
                "optimizer_weights": {"weight_names": ("iteration:0", "Adam/m/a/bias:0")},
            }
        ),
        "f",
    )
    assert list(found.kinds.values()) == ["adam"]
    keys = [one.checkpoint_key for node in found.message.nodes for one in node.attributes]
    assert keys == [
        "model_weights/a/a/bias:0",
        "optimizer_weights/iteration:0",
        "optimizer_weights/Adam/m/a/bias:0",
    ]
    assert found.by_names
