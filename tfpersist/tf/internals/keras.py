"""The private APIs of Keras and tf-keras: safe mode, optimizers, name scopes, inputs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


def in_safe_mode() -> bool | None:
    """Return `safe_mode` while Keras makes an object from a config; None at other times."""
    from keras.src.saving import serialization_lib

    mode: bool | None = serialization_lib.in_safe_mode()
    return mode


def is_optimizer_built(optimizer: Any) -> bool:
    """Return whether an optimizer of Keras or tf-keras has made its variables."""
    if hasattr(optimizer, "get_scaled_loss"):
        # The LossScaleOptimizer of tf-keras builds only the optimizer that it wraps.
        return is_optimizer_built(optimizer.inner_optimizer)
    # A legacy optimizer without slots, such as SGD without momentum, still has numbers.
    for name in ("built", "_built", "_hypers_created"):
        if hasattr(optimizer, name):
            return bool(getattr(optimizer, name))
    return False


def forget_children(thing: Any) -> None:
    """Have an optimizer of tf-keras that is not built look for its children again.

    It keeps those that it had when it was first asked, and so would never save its slots.
    """
    # The LossScaleOptimizer of tf-keras shows the children of the optimizer in it as its own.
    inner = getattr(thing, "__dict__", {}).get("_optimizer")
    for one in (thing, inner):
        attributes = getattr(one, "__dict__", {})
        if "_coalesced_children" in attributes and not is_optimizer_built(one):
            del attributes["_coalesced_children"]


def build_optimizer(optimizer: Any, variables: list[Any]) -> None:
    """Make an optimizer create its variables.

    Args:
        optimizer: one of Keras or tf-keras; the legacy ones have a private method for it.
        variables: what it is to train.
    """
    if hasattr(optimizer, "build"):
        optimizer.build(variables)
    else:
        optimizer._create_all_weights(variables)


@contextmanager
def name_scopes_restored() -> Iterator[None]:
    """Have the same name scopes of Keras open after the block as before it.

    Keras opens the name scope of a layer before TensorFlow checks its name. If TensorFlow refuses
    the name, the scope of the model stays open, and is part of the paths of all later variables.
    """
    state: Any = sys.modules.get("keras.src.backend.common.global_state")
    if state is None:
        yield
        return
    scopes = state.get_global_attribute("name_scope_stack", default=[], set_to_default=True)
    before = [*scopes]
    try:
        yield
    finally:
        scopes[:] = before


def recorded_inputs(model: Any) -> tuple[Any, ...] | None:
    """Return the arguments of a subclassed model as its own `export` records them.

    Args:
        model: a model of Keras 3 or tf-keras that has been called.

    Returns:
        For each argument a structure of tf.TensorSpecs, whose first dimension is free; None for a
        model that has not been called.
    """
    import tensorflow as tf

    if hasattr(model, "save_spec"):
        recorded = model.save_spec()
        return None if recorded is None else tuple(recorded[0])
    shapes = getattr(model, "_build_shapes_dict", None)
    if not shapes or not model._called:
        return None

    def spec(structure: Any, name: str | None) -> Any:
        if isinstance(structure, Mapping):
            return {key: spec(value, None) for key, value in structure.items()}
        if all(isinstance(size, (int, type(None))) for size in structure):
            # Keras records no data types; it exports all inputs in the type that it computes with.
            return tf.TensorSpec((None, *structure[1:]), model.input_dtype, name)
        return type(structure)(spec(value, None) for value in structure)

    return tuple(spec(shape, name.removesuffix("_shape")) for name, shape in shapes.items())


def keeps_state(model: Any) -> bool:
    """Return whether a layer of a model keeps state between calls, so that its batch is fixed."""
    return any(getattr(layer, "stateful", False) for layer in model._flatten_layers())


def outputs_of_layers(model: Any) -> dict[str, list[Any]]:
    """Return the outputs of the layers of a model that are called once, by their names.

    Args:
        model: a functional or sequential model of Keras 3 or tf-keras.
    """
    import tensorflow as tf

    return {
        layer.name: tf.nest.flatten(layer.output)
        for layer in model.layers
        if len(getattr(layer, "_inbound_nodes", ())) == 1
    }
