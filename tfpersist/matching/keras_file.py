"""Say what an HDF5 file of Keras says about its tensors, in the words of an object graph. Pure.

A file holds groups and tensors. Files of Keras 2 name layers and weights; files of Keras 3 name
attributes of layers, and classes in lists. Both become an object graph as a checkpoint has one, so
that one engine pairs them all.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching import keras_config, keras_names

_TRAINING = "training_config"
_MODEL = "model_config"


@attrs.frozen
class Tree:
    """The groups and tensors of an HDF5 file.

    Args:
        specs: the data type and shape of each tensor, by its path.
        texts: the attributes of each group that are texts, by its path; "" is the file itself.
        config: the text of the config.json beside it; empty if there is none.
    """

    specs: Mapping[str, TensorSpec]
    texts: Mapping[str, Mapping[str, tuple[str, ...]]]
    config: str = ""


@attrs.frozen
class KerasFile:
    """What an HDF5 file of Keras says about its tensors.

    Args:
        message: its layers and tensors as a TrackableObjectGraph; None if it is no file of Keras.
        layers: the names of layers, by the number of the object.
        kinds: the kinds of optimizers, by the number of the object.
        classes: the classes of its layers, in snake case, as far as it names them.
        ordered: whether the order of the layers is known.
        by_names: whether only names lead to the tensors of a layer, and not attributes.
    """

    message: Message
    layers: Mapping[int, str] = attrs.field(factory=dict)
    kinds: Mapping[int, str] = attrs.field(factory=dict)
    classes: frozenset[str] = frozenset()
    ordered: bool = True
    by_names: bool = False


def described(tree: Tree, file: str) -> KerasFile:
    """Return what a file says.

    Args:
        tree: its groups and tensors.
        file: its path, for errors.

    Raises:
        CorruptionError: its configuration is no JSON.
    """
    if keras_names.base_of(tree.texts) is None:
        return KerasFile(None)
    model, training = (
        keras_config.parsed("".join(tree.texts[""].get(name, ())), file)
        for name in (_MODEL, _TRAINING)
    )
    found = keras_names.NamedWeights(
        tree.texts, frozenset(tree.specs), keras_config.layer_of(model)
    )
    optimizer = training.get("optimizer_config") if isinstance(training, dict) else None
    kinds = found.optimizer(list(keras_config.optimizers_in(optimizer)))
    return KerasFile(found.graph.message, found.layers, kinds, ordered=True, by_names=True)
