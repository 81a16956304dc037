"""Describe the tensors of an HDF5 file of Keras as an object graph does. Pure.

A file holds groups and tensors. Files of Keras 2 name layers and weights; files of Keras 3 name
attributes of layers, and classes in lists. Both become an object graph as a checkpoint has one, so
that one engine pairs them all.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.keras_files import attributes as keras_attributes
from tfpersist.matching.keras_files import config as keras_config
from tfpersist.matching.keras_files import names as keras_names
from tfpersist.matching.keras_files import slots as keras_slots
from tfpersist.matching.keras_files import training as keras_training
from tfpersist.matching.keras_files.attributes import SavedAttributes
from tfpersist.matching.keras_files.graph_writer import GraphWriter
from tfpersist.matching.keras_files.slots import Slots

_TRAINING = "training_config"
_MODEL = "model_config"
# The numbers of its configuration have keys that begin with this.
NUMBERS = "optimizer_config/"


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
    """The description of the tensors in an HDF5 file of Keras.

    Args:
        message: its layers and tensors as a TrackableObjectGraph; None if it is no file of Keras.
        layers: the names of layers, by the number of the object.
        kinds: the kinds of optimizers, by the number of the object.
        numbers: what the configuration says of the optimizer and no tensor does, by key.
        guessed: optimizers whose variables have a likely order, which must be confirmed.
        note: what the file does not say; empty if nothing is missing.
        classes: the class of each layer, in snake case, by the number of the object; empty if the
            file does not say it.
        ordered: whether the order of the layers is known.
        by_names: whether only names lead to the tensors of a layer, and not attributes.
    """

    message: Message
    layers: Mapping[int, str] = attrs.field(factory=dict)
    kinds: Mapping[int, str] = attrs.field(factory=dict)
    numbers: Mapping[str, float] = attrs.field(factory=dict)
    guessed: frozenset[int] = frozenset()
    note: str = ""
    classes: Mapping[int, str] = attrs.field(factory=dict)
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
        saved = keras_attributes.is_saved(tree.texts)
        return _by_attributes(tree, file) if saved else KerasFile(None)
    model, training = (
        keras_config.parsed("".join(tree.texts[""].get(name, ())), file)
        for name in (_MODEL, _TRAINING)
    )
    found = keras_names.NamedWeights(
        tree.texts, frozenset(tree.specs), keras_config.layer_of(model)
    )
    optimizer = training.get("optimizer_config") if isinstance(training, dict) else None
    state = found.optimizer(list(keras_config.optimizers_in(optimizer)))
    kinds, numbers = _optimizer(found.graph, state, optimizer)
    return KerasFile(
        found.graph.message, found.layers, kinds, numbers, classes=found.classes, by_names=True
    )


def _by_attributes(tree: Tree, file: str) -> KerasFile:
    """Return what a file of attributes says, with the configuration beside it."""
    config = keras_config.parsed(tree.config, file)
    compiled = config.get("compile_config") if isinstance(config, dict) else None
    optimizer = compiled.get("optimizer") if isinstance(compiled, dict) else None
    found = SavedAttributes(tree.specs, tree.texts, keras_config.layer_of(config))
    state = keras_training.state_of(found, optimizer)
    kinds, numbers = _optimizer(found.graph, state, optimizer)
    return KerasFile(
        found.graph.message,
        found.layers,
        kinds,
        numbers,
        frozenset(kinds if state is not None and state.guessed else ()),
        "" if state is None else state.problem,
        found.classes,
        found.ordered,
    )


def _optimizer(
    graph: GraphWriter, state: Slots | None, config: object
) -> tuple[dict[int, str], dict[str, float]]:
    """Write an optimizer; return its kind by its number, and the numbers of its configuration."""
    if state is None:
        return {}, {}
    numbers: dict[str, float] = {}
    if state.problem:
        return keras_slots.written(graph, state), numbers
    for name, number in keras_config.numbers_of(config).items():
        key = f"{NUMBERS}{name}"
        if state.add_number(name, key):
            numbers[key] = number
    return keras_slots.written(graph, state), numbers
