"""Capture and restore what random numbers are drawn from. Capturing draws nothing."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import ArgumentError, RestoreError, value_text
from tfpersist.matching.plans.resume import Fact
from tfpersist.tf.internals import eager, random_state, trackables


@attrs.define(eq=False)
class Seeds:
    """The random generators of a training.

    Args:
        owners: the Keras models and layers whose generators are captured.
        extra: further generators: of Python, NumPy, TensorFlow or Keras.
    """

    owners: Sequence[Any] = ()
    extra: Sequence[Any] = ()
    # Those of the owners that were captured last.
    _captured: list[Any] | None = attrs.field(init=False, default=None)

    def capture(self) -> Mapping[str, Any]:
        """Return the states of all generators."""
        return self.capture_with(())[0]

    def capture_with(
        self, more: Sequence[Any]
    ) -> tuple[Mapping[str, Any], Sequence[np.ndarray[Any, Any]]]:
        """Return the states of all generators, and the values of more variables.

        They are read together, since each read takes as long as ten further variables in it.

        Args:
            more: the variables.
        """
        unasked = random_state.keras_global()
        asked = random_state.tensorflow_global()
        self._captured = self._owned()
        values = values_of([*self._captured, *more])
        count = len(self._captured)
        return {
            **host_state(),
            "keras": None if unasked is None else unasked.numpy(),
            "tensorflow": None if asked is None else asked.state.numpy(),
            "owned": values[:count],
            "given": [state_of(one) for one in self.extra],
        }, values[count:]

    def check(self, state: Mapping[str, Any]) -> None:
        """Compare what was saved with the generators that exist now.

        Raises:
            RestoreError: there are others.
        """
        for name, mine in (("owned", self._owned()), ("given", self.extra)):
            if len(mine) != len(state[name]):
                raise RestoreError(
                    "the training has other random generators"
                    + (" in the layers of its model" if name == "owned" else " in generators="),
                    expected=f"{len(state[name])}, as in the checkpoint",
                    found=f"{len(mine)}",
                    advice='Make the same ones, or go on with resume="weights".',
                )

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set the states of all generators."""
        if state["keras"] is not None:
            # Making one draws from Python's generator, which is set after it.
            random_state.make_keras_global().assign(state["keras"])
        asked = random_state.tensorflow_global()
        if state["tensorflow"] is not None and asked is not None:
            asked.state.assign(state["tensorflow"])
        for variable, value in zip(self._owned(), state["owned"], strict=True):
            variable.assign(value)
        for generator, saved in zip(self.extra, state["given"], strict=True):
            set_state(generator, saved)
        set_host_state(state)

    def facts(self) -> Sequence[Fact]:
        """Return what is covered, and what is not."""
        found = [Fact("covered", "the generators of Python, NumPy and TensorFlow", "global")]
        if random_state.keras_global() is not None:
            found.append(Fact("covered", "the generator of Keras", "global"))
        owned = self._owned() if self._captured is None else self._captured
        if owned:
            where = ", ".join(str(getattr(one, "path", one.name)) for one in owned[:5])
            where += f" and {len(owned) - 5} more" if len(owned) > 5 else ""
            found.append(Fact("covered", "the generators and metrics of layers", where))
        if self.extra:
            where = ", ".join(type(one).__name__ for one in self.extra)
            found.append(Fact("covered", "the generators in generators=", where))
        if stateful := random_state.stateful_ops():
            where = ", ".join(stateful[:5])
            where += f" and {len(stateful) - 5} more" if len(stateful) > 5 else ""
            found.append(
                Fact(
                    "not covered",
                    "ops that draw from counters of their own kernels",
                    where,
                    "nobody can read or set such a counter",
                    "Draw with tf.random.stateless_*, a tf.random.Generator or keras.random.",
                )
            )
        return found

    def _owned(self) -> list[Any]:
        found = {
            id(one): one for owner in self.owners for one in random_state.extra_variables(owner)
        }
        return list(found.values())


def values_of(variables: Sequence[Any]) -> list[np.ndarray[Any, Any]]:
    """Return the values of variables."""
    inner = list(map(trackables.variable_in, variables))
    values = eager.read_together(inner) if inner else ()
    return [one.numpy() for one in variables] if values is None else list(values)


def host_state() -> dict[str, Any]:
    """Return the states of the generators that belong to no model and no strategy."""
    keras, eager = random_state.tf_keras_generator(), random_state.eager_state()
    return {
        "python": _words_of(random.getstate()),
        "numpy": np.random.get_state(legacy=False),
        "eager": None if eager is None else (eager[0], _words_of(eager[1])),
        "tf_keras": None if keras is None else _words_of(keras.getstate()),
    }


def set_host_state(state: Mapping[str, Any]) -> None:
    """Set what `host_state` has returned."""
    keras = random_state.tf_keras_generator()
    if keras is not None and state["tf_keras"] is not None:
        keras.setstate(_state_from(state["tf_keras"]))
    random.setstate(_state_from(state["python"]))
    np.random.set_state(state["numpy"])
    if state["eager"] is not None:
        seed, words = state["eager"]
        random_state.set_eager_state((seed, _state_from(words)))


def is_generator(thing: object) -> bool:
    """Return whether something is a random generator whose state can be captured."""
    kinds = (random.Random, np.random.Generator, np.random.RandomState)
    return isinstance(thing, kinds) or hasattr(getattr(thing, "state", None), "assign")


def as_generators(generators: Any) -> tuple[Any, ...]:
    """Return the generators that a user has passed.

    Raises:
        ArgumentError: one of them is none.
    """
    wrong = [one for one in generators if not is_generator(one)]
    if wrong:
        raise ArgumentError(
            "generators= takes random generators",
            expected="random.Random, np.random.Generator, np.random.RandomState,"
            " tf.random.Generator or keras.random.SeedGenerator",
            found=value_text(wrong[0]),
        )
    return tuple(generators)


def state_of(generator: Any) -> Any:
    """Return the state of a generator as plain values."""
    if isinstance(generator, random.Random):
        return _words_of(generator.getstate())
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    return generator.state.numpy()


def set_state(generator: Any, state: Any) -> None:
    """Set what `state_of` has returned."""
    if isinstance(generator, random.Random):
        generator.setstate(_state_from(state))
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(state)
    else:
        generator.state.assign(state)


def _words_of(state: Any) -> tuple[Any, ...]:
    """Return a state of Python's `random` with its 625 words as one array."""
    version, words, *rest = state
    return version, np.array(words, np.uint32), *rest


def _state_from(state: Any) -> tuple[Any, ...]:
    """Return the state that `_words_of` was given."""
    version, words, *rest = state
    return version, tuple(map(int, words)), *rest
