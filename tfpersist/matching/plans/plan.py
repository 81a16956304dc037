"""A restore as a list of pairs that a user reads, edits, stores as JSON and gives back. Pure."""

from __future__ import annotations

import fnmatch
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from tfpersist.errors import (
    SelectionError,
    counted,
    did_you_mean,
    printable,
    printable_lines,
    value_text,
)
from tfpersist.matching.recipes.recipe import Recipe

_VERSION = 1
# What a pair says before anything is decided.
_BLANK: dict[str, Any] = {
    "key": None,
    "recipe": None,
    "keep": False,
    "proposed": False,
    "reason": "",
    "alternatives": (),
}
_STATES = ("proposed", "kept", "not decided")


@attrs.frozen
class Pair:
    """A variable, and the tensor of the checkpoint that it gets.

    Args:
        variable: the variable's name.
        key: the key of the tensor; None if the variable stays as it is, nothing is decided, or it
            has a recipe.
        recipe: how the value is made from tensors of another form.
        keep: whether the variable stays as it is.
        proposed: whether the evidence for `key` is too weak for a restore without a plan.
        reason: by which evidence this is its tensor; empty if the names are the same.
        alternatives: the keys that fit equally, where nothing is decided.
        expected: the variable's data type and shape, for readers.
        path: the attributes that lead to the variable, as in the keys of `tf.train.Checkpoint`.
            Names that Keras gives by itself, such as "dense_3", change from process to process, and
            paths do not. Empty if the target has names only.

    Example:
        >>> print(Pair("net/w", "model/w", reason="same name"))
        net/w <- model/w (same name)
    """

    variable: str
    key: str | None = None
    recipe: Recipe | None = None
    keep: bool = False
    proposed: bool = False
    reason: str = ""
    alternatives: tuple[str, ...] = ()
    expected: str = ""
    path: str = ""

    def __str__(self) -> str:
        variable, source, reason = _cells(self)
        return f"{variable} {source}{f' ({reason})' if reason else ''}"


@attrs.frozen
class Plan:
    """The tensor that each variable gets, as `ModelStore.restore(plan=...)` takes it.

    `RestoreReport.plan` and the command `tfpersist plan` make one. With the keys that are proposed,
    it says what the evidence supports; a restore with it carries that out. The methods `take` and
    `keep` return a changed copy.

    Args:
        pairs: one for each variable.
        checkpoint: the path or URL of the checkpoint that it was made for. It fits others with the
            same keys too.

    Example:
        >>> import numpy as np, tfpersist as tfp
        >>> store = tfp.ModelStore("memory://doc/plan")
        >>> _ = store.save({"old/w": np.float32([1, 2]), "old/b": np.float32(3)})
        >>> model = {"new/w": np.zeros(2, np.float32), "scale": np.ones((), np.float32)}
        >>> plan = store.restore(model, dry_run=True).plan
        >>> plan = plan.take("new/w", "old/w").keep("scale")
        >>> print(plan)
        memory://doc/plan/model.ckpt: 2 variables, 1 kept
          new/w  <- old/w  as you said
          scale  kept
        >>> store.restore(model, plan=Plan.from_json(plan.to_json())).restored
        ('new/w',)
    """

    pairs: tuple[Pair, ...]
    checkpoint: str = ""

    def __getitem__(self, variable: str) -> Pair:
        """Return the pair of a variable, by its name or path.

        Raises:
            SelectionError: the plan has no such variable, or several.
        """
        return self.pairs[self._place(variable)]

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def take(self, variable: str, source: str | Recipe) -> Plan:
        """Return a plan in which a variable gets a tensor, or what a recipe makes of some.

        Args:
            variable: the name or path of the variable.
            source: a key of the checkpoint, or a recipe. Several variables may get the same tensor.

        Returns:
            A changed copy.

        Raises:
            SelectionError: the plan has no such variable, or several; or the source is something
                else.

        Example:
            >>> print(Plan((Pair("w"),)).take("w", "old/w")["w"])
            w <- old/w (as you said)
        """
        if not (isinstance(source, Recipe) or (isinstance(source, str) and source)):
            raise SelectionError(
                "take() got no source",
                expected="the key of a tensor in the checkpoint, or a Recipe",
                found=value_text(source),
            )
        is_key = isinstance(source, str)
        said = _BLANK | {"key" if is_key else "recipe": source, "reason": "as you said"}
        return self._with({self._place(variable)}, said)

    def keep(self, *variables: str) -> Plan:
        """Return a plan in which some variables stay as they are.

        Args:
            variables: names, paths, and patterns such as "head/*".

        Returns:
            A changed copy.

        Raises:
            SelectionError: a name or pattern matches no variable of the plan.

        Example:
            >>> plan = Plan((Pair("head/w", "w"), Pair("head/b", "b"))).keep("head/*")
            >>> [pair.keep for pair in plan]
            [True, True]
        """
        places: set[int] = set()
        for choice in variables:
            exact = [
                at for at, pair in enumerate(self.pairs) if choice in (pair.variable, pair.path)
            ]
            found = exact or [
                at
                for at, pair in enumerate(self.pairs)
                if fnmatch.fnmatchcase(pair.variable, choice)
            ]
            if not found:
                raise self._unknown(choice)
            places.update(found)
        return self._with(places, _BLANK | {"keep": True})

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as plain dicts, lists and strings; what is empty is left out.

        Returns:
            `version`, `checkpoint`, and a dict for each pair.

        Example:
            >>> Plan((Pair("w", "old/w", reason="same name"),)).as_dict()["pairs"]
            [{'variable': 'w', 'key': 'old/w', 'reason': 'same name'}]
        """
        pairs = list(map(_plain, self.pairs))
        return {"version": _VERSION, "checkpoint": self.checkpoint, "pairs": pairs}

    def to_json(self) -> str:
        """Return the plan as JSON, one line for each pair.

        Returns:
            The text.

        Example:
            >>> Plan.from_json(Plan((Pair("w", "old/w"),)).to_json())["w"].key
            'old/w'
        """
        values = self.as_dict()
        lines = list(map(_json_line, values.pop("pairs")))
        head = _json_line(values)[:-1]
        body = ",\n  ".join(lines)
        return f'{head}, "pairs": [\n  {body}\n]}}\n' if lines else f'{head}, "pairs": []}}\n'

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """Return the plan that `to_json` has written, or that you wrote in the same form.

        Args:
            text: the JSON. A pair needs a `variable`, and a `key`, a `recipe` or
                `"keep": true`.

        Returns:
            The plan.

        Raises:
            SelectionError: it is no JSON, or it says something that a plan does not have. The
                message names the place.

        Example:
            >>> Plan.from_json('{"pairs": [{"variable": "w", "key": "old/w"}]}')["w"].key
            'old/w'
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError, TypeError) as error:
            raise SelectionError(
                "the plan is not JSON",
                expected='{"pairs": [{"variable": ..., "key": ...}, ...]}',
                found=str(error),
            ) from error
        values = _checked(values, "plan", {"version": int, "checkpoint": str, "pairs": list})
        if values.get("version", _VERSION) != _VERSION:
            raise _bad("version", str(_VERSION), values["version"])
        pairs = tuple(_pair(one, f"pairs[{at}]") for at, one in enumerate(values.get("pairs", ())))
        return cls(pairs, values.get("checkpoint", ""))

    def __str__(self) -> str:
        counts = Counter(map(_state, self.pairs))
        parts = [counted(len(self.pairs), "variable")]
        parts += [f"{counts[state]} {state}" for state in _STATES if counts[state]]
        rows = [_cells(pair) for pair in self.pairs]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [f"{printable(self.checkpoint)}: " * bool(self.checkpoint) + ", ".join(parts)]
        for row in rows:
            padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            lines.append("  " + "  ".join(padded).rstrip())
        return printable_lines(*lines)

    def _place(self, variable: str) -> int:
        places = [at for at, pair in enumerate(self.pairs) if pair.variable == variable]
        places = places or [at for at, pair in enumerate(self.pairs) if pair.path == variable]
        if len(places) > 1:
            raise SelectionError(
                f"the plan has {len(places)} variables named {variable!r}",
                advice=f"Say which one by its path: {self.pairs[places[0]].path!r} is the first.",
            )
        if not places:
            raise self._unknown(variable)
        return places[0]

    def _unknown(self, variable: object) -> SelectionError:
        names = [pair.variable for pair in self.pairs]
        return SelectionError(
            f"the plan has no variable {value_text(variable)}",
            advice=did_you_mean(str(variable), names),
        )

    def _with(self, places: set[int], changes: Mapping[str, Any]) -> Plan:
        pairs = tuple(
            attrs.evolve(pair, **changes) if at in places else pair
            for at, pair in enumerate(self.pairs)
        )
        return attrs.evolve(self, pairs=pairs)


def _state(pair: Pair) -> str:
    if pair.keep:
        return "kept"
    if pair.key is None and pair.recipe is None:
        return "not decided"
    return "proposed" if pair.proposed else ""


def _cells(pair: Pair) -> tuple[str, str, str]:
    state = _state(pair)
    source = f"<- {pair.recipe or pair.key}" if pair.recipe or pair.key else state
    notes = ["proposed"] if state == "proposed" else []
    notes += [pair.reason] if pair.reason else []
    notes += [f"may be {' or '.join(pair.alternatives)}"] if pair.alternatives else []
    return printable(pair.variable), printable(source), printable(": ".join(notes))


def _json_line(value: object) -> str:
    """Return a value as JSON that a person can read, and that steers no terminal."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)


def _plain(pair: Pair) -> dict[str, Any]:
    values = attrs.asdict(pair, recurse=False)
    shown = {name: value for name, value in values.items() if value}
    if pair.recipe:
        shown["recipe"] = pair.recipe.as_json()
    if pair.alternatives:
        shown["alternatives"] = list(pair.alternatives)
    # An editor sees where to write the key.
    return (
        shown if pair.recipe or pair.keep else {"variable": pair.variable, "key": pair.key, **shown}
    )


_PAIR = {
    "variable": str,
    "key": (str, type(None)),
    "recipe": dict,
    "keep": bool,
    "proposed": bool,
    "reason": str,
    "alternatives": list,
    "expected": str,
    "path": str,
}


def _pair(values: object, where: str) -> Pair:
    fields = _checked(values, where, _PAIR)
    if not fields.get("variable"):
        raise _bad(f"{where}.variable", "the name of a variable", fields.get("variable"))
    said = [name for name in ("key", "recipe", "keep") if fields.get(name)]
    if len(said) > 1:
        raise _bad(where, "a key, a recipe or keep", " and ".join(said))
    others = fields.get("alternatives", [])
    if not all(isinstance(other, str) for other in others):
        raise _bad(f"{where}.alternatives", "a list of keys", others)
    recipe = _recipe(fields["recipe"], f"{where}.recipe") if "recipe" in fields else None
    return Pair(**{**fields, "alternatives": tuple(others), "recipe": recipe})


def _recipe(values: object, where: str) -> Recipe:
    try:
        return Recipe.from_json(values)
    except SelectionError as error:
        raise SelectionError(
            error.problem,
            where=f"{where}, {error.where}" if error.where else where,
            expected=error.expected,
            found=error.found,
        ) from error


def _checked(values: object, where: str, types: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise _bad(where, "an object {...}", values)
    for name, value in values.items():
        if name not in types:
            raise _bad(where, f"the fields {', '.join(types)}", name)
        if not isinstance(value, types[name]) or (isinstance(value, bool) and types[name] is int):
            kinds = types[name] if isinstance(types[name], tuple) else (types[name],)
            names = " or ".join({"NoneType": "null"}.get(k.__name__, k.__name__) for k in kinds)
            raise _bad(f"{where}.{name}", names, value)
    return values


def _bad(where: str, expected: str, found: object) -> SelectionError:
    return SelectionError(
        "the plan cannot be read", where=where, expected=expected, found=value_text(found)
    )
