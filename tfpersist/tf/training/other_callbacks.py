"""Capture and restore the state of the other callbacks of a `fit`: attributes that change."""

from __future__ import annotations

import functools
import hashlib
import types
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import UnsupportedError
from tfpersist.matching.plans.resume import Fact
from tfpersist.tf.training import seeds
from tfpersist.tf.training.encoded import encode

# What Keras sets itself, anew for each `fit`.
_OF_KERAS = frozenset({"model", "_model", "params", "validation_data", "_chief_worker_only"})
# Callbacks that only tell what happens; they change nothing in the training.
_TELLERS = frozenset({"History", "ProgbarLogger", "TensorBoard", "CSVLogger"})
_CODE = (
    *(types.FunctionType, types.MethodType, types.ModuleType, types.BuiltinFunctionType, type),
    functools.partial,
)
_COMPARISONS = ("less", "greater")
# The class of a callback, what it monitors, and how many like it are before it. So two callbacks
# that stop at different metrics may be given in another order.
_Name = tuple[str, str, int]


@attrs.define(eq=False)
class OtherCallbacks:
    """The callbacks beside ours, and what their attributes were when the training began.

    An attribute is state if it has changed since then. The others are settings, which the program
    gives them anew, and may have changed.

    Args:
        before: those that are called before ours.
        after: those that are called after ours.
    """

    before: Sequence[Any] = ()
    after: Sequence[Any] = ()
    _first: dict[tuple[_Name, str], object] = attrs.field(init=False, factory=dict)
    # The attributes that the last capture could not look into, with their types.
    _closed: list[tuple[str, str]] = attrs.field(init=False, factory=list)

    @classmethod
    def beside(cls, callback: Any, callbacks: Sequence[Any]) -> OtherCallbacks:
        """Return the callbacks that have state, of a list with ours in it."""
        at = next(n for n, one in enumerate(callbacks) if one is callback)
        parts = callbacks[:at], callbacks[at + 1 :]
        return cls(*([one for one in part if type(one).__name__ not in _TELLERS] for part in parts))

    def __attrs_post_init__(self) -> None:
        for name, callback in self.named.items():
            for attribute, value in _attributes(callback):
                self._first[name, attribute] = _mark(value)

    @property
    def named(self) -> Mapping[_Name, Any]:
        """The callbacks by their names."""
        counts: Counter[tuple[str, str]] = Counter()
        found = {}
        for callback in (*self.before, *self.after):
            kind = type(callback).__name__, str(getattr(callback, "monitor", ""))
            found[(*kind, counts[kind])] = callback
            counts[kind] += 1
        return found

    def capture(self) -> Mapping[_Name, Mapping[str, Any]]:
        """Return those attributes of each callback that have changed."""
        found: dict[_Name, dict[str, Any]] = {}
        self._closed = []
        for name, callback in self.named.items():
            found[name] = {}
            for attribute, value in _attributes(callback):
                mark = _mark(value)
                if mark is None and not isinstance(value, _CODE):
                    self._closed.append((f"{name[0]}.{attribute}", type(value).__name__))
                elif mark not in (None, self._first.get((name, attribute))):
                    found[name][attribute] = _plain(value)
        return found

    @property
    def named_after(self) -> Mapping[_Name, Any]:
        """Those that are called after ours, by their names."""
        after = {id(one) for one in self.after}
        return {name: one for name, one in self.named.items() if id(one) in after}

    def restore(
        self,
        state: Mapping[_Name, Mapping[str, Any]],
        *,
        after: bool = True,
        only: _Name | None = None,
    ) -> None:
        """Set the attributes that had changed.

        Args:
            state: what `capture` has returned.
            after: whether those that are called after ours are set too.
            only: the name of the only one to set; None for all.
        """
        left_out = {} if after else self.named_after
        for name, callback in self.named.items():
            if name not in left_out and only in (None, name):
                for attribute, plain in state.get(name, {}).items():
                    _set(callback, attribute, plain)

    def differences(self, state: Mapping[_Name, Mapping[str, Any]]) -> Sequence[Fact]:
        """Return which callbacks there are only now, and which there were only at the save."""
        name = "the state of a callback"
        gone = [one for one, kept in state.items() if kept and one not in self.named]
        new = [one for one in self.named if one not in state]
        return [
            *(Fact("not covered", name, _shown(one), "the training has none now") for one in gone),
            *(
                Fact("not covered", name, _shown(one), "the training had none at the save")
                for one in new
            ),
        ]

    def facts(self) -> Sequence[Fact]:
        """Return what the last capture covers, and the attributes that nobody can look into."""
        found = []
        if self.named:
            where = ", ".join(map(_shown, self.named))
            found.append(Fact("covered", "the state of other callbacks", where))
        for where, kind in self._closed:
            found.append(
                Fact(
                    "not covered",
                    "an attribute of a callback",
                    where,
                    f"a {kind} cannot be written as plain values",
                    "Keep what changes in numbers, texts, arrays, and lists and dicts of them.",
                )
            )
        return found


def _shown(name: _Name) -> str:
    kind, monitor, _ = name
    return f"{kind} of {monitor}" if monitor else kind


def _attributes(callback: Any) -> Iterator[tuple[str, Any]]:
    is_of_keras = type(callback).__module__.partition(".")[0] in ("keras", "tf_keras")
    for name, value in vars(callback).items():
        is_setting = is_of_keras and callable(value) and not _comparison(value)
        if name not in _OF_KERAS and not is_setting:
            yield name, value


def _plain(value: Any) -> Mapping[str, Any]:
    """Return a value as plain values, and how to make it of them again."""
    if seeds.is_generator(value):
        return {"generator": seeds.state_of(value)}
    comparison = _comparison(value)
    return {"comparison": comparison} if comparison else {"value": value}


def _comparison(value: Any) -> tuple[str, str] | None:
    """Return the module and the name of a function by which Keras compares metrics."""
    import keras

    for module in (keras.ops, np):
        for name in _COMPARISONS:
            if value is getattr(module, name):
                return module.__name__, name
    return None


def _set(callback: Any, attribute: str, plain: Mapping[str, Any]) -> None:
    if "generator" in plain:
        seeds.set_state(getattr(callback, attribute), plain["generator"])
    elif "comparison" in plain:
        import keras

        module, name = plain["comparison"]
        if name in _COMPARISONS:
            setattr(callback, attribute, getattr(np if module == "numpy" else keras.ops, name))
    else:
        setattr(callback, attribute, plain["value"])


def _mark(value: Any) -> object:
    """Return what changes when a value does; None for a value that cannot be looked into."""
    try:
        return hashlib.blake2b(encode(_plain(value))).digest()
    except UnsupportedError:
        return None
