"""Open a `.meta` file: import the graph, restore its variables and run its other initializers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import ArgumentError, NameNotFoundError, value_text
from tfpersist.graph.constants.from_saver import Sources
from tfpersist.matching.plans.entry import Entry
from tfpersist.matching.plans.report import RestoreReport
from tfpersist.safety import Policy
from tfpersist.tf.open_graph.graph_model import GraphModel, Opened
from tfpersist.tf.open_graph.import_meta import Imported, import_meta
from tfpersist.tf.run.execute import Executor
from tfpersist.tf.targets.graph_state import VARIABLE_OPS, is_table
from tfpersist.tf.targets.known_graph import known_graph
from tfpersist.tf.targets.session import SessionTarget
from tfpersist.tf.targets.session_assignments import assignment_runs


@attrs.frozen
class ScopedTarget(SessionTarget):
    """The variables of one model in a session's graph, under keys without its name scope.

    Args:
        scope: the name scope of the model; "" for none.
        other_operations: names of the operations of the graph that are not the model's.
        sources: where the model's own Saver finds values, by the names of nodes without the scope.
    """

    scope: str = ""
    other_operations: frozenset[str] = frozenset()
    sources: Sources = attrs.field(factory=Sources)

    def entries(self) -> Sequence[Entry]:
        """Return the variables of the model, with those that are in no collection."""
        prefix = f"{self.scope}/" if self.scope else ""
        entries = [
            self._under_saved_key(entry.under(entry.key.removeprefix(prefix)), prefix)
            for entry in super().entries()
            if entry.name.startswith(prefix) and _operation(entry).name not in self.other_operations
        ]
        if any(entry.default and not is_table(entry) for entry in entries):
            return entries
        # The model has no global variables, so all of its variables are restored, as they would be
        # in a session of its own. Global variables of the session's own graph do not matter.
        return [attrs.evolve(entry, default=True) for entry in entries]

    def _under_saved_key(self, entry: Entry, prefix: str) -> Entry:
        """Return an entry under the key that the model's Saver gives it."""
        if is_table(entry):
            exported: Any = entry.handle
            pair = self.sources.tables.get(exported.op.inputs[0].op.name.removeprefix(prefix))
            return entry if pair is None else entry.under(pair[exported.value_index].key)
        source = self.sources.variables.get(entry.name.removeprefix(prefix))
        return entry if source is None else attrs.evolve(entry, key=source.key, part=source.part)


@attrs.define(eq=False)
class _Rehearsal:
    """A restore into a graph that nobody sees, to find all errors before the user's graph changes.

    Args:
        values: what was to be assigned, by the names of the variables and tables.
    """

    values: dict[str, np.ndarray[Any, Any]] = attrs.field(factory=dict)

    def target(self, session: Any, imported: Imported) -> ScopedTarget:
        """Return a target that keeps the values."""
        return _RehearsedTarget(session, imported.scope, sources=imported.sources, rehearsal=self)

    def carry_out(self, target: ScopedTarget) -> None:
        """Assign the values to the same variables of another target."""
        entries = {entry.name: entry for entry in target.entries()}
        target.assign([(entries[name], value) for name, value in self.values.items()])


@attrs.frozen
class _RehearsedTarget(ScopedTarget):
    """The variables of a model in a graph that nobody sees.

    Args:
        rehearsal: keeps the values.
    """

    rehearsal: _Rehearsal = attrs.field(factory=_Rehearsal)

    def assign(self, values: Sequence[tuple[Entry, np.ndarray[Any, Any]]]) -> None:
        """Keep the values, if the graph has operations that can assign them."""
        assignment_runs(values, known_graph(self.session).writes_of)
        self.rehearsal.values.update((entry.name, value) for entry, value in values)


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
    own_session = v1.Session(graph=imported.graph)
    try:
        if owns_session:
            session = own_session
            report = restore(_target(session, imported))
        else:
            rehearsal = _Rehearsal()
            report = restore(rehearsal.target(own_session, imported))
            imported.add_to(session.graph)
            rehearsal.carry_out(_target(session, imported))
        notes = (*imported.notes, *_initialize_rest(session, imported))
    except BaseException:
        own_session.close()
        raise
    if not owns_session:
        own_session.close()
    full_name = partial(_name_in_graph, session.graph, imported.scope)
    executor = Executor(session.graph, session, full_name, full_name)
    return GraphModel(
        session,
        imported.scope,
        report,
        notes,
        file,
        Opened(executor, imported.other_operations, owns_session),
    )


def _target(session: Any, imported: Imported) -> ScopedTarget:
    return ScopedTarget(session, imported.scope, imported.other_operations, imported.sources)


def _initialize_rest(session: Any, imported: Imported) -> list[str]:
    """Run the initializers of what no checkpoint holds: tables and local variables."""
    import tensorflow as tf
    from tensorflow.compat import v1

    prefix = f"{imported.scope}/" if imported.scope else None
    keys = v1.GraphKeys
    graph = session.graph
    local = graph.get_collection(keys.LOCAL_VARIABLES, prefix)
    initializers = [_initializer_of(variable) for variable in local]
    initializers += graph.get_collection(keys.TABLE_INITIALIZERS, prefix)
    notes = []
    for initializer in initializers:
        if initializer is None or initializer.name in imported.other_operations:
            continue
        try:
            session.run(initializer)
        except tf.errors.OpError as error:
            reason = error.message.splitlines()[0]
            notes.append(f"the initializer {initializer.name!r} failed: {reason}")
    return notes


def _initializer_of(variable: Any) -> Any | None:
    """Return the operation that initializes a local variable; None if there is none.

    TensorFlow 1.1 listed tensors in place of variables, and their initializers nowhere.
    """
    if hasattr(variable, "initializer"):
        return variable.initializer
    if getattr(variable.op, "type", None) not in VARIABLE_OPS:
        return None
    consumers = variable.op.outputs[0].consumers()
    name = f"{variable.op.name}/Assign"
    return next((operation for operation in consumers if operation.name == name), None)
