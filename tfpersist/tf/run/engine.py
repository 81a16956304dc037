"""Build the executor of a model once, when it is first needed."""

from __future__ import annotations

import os
import threading
from typing import Any

import attrs

from tfpersist import safety
from tfpersist.errors import RunError
from tfpersist.formats.graphdef import Graph
from tfpersist.safety import Policy
from tfpersist.tf.run import forks
from tfpersist.tf.run.execute import Executor
from tfpersist.tf.run.imported import import_graph


@attrs.define(eq=False)
class Engine:
    """Builds, keeps and closes the executor of one model.

    Args:
        executor: the executor; None before the first use and after `close`.
    """

    executor: Executor | None = None
    _lock: Any = attrs.field(factory=threading.Lock, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _process: int = attrs.field(factory=os.getpid, init=False)

    def start(self, graph: Graph, file: str, policy: Policy | None, *, mapped: bool) -> Executor:
        """Return the executor, and build it if there is none.

        Args:
            graph: the graph.
            file: where the graph comes from, for errors.
            policy: what the graph may do; None for everything.
            mapped: whether large constants may stay in the memory where they are.

        Raises:
            RunError: the model was closed, or TensorFlow ran before this process was forked.
            UnsafeModelError: the graph could do more than the policy allows.
            GraphError: TensorFlow refuses the graph.
        """
        if self._process != os.getpid():
            if self.executor is not None:
                raise forks.forked()
            # A thread of the parent may have held the lock, and does not exist here.
            self._lock, self._process = threading.Lock(), os.getpid()
        with self._lock:
            if self._closed:
                raise RunError(
                    "this model is closed", advice="Load it again with FrozenModel.load()."
                )
            if self.executor is None:
                forks.begin()
                if policy is not None:
                    policy.check(safety.scan(graph, file))
                self.executor = import_graph(graph, mapped=mapped)
                self._process = os.getpid()
            return self.executor

    def close(self) -> None:
        """Release the executor for good."""
        with self._lock:
            executor, self.executor, self._closed = self.executor, None, True
        if executor is not None:
            executor.close()
