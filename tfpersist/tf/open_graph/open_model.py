"""Open a `.meta` file: import the graph, restore its variables and run its other initializers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import attrs

from tfpersist.errors import ArgumentError, NameNotFoundError, value_text
from tfpersist.matching.entry import Entry
from tfpersist.matching.report import RestoreReport
from tfpersist.safety import Policy
from tfpersist.tf.open_graph.graph_model import GraphModel, Opened
from tfpersist.tf.open_graph.import_meta import Imported, import_meta
from tfpersist.tf.run.execute import Executor
from tfpersist.tf.targets.graph_state import is_table
from tfpersist.tf.targets.session import SessionTarget


@attrs.frozen
class ScopedTarget(SessionTarget):
    """The variables of one model in a session's graph, under keys without its name scope.

    Args:
        scope: the name scope of the model; "" for none.
        other_operations: names of the operations of the graph that are not the model's.
    """

    scope: str = ""
    other_operations: frozenset[str] = frozenset()

    def entries(self) -> Sequence[Entry]:
        """Return the variables of the model, with those that are in no collection."""
        prefix = f"{self.scope}/" if self.scope else ""
        entries = [
            entry.under(entry.key.removeprefix(prefix))
            for entry in super().entries()
            if entry.name.startswith(prefix) and _operation(entry).name not in self.other_operations
        ]
        if any(entry.default and not is_table(entry) for entry in entries):
            return entries
        # The model has no global variables, so all of its variables are restored, as they would be
        # in a session of its own. Global variables of the session's own graph do not matter.
        return [attrs.evolve(entry, default=True) for entry in entries]


def _operation(entry: Entry) -> Any:
    handle: Any = entry.handle
    return handle if hasattr(handle, "outputs") else handle.op


def _name_in_graph(graph: Any, scope: str, name: str) -> str:
    """Return the name in the graph for a name of the `.meta` file or of the graph.

    Args:
        graph: the tf.Graph.
        scope: the name scope of the model.
        name: as in the `.meta` file, or with the scope before it.

    Raises:
        NameNotFoundError: the name may mean two tensors.
    """
    if not scope:
        return name
    prefix = f"{scope}/"
    inner = f"{prefix}{name}"
    if not name.startswith(prefix):
        return inner
    if not _has_operation(graph, inner):
        return name
    if _has_operation(graph, name):
        raise NameNotFoundError(
            f"{name!r} may mean two tensors: {inner!r}, which the .meta file calls {name!r}, and"
            f" {name!r}, which it calls {name.removeprefix(prefix)!r}",
            advice="Open the graph under another scope, or pass the tf.Tensor itself.",
        )
    return inner


def _has_operation(graph: Any, name: str) -> bool:
    try:
        graph.get_operation_by_name(name.partition(":")[0])
    except (KeyError, ValueError):
        return False
    return True


def open_model(
    encoded: bytes,
    restore: Callable[[ScopedTarget], RestoreReport],
    *,
    scope: str | None = None,
    session: Any = None,
    file: str = "<bytes>",
    policy: Policy | None = None,
) -> GraphModel:
    """Import a MetaGraphDef and restore its variables.

    Args:
        encoded: the MetaGraphDef.
        restore: restores a target, and returns the report.
        scope: put the graph under this name scope, with variables and tables of its own.
        session: a tf.compat.v1.Session to import into; None for a graph and a session of its own.
        file: where the MetaGraphDef comes from, for errors.
        policy: what the graph may do.

    Returns:
        The running model.

    Raises:
        ArgumentError: `session` is not a session.
        CorruptionError: the MetaGraphDef is damaged.
        UnsafeModelError: the graph could do more than the policy allows.
        GraphError: TensorFlow cannot import the graph.
        TargetError: it would share variables or names with the session's graph.
        RestoreError: the checkpoint does not fit it.
    """
    from tensorflow.compat import v1

    if session is not None and not isinstance(getattr(session, "graph", None), v1.Graph):
        raise ArgumentError(
            "the graph cannot be imported into this",
            where="session",
            expected="a tf.compat.v1.Session, or None for a new one",
            found=value_text(session),
        )
    imported = import_meta(encoded, scope=scope or "", session=session, file=file, policy=policy)
    owns_session = session is None
    if owns_session:
        session = v1.Session(graph=imported.graph)
    try:
        report = restore(ScopedTarget(session, imported.scope, imported.other_operations))
        notes = (*imported.notes, *_initialize_rest(session, imported))
    except BaseException:
        if owns_session:
            session.close()
        raise
    full_name = partial(_name_in_graph, imported.graph, imported.scope)
    executor = Executor(imported.graph, session, full_name)
    return GraphModel(
        session,
        imported.scope,
        report,
        notes,
        file,
        Opened(executor, imported.other_operations, owns_session),
    )


def _initialize_rest(session: Any, imported: Imported) -> list[str]:
    """Run the initializers of what no checkpoint holds: tables and local variables."""
    import tensorflow as tf
    from tensorflow.compat import v1

    prefix = f"{imported.scope}/" if imported.scope else None
    keys = v1.GraphKeys
    local = imported.graph.get_collection(keys.LOCAL_VARIABLES, prefix)
    initializers = [variable.initializer for variable in local]
    initializers += imported.graph.get_collection(keys.TABLE_INITIALIZERS, prefix)
    notes = []
    for initializer in initializers:
        if initializer.name in imported.other_operations:
            continue
        try:
            session.run(initializer)
        except tf.errors.OpError as error:
            reason = error.message.splitlines()[0]
            notes.append(f"the initializer {initializer.name!r} failed: {reason}")
    return notes
