"""PartExecutor: run a frozen graph in OpenVINO, which compiles the part that is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import numpy as np

from tfpersist.calls import requests
from tfpersist.calls.bound import Binding, Bound, Guard, Output, refuse_twice
from tfpersist.calls.forks import Threads
from tfpersist.calls.requests import missing_feeds
from tfpersist.errors import FeedError, RunError, UnsupportedError
from tfpersist.formats import dtypes
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import Array, TensorSpec
from tfpersist.graph.describe import lookup
from tfpersist.graph.optimize.weights import expand
from tfpersist.graph.runtimes.downgrade import downgrade
from tfpersist.graph.runtimes.op_lists import known_ops
from tfpersist.graph.runtimes.part import Part, cut, known_value
from tfpersist.graph.structure import feeds as feeding
from tfpersist.graph.structure import names, trusted_values
from tfpersist.graph.structure.names import TensorRef
from tfpersist.graph.structure.order import refuse_cycles
from tfpersist.openvino import compiled, differences
from tfpersist.openvino.compiled import Compiled

_threads = Threads("OpenVINO")
# Each part has weights of its own in OpenVINO.
_MOST_PARTS = 16


@attrs.define(eq=False)
class PartExecutor:
    """Runs a graph in OpenVINO; `calls.executor` describes its methods.

    A part is what computes some fetches from some feeds. It is compiled when it is first needed.

    Args:
        graph: the graph.
        core: the openvino.Core.
        mapped: whether OpenVINO uses the memory of the weights; else it copies them.
    """

    graph: Graph
    core: Any
    mapped: bool
    _parts: dict[Any, Compiled] = attrs.field(factory=dict, init=False)
    _lock: Any = attrs.field(factory=threading.Lock, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    @classmethod
    def start(cls, graph: Graph, *, mapped: bool) -> PartExecutor:
        """Start OpenVINO.

        Args:
            graph: the graph.
            mapped: whether large constants may stay in the memory where they are.

        Raises:
            RunError: OpenVINO ran before this process was forked.
            UnsupportedError: it is not installed.
            GraphError: the graph is malformed.
        """
        try:
            import openvino
        except ImportError as error:
            raise UnsupportedError(
                "OpenVINO is not installed", advice="pip install tfpersist[openvino]"
            ) from error
        _threads.begin()
        graph = expand(graph)
        trusted_values.refuse_growth(graph)
        trusted_values.refuse_invalid(graph)
        # OpenVINO reads a ring of nodes for ever.
        refuse_cycles(graph.nodes)
        for function in graph.proto.library.function:
            refuse_cycles({node.name: node for node in function.node_def})
        return cls(downgrade(graph, known_ops("openvino")), openvino.Core(), mapped)

    def run(self, fetches: Any, feeds: Mapping[Any, Any] | None = None) -> Any:
        """Compute tensors."""
        values = requests.feeds_of(feeds)

        def compute(refs: Sequence[Any]) -> Sequence[Array]:
            fetched = [self._fetched(ref) for ref in refs]
            specs: dict[str, TensorSpec] = {}
            arrays: list[Array] = []
            for name, value in values.items():
                ref = lookup.find_input(self.graph, name)
                requests.refuse_fed_twice(ref.name, name, specs)
                specs[ref.name] = _spec_of(ref)
                arrays.append(feeding.fit(value, specs[ref.name], ref.name))
            return self._computing(specs, fetched)(*arrays)

        return requests.structured(fetches, compute)

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
        fetched = [self._fetched(ref.name) for ref in outputs]
        fed = list(inputs)
        refuse_twice([ref.name for ref in fed])
        specs = {ref.name: _spec_of(ref) for ref in fed}
        binding = Binding(
            guards=tuple(_guard(name, spec) for name, spec in specs.items()),
            results=tuple(Output(may_be_owned=True, known=True) for _ in fetched),
            single=single,
            labels=None if labels is None else tuple(labels),
            compute=self._computing(specs, fetched),
            translated=compiled.translated,
            forked=self.forked,
            pickled=pickled,
        )
        return Bound(tuple(specs), tuple(ref.name for ref in fetched), binding)

    def spec(self, ref: TensorRef) -> TensorSpec | None:
        """Return data type and shape of a tensor, as far as the graph tells them."""
        return ref.spec

    def forked(self) -> RunError:
        """Return the error for a use in a forked child of the process that started it."""
        return _threads.forked()

    def close(self) -> None:
        """Release all parts."""
        with self._lock:
            self._closed = True
            for part in self._parts.values():
                part.release()
            self._parts.clear()

    def _fetched(self, name: Any) -> TensorRef:
        if isinstance(name, str) and names.is_operation(self.graph, name):
            operation = [(name, self.graph.nodes[name].op)]
            raise differences.refusal("OpenVINO runs no operation without outputs", operation)
        return lookup.find_output(self.graph, name)

    def _computing(
        self, specs: Mapping[str, TensorSpec], fetched: Sequence[TensorRef]
    ) -> Callable[..., Sequence[Array]]:
        """Return a function that computes fetches.

        Args:
            specs: of the feeds, by name. The function takes their values, in this order.
            fetched: the fetches. The function returns an array of its own for each.
        """
        known: dict[str, Array] = {}
        refs: dict[str, TensorRef] = {}
        for ref in fetched:
            value = known_value(self.graph, ref, specs)
            if value is not None:
                known[ref.name] = value
            elif ref.name not in specs:
                refs[ref.name] = ref
        wanted = list(refs.values())
        fixed = self._part(specs, wanted) if wanted and _is_ranked(specs) else None
        if fixed is None:
            _refuse_missing(cut(self.graph, specs, wanted))

        def compute(*values: Array) -> list[Array]:
            self._refuse_closed()
            results: dict[str, Array] = {}
            if wanted:
                part = fixed or self._part(_ranked(specs, values), wanted)
                results.update(zip(refs, part.compute(*values), strict=True))
            shared = {**known, **dict(zip(specs, values, strict=True))}
            own = []
            for ref in fetched:
                value = results.pop(ref.name, None)
                if value is None:
                    value = shared[ref.name].copy()
                else:
                    # The same tensor may be asked for again.
                    shared[ref.name] = value
                own.append(value)
            return own

        return compute

    def _part(self, specs: Mapping[str, TensorSpec], refs: Sequence[TensorRef]) -> Compiled:
        """Return the compiled part that computes some tensors; compile it if it is new."""
        shapes = tuple((name, spec.shape) for name, spec in specs.items())
        key = (shapes, tuple(ref.name for ref in refs))
        with self._lock:
            self._refuse_closed()
            if key not in self._parts:
                part = cut(self.graph, specs, refs)
                _refuse_missing(part)
                if len(self._parts) >= _MOST_PARTS:
                    self._parts.pop(next(iter(self._parts)))
                fed, fetched = list(specs.values()), [ref.spec for ref in refs]
                self._parts[key] = compiled.compile_part(
                    self.core, part, fed, fetched, mapped=self.mapped
                )
            return self._parts[key]

    def _refuse_closed(self) -> None:
        if self._closed:
            raise RunError("this model is closed", advice="Load it again with FrozenModel.load().")


def _spec_of(ref: TensorRef) -> TensorSpec:
    """Return data type and shape of a tensor to feed."""
    dtype = None if ref.spec is None else dtypes.BY_NAME[ref.spec.dtype].numpy
    if ref.spec is None or dtype is None:
        raise FeedError(
            "this cannot be fed",
            where=ref.name,
            expected="a tensor whose data type the graph tells",
            found="no data type" if ref.spec is None else ref.spec.dtype,
            advice='Run the model with engine="tensorflow".',
        )
    return ref.spec


def _guard(name: str, spec: TensorSpec) -> Guard:
    dtype = dtypes.BY_NAME[spec.dtype].numpy
    if dtype is None or dtype.kind == "O":
        # Strings are always converted.
        dtype = np.dtype("V")
    return Guard(dtype, spec.shape, partial(feeding.fit, spec=spec, name=name))


def _is_ranked(specs: Mapping[str, TensorSpec]) -> bool:
    """Return whether the ranks of all feeds are known; OpenVINO compiles no others."""
    return all(spec.shape is not None for spec in specs.values())


def _ranked(specs: Mapping[str, TensorSpec], values: Sequence[Array]) -> dict[str, TensorSpec]:
    """Return the specs of feeds with the ranks of their values."""
    return {
        name: spec if spec.shape is not None else attrs.evolve(spec, shape=(None,) * value.ndim)
        for (name, spec), value in zip(specs.items(), values, strict=True)
    }


def _refuse_missing(part: Part) -> None:
    if part.missing:
        raise missing_feeds([(ref.name, str(ref.spec)) for ref in part.missing])
