"""Build the executor of a model once, when it is first needed."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, Protocol, get_args

import attrs

from tfpersist import safety
from tfpersist.calls.executor import Executor
from tfpersist.errors import ArgumentError, RunError, value_text
from tfpersist.formats.graphdef import Graph
from tfpersist.openvino.part_executor import PartExecutor
from tfpersist.safety import Policy
from tfpersist.tf.run.session_executor import SessionExecutor

EngineName = Literal["tensorflow", "openvino"]
NAMES: tuple[EngineName, ...] = get_args(EngineName)


def engine_name(value: object) -> EngineName:
    """Return the name of an engine.

    Args:
        value: the name.

    Raises:
        ArgumentError: there is no such engine.

    Example:
        >>> engine_name("openvino")
        'openvino'
    """
    for name in NAMES:
        if isinstance(value, str) and value == name:
            return name
    raise ArgumentError(
        "there is no such engine",
        expected=" or ".join(map(repr, NAMES)),
        found=value_text(value),
    )


class _Start(Protocol):
    def __call__(self, graph: Graph, *, mapped: bool) -> Executor:
        """Return the executor of a graph."""


_STARTS: Mapping[EngineName, _Start] = MappingProxyType(
    {"tensorflow": SessionExecutor.start, "openvino": PartExecutor.start}
)


@attrs.define(eq=False)
class Engine:
    """Builds, keeps and closes the executor of one model.

    Args:
        name: what runs the model.
        executor: the executor; None before the first use and after `close`.
    """

    name: EngineName = "tensorflow"
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
            RunError: the model was closed, or the engine ran before this process was forked.
            UnsafeModelError: the graph could do more than the policy allows.
            UnsupportedError: the engine is not installed, or cannot run the graph.
            GraphError: the engine refuses the graph.
        """
        if self._process != os.getpid():
            if self.executor is not None:
                raise self.executor.forked()
            # A thread of the parent may have held the lock, and does not exist here.
            self._lock, self._process = threading.Lock(), os.getpid()
        with self._lock:
            if self._closed:
                raise RunError(
                    "this model is closed", advice="Load it again with FrozenModel.load()."
                )
            if self.executor is None:
                if policy is not None:
                    policy.check(safety.scan(graph, file))
                self.executor = _STARTS[self.name](graph, mapped=mapped)
                self._process = os.getpid()
            return self.executor

    def close(self) -> None:
        """Release the executor for good."""
        with self._lock:
            executor, self.executor, self._closed = self.executor, None, True
        if executor is not None:
            executor.close()
