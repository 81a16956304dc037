"""Run a model that was opened from a `.meta` file and a checkpoint, without its graph code."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

import attrs

from tfpersist.errors import GraphError, printable
from tfpersist.formats.graphdef import Graph, split
from tfpersist.graph.describe import lookup
from tfpersist.graph.describe.candidates import candidates
from tfpersist.graph.describe.summary import Summary, summarize
from tfpersist.graph.structure.names import TensorRef
from tfpersist.matching.plans.report import RestoreReport
from tfpersist.tf.run.execute import Executor, spec_of_tensor
from tfpersist.tf.run.translate import translated


@attrs.frozen
class Opened:
    """The means to run a model in its session.

    Args:
        executor: runs the graph by the names of the `.meta` file.
        other_operations: names of the operations of the graph that are not the model's.
        owns_session: whether the model closes the session.
    """

    executor: Executor
    other_operations: frozenset[str]
    owns_session: bool


@attrs.frozen(eq=False, repr=False)
class GraphModel:
    """A graph with its variables restored, ready to run.

    Use it as a context manager, or close it. It does not close a session of the caller.

    Args:
        session: the tf.compat.v1.Session that holds the variables.
        scope: the name scope of the model in the session's graph; "" for none. It ends in a number
            if the scope that was asked for is in use.
        report: what was restored.
        notes: what was left out or changed so that this TensorFlow accepts the graph.
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
    _opened: Opened

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
        """The tensors that may be results, the most likely first, as in `Freezer.candidates`."""
        return candidates(self._skeleton()[0]).outputs

    def __getitem__(self, name: str | TensorRef) -> TensorRef:
        """Describe a tensor.

        Args:
            name: its name in the `.meta` file, or with the name scope before it.

        Returns:
            The reference, under its name in the session's graph.

        Raises:
            NameNotFoundError: there is no such tensor; the message lists the nearest names.
        """
        tensor = self._opened.executor.tensor(name)
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
            fetches: a name as in the `.meta` file, with or without the name scope before it; a
                TensorRef of this model; a list of them; or a dict {label: name}.
            feeds: {tensor name: value}; values are cast within their kind.

        Returns:
            An array, a list or a dict of arrays, as `fetches` is.

        Raises:
            NameNotFoundError: the graph does not have a fetch or a feed, or a name may mean two
                tensors.
            FeedError: a feed is missing, or does not fit.
            RunError: TensorFlow failed.

        Example:
            >>> import tfpersist as tfp
            >>> with tfp.ModelStore("memory://doc/opened").open_graph() as model:
            ...     model.run("twice")
            array([2., 4.], dtype=float32)
        """
        return self._opened.executor.run(fetches, feeds)

    def _repr_html_(self) -> str:
        return self.summary().html()

    def __repr__(self) -> str:
        where = f" under {self.scope!r}" if self.scope else ""
        restored = f"{(count := len(self.report.restored)):,} variable" + "s" * (count != 1)
        return printable(f"<GraphModel {self.file}{where}: {restored} restored>")

    def close(self) -> None:
        """Close the session, unless it belongs to the caller.

        Example:
            >>> import tfpersist as tfp
            >>> model = tfp.ModelStore("memory://doc/opened").open_graph()
            >>> model.close()
        """
        if self._opened.owns_session:
            self._opened.executor.close()

    def __enter__(self) -> GraphModel:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _skeleton(self) -> tuple[Graph, str]:
        """Return the model's part of the session's graph, and the name of the file."""
        with translated(GraphError):
            definition = self.graph.as_graph_def(add_shapes=True)
        part = type(definition)(library=definition.library, versions=definition.versions)
        prefix = f"{self.scope}/" if self.scope else ""
        part.node.extend(
            node
            for node in definition.node
            if node.name.startswith(prefix) and node.name not in self._opened.other_operations
        )
        return split(memoryview(part.SerializeToString()), self.file), self.file
