"""Declare what is saved of a training that is to go on to the bit."""

from __future__ import annotations

import abc
from typing import Any

from tfpersist.matching.plans.resume import Resume


class Resumable(abc.ABC):
    """A training: a trackable has its variables, and facts lie beside the checkpoint."""

    @property
    @abc.abstractmethod
    def subject(self) -> Any:
        """The object that a user thinks of, for errors."""

    @abc.abstractmethod
    def as_target(self) -> Any:
        """Return what is saved and restored."""

    @abc.abstractmethod
    def resumed(self, saved: Resume | None) -> Resume:
        """Return what a restore has put back, or will.

        Args:
            saved: what was noted at the save; None if nothing was.
        """

    @abc.abstractmethod
    def noted(self) -> Resume:
        """Return what a save made now carries.

        Raises:
            SaveError: it does not carry all that it has to.
        """
