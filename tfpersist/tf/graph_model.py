"""A running model that came from a `.meta` file and a checkpoint, without graph code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import attrs

from tfpersist.graph.names import TensorRef
from tfpersist.matching.plan import Entry
from tfpersist.report import RestoreReport
from tfpersist.safety import Policy
from tfpersist.tf import meta_graph
from tfpersist.tf.execute import Executor, spec_of_tensor
from tfpersist.tf.session import SessionTarget


@attrs.frozen
class ScopedTarget(SessionTarget):
    """The variables under one name scope of a session's graph, keyed without the scope."""

    scope: str = ""

    def entries(self, object_graph: Any = None) -> Sequence[Entry]:
        """List the variables of the scope, those in no collection included."""
        prefix = f"{self.scope}/" if self.scope else ""
        return [
            entry.under(entry.key.removeprefix(prefix))
            for entry in super().entries(object_graph)
            if entry.name.startswith(prefix)
        ]


@attrs.frozen
class GraphModel:
    """A graph with its variables restored, ready to run.

    Use it as a context manager, or close it; a session that the caller gave stays open.

    Args:
        session: the tf.compat.v1.Session that holds the variables.
        scope: the name scope of the model in the session's graph; empty for none.
        report: what was restored.
        notes: what had to be left out or changed for this TensorFlow to take the graph.
    """

    session: Any
    scope: str
    report: RestoreReport
    notes: tuple[str, ...]
    _executor: Executor
    _owns_session: bool

    @property
    def graph(self) -> Any:
        """The tf.Graph."""
        return self.session.graph

    def __getitem__(self, name: str) -> TensorRef:
        """Describe a tensor by its name in the `.meta` file.

        Raises:
            NameNotFoundError: there is no such tensor; the nearest names are given.
        """
        tensor = self._executor.tensor(self._scoped(name))
        return TensorRef(tensor.op.name, tensor.value_index, spec_of_tensor(tensor))

    def run(self, fetches: Any, feeds: Mapping[Any, Any] | None = None) -> Any:
        """Compute tensors.

        Args:
            fetches: one name as in the `.meta` file, a list of names, or a dict {label: name}.
            feeds: {tensor name: value}; values are cast within their kind.

        Returns:
            An array, a list or a dict of arrays, as `fetches` is.

        Raises:
            NameNotFoundError: a fetch or a feed names nothing in the graph.
            FeedError: a feed is missing, or does not fit.
            RunError: TensorFlow failed.
        """
        if isinstance(fetches, Mapping):
            fetches = {label: self._scoped(name) for label, name in fetches.items()}
        elif isinstance(fetches, (list, tuple)):
            fetches = [self._scoped(name) for name in fetches]
        else:
            fetches = self._scoped(fetches)
        fed = {self._scoped(name): value for name, value in (feeds or {}).items()}
        return self._executor.run(fetches, fed)

    def close(self) -> None:
        """Release the session, if it is this model's own."""
        if self._owns_session:
            self._executor.close()

    def __enter__(self) -> GraphModel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _scoped(self, name: Any) -> Any:
        if isinstance(name, str) and self.scope and not name.startswith(f"{self.scope}/"):
            return f"{self.scope}/{name}"
        return name


def open_model(
    encoded: bytes,
    restore: Callable[[ScopedTarget], RestoreReport],
    *,
    scope: str | None = None,
    session: Any = None,
    file: str = "<bytes>",
    policy: Policy | None = None,
) -> GraphModel:
    """Import a meta graph and restore its variables.

    Args:
        encoded: the MetaGraphDef.
        restore: gives the variables of a target their values.
        scope: put the graph under this name scope, with variables and tables of its own.
        session: a tf.compat.v1.Session to import into; None for a graph and a session of its own.
        file: where the MetaGraphDef comes from, for errors.
        policy: what the graph may do.

    Returns:
        The running model.

    Raises:
        CorruptionError: the MetaGraphDef is damaged.
        UnsafeModelError: the graph could do more than the policy allows.
        GraphError: TensorFlow cannot import the graph.
        RestoreError: the checkpoint does not fit it.
    """
    from tensorflow.compat import v1

    imported = meta_graph.import_meta(
        encoded, scope=scope or "", session=session, file=file, policy=policy
    )
    running = session if session is not None else v1.Session(graph=imported.graph)
    try:
        report = restore(ScopedTarget(running, scope=imported.scope))
        notes = (*imported.notes, *_initialize_rest(running, imported))
    except BaseException:
        if session is None:
            running.close()
        raise
    executor = Executor(imported.graph, running)
    return GraphModel(running, imported.scope, report, notes, executor, session is None)


def _initialize_rest(session: Any, imported: meta_graph.Imported) -> list[str]:
    """Run the graph's own initializers of what no checkpoint holds: tables, local variables."""
    import tensorflow as tf
    from tensorflow.compat import v1

    prefix = f"{imported.scope}/" if imported.scope else None
    keys = v1.GraphKeys
    local = imported.graph.get_collection(keys.LOCAL_VARIABLES, prefix)
    steps = [variable.initializer for variable in local]
    steps += imported.graph.get_collection(keys.TABLE_INITIALIZERS, prefix)
    notes = []
    for step in steps:
        try:
            session.run(step)
        except tf.errors.OpError as error:
            notes.append(f"the initializer {step.name!r} failed: {error.message.splitlines()[0]}")
    return notes
