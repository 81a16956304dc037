"""Sessions: capture and assign what the variables and tables of their graph hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import (
    RestoreError,
    SaveError,
    SelectionError,
    TargetError,
    value_text,
)
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import TensorSpec, payload_of
from tfpersist.matching.plan import Entry
from tfpersist.tf.internals.session import direct_callable
from tfpersist.tf.run.aligned import LEAST_ALIGNMENT, aligned_copy
from tfpersist.tf.run.execute import Executor
from tfpersist.tf.run.translate import translated
from tfpersist.tf.targets import graph_state
from tfpersist.tf.targets.export_meta import export_meta
from tfpersist.tf.targets.graph_state import Write
from tfpersist.tf.targets.target import Captured, Target

# A debugger's session wraps another, and so may a hook's context.
_MOST_WRAPPERS = 8


def adapt_session(target: object) -> Target | None:
    """Adapt a session of any kind; None for anything else."""
    import tensorflow as tf

    session: Any = target
    for _ in range(_MOST_WRAPPERS):
        if isinstance(session, tf.compat.v1.Session) or not hasattr(session, "session"):
            break
        session = session.session
    if isinstance(getattr(session, "graph", None), tf.Graph) and callable(
        getattr(session, "run", None)
    ):
        return SessionTarget(session)
    return None


@attrs.frozen
class SessionTarget:
    """The variables of a session's graph, under the names that a Saver gives them.

    Args:
        session: a tf.compat.v1.Session, or a MonitoredSession, whose hooks see nothing of this.
    """

    session: Any

    @property
    def graph(self) -> Any:
        """The session's graph, whatever the default graph is."""
        return self.session.graph

    def entries(self, object_graph: Message | None = None) -> Sequence[Entry]:
        """List the variables and tables; keyed by full name where the checkpoint is of objects."""
        entries = graph_state.entries_of(self.graph)
        if object_graph is None:
            return entries
        keys: dict[str, str | None] = {}
        for node in object_graph.nodes:
            for attribute in node.attributes:
                known = keys.setdefault(attribute.full_name, attribute.checkpoint_key)
                if known != attribute.checkpoint_key:
                    keys[attribute.full_name] = None
        return [entry.under(keys.get(entry.key) or entry.key) for entry in entries]

    def entries_by_name(self, specs: Mapping[str, TensorSpec]) -> Sequence[Entry]:
        """List the variables and tables; they go by their names anyway."""
        return self.entries()

    def capture(self, entries: Sequence[Entry]) -> Captured:
        """Fetch all values at once, and describe the graph."""
        items = [
            Item(entry.key, payload_of(value, entry.spec.dtype), entry.part)
            for entry, value in zip(entries, self.read(entries), strict=True)
        ]
        return Captured(items, export_meta(self.graph))

    def capture_all(self) -> None:
        """Return None: `capture` is the only way."""

    def read(self, entries: Sequence[Entry]) -> Sequence[np.ndarray[Any, Any]]:
        """Fetch all values at once, through reads that the graph has."""
        tensors = [graph_state.read_of(entry) for entry in entries]
        unread = [e.name for e, tensor in zip(entries, tensors, strict=True) if tensor is None]
        if unread:
            raise SaveError(
                f"the graph reads these variables nowhere: {', '.join(unread)}",
                advice="Create the variables with tf.compat.v1.get_variable, or leave them out"
                " with only().",
            )
        values = self._fetch(entries, tensors)
        return [_array(value, entry) for entry, value in zip(entries, values, strict=True)]

    def assign(self, values: Sequence[tuple[Entry, np.ndarray[Any, Any]]]) -> None:
        """Run the graph's own assignments with the values fed; no initializer has to run before."""
        jobs, tables = [], dict[int, list[tuple[Entry, np.ndarray[Any, Any]]]]()
        for entry, value in values:
            if graph_state.is_table(entry):
                held: Any = entry.handle
                tables.setdefault(id(held.op), []).append((entry, value))
            else:
                jobs.append(_job(entry, (value,)))
        for pairs in tables.values():
            ordered = sorted(pairs, key=_port)
            if len(ordered) < 2:
                raise SelectionError(
                    f"the table of {ordered[0][0].name!r} needs both its keys and its values",
                    advice="Select the table object, or both names.",
                )
            jobs.append(_job(ordered[0][0], tuple(value for _, value in ordered)))
        for each in _rounds(jobs):
            self._run(each)

    def averages_of(
        self, averages: object, entries: Sequence[Entry]
    ) -> Mapping[str, Sequence[str]]:
        """Name the shadow variables of an ExponentialMovingAverage, or those with a suffix."""
        average = getattr(averages, "average", None)
        suffix = averages if isinstance(averages, str) else getattr(averages, "name", None)
        if not isinstance(suffix, str) or not (isinstance(averages, str) or callable(average)):
            raise SelectionError(
                f"averages() is given {value_text(averages)}",
                expected="a tf.train.ExponentialMovingAverage, or the last part of the names of"
                " its shadow variables, such as 'ExponentialMovingAverage'",
            )
        found: dict[str, Sequence[str]] = {}
        for entry in entries:
            names = [f"{entry.key}/{suffix.strip('/')}"]
            shadow = average(entry.ref) if average and hasattr(entry.ref, "ref") else None
            if shadow is not None and entry.part is None and entry.key == entry.name:
                names.insert(0, shadow.op.name)
            found[entry.key] = tuple(dict.fromkeys(names))
        return found

    def global_step(self) -> Any:
        """Give the variable in which the graph counts its steps; None where it does not."""
        import tensorflow as tf

        return tf.compat.v1.train.get_global_step(self.graph)

    def value_of(self, tensor: object) -> Any:
        """Fetch one tensor or variable of the graph, without hooks."""
        with translated(TargetError):
            return self._raw(lambda session: session.run(tensor))

    def run(
        self, fetches: Sequence[str], feeds: Mapping[str, np.ndarray[Any, Any]]
    ) -> Sequence[np.ndarray[Any, Any]]:
        """Compute tensors of the graph by name, without hooks.

        Raises:
            RunError: TensorFlow failed.
        """

        def run(session: Any) -> Sequence[np.ndarray[Any, Any]]:
            found: list[np.ndarray[Any, Any]] = Executor(self.graph, session).run(
                list(fetches), feeds
            )
            return found

        values: Sequence[np.ndarray[Any, Any]] = self._raw(run)
        return values

    def _raw(self, work: Callable[[Any], Any]) -> Any:
        if hasattr(self.session, "run_step_fn"):
            return self.session.run_step_fn(lambda step_context: work(step_context.session))
        return work(self.session)

    def _fetch(self, entries: Sequence[Entry], tensors: Sequence[Any]) -> Sequence[Any]:
        import tensorflow as tf

        def fetch(session: Any) -> Sequence[Any] | None:
            try:
                fetched = _fetched(session, entries, tensors)
            except tf.errors.FailedPreconditionError as error:
                names = self._uninitialized(entries, tensors, session)
                if not names:
                    raise
                raise SaveError(
                    f"{len(names)} variables have no value yet: {', '.join(names)}",
                    advice="Run their initializers or restore them, or leave them out with only().",
                ) from error
            return fetched

        with translated(SaveError):
            values: Sequence[Any] = self._raw(fetch)
        return values

    def _uninitialized(
        self, entries: Sequence[Entry], tensors: Sequence[Any], session: Any
    ) -> list[str]:
        import tensorflow as tf

        told = {
            at: flag
            for at, entry in enumerate(entries)
            if (flag := graph_state.is_initialized_of(entry)) is not None
        }
        flags = session.run(told)
        names = {at: entries[at].name for at, flag in flags.items() if not flag}

        def search(suspects: list[int]) -> None:
            try:
                session.run([tensors[at] for at in suspects])
            except tf.errors.FailedPreconditionError:
                if len(suspects) == 1:
                    names[suspects[0]] = entries[suspects[0]].name
                    return
                search(suspects[: len(suspects) // 2])
                search(suspects[len(suspects) // 2 :])

        silent = [at for at in range(len(entries)) if at not in told]
        if silent:
            search(silent)
        return [names[at] for at in sorted(names)]

    def _run(self, each: _Round) -> None:
        with translated(RestoreError):
            self._raw(lambda session: session.run(each.ops, dict(each.feeds)))


def _fetched(session: Any, entries: Sequence[Entry], tensors: Sequence[Any]) -> Sequence[Any]:
    # What a resource variable holds is shared and not copied: TensorFlow copies it before it
    # changes what is shared. It makes no such promise for other variables.
    shared = [at for at, entry in enumerate(entries) if graph_state.is_resource(entry)]
    read = None
    if shared:
        names = [tensors[at].name for at in shared]
        read = direct_callable(session, (), names)
    if read is None:
        copies: Sequence[Any] = session.run(list(tensors))
        return copies
    fetched = dict(zip(shared, map(_read_only, read()), strict=True))
    rest = [at for at in range(len(tensors)) if at not in fetched]
    if rest:
        fetched.update(zip(rest, session.run([tensors[at] for at in rest]), strict=True))
    return [fetched[at] for at in range(len(tensors))]


def _read_only(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    return value


@attrs.frozen
class _Job:
    writes: Sequence[Write]
    values: tuple[np.ndarray[Any, Any], ...]


@attrs.define(eq=False)
class _Round:
    ops: list[Any] = attrs.field(factory=list)
    feeds: list[tuple[Any, np.ndarray[Any, Any]]] = attrs.field(factory=list)
    fed: set[int] = attrs.field(factory=set)


def _job(entry: Entry, values: tuple[np.ndarray[Any, Any], ...]) -> _Job:
    writes = graph_state.writes_of(entry)
    if not writes:
        table = graph_state.is_table(entry)
        raise TargetError(
            f"the graph has no op that {'fills' if table else 'assigns'} {entry.name!r}",
            advice="Create a tf.compat.v1.train.Saver() when you build the graph: it adds the op"
            " that fills the table."
            if table
            else "Build the graph with the variable's initializer, or leave it out with only().",
        )
    taking = [write for write in writes if _takes(write, values)]
    if not taking:
        raise TargetError(
            f"no op of the graph assigns a value of this shape to {entry.name!r}",
            expected=" or ".join(str(write.feeds[0].shape) for write in writes),
            found=values[0].shape,
            advice="Create a tf.compat.v1.train.Saver() when you build the graph: its assignments"
            " take any shape.",
        )
    return _Job(taking, tuple(_private(_fed(value, entry), entry) for value in values))


def _rounds(jobs: Sequence[_Job]) -> list[_Round]:
    # One tensor takes one value in a run: variables that share their initial value, and have no
    # other assignment, need a run each.
    rounds: list[_Round] = []
    for job in jobs:
        each, write = next(
            (
                (each, write)
                for each in rounds
                for write in job.writes
                if each.fed.isdisjoint(id(tensor) for tensor in write.feeds)
            ),
            (_Round(), job.writes[0]),
        )
        if not each.ops:
            rounds.append(each)
        each.ops.append(write.op)
        each.feeds.extend(zip(write.feeds, job.values, strict=True))
        each.fed.update(id(tensor) for tensor in write.feeds)
    return rounds


def _takes(write: Write, values: Sequence[np.ndarray[Any, Any]]) -> bool:
    return all(
        tensor.shape.is_compatible_with(value.shape)
        for tensor, value in zip(write.feeds, values, strict=True)
    )


def _port(pair: tuple[Entry, object]) -> int:
    exported: Any = pair[0].handle
    return int(exported.value_index)


def _array(value: Any, entry: Entry) -> np.ndarray[Any, Any]:
    if entry.spec.dtype == "string":
        array = np.empty(np.shape(value), object)
        array[...] = value
        return array
    array = np.asarray(value)
    return array.view(array.dtype[0]) if array.dtype.names else array


def _fed(value: np.ndarray[Any, Any], entry: Entry) -> np.ndarray[Any, Any]:
    import tensorflow as tf

    if entry.spec.dtype.startswith(("qint", "quint")):
        stored: np.dtype[Any] = np.dtype(tf.dtypes.as_dtype(entry.spec.dtype).as_numpy_dtype)
        return value.view(stored)
    return value


def _private(value: np.ndarray[Any, Any], entry: Entry) -> np.ndarray[Any, Any]:
    # A resource variable takes over the memory of an aligned feed, which must not be that of the
    # mapped file. TensorFlow copies a feed that is not aligned.
    held: Any = entry.handle
    if value.dtype.kind == "O" or getattr(held, "type", "") != "VarHandleOp":
        return value
    if value.ctypes.data % LEAST_ALIGNMENT and value.flags.c_contiguous:
        return value
    return aligned_copy(value)
