"""Read the configuration of a Keras model as data: the classes and names of its layers. Pure.

Nothing that it names is imported, and no layer is made from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from tfpersist.errors import CorruptionError

_WRAPPED = ("inner_optimizer", "optimizer")
_DEEPEST = 64


@attrs.frozen
class LayerConfig:
    """The facts of one layer in a configuration.

    Args:
        kind: its class, in snake case, as Keras makes names of layers from it.
        name: its name; empty if there is none.
        facts: its own configuration.
    """

    kind: str = ""
    name: str = ""
    facts: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

    @property
    def is_model(self) -> bool:
        """Whether it lists its layers, as a Functional or Sequential model does."""
        return isinstance(self.facts.get("layers"), list)

    @property
    def layers(self) -> list[LayerConfig]:
        """The layers that it lists, in their order; empty for another layer."""
        listed = self.facts.get("layers")
        return [layer_of(one) for one in listed] if isinstance(listed, list) else []

    def inside(self, *names: str) -> LayerConfig:
        """Return the layer that one of its fields describes, such as `cell`.

        Args:
            names: the fields, the best one first.
        """
        for name in names:
            found = layer_of(self.facts.get(name))
            if found.kind:
                return found
        return LayerConfig()


def layer_of(value: object) -> LayerConfig:
    """Return what a part of a configuration says about a layer; nothing if it describes none.

    Args:
        value: the part, as JSON has it.

    Example:
        >>> layer_of({"class_name": "Conv2D", "config": {"name": "stem"}})
        LayerConfig(kind='conv2d', name='stem')
    """
    if not isinstance(value, dict) or not isinstance(value.get("class_name"), str):
        return LayerConfig()
    facts = value.get("config")
    if isinstance(facts, list):
        # Sequential models of Keras before 2.2.3 list their layers alone.
        facts = {"layers": facts}
    facts = facts if isinstance(facts, dict) else {}
    name = facts.get("name", value.get("name"))
    return LayerConfig(
        snake(value["class_name"].rpartition(">")[2]), name if isinstance(name, str) else "", facts
    )


def parsed(text: str, file: str) -> Any:
    """Return a configuration as JSON has it; an empty dict for an empty text.

    Args:
        text: the JSON.
        file: the file that it is from, for the error.

    Raises:
        CorruptionError: it is no JSON.
    """
    try:
        return json.loads(text) if text else {}
    except (ValueError, RecursionError) as error:
        raise CorruptionError(
            "the configuration of the model cannot be read", file=file, found=str(error)
        ) from error


def optimizers_in(value: object) -> Iterator[str]:
    """Return the classes of an optimizer and of those that it wraps, the outermost first.

    Args:
        value: the part of a configuration that describes it.

    Example:
        >>> inner = {"class_name": "Adam", "config": {}}
        >>> outer = {"class_name": "LossScaleOptimizer", "config": {"inner_optimizer": inner}}
        >>> list(optimizers_in(outer))
        ['loss_scale_optimizer', 'adam']
    """
    for _ in range(_DEEPEST):
        found = layer_of(value)
        if not found.kind:
            return
        yield found.kind
        value = next((found.facts[name] for name in _WRAPPED if name in found.facts), None)


# What the legacy optimizers of Keras 2 keep as variables, and no file of HDF5 as tensors.
_LEGACY = (
    *("decay", "beta_1", "beta_2", "momentum", "rho", "beta", "learning_rate_power"),
    *("l1_regularization_strength", "l2_regularization_strength"),
)
_ONLY_NEW = "use_ema"


def numbers_of(value: object) -> dict[str, float]:
    """Return the numbers of an optimizer that are variables elsewhere, such as its learning rate.

    Args:
        value: the part of a configuration that describes it.

    Example:
        >>> numbers_of({"class_name": "SGD", "config": {"learning_rate": 0.5, "use_ema": False}})
        {'learning_rate': 0.5}
    """
    facts = innermost(value)
    names = ("learning_rate",) if _ONLY_NEW in facts else ("learning_rate", *_LEGACY)
    return {
        name: float(number)
        for name in names
        if isinstance(number := facts.get(name), (int, float)) and not isinstance(number, bool)
    }


def innermost(value: object) -> Mapping[str, Any]:
    """Return the configuration of the optimizer that all others wrap.

    Args:
        value: the part of a configuration that describes the outermost one.
    """
    facts: Mapping[str, Any] = {}
    for _ in range(_DEEPEST):
        facts = layer_of(value).facts
        value = next((facts[name] for name in _WRAPPED if name in facts), None)
        if value is None:
            break
    return facts


def snake(name: str) -> str:
    """Return the name of a class as Keras makes names of layers from it.

    Example:
        >>> snake("LSTMCell"), snake("Conv2DTranspose"), snake("RMSprop")
        ('lstm_cell', 'conv2d_transpose', 'rm_sprop')
    """
    text = re.sub(r"\W+", "", name)
    text = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", text)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", text).lower()
