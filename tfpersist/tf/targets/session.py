"""Save and restore the variables and tables of a session's graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import (
    RestoreError,
    SaveError,
    SelectionError,
    TargetError,
    counted,
    value_text,
)
from tfpersist.formats import variant_tensor
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import payload_of
from tfpersist.matching.pairing.by_key import keyed
from tfpersist.matching.pairing.saved import Saved
from tfpersist.matching.plans.entry import Entry
from tfpersist.tf.internals import saveables
from tfpersist.tf.internals.session import kept_callable
from tfpersist.tf.run.execute import Executor
from tfpersist.tf.run.translate import translated
from tfpersist.tf.targets import graph_state
from tfpersist.tf.targets.export_meta import export_meta
from tfpersist.tf.targets.known_graph import KnownGraph, known_graph
from tfpersist.tf.targets.session_assignments import AssignmentRun, assignment_runs
from tfpersist.tf.targets.target import Captured, Target

# The session of a debugger wraps another session, and so may the context of a hook.
_MOST_WRAPPERS = 8


def adapt_session(target: object) -> Target | None:
    """Adapt a session of any type; return None for anything else."""
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


@attrs.frozen(slots=False)
class SessionTarget:
    """The variables of a session's graph, under the names that a Saver gives them.

    Args:
        session: a tf.compat.v1.Session or a MonitoredSession; the hooks of the latter are not
            called.
    """

    session: Any

    @property
    def graph(self) -> Any:
        """The graph of the session."""
        return self.session.graph

    @cached_property
    def _known(self) -> KnownGraph:
        return known_graph(self.session)

    def entries(self) -> Sequence[Entry]:
        """Return the variables and tables."""
        return list(self._known.entries)

    def entries_for(self, saved: Saved) -> Sequence[Entry]:
        """Return the variables and tables, under the keys that their names have."""
        return keyed(self.entries(), saved)

    def capture(self, entries: Sequence[Entry]) -> Captured:
        """Return all values, fetched at once, and what encodes the graph."""
        items = [
            Item(entry.key, payload_of(value, entry.spec.dtype), entry.part)
            for entry, value in zip(entries, self.read(entries), strict=True)
        ]
        keys = {entry.name: entry.key for entry in entries}
        return Captured(items, lambda: export_meta(self.graph, keys))

    def capture_all(self) -> None:
        """Return None: `capture` is the only way."""

    def read(self, entries: Sequence[Entry]) -> Sequence[np.ndarray[Any, Any]]:
        """Return all values, fetched at once from tensors that the graph has."""
        positions = {id(e): self._position(e) for e in entries if saveables.is_position(e)}
        if positions:
            others = iter(self.read([entry for entry in entries if id(entry) not in positions]))
            return [positions[id(e)] if id(e) in positions else next(others) for e in entries]
        tensors = [graph_state.read_of(entry) for entry in entries]
        unread = [e.name for e, tensor in zip(entries, tensors, strict=True) if tensor is None]
        if unread:
            raise SaveError(
                f"no operation of the graph reads these variables: {', '.join(unread)}",
                advice="Create the variables with tf.compat.v1.get_variable, or leave them out"
                " with only().",
            )
        values = self._fetch(entries, tensors)
        return [_array(value, entry) for entry, value in zip(entries, values, strict=True)]

    def _position(self, entry: Entry) -> np.ndarray[Any, Any]:
        """Return the position of an iterator.

        Raises:
            SaveError: TensorFlow cannot save it.
        """
        fetched = saveables.fetched(entry)
        try:
            encoded = self.value_of(fetched)
        except TargetError as error:
            raise SaveError(
                f"TensorFlow cannot save the position of this iterator: {error.problem}",
                where=entry.name,
                advice="Run its initializer first, or leave it out with only(). A dataset with"
                " random ops, generators or Python functions has no position.",
            ) from error
        return variant_tensor.from_proto(encoded)

    def assign(self, values: Sequence[tuple[Entry, np.ndarray[Any, Any]]]) -> None:
        """Feed the values to assignments that the graph has; no initializer has to run before."""
        moves = [pair for pair in values if saveables.moves_iterator(pair[0])]
        runs = self._runs([pair for pair in values if not saveables.moves_iterator(pair[0])])
        # These may refuse, so they come first.
        if moves:
            self._move_iterators(moves)
        with translated(RestoreError):
            self._carry_out(runs)

    def _runs(self, values: Sequence[tuple[Entry, np.ndarray[Any, Any]]]) -> list[AssignmentRun]:
        return assignment_runs(values, self._known.writes_of)

    def _carry_out(self, runs: Sequence[AssignmentRun]) -> None:
        def carry_out(session: Any) -> None:
            for run in runs:
                run.carry_out(session)

        self._in_raw_session(carry_out)

    def _move_iterators(self, values: Sequence[tuple[Entry, np.ndarray[Any, Any]]]) -> None:
        """Assign positions to iterators, to all or to none."""
        entries = [entry for entry, _ in values]
        names = ", ".join(entry.name for entry in entries)
        try:
            before = self.read(entries)
        except SaveError as error:
            raise RestoreError(
                "an iterator has no position yet that a restore could replace; nothing was"
                f" assigned: {error.problem}",
                where=names,
                advice="Run its initializer before the restore, or leave it out with only().",
            ) from error
        try:
            with translated(RestoreError):
                self._carry_out(self._runs(values))
        except RestoreError as error:
            # TensorFlow changes an iterator that refuses a position too.
            self._carry_out(self._runs(list(zip(entries, before, strict=True))))
            raise RestoreError(
                f"an iterator refuses its position: {error.problem}",
                where=names,
                advice="Leave it out with only(), or build its dataset as it was for the save.",
            ) from error

    def averages_of(
        self, averages: object, entries: Sequence[Entry]
    ) -> Mapping[str, Sequence[str]]:
        """Return the names of shadow variables, of an ExponentialMovingAverage or of a suffix."""
        average = getattr(averages, "average", None)
        suffix = averages if isinstance(averages, str) else getattr(averages, "name", None)
        if not isinstance(suffix, str) or not (isinstance(averages, str) or callable(average)):
            raise SelectionError(
                "averages() cannot use this argument",
                expected="a tf.train.ExponentialMovingAverage, or the last part of the names of"
                " its shadow variables, such as 'ExponentialMovingAverage'",
                found=value_text(averages),
            )
        result: dict[str, Sequence[str]] = {}
        for entry in entries:
            names = [f"{entry.key}/{suffix.strip('/')}"]
            shadow = average(entry.ref) if average and hasattr(entry.ref, "ref") else None
            if shadow is not None and entry.part is None and entry.key == entry.name:
                names.insert(0, shadow.op.name)
            result[entry.key] = tuple(dict.fromkeys(names))
        return result

    def global_step(self) -> Any:
        """Return the variable in which the graph counts training steps; None if there is none."""
        import tensorflow as tf

        return tf.compat.v1.train.get_global_step(self.graph)

    def value_of(self, tensor: object) -> Any:
        """Return the value of a tensor or variable of the graph, without hooks."""
        with translated(TargetError):
            return self._in_raw_session(lambda session: session.run(tensor))

    def run(
        self, fetches: Sequence[str], feeds: Mapping[str, np.ndarray[Any, Any]]
    ) -> Sequence[np.ndarray[Any, Any]]:
        """Compute tensors of the graph by name, without hooks.

        Raises:
            RunError: TensorFlow failed.
        """

        def run(session: Any) -> Sequence[np.ndarray[Any, Any]]:
            results: list[np.ndarray[Any, Any]] = Executor(self.graph, session).run(
                list(fetches), feeds
            )
            return results

        values: Sequence[np.ndarray[Any, Any]] = self._in_raw_session(run)
        return values

    def _in_raw_session(self, work: Callable[[Any], Any]) -> Any:
        """Call `work` with the session inside of a MonitoredSession, so that no hook is called."""
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
                    f"{counted(len(names), 'variable has', 'variables have')} no value yet:"
                    f" {', '.join(names)}",
                    advice="Run their initializers or restore them, or leave them out with only().",
                ) from error
            return fetched

        with translated(SaveError):
            values: Sequence[Any] = self._in_raw_session(fetch)
        return values

    def _uninitialized(
        self, entries: Sequence[Entry], tensors: Sequence[Any], session: Any
    ) -> list[str]:
        """Return the names of the variables without a value, in the order of the entries."""
        import tensorflow as tf

        flag_tensors = {
            position: tensor
            for position, entry in enumerate(entries)
            if (tensor := graph_state.is_initialized_of(entry)) is not None
        }
        flags = session.run(flag_tensors)
        empty = {position for position, is_initialized in flags.items() if not is_initialized}

        def search(suspects: list[int]) -> None:
            try:
                session.run([tensors[position] for position in suspects])
            except tf.errors.FailedPreconditionError:
                if len(suspects) == 1:
                    empty.add(suspects[0])
                    return
                search(suspects[: len(suspects) // 2])
                search(suspects[len(suspects) // 2 :])

        without_flag = [n for n in range(len(entries)) if n not in flag_tensors]
        if without_flag:
            search(without_flag)
        return [entries[position].name for position in sorted(empty)]


def _fetched(session: Any, entries: Sequence[Entry], tensors: Sequence[Any]) -> Sequence[Any]:
    # The memory of a resource variable can be shared: TensorFlow copies it before it changes the
    # variable. It does not do so for other variables, which have to be copied.
    shared = [position for position, entry in enumerate(entries) if graph_state.is_resource(entry)]
    read_shared = None
    if shared:
        read_shared = kept_callable(session, [tensors[n].name for n in shared])
    if read_shared is None:
        copies: Sequence[Any] = session.run(list(tensors))
        return copies
    values = dict(zip(shared, map(_read_only, read_shared()), strict=True))
    rest = [n for n in range(len(tensors)) if n not in values]
    if rest:
        values.update(zip(rest, session.run([tensors[n] for n in rest]), strict=True))
    return [values[n] for n in range(len(tensors))]


def _read_only(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    return value


def _array(value: Any, entry: Entry) -> np.ndarray[Any, Any]:
    if entry.spec.dtype == "string":
        array = np.empty(np.shape(value), object)
        array[...] = value
        return array
    array = np.asarray(value)
    return array.view(array.dtype[0]) if array.dtype.names else array
