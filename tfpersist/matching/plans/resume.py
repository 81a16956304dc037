"""Describe the state of a training in a checkpoint: as text, a dict and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import attrs

from tfpersist.errors import counted, printable

Coverage = Literal["covered", "replayed", "not covered"]
_COVERAGES = get_args(Coverage)


@attrs.frozen
class Fact:
    """A piece of state, and whether it is restored when a training goes on.

    Args:
        coverage: "covered": it is in the checkpoint. "replayed": it is not, and is made again from
            the same seeds. "not covered": it starts anew, so that the bits may differ.
        what: the piece of state.
        where: the objects that have it.
        why: why it is not in the checkpoint; empty if it is.
        advice: what to do about it; empty if there is nothing to do.

    Example:
        >>> print(Fact("covered", "seeds of Keras layers", "2 generators"))
        covered  seeds of Keras layers: 2 generators
    """

    coverage: Coverage
    what: str
    where: str = ""
    why: str = ""
    advice: str = ""

    def __str__(self) -> str:
        where = f": {self.where}" if self.where else ""
        text = f"{self.coverage}  {self.what}{where}"
        text += f"; {self.why}" if self.why else ""
        text += f". {self.advice}" if self.advice else ""
        return printable(text)


@attrs.frozen
class Resume:
    """The state of a training in a checkpoint, and what is different now.

    Args:
        facts: what is covered, replayed and not covered.
        environment: what the bits also depend on, as it was at the save.
        changed: what of it is different now; only in the report of a restore.

    Example:
        >>> resume = Resume((Fact("replayed", "data"), Fact("covered", "seeds")))
        >>> len(resume.covered), len(resume.replayed), len(resume.not_covered)
        (1, 1, 0)
        >>> print(resume)
        to resume: 1 covered, 1 replayed, 0 not covered
          covered  seeds
          replayed  data
    """

    facts: Sequence[Fact] = ()
    environment: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    changed: Sequence[str] = ()

    @property
    def covered(self) -> tuple[Fact, ...]:
        """The state that the checkpoint carries."""
        return self._of("covered")

    @property
    def replayed(self) -> tuple[Fact, ...]:
        """The state that is computed again from the same seeds."""
        return self._of("replayed")

    @property
    def not_covered(self) -> tuple[Fact, ...]:
        """The state that starts anew."""
        return self._of("not covered")

    def without(self, keys: Sequence[str]) -> Resume:
        """Return the same with a fact about tensors that nothing takes.

        Args:
            keys: the keys of the tensors.

        Returns:
            The same, with one fact more if there are any.

        Example:
            >>> print(Resume().without(["optimizer/m"]).not_covered[0])
            not covered  tensors of the checkpoint that nothing takes now: optimizer/m
        """
        if not keys:
            return self
        where = ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
        fact = Fact("not covered", "tensors of the checkpoint that nothing takes now", where)
        return attrs.evolve(self, facts=(*self.facts, fact))

    def now(self, environment: Mapping[str, str]) -> Resume:
        """Return the same with the differences between the environment of the save and another.

        Args:
            environment: the other environment.

        Returns:
            The same, with `changed`.

        Example:
            >>> Resume(environment={"numpy": "1.26"}).now({"numpy": "2.0"}).changed
            ('numpy was 1.26 and is 2.0',)
        """
        changed = [
            f"{name} was {then} and is {environment.get(name, 'unknown')}"
            for name, then in self.environment.items()
            if environment.get(name) != then
        ]
        return attrs.evolve(self, changed=tuple(changed))

    def as_dict(self) -> dict[str, Any]:
        """Return the facts and the environment as plain dicts and lists.

        Returns:
            `facts`, each as a dict without empty fields, and `environment`.

        Example:
            >>> Resume((Fact("covered", "seeds"),)).as_dict()["facts"]
            [{'coverage': 'covered', 'what': 'seeds'}]
        """
        facts = [{k: v for k, v in attrs.asdict(fact).items() if v} for fact in self.facts]
        return {"facts": facts, "environment": dict(self.environment)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Resume:
        """Return what `as_dict` has made a dict of.

        Args:
            saved: the dict.

        Returns:
            The same facts.

        Raises:
            ValueError: it is no such dict; also KeyError, TypeError or AttributeError.

        Example:
            >>> saved = {"facts": [{"coverage": "covered", "what": "seeds"}]}
            >>> print(Resume.from_dict(saved).covered[0])
            covered  seeds
        """
        facts = []
        for one in saved["facts"]:
            position = _COVERAGES.index(one["coverage"])
            rest = (str(one.get(name, "")) for name in ("what", "where", "why", "advice"))
            facts.append(Fact(_COVERAGES[position], *rest))
        environment = saved.get("environment", {})
        return cls(tuple(facts), {str(name): str(value) for name, value in environment.items()})

    def _of(self, coverage: Coverage) -> tuple[Fact, ...]:
        return tuple(fact for fact in self.facts if fact.coverage == coverage)

    def __str__(self) -> str:
        counts = ", ".join(f"{len(self._of(coverage))} {coverage}" for coverage in _COVERAGES)
        lines = [f"to resume: {counts}"]
        lines += [f"  {fact}" for coverage in _COVERAGES for fact in self._of(coverage)]
        if self.changed:
            lines.append(
                f"  {counted(len(self.changed), 'difference', 'differences')} of the environment:"
            )
            lines += [f"    {one}" for one in self.changed]
        return "\n".join(map(printable, lines))
