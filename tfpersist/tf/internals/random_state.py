"""The private APIs of random generators that belong to no model: Keras' global one, TensorFlow's.

Reading them draws nothing, and makes none that does not exist yet: a new one would draw its seed.
"""

from __future__ import annotations

import sys
from typing import Any


def keras_global() -> Any | None:
    """Return the state of Keras' global SeedGenerator; None if nothing has drawn from it."""
    state: Any = sys.modules.get("keras.src.backend.common.global_state")
    generator = state and state.get_global_attribute("global_seed_generator")
    return None if generator is None else generator.state


def make_keras_global() -> Any:
    """Return the same; make it if needed, which draws from Python's generator."""
    from keras.src.random.seed_generator import global_seed_generator

    return global_seed_generator().state


def tensorflow_global() -> Any | None:
    """Return the generator of `tf.random.get_global_generator()`; None if nobody did ask."""
    from tensorflow.python.ops import stateful_random_ops

    return stateful_random_ops.global_generator


def eager_state() -> tuple[Any, Any] | None:
    """Return the global seed, and the state of what eager `tf.random` ops draw their seeds from.

    Returns:
        Both; None where no global seed was set, so that nothing repeats itself.
    """
    from tensorflow.python.eager import context

    current = context.context()
    rng = getattr(current, "_rng", None)
    return None if rng is None else (current._seed, rng.getstate())


def set_eager_state(state: tuple[Any, Any]) -> None:
    """Set what `eager_state` has returned."""
    from tensorflow.python.eager import context

    current = context.context()
    if getattr(current, "_rng", None) is None:
        current._set_global_seed(state[0])
    current._seed = state[0]
    current._rng.setstate(state[1])


def tf_keras_generator() -> Any | None:
    """Return the generator of Python from which tf_keras draws seeds; None if there is none."""
    backend: Any = sys.modules.get("tf_keras.src.backend")
    return getattr(getattr(backend, "_SEED_GENERATOR", None), "generator", None)


def extra_variables(thing: Any) -> list[Any]:
    """Return the variables of a Keras model or layer that are not among its weights.

    Of Keras 3 they are the states of its SeedGenerators, and of metrics that layers own.
    """
    weights = {id(weight) for weight in getattr(thing, "weights", ())}
    return [one for one in getattr(thing, "variables", ()) if id(one) not in weights]


# The stateful ops of each function that was looked at.
_FOUND: dict[str, list[str]] = {}
_STATEFUL = frozenset(
    {
        *("RandomUniform", "RandomStandardNormal", "RandomUniformInt", "TruncatedNormal"),
        *("RandomShuffle", "Multinomial", "RandomGammaV2", "RandomGamma", "RandomPoissonV2"),
        *("ParameterizedTruncatedNormal", "SampleDistortedBoundingBoxV2", "RandomCrop"),
    }
)


def is_stateful(op: str) -> bool:
    """Return whether an op draws from a counter of its own kernel, which nobody can read."""
    return op in _STATEFUL


def stateful_ops() -> list[str]:
    """Return the ops in traced functions that draw from counters which nobody can read.

    Functions of tf.data are left out: TensorFlow refuses to write an iterator with such ops.

    Returns:
        A text for each kind of op in each function.
    """
    from tensorflow.python.eager import context

    current = context.context()
    names = set(current.list_function_names())
    for name in names - _FOUND.keys():
        nodes = () if _is_of_others(name) else current.get_function_def(name).node_def
        _FOUND[name] = sorted({node.op for node in nodes if is_stateful(node.op)})
    drawing = sorted(name for name, ops in _FOUND.items() if ops and name in names)
    return [f"{op} in {name}" for name in drawing for op in _FOUND[name]]


def _is_of_others(name: str) -> bool:
    return "Dataset" in name or name.startswith(("__wrapped__", "tfpersist_"))


def is_deterministic() -> bool:
    """Return whether ops have to compute the same bits each time."""
    from tensorflow.python.framework import config

    return bool(config.is_op_determinism_enabled())
