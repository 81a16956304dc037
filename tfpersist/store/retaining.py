"""What a store does about its older checkpoints: keeps some, removes others, finds the best."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import attrs

from tfpersist.checkpoint.incremental import Seen
from tfpersist.errors import RetentionError
from tfpersist.store import pruning, restore, survey
from tfpersist.store.retention import Best, Keep, Mode, Pruning, as_keep, best_of
from tfpersist.store.survey import Survey

if TYPE_CHECKING:
    from tfpersist.storage import Storage

_Store = TypeVar("_Store", bound="Retaining")


@attrs.frozen(eq=False, slots=False)
class Retaining:
    """The part of a store that knows of its older checkpoints.

    Args:
        keep: which checkpoints each save leaves: a Keep or a tuple of them; None for all.
        incremental: tensors whose bytes did not change since the checkpoint before are not written
            again: the new checkpoint shares their data files by hard links. It has all its files
            and can be read by TensorFlow, and any other may be removed. A shared file keeps the
            space of what is out of date in it; so one of which less than half is still in use is
            not shared, and a checkpoint has at most 16 data files. Where files cannot be linked, a
            warning says so and all is written; `Checkpoint.increment` tells what was.
        chosen: the checkpoint that `best` has chosen; None for the newest.
        seen: what incremental saves know of the memory of tensors.
    """

    keep: Keep | None = attrs.field(default=None, converter=as_keep, kw_only=True)
    incremental: bool = attrs.field(default=False, kw_only=True)
    chosen: str | None = attrs.field(default=None, kw_only=True)
    seen: Seen = attrs.field(factory=Seen, kw_only=True, repr=False)

    if TYPE_CHECKING:
        name: str
        durable: bool
        step: int | None

        @property
        def _storage(self) -> Storage: ...

    def best(self: _Store, metric: str, mode: Mode = "max") -> _Store:
        """Restore the checkpoint with the best value of a metric, and no other.

        Args:
            metric: its name, as it was given to `save`.
            mode: whether more is better ("max") or less ("min"). NaN never wins; of two that are
                equal the newer does.

        Returns:
            A store that restores it; its `latest()` is that checkpoint.

        Raises:
            NameNotFoundError: no checkpoint has a value of this metric.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/best")
            >>> for step, accuracy in ((1, 0.8), (2, 0.9), (3, 0.7)):
            ...     _ = store.save({"v": np.int32(step)}, step, {"accuracy": accuracy})
            >>> store.best("accuracy").latest().step
            2
        """
        census = pruning.take_census(self._storage, self.name)
        chosen = best_of(census.candidates, Best(metric, mode), self._storage.location)
        return attrs.evolve(self, step=None, chosen=chosen.name)  # type: ignore[call-arg]

    def verify(self) -> Survey:
        """Read every byte of every checkpoint again, and compare it with its checksum.

        Returns:
            One row for each of this store's checkpoints, even those that lack files: a table when
            printed; `.ok` tells whether all is well. After `at` or `best` only what that has
            chosen.

        Raises:
            StorageError: a file cannot be read at all.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/survey")
            >>> for step in (1, 2):
            ...     _ = store.save({"v": np.float32([step, 2])}, step)
            >>> print(store.verify())
            memory://doc/survey: 2 checkpoints, ok (370 bytes read)
              ok  model.ckpt-1  1 tensor is sound
              ok  model.ckpt-2  1 tensor is sound
        """
        found = restore.meant(self._storage, self.name, self.step, self.chosen)
        return survey.survey(self._storage, found)

    def prune(self, *, keep: object = None, dry_run: bool = False) -> Pruning:
        """Remove the checkpoints that need not be kept, as each save does.

        Those that are pinned or being restored stay, and so do damaged ones, and the newest that is
        sound. Before any goes, those that are kept are read, every byte, unless this process has
        done so or has written them: one that turns out to be damaged does not count. Checkpoints of
        another name are not looked at.

        Args:
            keep: which to keep this time; None for the store's own `keep`.
            dry_run: only say what would go.

        Returns:
            What went and what stays, and why: a table when printed.

        Raises:
            RetentionError: neither says what to keep, or a `where` failed; nothing was removed.
            StorageError: files could not be removed.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/prune")
            >>> for step in (1, 2, 3):
            ...     _ = store.save({"v": np.int32(step)}, step)
            >>> print(store.prune(keep=tfp.Keep(last=1), dry_run=True))
            memory://doc/prune: 1 checkpoint stays, 2 would go
              goes   model.ckpt-1
              goes   model.ckpt-2
              stays  model.ckpt-3  the newest; among the last 1
        """
        rules = as_keep(keep) or self.keep
        if rules is None:
            raise RetentionError(
                "nothing says which checkpoints to keep",
                where=self._storage.location,
                advice='Pass keep=Keep(last=5), or give the store a "keep".',
            )
        return pruning.prune(self._storage, self.name, rules, dry_run=dry_run, durable=self.durable)
