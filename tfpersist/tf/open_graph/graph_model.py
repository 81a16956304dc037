"""A running model that came from a `.meta` file and a checkpoint, without graph code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any

import attrs

from tfpersist.errors import (
    ArgumentError,
    GraphError,
    NameNotFoundError,
    value_text,
)
from tfpersist.formats.graphdef import Graph, split
from tfpersist.graph.describe import lookup
from tfpersist.graph.describe.candidates import candidates
from tfpersist.graph.describe.summary import Summary, summarize
from tfpersist.graph.structure.names import TensorRef
from tfpersist.matching.plan import Entry
from tfpersist.matching.report import RestoreReport
from tfpersist.safety import Policy
from tfpersist.tf.open_graph import import_meta
from tfpersist.tf.run.execute import Executor, spec_of_tensor
from tfpersist.tf.run.translate import translated
from tfpersist.tf.targets.session import SessionTarget


@attrs.frozen
class ScopedTarget(SessionTarget):
    """The variables of one model in a session's graph, keyed without its name scope.

    Args:
        scope: the name scope of the model; empty for none.
        before: names of the operations that are not the model's.
    """

    scope: str = ""
    before: frozenset[str] = frozenset()

    def entries(self, object_graph: Any = None) -> Sequence[Entry]:
        """List the variables of the model, those in no collection included."""
        prefix = f"{self.scope}/" if self.scope else ""
        return [
            entry.under(entry.key.removeprefix(prefix))
            for entry in super().entries(object_graph)
            if entry.name.startswith(prefix) and _operation(entry).name not in self.before
        ]


def _operation(entry: Entry) -> Any:
    held: Any = entry.handle
    return held if hasattr(held, "outputs") else held.op


@attrs.frozen(eq=False, repr=False)
class GraphModel:
    """A graph with its variables restored, ready to run.

    Use it as a context manager, or close it; a session that the caller gave stays open.

    Args:
        session: the tf.compat.v1.Session that holds the variables.
        scope: the name scope of the model in the session's graph; empty for none. It has a number
            at its end where the one that was asked for is in use.
        report: what was restored.
        notes: what had to be left out or changed for this TensorFlow to take the graph.
        file: the `.meta` file.

    Example:
        >>> import tensorflow as tf, tfpersist as tfp
        >>> store = tfp.ModelStore("memory://doc/opened")
        >>> with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        ...     v = tf.compat.v1.get_variable("v", initializer=[1.0, 2.0])
        ...     twice = tf.add(v, v, name="twice")
        ...     session.run(v.initializer)
        ...     _ = store.save(session)
        >>> with store.open_graph() as model:
        ...     print(model, *model.outputs)
        <GraphModel memory://doc/opened/model.ckpt.meta: 1 variable restored> twice:0 float32[2]
    """

    session: Any
    scope: str
    report: RestoreReport
    notes: tuple[str, ...]
    file: str
    _before: frozenset[str]
    _executor: Executor
    _owns_session: bool

    # Names are looked up, as in a dict. Without this line, iter() would look up 0, 1, 2 and so on.
    __iter__ = None

    @property
    def graph(self) -> Any:
        """The tf.Graph."""
        return self.session.graph

    @property
    def inputs(self) -> tuple[TensorRef, ...]:
        """The placeholders, under their names in the session's graph."""
        return candidates(self._skeleton()[0]).inputs

    @property
    def outputs(self) -> tuple[TensorRef, ...]:
        """The tensors that look like results, the likeliest first, as `Freezer.candidates` does."""
        return candidates(self._skeleton()[0]).outputs

    def __getitem__(self, name: str | TensorRef) -> TensorRef:
        """Describe a tensor.

        Args:
            name: its name in the `.meta` file, or with the name scope before it.

        Returns:
            The reference, under its name in the session's graph.

        Raises:
            NameNotFoundError: there is no such tensor; the nearest names are given.
        """
        tensor = self._executor.tensor(name)
        return TensorRef(tensor.op.name, tensor.value_index, spec_of_tensor(tensor))

    def __contains__(self, name: object) -> bool:
        """Return whether there is a tensor of that name."""
        return lookup.contains(self.__getitem__, name)

    def summary(self) -> Summary:
        """Describe the graph: inputs, outputs, ops, weights, functions.

        Returns:
            The facts; print them to read them.

        Raises:
            GraphError: a node's attrs do not tell what it gives.

        Example:
            >>> import tfpersist as tfp
            >>> with tfp.ModelStore("memory://doc/opened").open_graph() as model:
            ...     model.summary().operations["VarHandleOp"]
            1
        """
        facts = summarize(*self._skeleton())
        return attrs.evolve(facts, inputs=self.inputs, outputs=self.outputs)

    def run(self, fetches: Any, feeds: Mapping[Any, Any] | None = None) -> Any:
        """Compute tensors.

        Args:
            fetches: one name as in the `.meta` file, with the name scope before it or without; a
                TensorRef of this model; a list of them; or a dict {label: name}.
            feeds: {tensor name: value}; values are cast within their kind.

        Returns:
            An array, a list or a dict of arrays, as `fetches` is.

        Raises:
            NameNotFoundError: a fetch or a feed names nothing in the graph, or may be two tensors.
            FeedError: a feed is missing, or does not fit.
            RunError: TensorFlow failed.

        Example:
            >>> import tfpersist as tfp
            >>> with tfp.ModelStore("memory://doc/opened").open_graph() as model:
            ...     model.run("twice")
            array([2., 4.], dtype=float32)
        """
        return self._executor.run(fetches, feeds)

    def _repr_html_(self) -> str:
        return self.summary().html()

    def __repr__(self) -> str:
        where = f" under {self.scope!r}" if self.scope else ""
        restored = f"{(count := len(self.report.restored)):,} variable" + "s" * (count != 1)
        return f"<GraphModel {self.file}{where}: {restored} restored>"

    def close(self) -> None:
        """Release the session, if it is this model's own.

        Example:
            >>> import tfpersist as tfp
            >>> model = tfp.ModelStore("memory://doc/opened").open_graph()
            >>> model.close()
        """
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

    def _skeleton(self) -> tuple[Graph, str]:
        """Take what is the model's own out of the session's graph."""
        with translated(GraphError):
            definition = self.graph.as_graph_def(add_shapes=True)
        own = type(definition)(library=definition.library, versions=definition.versions)
        prefix = f"{self.scope}/" if self.scope else ""
        own.node.extend(
            node
            for node in definition.node
            if node.name.startswith(prefix) and node.name not in self._before
        )
        return split(memoryview(own.SerializeToString()), self.file), self.file


def _called(graph: Any, scope: str, name: str) -> str:
    """Find what a name means: first what the `.meta` file calls so, then what the graph does."""
    if not scope:
        return name
    prefix = f"{scope}/"
    inner = f"{prefix}{name}"
    if not name.startswith(prefix):
        return inner
    if not _has(graph, inner):
        return name
    if _has(graph, name):
        raise NameNotFoundError(
            f"{name!r} may be two tensors: {inner!r}, which the .meta file calls {name!r}, and"
            f" {name!r}, which it calls {name.removeprefix(prefix)!r}",
            advice="Open the graph under another scope, or pass the tf.Tensor itself.",
        )
    return inner


def _has(graph: Any, name: str) -> bool:
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
        ArgumentError: the session is none.
        CorruptionError: the MetaGraphDef is damaged.
        UnsafeModelError: the graph could do more than the policy allows.
        GraphError: TensorFlow cannot import the graph.
        TargetError: it would share variables or names with the session's graph.
        RestoreError: the checkpoint does not fit it.
    """
    from tensorflow.compat import v1

    if session is not None and not isinstance(getattr(session, "graph", None), v1.Graph):
        raise ArgumentError(
            "this is no session to import a graph into",
            where="session",
            expected="a tf.compat.v1.Session, or None for one of its own",
            found=value_text(session),
        )
    imported = import_meta.import_meta(
        encoded, scope=scope or "", session=session, file=file, policy=policy
    )
    running = session if session is not None else v1.Session(graph=imported.graph)
    try:
        report = restore(ScopedTarget(running, imported.scope, imported.before))
        notes = (*imported.notes, *_initialize_rest(running, imported))
    except BaseException:
        if session is None:
            running.close()
        raise
    called = partial(_called, imported.graph, imported.scope)
    return GraphModel(
        running,
        imported.scope,
        report,
        notes,
        file,
        imported.before,
        Executor(imported.graph, running, called),
        session is None,
    )


def _initialize_rest(session: Any, imported: import_meta.Imported) -> list[str]:
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
        if step.name in imported.before:
            continue
        try:
            session.run(step)
        except tf.errors.OpError as error:
            notes.append(f"the initializer {step.name!r} failed: {error.message.splitlines()[0]}")
    return notes
