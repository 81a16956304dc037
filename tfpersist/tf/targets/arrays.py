"""Save and restore arrays and eager variables by name, without a graph or an object."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import SelectionError, TargetError, value_text
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.dtypes import by_numpy
from tfpersist.formats.tensors import TensorSpec, payload_of, spec_of
from tfpersist.matching.pairing.by_key import keyed
from tfpersist.matching.pairing.saved import Saved
from tfpersist.matching.plans.entry import Entry
from tfpersist.tf.targets.modes import eagerly
from tfpersist.tf.targets.target import Captured, Target

_SCALARS = (bool, int, float, complex, str, bytes, np.generic)


def adapt_arrays(target: object) -> Target | None:
    """Adapt a dict or list of nothing but arrays and variables; return None for anything else."""
    if isinstance(target, Mapping):
        pairs = list(target.items())
    elif isinstance(target, (list, tuple)):
        pairs = [(None, value) for value in target]
    else:
        return None
    if not pairs or not all(_is_array(value) or _is_variable(value) for _, value in pairs):
        return None
    return NamedTarget(tuple(_named(pairs)))


def error_about(target: object) -> TargetError | None:
    """Return an error that says what is wrong with a dict or a variable; None for other objects.

    Args:
        target: an object that no adapter takes.
    """
    if _is_variable(target):
        return TargetError(
            "a single variable has no name to save it under",
            advice='Pass a dict: {"name": variable}.',
        )
    if isinstance(target, (Mapping, list, tuple)) and not target:
        return TargetError(
            f"an empty {type(target).__name__} cannot be saved or restored",
            expected="a dict {name: variable or array}",
        )
    for name, value in target.items() if isinstance(target, Mapping) else ():
        if not (_is_array(value) or _is_variable(value)):
            return TargetError(
                f"the value of {name!r} cannot be saved or restored",
                expected="an array, a number, a string or a variable",
                found=value_text(value),
                advice=_advice(str(name), value),
            )
    return None


def _advice(name: str, value: object) -> str:
    if value is None:
        return "Leave the value out."
    if isinstance(value, Mapping):
        inner = next((f"{name}/{key}" for key in value), f"{name}/...")
        return f"Put everything into one dict, under names such as {inner!r}."
    return f"If it holds numbers, pass {{{name!r}: numpy.asarray(value)}}."


@attrs.frozen
class NamedTarget:
    """Arrays and variables by name.

    Args:
        members: the names, and the array or variable of each.
    """

    members: tuple[tuple[str, Any], ...]

    def entries(self) -> Sequence[Entry]:
        """Return the members."""
        return [Entry(name, name, _spec(value), value) for name, value in self.members]

    def entries_for(self, saved: Saved) -> Sequence[Entry]:
        """Return the members, under the keys of the checkpoint that their names have."""
        return keyed(self.entries(), saved)

    def capture(self, entries: Sequence[Entry]) -> Captured:
        """Return the present values."""
        items = [
            Item(entry.key, payload_of(value, entry.spec.dtype))
            for entry, value in zip(entries, self.read(entries), strict=True)
        ]
        arrays = frozenset(entry.key for entry in entries if _is_array(entry.ref))
        return Captured(items, borrowed=arrays)

    def capture_all(self) -> None:
        """Return None: `capture` is the only way."""

    def read(self, entries: Sequence[Entry]) -> Sequence[np.ndarray[Any, Any]]:
        """Return the present values."""
        return [_read(entry.ref) for entry in entries]

    def assign(self, values: Sequence[tuple[Entry, np.ndarray[Any, Any]]]) -> None:
        """Assign to the variables, and fill the arrays in place."""
        for entry, _ in values:
            member: Any = entry.ref
            if _is_array(member) and not (
                isinstance(member, np.ndarray) and member.flags.writeable
            ):
                raise TargetError(
                    f"{entry.name!r} is a {type(member).__name__} that cannot be filled in place",
                    expected="a variable or a writable numpy.ndarray",
                    advice="Read values with tfpersist.Checkpoint(path)[name] instead.",
                )
        prepared = [(entry.ref, _assignable(entry.ref, value)) for entry, value in values]
        for member, value in prepared:
            if isinstance(member, np.ndarray):
                member[...] = value
            else:
                eagerly(functools.partial(member.assign, value))

    def averages_of(
        self, averages: object, entries: Sequence[Entry]
    ) -> Mapping[str, Sequence[str]]:
        """Return the names of the shadow variables, which end in a suffix."""
        suffix = averages if isinstance(averages, str) else getattr(averages, "name", None)
        if not isinstance(suffix, str) or hasattr(averages, "apply_gradients"):
            raise SelectionError(
                "averages() cannot use this argument",
                expected="a tf.train.ExponentialMovingAverage, or the last part of the names of"
                " its shadow variables, such as 'ExponentialMovingAverage'",
                found=value_text(averages),
            )
        return {entry.key: (f"{entry.key}/{suffix.strip('/')}",) for entry in entries}

    def value_of(self, tensor: object) -> None:
        """Return None: there is no session."""

    def global_step(self) -> None:
        """Return None: there is no graph that counts steps."""


def _named(pairs: Iterable[tuple[object, Any]]) -> Iterable[tuple[str, Any]]:
    for name, value in pairs:
        if name is not None and (not isinstance(name, str) or not name):
            raise TargetError(
                "the keys of a dict of arrays or variables must be names",
                expected="a str that is not empty",
                found=repr(name),
            )
        if _is_array(value):
            if name is None:
                raise TargetError(
                    "the arrays of a list have no names to save them under",
                    advice="Pass a dict {name: array}.",
                )
            yield str(name), value
            continue
        from tfpersist.tf.internals import replicas, trackables

        replicas.refuse_unknown(trackables.variable_in(value), str(name or value.name))
        if trackables.is_symbolic(value):
            raise TargetError(
                f"the variable {value.name!r} belongs to a graph and has a value only in a session",
                advice="Pass the session, and the variables to only():"
                " store.only({name: variable}).save(session).",
            )
        yield str(name or trackables.path_of(value) or value.name.removesuffix(":0")), value


def _is_array(value: object) -> bool:
    return isinstance(value, (np.ndarray, *_SCALARS))


def _is_variable(value: object) -> bool:
    if "tensorflow" not in sys.modules:
        return False
    from tfpersist.tf.internals import trackables

    return trackables.is_variable(value)


def _spec(value: Any) -> TensorSpec:
    if _is_array(value):
        return spec_of(np.asarray(value))
    import tensorflow as tf

    shape = tf.TensorShape(value.shape)
    dtype = tf.dtypes.as_dtype(value.dtype).base_dtype.name
    return TensorSpec(dtype, None if shape.rank is None else tuple(shape.as_list()))


def _read(value: Any) -> np.ndarray[Any, Any]:
    if _is_array(value):
        array = np.asarray(value)
    else:
        from tfpersist.tf.internals import eager, replicas, trackables

        variable = trackables.variable_in(value)
        array = np.asarray(eagerly(lambda: eager.view(replicas.read(variable))))
    if spec_of(array).dtype == "variant":
        return array
    if by_numpy(array.dtype).name == "string":
        return _bytes(array)
    plain = array.view(array.dtype[0]) if array.dtype.names else array
    return plain.astype(plain.dtype.newbyteorder("="), order="C", copy=False)


def _assignable(member: Any, value: np.ndarray[Any, Any]) -> Any:
    """Return a value as the member takes it; this may fail, and assigns nothing."""
    if _is_array(member):
        return value
    from tfpersist.tf.internals import dtensors

    return dtensors.laid_out(member, value) if dtensors.is_dtensor(member) else value


def _bytes(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    encoded = np.empty(array.shape, object)
    for index, element in np.ndenumerate(array):
        if not isinstance(element, (str, bytes)):
            raise TargetError(
                "an element of an array of objects is not a string",
                expected="str or bytes",
                found=f"a {type(element).__qualname__} at {index}",
            )
        encoded[index] = element.encode() if isinstance(element, str) else bytes(element)
    return encoded
