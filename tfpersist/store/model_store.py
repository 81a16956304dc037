"""A directory of checkpoints to save models into and restore them from."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from tfpersist.checkpoint import sidecar
from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.checkpoint.locate import Located
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.errors import ArgumentError, RestoreError, StorageError, value_text
from tfpersist.gc_pause import uncollected
from tfpersist.matching.plan import OnMismatch, OnMissing, Tolerance
from tfpersist.matching.report import RestoreReport, Skipped
from tfpersist.safety import Policy, as_policy
from tfpersist.storage import Storage, absolute, open_storage
from tfpersist.store import background, pruning
from tfpersist.store import restore as restoring
from tfpersist.store import save as saving
from tfpersist.store.restore import Fitted
from tfpersist.store.retaining import Retaining
from tfpersist.store.selecting import Selecting
from tfpersist.store.training import Training, served
from tfpersist.tf.targets.adapt import adapt
from tfpersist.tf.targets.steps import step_of
from tfpersist.tf.targets.target import Target

if TYPE_CHECKING:
    from tfpersist.tf.open_graph.graph_model import GraphModel, ScopedTarget


def _check_name(store: object, field: object, name: object) -> None:
    if not isinstance(name, str):
        raise ArgumentError(
            "this is no name of checkpoints",
            where="name",
            expected='a text such as "model.ckpt"',
            found=value_text(name),
        )


@attrs.frozen(eq=False, slots=False)
class ModelStore(Selecting, Training, Retaining):
    """A directory of checkpoints, in the format of `tf.compat.v1.train.Saver`.

    The steps `only`, `rename`, `averages` and `at` give a changed copy and do nothing else.

    Args:
        location: a directory, made at the first save, and made absolute at once; or memory://name,
            or another URL.
        name: what checkpoints are called here; "-" and the step follow it.
        durable: a save waits until it would survive a power loss.
        selection: what the steps have chosen so far.
        step: the checkpoint that `at` has chosen; None for the newest.
        keep: which checkpoints a save leaves: a Keep, or a tuple of them; None for all.
        incremental: write only what has changed since the checkpoint before; see `Retaining`.
        chosen: the checkpoint that `best` has chosen; None for the newest.
        seen: what incremental saves know of the memory of tensors; copies of the store share it.
        in_flight: how many saves may be under way in the background; 0 where every save is over
            when it returns.

    Example:
        >>> import numpy as np
        >>> store = ModelStore("memory://doc/store")
        >>> store.save({"v1": np.float32([1, 2])}, step=7).step
        7
        >>> v1 = np.zeros(2, np.float32)
        >>> print(store.restore({"v1": v1}))
        memory://doc/store/model.ckpt-7: 1 variable restored
          restored  v1  float32[2]
        >>> v1
        array([1., 2.], dtype=float32)
    """

    location: str | os.PathLike[str] = attrs.field(converter=absolute)
    name: str = attrs.field(default="model.ckpt", validator=_check_name, kw_only=True)
    durable: bool = attrs.field(default=True, kw_only=True)
    step: int | None = attrs.field(default=None, kw_only=True)

    def at(self, step: Any) -> ModelStore:
        """Restore the checkpoint of one step, and no other.

        Args:
            step: the training step; a number, or a variable that holds it.

        Returns:
            A store that restores it.

        Raises:
            TargetError: it is no whole number, or negative.

        Example:
            >>> import numpy as np
            >>> store = ModelStore("memory://doc/at")
            >>> for step in (1, 2):
            ...     _ = store.save({"v": np.int32(step)}, step=step)
            >>> v = np.zeros((), np.int32)
            >>> _ = store.at(1).restore({"v": v})
            >>> int(v)
            1
        """
        return attrs.evolve(self, step=step_of(step), chosen=None)

    @served
    def save(
        self, target: object, step: Any = None, metrics: Mapping[str, float] | None = None
    ) -> Checkpoint:
        """Save a model; the checkpoint appears when all of it is written, or not at all.

        Args:
            target: a tf.compat.v1.Session or MonitoredSession, a Keras 3 model, a tf.Module,
                tf.train.Checkpoint or other trackable, or a dict {name: variable or array}.
            step: the training step: a number, or a variable or tensor that holds it.
            metrics: what was measured at this step, by name.

        Returns:
            The checkpoint.

        Raises:
            TargetError: this cannot be saved.
            SelectionError: `only` or `rename` asks for what is not there, or for one key twice.
            SaveError: variables have no value yet, or a name or a metric is no good.
            StorageError: it could not be written; nothing is left of it.

        Example:
            >>> import numpy as np
            >>> store = ModelStore("memory://doc/save")
            >>> checkpoint = store.save({"v": np.zeros(2)}, step=5, metrics={"loss": 0.25})
            >>> checkpoint.prefix, checkpoint.metrics["loss"]
            ('memory://doc/save/model.ckpt-5', 0.25)
        """
        adapted = adapt(target)
        number = None if step is None else step_of(step, adapted)
        prefix = self.name if number is None else f"{self.name}-{number}"

        def capture() -> Callable[[], Located]:
            lasts = bool(self.in_flight)
            captured, items = saving.capture(target, adapted, self.selection, lasts=lasts)
            meta = captured.meta
            seen = attrs.evolve(self.seen, borrowed=captured.borrowed)

            def write() -> Located:
                try:
                    files = write_checkpoint(
                        self._opened,
                        prefix,
                        items,
                        meta=meta,
                        step=number,
                        metrics=metrics,
                        durable=self.durable,
                        incremental=self.incremental,
                        seen=seen if self.incremental else None,
                        spend=lasts,
                    )
                finally:
                    # An error's traceback would keep the values for as long as it lives itself.
                    items.clear()
                pruning.prune_after(
                    self._opened, prefix, self.name, self.keep, durable=self.durable
                )
                return Located(self._opened, files)

            return write

        if self.in_flight:
            metrics = sidecar.measured(metrics)
            job = self._worker.begin(prefix, capture, self.in_flight)
            return background.PendingCheckpoint(self._opened, prefix, number, job, self._worker)
        return Checkpoint(capture()())

    def restore(
        self,
        target: object,
        *,
        missing: OnMissing = "error",
        mismatched: OnMismatch = "error",
        dry_run: bool = False,
    ) -> RestoreReport:
        """Restore a model from the newest checkpoint that is sound; no initializer runs before.

        Newer ones that turn out to be damaged are passed over and set aside: their files get names
        that end in ".corrupt-1", or the next number, and are never deleted. After `at` or `best`
        there is no other to take, and nothing is renamed.

        Args:
            target: what `save` takes; arrays are filled in place.
            missing: what becomes of a variable that the checkpoint has no tensor for: an error, or
                with "skip" it stays as it is. Where nothing at all fits, that is an error anyway.
            mismatched: the same where the tensor has another shape or data type; with "slice" a
                variable of the same data type and rank takes what lies in both shapes, counted
                from the first element, and keeps the rest of the value that it has.
            dry_run: assign nothing, set nothing aside, and give the report even if it does not fit.
                A Keras optimizer that is not built yet is built all the same.

        Returns:
            What went where, what was kept or sliced, which newer checkpoints were passed over, and
            what became of them.

        Raises:
            CheckpointNotFoundError: there is none.
            RestoreError: it does not fit; nothing was assigned, and the message has the table.
            CorruptionError: all are damaged, or the one of `at` is.
            TargetError: this cannot be restored.
            SelectionError: `only`, `rename` or `averages` asks for what is not there, or one key
                for two variables.

        Example:
            >>> import numpy as np
            >>> store = ModelStore("memory://doc/restore")
            >>> _ = store.save({"w": np.float32([1, 2]), "head": np.float32([3, 4, 5])})
            >>> model = {"w": np.zeros(2, np.float32), "head": np.zeros(5, np.float32)}
            >>> print(store.restore(model, mismatched="skip"))
            memory://doc/restore/model.ckpt: 1 variable restored, 1 kept
              kept      head  float32[5]  float32[3]
              restored  w     float32[2]
            >>> store.restore(model, mismatched="slice").sliced, model["head"]
            (('head',), array([3., 4., 5., 0., 0.], dtype=float32))
        """
        tolerance = Tolerance(missing, mismatched)
        with uncollected():
            adapted = adapt(target)
            fitted = self._fitted(adapted, tolerance=tolerance, dry_run=dry_run)
            report = self._report(fitted, carried_out=fitted.plan.fits and not dry_run)
            if dry_run:
                return report
            if not report.fits:
                raise RestoreError(
                    f"{report.checkpoint} does not fit this {type(target).__name__}; nothing was"
                    " assigned",
                    report=report,
                )
            restoring.carry_out(fitted, adapted)
        return report

    def checkpoints(self) -> list[Checkpoint]:
        """List the checkpoints that have all their files.

        Returns:
            Those of this store's name, or all where none is of that name; oldest first. After
            `at` or `best` only what that has chosen.

        Example:
            >>> ModelStore("memory://doc/nothing").checkpoints()
            []
        """
        return restoring.listed(self._storage, self.name, self.step, self.chosen)

    def latest(self) -> Checkpoint | None:
        """Find the newest checkpoint that has all its files, of those that `checkpoints` lists.

        Returns:
            The checkpoint; None where there is none.

        Example:
            >>> ModelStore("memory://doc/nothing").latest() is None
            True
        """
        return next(reversed(self.checkpoints()), None)

    def open_graph(
        self, scope: str | None = None, session: Any = None, *, policy: Policy | None = None
    ) -> GraphModel:
        """Run a saved model without the code that built it, from its `.meta` file.

        Variables of the graph that the checkpoint does not hold stay uninitialized, and the model's
        report lists them.

        Args:
            scope: put the graph under this name scope, with variables and tables of its own. If the
                session's graph has it already it gets a number; the model's `scope` and `notes`
                tell.
            session: a tf.compat.v1.Session to import it into; None for a graph and a session of its
                own, which the model closes. Without a scope none of the names may be in its graph.
            policy: what the graph may do, as in `FrozenModel.load`; by default its Savers, which
                nothing needs here, are left out, and one that could still reach files is refused.

        Returns:
            The running model, a context manager.

        Raises:
            CheckpointNotFoundError: there is no checkpoint, or none with a `.meta` file.
            RestoreError: the checkpoint does not fit its own graph.
            CorruptionError: the `.meta` file is damaged.
            UnsafeModelError: the graph could do more than the policy allows; nothing was imported.
            GraphError: TensorFlow cannot import the graph.
            TargetError: it would share variables or names with the session's graph, or the scope is
                no name of one; nothing was imported.

        Example:
            >>> import tensorflow as tf
            >>> store = ModelStore("memory://doc/open_graph")
            >>> with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            ...     v = tf.compat.v1.get_variable("v", initializer=[1.0, 2.0])
            ...     twice = tf.add(v, v, name="twice")
            ...     session.run(v.initializer)
            ...     _ = store.save(session)
            >>> with store.open_graph() as model:
            ...     model.run("twice")
            array([2., 4.], dtype=float32)
        """
        from tfpersist.tf.open_graph import graph_model

        allowed = as_policy(policy)
        only_one = self.step is not None or self.chosen is not None
        saved = restoring.newest_graph(self._storage, self._names(), only_one=only_one)

        def restore(target: ScopedTarget) -> RestoreReport:
            fitted = self._fitted(target, partly=True, without=saved.skipped)
            fits = not fitted.plan.mismatched and (fitted.plan.fits or bool(fitted.values))
            report = self._report(fitted, carried_out=fits)
            if not fits:
                raise RestoreError(
                    f"{report.checkpoint} does not fit its graph; nothing was assigned",
                    report=report,
                )
            target.assign(fitted.values)
            return report

        return graph_model.open_model(
            saved.data, restore, scope=scope, session=session, file=saved.file, policy=allowed
        )

    def __getstate__(self) -> dict[str, Any]:
        # What it has opened and seen belongs to this process.
        settings = {field.name: vars(self)[field.name] for field in attrs.fields(ModelStore)}
        return {**settings, "seen": type(self.seen)()}

    @property
    def _storage(self) -> Storage:
        self.wait()
        return self._opened

    @cached_property
    def _opened(self) -> Storage:
        return open_storage(self.location)

    @cached_property
    def _worker(self) -> background.Worker:
        return background.worker_at(self._opened.location)

    def _report(self, fitted: Fitted, *, carried_out: bool) -> RestoreReport:
        return fitted.plan.report(
            fitted.checkpoint.prefix,
            carried_out=carried_out,
            skipped=fitted.skipped,
            averages=self.selection.averages is not None,
            note=fitted.note,
        )

    def _fitted(
        self,
        target: Target,
        *,
        tolerance: Tolerance | None = None,
        partly: bool = False,
        dry_run: bool = False,
        without: Sequence[Skipped] = (),
    ) -> Fitted:
        storage = self._storage
        # What a dead process left is cleared away, where this one may do so.
        with suppress(StorageError):
            if not dry_run:
                storage.recover()
        out = {each.prefix for each in without}
        fitted = restoring.fit(
            storage,
            lambda: [prefix for prefix in self._names() if prefix not in out],
            self.selection,
            target,
            tolerance=tolerance,
            partly=partly,
            only_one=self.step is not None or self.chosen is not None,
        )
        if dry_run:
            return fitted
        aside = restoring.set_aside(self._opened, fitted.skipped, durable=self.durable)
        return attrs.evolve(fitted, skipped=(*without, *aside))

    def _names(self) -> list[str]:
        return restoring.newest_first(self._storage, self.name, self.step, self.chosen)
