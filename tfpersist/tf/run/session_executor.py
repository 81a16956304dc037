"""SessionExecutor: run a frozen graph in TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from tfpersist.calls.bound import Bound
from tfpersist.errors import RunError
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import TensorSpec
from tfpersist.graph.structure.names import TensorRef
from tfpersist.tf.run import bound, forks
from tfpersist.tf.run.execute import Executor, spec_of_tensor
from tfpersist.tf.run.imported import import_graph


@attrs.frozen(eq=False)
class SessionExecutor:
    """Runs a graph in a session of TensorFlow; `calls.executor` describes its methods.

    Args:
        executor: fetches tensors of the imported graph.
    """

    executor: Executor

    @classmethod
    def start(cls, graph: Graph, *, mapped: bool) -> SessionExecutor:
        """Import a graph into TensorFlow.

        Args:
            graph: the graph.
            mapped: whether large constants may stay in the memory where they are.

        Raises:
            RunError: TensorFlow ran before this process was forked.
            UnsupportedError, GraphError: as `import_graph`.
        """
        forks.threads.begin()
        return cls(import_graph(graph, mapped=mapped))

    def run(self, fetches: Any, feeds: Mapping[Any, Any] | None = None) -> Any:
        """Compute tensors."""
        return self.executor.run(fetches, feeds)

    def bind(
        self,
        inputs: Iterable[TensorRef],
        outputs: Iterable[TensorRef],
        *,
        single: bool,
        labels: Iterable[Any] | None,
        pickled: Callable[[], tuple[Any, ...]],
    ) -> Bound:
        """Bind inputs and outputs of the graph."""
        return bound.bind(
            self.executor, inputs, outputs, single=single, labels=labels, pickled=pickled
        )

    def spec(self, ref: TensorRef) -> TensorSpec:
        """Return data type and shape of a tensor, as far as TensorFlow has inferred the shape."""
        return spec_of_tensor(self.executor.tensor(ref.name))

    def forked(self) -> RunError:
        """Return the error for a use in a forked child of the process that started it."""
        return forks.threads.forked()

    def close(self) -> None:
        """Release the session."""
        self.executor.close()
