"""Make the value of a variable from tensors of a checkpoint that have another form. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import SelectionError, did_you_mean, printable, value_text
from tfpersist.formats.tensors import Array, TensorSpec, spec_of
from tfpersist.matching.recipes.recipe_steps import KINDS, Join, Step

# A recipe may come from a stranger. These are more than any model needs.
_MOST_KEYS = 4096
_MOST_STEPS = 32
_MOST_GROWTH = 64


def _checked_keys(_recipe: object, _field: object, keys: object) -> None:
    fits = (
        isinstance(keys, tuple)
        and 0 < len(keys) <= _MOST_KEYS
        and all(isinstance(key, str) for key in keys)
    )
    if not fits:
        raise _wrong("a recipe has wrong keys", f"1 to {_MOST_KEYS} str", value_text(keys))


def _checked_steps(_recipe: object, _field: object, steps: object) -> None:
    fits = (
        isinstance(steps, tuple)
        and len(steps) <= _MOST_STEPS
        and all(type(step) in KINDS.values() for step in steps)
    )
    if not fits:
        raise _wrong("a recipe has wrong steps", f"at most {_MOST_STEPS}", value_text(steps))


@attrs.frozen
class Recipe:
    """The steps that make the value of a variable from one or several tensors.

    Args:
        keys: the keys of the tensors.
        steps: what is done to them, in order. `Concat` and `Stack` make one tensor of all; every
            other step changes each tensor that there is.

    Raises:
        SelectionError: there is no key, or there are too many keys or steps.

    Example:
        >>> from tfpersist.matching.recipes.recipe_steps import Slice, Transpose
        >>> recipe = Recipe(("cell/kernel",), (Slice(0, 2), Transpose((1, 0))))
        >>> print(recipe.spec_of({"cell/kernel": TensorSpec("float32", (5, 4))}))
        float32[4,3]
        >>> print(recipe)
        cell/kernel: slice(axis=0, start=2), transpose(axes=[1, 0])
    """

    keys: tuple[str, ...] = attrs.field(validator=_checked_keys)
    steps: tuple[Step | Join, ...] = attrs.field(default=(), validator=_checked_steps)

    def spec_of(self, specs: Mapping[str, TensorSpec]) -> TensorSpec:
        """Return the spec of the value.

        Args:
            specs: the specs of the tensors of the checkpoint, by key.

        Returns:
            Its data type and shape.

        Raises:
            SelectionError: a tensor is missing, or a step does not fit.

        Example:
            >>> print(Recipe(("w",)).spec_of({"w": TensorSpec("float32", (2, 3))}))
            float32[2,3]
        """
        for key in self.keys:
            if key not in specs:
                raise SelectionError(
                    f"the checkpoint has no tensor {key!r}, of which a value is made",
                    where=str(self),
                    advice=did_you_mean(key, specs),
                )
        return self._specs([specs[key] for key in self.keys])[-1][0]

    def apply(self, arrays: Sequence[Array]) -> Array:
        """Return the value.

        Args:
            arrays: the tensors, in the order of `keys`.

        Returns:
            A C-contiguous array.

        Raises:
            SelectionError: a step does not fit.

        Example:
            >>> from tfpersist.matching.recipes.recipe_steps import Concat
            >>> Recipe(("a", "b"), (Concat(0),)).apply([np.array([1]), np.array([2, 3])])
            array([1, 2, 3])
        """
        if len(arrays) != len(self.keys):
            raise _wrong("another number of tensors is needed", len(self.keys), len(arrays))
        self._specs(list(map(spec_of, arrays)))
        present = list(arrays)
        for step in self.steps:
            if isinstance(step, Join):
                present = [step.apply(present)]
            else:
                present = list(map(step.apply, present))
        # This keeps a scalar a scalar, and `ascontiguousarray` does not.
        return np.asarray(present[0], order="C")

    def inverses(self, key: str, specs: Mapping[str, TensorSpec]) -> tuple[Recipe, ...] | None:
        """Return for each key the recipe that makes its tensor from the value.

        Args:
            key: the key under which the value is.
            specs: the specs of the tensors of the checkpoint, by key.

        Returns:
            The recipes, in the order of `keys`; None if a step loses something.

        Raises:
            SelectionError: a step does not fit.

        Example:
            >>> from tfpersist.matching.recipes.recipe_steps import Concat
            >>> specs = dict.fromkeys("ab", TensorSpec("float32", (2,)))
            >>> print(*Recipe(("a", "b"), (Concat(0),)).inverses("ab", specs), sep="\\n")
            ab: slice(axis=0, start=0, stop=2)
            ab: slice(axis=0, start=2, stop=4)
        """
        self.spec_of(specs)
        ways: list[list[Step]] = [[] for _ in self.keys]
        stages = self._specs([specs[key] for key in self.keys])
        for step, before in zip(self.steps, stages, strict=False):
            backs: list[list[Step]] = []
            if isinstance(step, Join):
                backs = step.inverses(before)
            else:
                for one in map(step.inverse, before):
                    if one is None:
                        return None
                    backs.append([one])
            # After a join, the one tensor there is holds those of all keys.
            for way, back in zip(ways, backs * (len(ways) // len(backs)), strict=True):
                way[:0] = back
        return tuple(Recipe((key,), tuple(way)) for way in ways)

    def as_json(self) -> dict[str, Any]:
        """Return the recipe as dicts, lists, strings and numbers.

        Returns:
            Plain values, as JSON has them.

        Example:
            >>> from tfpersist.matching.recipes.recipe_steps import Concat
            >>> Recipe(("a", "b"), (Concat(0),)).as_json()
            {'from': ['a', 'b'], 'steps': [{'do': 'concat', 'axis': 0}]}
        """
        return {"from": list(self.keys), "steps": [_step_as_json(step) for step in self.steps]}

    @classmethod
    def from_json(cls, value: object) -> Recipe:
        """Return the recipe that `as_json` returned as `value`.

        Args:
            value: dicts, lists, strings and numbers, as a JSON file holds them.

        Returns:
            The recipe.

        Raises:
            SelectionError: it is no recipe.

        Example:
            >>> print(Recipe.from_json({"from": ["w"], "steps": [{"do": "sum", "axis": 0}]}))
            w: sum(axis=0)
        """
        if not isinstance(value, Mapping) or set(value) != {"from", "steps"}:
            raise _wrong("this is no recipe", "{'from': [...], 'steps': [...]}", _keys_in(value))
        keys, steps = value["from"], value["steps"]
        for name, items in (("from", keys), ("steps", steps)):
            if not isinstance(items, list):
                raise _wrong("this is no recipe", f"a list under {name!r}", value_text(items))
        if len(steps) > _MOST_STEPS:
            raise _wrong("a recipe has too many steps", f"at most {_MOST_STEPS}", len(steps))
        found = []
        for at, step in enumerate(steps):
            try:
                found.append(_step_of(step))
            except SelectionError as error:
                raise _placed(error, f"step {at + 1} of a recipe") from None
        return cls(tuple(keys), tuple(found))

    def _specs(self, specs: list[TensorSpec]) -> list[list[TensorSpec]]:
        """Return the specs before each step, and last that of the value."""
        most = _MOST_GROWTH * sum(math.prod(spec.known_shape) for spec in specs)
        found = [specs]
        for at, step in enumerate(self.steps):
            try:
                if isinstance(step, Join):
                    found.append([step.spec(found[-1])])
                else:
                    found.append(list(map(step.spec, found[-1])))
                size = sum(math.prod(spec.known_shape) for spec in found[-1])
                if size > most:
                    raise _wrong("the result is far larger than its tensors", f"<= {most}", size)
            except SelectionError as error:
                raise _placed(error, f"{self}: step {at + 1}, {step.name}") from None
        if len(found[-1]) > 1:
            raise _wrong(
                f"{self}: the recipe leaves several tensors",
                "a step that joins them, concat or stack",
                f"{len(found[-1])} tensors",
            )
        return found

    def __str__(self) -> str:
        keys = ", ".join(self.keys[:4]) + (", ..." if len(self.keys) > 4 else "")
        return printable(f"{keys}: {', '.join(map(_step_text, self.steps)) or 'as it is'}")


def _step_as_json(step: Step | Join) -> dict[str, Any]:
    values = attrs.asdict(step, filter=lambda field, value: value is not None)
    plain = {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
    return {"do": step.name, **plain}


def _step_text(step: Step | Join) -> str:
    values = _step_as_json(step)
    name = values.pop("do")
    return f"{name}({', '.join(f'{key}={value}' for key, value in values.items())})"


def _step_of(value: object) -> Step | Join:
    if not isinstance(value, Mapping):
        raise _wrong("this is no step", "{'do': name, ...}", value_text(value))
    name = value.get("do")
    step_class = KINDS.get(name) if isinstance(name, str) else None
    if step_class is None:
        raise _wrong("the step is not known", " or ".join(KINDS), value_text(name))
    fields = attrs.fields(step_class)
    known = {field.name for field in fields}
    needed = {field.name for field in fields if field.default is attrs.NOTHING}
    arguments = {key: item for key, item in value.items() if key != "do"}
    if not needed <= arguments.keys() <= known:
        raise _wrong(f"{name} has other arguments", ", ".join(sorted(known)), _keys_in(arguments))
    return step_class(**arguments)


def _keys_in(value: object) -> str:
    if not isinstance(value, Mapping):
        return value_text(value)
    return ", ".join(sorted(map(value_text, list(value)[:8]))) or "nothing"


def _wrong(problem: str, expected: object, found: object) -> SelectionError:
    return SelectionError(problem, expected=expected, found=found)


def _placed(error: SelectionError, where: str) -> SelectionError:
    return SelectionError(error.problem, where=where, expected=error.expected, found=error.found)
