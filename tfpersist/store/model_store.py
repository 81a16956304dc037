"""ModelStore: a directory of checkpoints to save models into and restore them from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, SupportsInt

import attrs

from tfpersist.arguments import count_of, text_of, time_of
from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.locate import Located, file_at, refuse_other_file, variables_of
from tfpersist.checkpoint.save_memory import SaveMemory
from tfpersist.errors import ArgumentError, RetentionError, SaveError, StorageError
from tfpersist.matching.choices.selection import Selection
from tfpersist.matching.plans.fit import OnMismatch, OnMissing, OnUnexpected, Tolerance
from tfpersist.matching.plans.plan import Plan
from tfpersist.matching.plans.report import RestoreReport
from tfpersist.safety import Policy, as_policy
from tfpersist.storage import Storage, absolute, open_storage, placed
from tfpersist.store import last_save, pruning
from tfpersist.store.background import Worker, worker_at
from tfpersist.store.last_save import SignalSave
from tfpersist.store.parts import StorePart, commit, part_of
from tfpersist.store.restore import Source, restore_graph, restore_target
from tfpersist.store.retention import Best, Keep, Mode, Pruning, as_keep
from tfpersist.store.save import Destination, Facts, save_target
from tfpersist.store.saved_graph import newest_graph
from tfpersist.store.survey import Survey, survey
from tfpersist.store.watch import watch
from tfpersist.store.which import Which
from tfpersist.tf.targets.steps import step_of

if TYPE_CHECKING:
    from datetime import timedelta

    from tfpersist.tf.open_graph.graph_model import GraphModel
    from tfpersist.tf.open_graph.open_model import ScopedTarget


@attrs.frozen
class _Asked:
    """The arguments of a store, and the settings of its steps.

    Args:
        location: the absolute path or the URL of the directory.
        name: the name of checkpoints.
        durable: a save waits until it would survive a power loss.
        keep: the rules for the checkpoints that a save keeps; None keeps all.
        incremental: whether a save writes only the tensors that changed.
        write_meta_graph: whether a save of a session writes its graph.
        selection: the variables to save or restore, and their keys.
        step: the step of the checkpoint that `at` has chosen; None for the newest.
        chosen: the prefix of the checkpoint that `best` has chosen; None for the newest.
        in_flight: the number of saves that may run in the background; 0 saves in the foreground.
        options: what the file system of a URL is opened with.
    """

    location: str | os.PathLike[str]
    name: str
    durable: bool
    keep: Keep | None
    incremental: bool
    write_meta_graph: bool
    selection: Selection = attrs.field(factory=Selection)
    step: int | None = None
    chosen: str | None = None
    in_flight: int = 0
    options: object = None


class ModelStore:
    """A directory of checkpoints, in the format of `tf.compat.v1.train.Saver`.

    The steps `only`, `rename`, `averages`, `at`, `best` and `background` return a changed copy and
    do nothing else.

    Args:
        location: a directory; the first save creates it. A relative path is made absolute at once.
            Or memory://name, another URL such as s3://bucket/run, or a UPath.
        storage_options: what the file system of a URL is opened with, such as the endpoint and the
            keys: a dict for fsspec, or a file system of fsspec.
        mapped: whether a restore maps files instead of reading them. None maps them unless they lie
            on another machine: if somebody truncates a mapped file, the system ends the process.
        name: the name of checkpoints; "-" and the step follow it.
        durable: a save waits until it would survive a power loss.
        keep: the rules for the checkpoints that a save keeps: a Keep or a tuple of them; None keeps
            all.
        incremental: tensors whose bytes did not change since the checkpoint before are not written
            again. The new checkpoint shares their data files by hard links. It has all its files,
            TensorFlow can read it, and any other checkpoint may be removed. A shared file also
            holds old values; a file of which less than half is still in use is not shared. A
            checkpoint has at most 16 data files. If files cannot be linked, a warning says so and
            all tensors are written. `Checkpoint.increment` has the number of bytes.
        write_meta_graph: a save of a session writes its graph into a `.meta` file. Without it, a
            save takes less time, and `open_graph` and `Freezer` cannot use the checkpoint alone.

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

    def __init__(
        self,
        location: str | os.PathLike[str],
        *,
        name: str = "model.ckpt",
        durable: bool = True,
        keep: Keep | Sequence[Keep] | None = None,
        incremental: bool = False,
        write_meta_graph: bool = True,
        storage_options: object = None,
        mapped: bool | None = None,
    ) -> None:
        text_of(name, "name", "the name of checkpoints", 'a text such as "model.ckpt"')
        place, options = placed(location, storage_options, mapped=mapped)
        asked = (absolute(place), name, durable, as_keep(keep), incremental, write_meta_graph)
        self._asked = _Asked(*asked, options=options)
        # What incremental saves know of the memory of tensors; copies of the store share it.
        self._save_memory = SaveMemory()

    @property
    def location(self) -> str | os.PathLike[str]:
        """The absolute path or the URL of the directory."""
        return self._asked.location

    @property
    def name(self) -> str:
        """The name of checkpoints here; "-" and the step follow it."""
        return self._asked.name

    @property
    def keep(self) -> Keep | None:
        """The rules for the checkpoints that a save keeps; None keeps all."""
        return self._asked.keep

    # --- which variables ---------------------------------------------------------------------

    def only(self, choice: object) -> ModelStore:
        """Save and restore only some variables.

        Args:
            choice: a list of variables, names and patterns such as "conv1/*"; or a dict
                {key in the checkpoint: variable or name}.

        Returns:
            A store that saves and restores only these.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/only")
            >>> model = {"conv/w": np.zeros(2), "conv/b": np.zeros(2), "head": np.zeros(3)}
            >>> sorted(store.only(["conv/*"]).save(model))
            ['conv/b', 'conv/w']
        """
        only: Sequence[object] | Mapping[str, object]
        if isinstance(choice, Mapping):
            only = dict(choice)
        elif isinstance(choice, (list, tuple, set, frozenset, Iterator)):
            only = tuple(choice)
        else:
            only = (choice,)
        return self._with(selection=attrs.evolve(self._asked.selection, only=only))

    def rename(self, names: Mapping[Any, object]) -> ModelStore:
        """Use other keys in the checkpoint for some variables; all others keep their keys.

        Args:
            names: {key in the checkpoint: variable or name}. If both end in "/", or one of them is
                empty, they rename everything under them: {"": "net/"}. A restore also accepts
                patterns that match whole keys:
                {re.compile(r"layer_(\\d+)/w"): r"blocks/\\1/kernel"}.

        Returns:
            A store that saves and restores under these keys.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/rename")
            >>> sorted(store.rename({"a": "v1"}).save({"v1": np.zeros(2), "v2": np.zeros(2)}))
            ['a', 'v2']
        """
        return self._with(selection=self._asked.selection.renamed(names))

    def averages(self, averages: object) -> ModelStore:
        """Restore moving averages into the variables themselves, if the checkpoint has them.

        Args:
            averages: a tf.train.ExponentialMovingAverage, a Keras optimizer with `use_ema`, or the
                last part of the names of the shadow variables, such as
                "ExponentialMovingAverage".

        Returns:
            A store that restores averages.

        Raises:
            ArgumentError: it is None.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/averages")
            >>> _ = store.save({"v": np.float32(2), "v/avg": np.float32(1)})
            >>> store.averages("avg").restore({"v": np.zeros((), np.float32)}).averaged
            ('v',)
        """
        if averages is None:
            raise ArgumentError(
                "averages() needs to know where the moving averages are",
                expected="what keeps the averages, or the last part of their names",
                found="None",
            )
        return self._with(selection=attrs.evolve(self._asked.selection, averages=averages))

    # --- which checkpoint --------------------------------------------------------------------

    def at(self, step: SupportsInt) -> ModelStore:
        """Restore the checkpoint of one step, and no other.

        Args:
            step: the training step; a number, or a variable that holds it.

        Returns:
            A store that restores it.

        Raises:
            TargetError: it is not a whole number, or it is negative.

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
        return self._with(step=step_of(step), chosen=None)

    def best(self, metric: str, mode: Mode = "max") -> ModelStore:
        """Restore the checkpoint with the best value of a metric, and no other.

        Args:
            metric: its name, as it was passed to `save`.
            mode: whether more is better ("max") or less ("min"). NaN never wins; of two equal
                values the newer wins.

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
        chosen = pruning.find_best(self._look(), self.name, Best(metric, mode))
        return self._with(step=None, chosen=chosen)

    def checkpoints(self) -> list[Checkpoint]:
        """List the checkpoints that have all their files.

        Returns:
            Those of this store's name, or all if none has that name; oldest first. After `at` or
            `best` only the chosen one.

        Example:
            >>> ModelStore("memory://doc/nothing").checkpoints()
            []
        """
        directory = self._look()
        prefixes = self._which.complete(directory)
        return [
            Checkpoint(Located(directory.storage, directory.files(prefix))) for prefix in prefixes
        ]

    def latest(self) -> Checkpoint | None:
        """Find the newest checkpoint that has all its files, of those that `checkpoints` lists.

        Returns:
            The checkpoint; None if there is none.

        Example:
            >>> ModelStore("memory://doc/nothing").latest() is None
            True
        """
        directory = self._look()
        for prefix in self._which.complete(directory)[-1:]:
            return Checkpoint(Located(directory.storage, directory.files(prefix)))
        return None

    def watch(
        self,
        *,
        timeout: float | str | timedelta | None = None,
        newest: bool = False,
        poll: float | str | timedelta = 1.0,
    ) -> Iterator[Checkpoint]:
        """Wait for checkpoints that another process saves, as an evaluation beside a training does.

        First come the checkpoints that exist, oldest first, then each new one as soon as it has all
        its files. None comes twice, unless it was saved again. A checkpoint is not pruned until the
        next one is asked for.

        Args:
            timeout: end after this time without a new checkpoint: seconds, a timedelta, or a text
                such as "1h"; None to wait for ever. The time between two steps of the loop does not
                count.
            newest: where several checkpoints have appeared, return only the newest.
            poll: the time between two looks at the directory.

        Returns:
            An iterator over the checkpoints.

        Raises:
            ArgumentError: `timeout` or `poll` is no length of time.

        Example:
            >>> import numpy as np
            >>> store = ModelStore("memory://doc/watch")
            >>> for step in (1, 2):
            ...     _ = store.save({"v": np.zeros(2)}, step)
            >>> [checkpoint.step for checkpoint in store.watch(timeout=0.01)]
            [1, 2]
            >>> [checkpoint.step for checkpoint in store.watch(timeout=0.01, newest=True)]
            [2]
        """
        return watch(
            self._directory,
            self._which,
            timeout=None if timeout is None else time_of(timeout, "timeout"),
            poll=time_of(poll, "poll"),
            newest=newest,
        )

    # --- saving and restoring ----------------------------------------------------------------

    @last_save.served
    def save(
        self,
        target: object,
        step: Any = None,
        metrics: Mapping[str, float] | None = None,
        *,
        metadata: Any = None,
    ) -> Checkpoint:
        """Save a model. The checkpoint appears when all of it is written, or not at all.

        Args:
            target: a tf.compat.v1.Session or MonitoredSession, a Keras 3 model, a tf.Module,
                tf.train.Checkpoint or other trackable, or a dict {name: variable or array}.
            step: the training step: a number, or a variable or tensor that holds it.
            metrics: the metrics at this step, {name: number}.
            metadata: anything else to keep with the checkpoint, such as a configuration: a dict,
                list, string or number as JSON has them.

        Returns:
            The checkpoint.

        Raises:
            TargetError: the target cannot be saved.
            SelectionError: `only` or `rename` names a variable that does not exist, or a key twice.
            SaveError: variables have no value yet, or a name, a metric or the metadata cannot be
                saved.
            ConflictError: in an object store, another process has saved this step meanwhile.
            StorageError: the checkpoint could not be written; no file of it is left.

        Example:
            >>> import numpy as np
            >>> store = ModelStore("memory://doc/save")
            >>> checkpoint = store.save({"v": np.zeros(2)}, step=5, metrics={"loss": 0.25})
            >>> checkpoint.prefix, checkpoint.metrics["loss"]
            ('memory://doc/save/model.ckpt-5', 0.25)
            >>> store.save({"v": np.zeros(2)}, 6, metadata={"commit": "3f2a"}).metadata["commit"]
            '3f2a'
        """
        return save_target(target, step, metrics, metadata, self._destination)

    def part(self, worker: int, of: int, attempt: str) -> StorePart:
        """Save a checkpoint by several workers, of which this is one; any launcher will do.

        Each worker saves what it holds, at the same time as the others and under names of its own.
        When all have done so, one of them calls `commit`. If a worker dies, or `commit` is not
        called, the earlier checkpoints stay as they are.

        Args:
            worker: the number of this worker, from 0 on.
            of: the number of workers.
            attempt: a text that all workers have and no other try of this save, such as the number
                of the job.

        Returns:
            The part of this worker; its `save(target, step)` writes it.

        Raises:
            ArgumentError: an argument makes no sense.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/parts")
            >>> for worker, name in enumerate(["encoder", "decoder"]):
            ...     store.part(worker, of=2, attempt="job 7").save({name: np.zeros(2)}, step=5)
            >>> sorted(store.commit(5, of=2, attempt="job 7"))
            ['decoder', 'encoder']
        """
        return part_of(worker, of, attempt, self._destination)

    def commit(
        self,
        step: Any,
        of: int,
        attempt: str,
        metrics: Mapping[str, float] | None = None,
        *,
        metadata: Any = None,
        timeout: float | str | timedelta = "10m",
    ) -> Checkpoint:
        """Make a checkpoint of the parts that all workers have saved; one worker calls this.

        Args:
            step: the training step that the workers have passed to `save`; None if they did not.
            of: the number of workers.
            attempt: what the workers have passed to `part`.
            metrics: the metrics at this step, {name: number}.
            metadata: anything else to keep with the checkpoint; see `save`.
            timeout: how long to wait for parts that are not there yet.

        Returns:
            The checkpoint.

        Raises:
            SaveError: workers have not saved their parts, or two have saved one tensor; the message
                names them, and nothing was saved.
            CorruptionError: a part is damaged.
            ConflictError: in an object store, another process has saved this step meanwhile.
            StorageError: the checkpoint could not be written.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/commit")
            >>> store.part(0, of=2, attempt="job 7").save({"v": np.zeros(2)}, step=5)
            >>> try:
            ...     store.commit(5, of=2, attempt="job 7", timeout=0.01)
            ... except tfp.SaveError as error:
            ...     print(error.problem)
            the parts of these workers are missing: 1; nothing was saved
        """
        facts = Facts.of(self.name, step, metrics, metadata)
        return commit(facts, of, attempt, self._destination, time_of(timeout, "timeout"))

    def restore(
        self,
        target: object,
        *,
        missing: OnMissing = "error",
        mismatched: OnMismatch = "error",
        unexpected: OnUnexpected = "skip",
        plan: Plan | None = None,
        cast: bool = False,
        rows: Mapping[str, Any] | Sequence[tuple[Any, Any]] = (),
        dry_run: bool = False,
    ) -> RestoreReport:
        """Restore a model from the newest intact checkpoint. You need not run an initializer first.

        If newer checkpoints are damaged, they are skipped and their files are renamed: ".corrupt-1"
        or the next number is added to the names. They are never deleted. After `at` or `best` only
        the chosen checkpoint is tried, and nothing is renamed.

        Args:
            target: an object that `save` accepts; arrays are filled in place.
            missing: what to do if the checkpoint has no tensor for a variable: "error", or "skip"
                to keep its value. If no variable fits at all, an error is raised in any case.
            mismatched: what to do if a tensor has another shape or data type: "error", "skip" to
                keep the value, or "slice". With "slice" a variable of the same data type and rank
                gets the elements that lie in both shapes, counted from the first element.
            unexpected: what to do about a tensor that belongs to no variable: "skip" to list it in
                the report, or "error".
            plan: which tensors variables get, as the `plan` of a report says it, or a changed one.
                Its proposals are carried out. Evidence decides for what it does not decide, and
                for variables that it does not name.
            cast: give tensors the float type of their variables: float16, bfloat16, float32 and
                float64. The report's `losses` say what each has lost.
            rows: the variables whose rows are remapped, such as embeddings whose vocabulary has
                changed: {name: rows}, or pairs of a variable and its rows. Rows are {old row: new
                row}, or two lists: the old words and the new words. Other rows keep their values.
                Slots of optimizers are variables too.
            dry_run: assign nothing, rename nothing, and return the report even if the checkpoint
                does not fit. A Keras optimizer that is not built yet is still built.

        Returns:
            The report: what was restored, kept, sliced or remapped, and which newer checkpoints
            were skipped and renamed.

        Raises:
            CheckpointNotFoundError: there is no checkpoint.
            RestoreError: the checkpoint does not fit. Nothing was assigned; the message has the
                table.
            CorruptionError: all checkpoints are damaged, or the one of `at` or `best` is.
            TargetError: the target cannot be restored.
            SelectionError: `only`, `rename`, `averages`, `rows` or the plan names a variable that
                does not exist, or one key for two variables; or the rows do not fit.

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
        tolerance = Tolerance(missing, mismatched, unexpected)
        self.wait()
        source = attrs.evolve(self._source, plan=plan, cast=cast, rows=rows)
        return restore_target(target, source, tolerance, dry_run=dry_run)

    def open_graph(
        self, scope: str | None = None, session: Any = None, *, policy: Policy | None = None
    ) -> GraphModel:
        """Run a saved model without the code that built it, from its `.meta` file.

        Variables that the checkpoint does not have stay uninitialized, and the model's report lists
        them.

        Args:
            scope: import the graph under this name scope, with variables and tables of its own. If
                the session's graph has that scope already, a number is added; see the model's
                `scope` and `notes`.
            session: a tf.compat.v1.Session to import the graph into; None for a new graph and
                session, which the model closes. Without a scope, its graph must have none of the
                names.
            policy: the capabilities that the graph may have, as in `FrozenModel.load`. By default
                its Savers are removed, because they are not needed, and a graph that could still
                access files is refused.

        Returns:
            The running model, a context manager.

        Raises:
            CheckpointNotFoundError: there is no checkpoint, or none with a `.meta` file.
            RestoreError: the checkpoint does not fit its own graph.
            CorruptionError: the `.meta` file is damaged.
            UnsafeModelError: the graph could do more than the policy allows; nothing was imported.
            GraphError: TensorFlow cannot import the graph.
            TargetError: the graph would share variables or names with the session's graph, or the
                scope is not a valid name; nothing was imported.

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
        from tfpersist.tf.open_graph.open_model import open_model

        allowed = as_policy(policy)
        saved = newest_graph(self._look(), self._which)

        def assign(target: ScopedTarget) -> RestoreReport:
            return restore_graph(target, self._source, saved.skipped)

        return open_model(
            saved.data, assign, scope=scope, session=session, file=saved.file, policy=allowed
        )

    # --- older checkpoints -------------------------------------------------------------------

    def verify(self) -> Survey:
        """Read every byte of every checkpoint again, and compare it with its checksum.

        Returns:
            One result for each of this store's checkpoints, also for those that lack files. It
            prints as a table; `.ok` is True if all are intact. After `at` or `best` only the chosen
            one.

        Raises:
            StorageError: a file cannot be read at all.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/survey")
            >>> for step in (1, 2):
            ...     _ = store.save({"v": np.float32([step, 2])}, step)
            >>> print(store.verify())
            memory://doc/survey: 2 checkpoints, ok (370 bytes read)
              ok  model.ckpt-1  1 tensor is intact
              ok  model.ckpt-2  1 tensor is intact
        """
        directory = self._look()
        return survey(directory, self._which.known(directory))

    def prune(self, *, keep: Keep | Sequence[Keep] | None = None, dry_run: bool = False) -> Pruning:
        """Remove the checkpoints that no rule keeps, as each save does.

        Checkpoints that are pinned or being restored stay. So do damaged ones and the newest intact
        one. Before any is removed, every byte of those that are kept is read, unless this process
        has read or written them before. If one is damaged, it does not count. Checkpoints of
        another name stay.

        Args:
            keep: the rules for this time; None for the store's own `keep`.
            dry_run: only report what would be removed.

        Returns:
            The checkpoints that were removed and that stay, and why. It prints as a table.

        Raises:
            RetentionError: there are no rules, or a `where` failed; nothing was removed.
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
                "no rules say which checkpoints to keep",
                where=self._directory.location,
                advice="Pass keep=Keep(last=5) to prune() or to the store.",
            )
        return pruning.prune(
            self._look(), self.name, rules, dry_run=dry_run, durable=self._asked.durable
        )

    def clear(self) -> Pruning:
        """Remove all checkpoints of this store's name, also damaged ones.

        Checkpoints that are pinned or being restored stay, and so do those of another name. Saves
        that are under way are waited for.

        Returns:
            The checkpoints that were removed and that stay, and why. It prints as a table.

        Raises:
            StorageError: files could not be removed.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/clear")
            >>> _ = store.save({"v": np.zeros(3)}, 1)
            >>> print(store.clear())
            memory://doc/clear: 0 checkpoints stay, 1 went
              gone   model.ckpt-1
            >>> store.checkpoints()
            []
        """
        return pruning.clear(self._look(), self.name, durable=self._asked.durable)

    # --- training loops ----------------------------------------------------------------------

    def background(self, in_flight: int = 1) -> ModelStore:
        """Save in the background: `save` captures the current values and returns at once.

        `save` returns the checkpoint. Reading it waits until it is written; its `wait(timeout)`
        only waits, and its `done` is True when it is written. If `in_flight` saves are running, the
        next one waits for the first of them. If a save fails, the next call of any kind raises the
        error and does nothing else; `close()` raises it too. Restoring and listing wait for all
        saves. Background saves into one directory end in the order of their calls. At its end the
        process waits for them for up to `tfpersist.store.background.EXIT_PATIENCE` seconds.

        The memory of TensorFlow's variables is shared until training changes them. So a save takes
        no time to copy them, and up to one model's size of memory while it runs.

        Args:
            in_flight: the number of saves that may run at once.

        Returns:
            A store that saves in the background.

        Raises:
            SaveError: `in_flight` is not a whole number from 1 on.

        Example:
            >>> import numpy as np, tfpersist as tfp
            >>> with tfp.ModelStore("memory://doc/background").background() as store:
            ...     for step in range(3):
            ...         _ = store.save({"v": np.int32(step)}, step=step)
            >>> store.latest().step
            2
        """
        count = count_of(in_flight)
        if count is None:
            raise SaveError(
                "in_flight must be the number of saves that may run in the background",
                expected="a whole number from 1 on",
                found=repr(in_flight),
            )
        return self._with(in_flight=count)

    def wait(self) -> None:
        """Wait for the saves that are running.

        Raises:
            TFPersistError: one of them has failed.

        Example:
            >>> import tfpersist as tfp
            >>> tfp.ModelStore("memory://doc/wait").background().wait()
        """
        if self._asked.in_flight:
            self._worker.wait()
            self._worker.raise_failure()

    def close(self) -> None:
        """Wait as `wait` does. A `with` block calls this. The store can be used again afterwards.

        Raises:
            TFPersistError: a save has failed.

        Example:
            >>> import tfpersist as tfp
            >>> tfp.ModelStore("memory://doc/close").close()
        """
        self.wait()

    def callback(
        self,
        every: int | Literal["epoch"] = "epoch",
        *,
        monitor: str | None = None,
        mode: Literal["auto", "min", "max"] = "auto",
        resume: bool | Literal["weights"] = True,
        generators: Sequence[Any] = (),
        strict: bool = False,
    ) -> Any:
        """Make a Keras callback that saves the model while `fit` runs, and resumes.

        It works with `fit` of Keras 3 and of tf_keras; put it last in the list of callbacks. When
        `fit` begins, the newest checkpoint is restored, and the training goes on to the bit:
        weights, optimizer, random generators, the order of the data, metrics, other callbacks,
        epoch and batch. What cannot be kept is in `report.resume` of the callback, and lies beside
        each checkpoint as `Checkpoint.resume`. Each checkpoint has the single numbers that `fit`
        measured as its metrics, and also `epoch` and `batch`, the numbers of complete epochs and
        batches. Its step is the number of batches that were trained on in all.

        Args:
            every: "epoch", or a number of batches.
            monitor: save only if this metric is better than in every checkpoint so far; epochs that
                do not measure it are skipped. If the first epoch does not measure it, a warning
                says so; if no epoch does, the end of training raises an error.
            mode: whether smaller ("min") or larger ("max") is better. With "auto", larger is better
                for accuracies and similar metrics, and smaller for all others.
            resume: restore the newest checkpoint first. A model that is not built cannot be
                restored. "weights" restores the variables alone, and skips the batches that are
                complete; use it to go on with other data.
            generators: further random generators to capture: of Python, NumPy, TensorFlow or Keras.
            strict: raise an error at the first save if something cannot be kept.

        Returns:
            A keras.callbacks.Callback; its `resumed` is the checkpoint that was restored, or None,
            and its `report` says what was restored.

        Raises:
            SaveError: the arguments make no sense.
            ArgumentError: one of the generators is none.

        Example:
            >>> import keras, numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/callback")
            >>> def fit(epochs):
            ...     model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
            ...     model.compile("sgd", "mse")
            ...     data = np.ones((4, 1)), np.ones((4, 1))
            ...     return model.fit(*data, epochs=epochs, verbose=0, callbacks=[store.callback()])
            >>> fit(2).epoch, fit(5).epoch
            ([0, 1], [2, 3, 4])
        """
        from tfpersist.tf.training import callbacks

        return callbacks.callback(
            self, every, monitor, mode, resume=resume, generators=generators, strict=strict
        )

    def hook(
        self,
        every_steps: int | None = None,
        every_secs: float | str | timedelta | None = None,
        *,
        resume: bool = True,
        data: Any = None,
        strict: bool = False,
    ) -> Any:
        """Make a hook for tf.compat.v1.train.MonitoredTrainingSession that saves and resumes.

        After the session was created and initialized, the newest checkpoint is restored, unless the
        session's global step is larger. The same happens if a session is created again after a
        failure. At the end a last checkpoint is saved. The graph must count its global step; no op
        is added to it without `data`. With several workers, pass the hook only to the chief. What
        cannot be kept is in `report.resume` of the hook, and lies beside each checkpoint.

        Args:
            every_steps: save after this many global steps.
            every_secs: save after this time: seconds, a timedelta or a text such as "1h". If
                neither argument is passed, it is 600 s. If both are, whichever comes first.
            resume: restore the newest checkpoint first.
            data: an initializable iterator. Its position is saved and restored, by ops that the
                hook adds to the graph when the session begins.
            strict: raise an error at the first save if something cannot be kept.

        Returns:
            A tf.compat.v1.train.SessionRunHook; its `report` says what was restored.

        Raises:
            SaveError: the arguments make no sense.

        Example:
            >>> import tensorflow as tf, tfpersist as tfp
            >>> store, v1 = tfp.ModelStore("memory://doc/hook"), tf.compat.v1
            >>> with tf.Graph().as_default():
            ...     step = v1.train.get_or_create_global_step()
            ...     train = v1.assign_add(step, 1)
            ...     hook = store.hook(every_steps=2)
            ...     with v1.train.MonitoredTrainingSession(hooks=[hook]) as session:
            ...         for _ in range(5):
            ...             _ = session.run(train)
            >>> [checkpoint.step for checkpoint in store.checkpoints()]
            [2, 4, 5]
        """
        from tfpersist.tf.training import hooks

        return hooks.hook(self, every_steps, every_secs, resume=resume, data=data, strict=strict)

    def save_on_signal(self, target: object, signum: int, *, step: Any = None) -> SignalSave:
        """Save once more when a signal arrives; then do what the signal did before.

        That is to call the earlier handler, or to end the process with the exit status of the
        signal. Before the last save, all background saves are waited for. If the signal arrives
        during a save, the last save follows it. An error of the last save is printed. A process
        that is forked meanwhile saves nothing.

        Args:
            target: an object that `save` accepts.
            signum: the signal, such as `signal.SIGTERM`.
            step: the training step, as `save` accepts it, or a function without arguments that
                returns it. None uses the step and epoch of this store's callback while `fit` runs,
                or the global step of a session's graph. If the step cannot be read, the error is
                printed, and the checkpoint has no step.

        Returns:
            A context manager. At its end, or with `cancel()`, the earlier handler is restored.

        Raises:
            ArgumentError: `signum` is not a number.
            TargetError: several workers of a strategy hold the variables.
            UnsupportedError: this is not the main thread, or that signal cannot be handled.

        Example:
            >>> import signal
            >>> import numpy as np, tfpersist as tfp
            >>> store = tfp.ModelStore("memory://doc/signal")
            >>> def stop(number, frame):
            ...     print("stopped by", signal.Signals(number).name)
            >>> before = signal.signal(signal.SIGUSR1, stop)
            >>> with store.save_on_signal({"v": np.zeros(2)}, signal.SIGUSR1, step=7):
            ...     signal.raise_signal(signal.SIGUSR1)
            stopped by SIGUSR1
            >>> store.latest().step
            7
        """
        at_once = self._with(in_flight=0)
        return last_save.save_on_signal(target, signum, step, wait=self.wait, save=at_once.save)

    def __enter__(self) -> ModelStore:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        elif self._asked.in_flight:
            self._worker.wait()

    def __getstate__(self) -> dict[str, Any]:
        # What it has opened and remembers belongs to this process.
        return {"_asked": self._asked, "_save_memory": SaveMemory()}

    def __repr__(self) -> str:
        asked = self._asked
        settings = {"name": asked.name, "durable": asked.durable, "keep": asked.keep}
        settings["incremental"] = asked.incremental
        shown = [repr(asked.location), *(f"{name}={value!r}" for name, value in settings.items())]
        return f"ModelStore({', '.join(shown)})"

    # --- its own -----------------------------------------------------------------------------

    def _with(self, **asked: Any) -> ModelStore:
        """Return a copy that has been asked for something else; it shares what this one knows."""
        copy = object.__new__(ModelStore)
        vars(copy).update(vars(self), _asked=attrs.evolve(self._asked, **asked))
        return copy

    def _look(self) -> Directory:
        self.wait()
        look = Directory.look(self._directory)
        # The checkpoint of a SavedModel lies in a directory of its own.
        variables = variables_of(look)
        return look if variables is None else Directory.look(variables)

    @property
    def _destination(self) -> Destination:
        asked = self._asked
        return Destination(
            self._directory,
            asked.name,
            asked.selection,
            asked.keep,
            asked.durable,
            asked.incremental,
            self._save_memory,
            asked.in_flight,
            asked.write_meta_graph,
        )

    @property
    def _which(self) -> Which:
        return Which(self.name, self._asked.step, self._asked.chosen)

    @property
    def _source(self) -> Source:
        return Source(self._opened, self._which, self._asked.selection, durable=self._asked.durable)

    @cached_property
    def _opened(self) -> Storage:
        refuse_other_file(opened := open_storage(self.location, self._asked.options))
        return opened

    @cached_property
    def _directory(self) -> Storage:
        """The result of `_opened` if it is a directory."""
        if file_at(self._opened) is not None:
            raise StorageError(
                "this is a file of Keras: a model can be restored from it, and nothing else",
                where=self._opened.location,
                expected="a directory of checkpoints",
                advice="Save into a directory; tfpersist.Checkpoint(path) reads the file",
            )
        return self._opened

    @cached_property
    def _worker(self) -> Worker:
        return worker_at(self._directory.location)
