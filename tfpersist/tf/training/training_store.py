"""Declare what a callback or a hook needs of a store of checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.matching.plans.report import RestoreReport


class TrainingStore(Protocol):
    """A store to save into and restore from, such as a `ModelStore`."""

    def save(
        self, target: object, step: Any = None, metrics: Mapping[str, float] | None = None
    ) -> Checkpoint:
        """Save a model."""

    def restore(self, target: object) -> RestoreReport:
        """Restore a model from the newest checkpoint."""

    def checkpoints(self) -> list[Checkpoint]:
        """Return the checkpoints, oldest first."""

    def latest(self) -> Checkpoint | None:
        """Return the newest checkpoint; None where there is none."""

    def wait(self) -> None:
        """Wait for the saves that are under way, and raise the error of one that failed."""
