"""FrozenModel: one graph file, loaded, described and run."""

from __future__ import annotations

import html
import os
import threading
from collections.abc import Mapping
from typing import Any

import attrs

from tfpersist import graph_file, safety
from tfpersist.errors import RunError, UnsupportedError
from tfpersist.formats import graphdef
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import TensorSpec
from tfpersist.graph import summary
from tfpersist.graph.names import TensorRef
from tfpersist.graph.summary import Summary
from tfpersist.safety import Policy
from tfpersist.storage import open_storage


@attrs.define(eq=False)
class _Engine:
    """The executor of a model: built once, when it is first needed."""

    lock: Any = attrs.field(factory=threading.Lock)
    executor: Any = None
    closed: bool = False

    def start(self, model: FrozenModel) -> Any:
        with self.lock:
            if self.closed:
                raise RunError(
                    "this model is closed", advice="Load it again with FrozenModel.load()."
                )
            if self.executor is None:
                if model.policy is not None:
                    model.policy.check(safety.scan(model.graph, model.file))
                from tfpersist.tf.imported import import_graph

                self.executor = import_graph(model.graph)
            return self.executor

    def close(self) -> None:
        with self.lock:
            executor, self.executor, self.closed = self.executor, None, True
        if executor is not None:
            executor.close()


@attrs.frozen(eq=False, repr=False)
class FrozenModel:
    """A graph that holds its weights as constants.

    Everything but `run` works without TensorFlow. A model may be run from several threads, copied,
    pickled, and used in a `with` statement, which releases its session.

    Args:
        graph: the graph.
        file: where it came from; "" for one that was made in memory.
        policy: what the graph may do once it runs, checked before anything of it is imported; None
            for a graph of your own, which may do anything.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> model = FrozenModel(parse_text(b'''
        ...     node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
        ...     node { name: "y" op: "Neg" input: "x" attr { key: "T" value { type: DT_FLOAT } } }
        ... '''))
        >>> print(model["y"], *model.inputs)
        y:0 float32[...] x:0 float32[...]
        >>> model.run("y:0", {"x:0": [1.0, 2.0]})
        array([-1., -2.], dtype=float32)
    """

    graph: Graph
    file: str = ""
    policy: Policy | None = None
    _engine: _Engine = attrs.field(factory=_Engine, init=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, policy: Policy | None = None) -> FrozenModel:
        """Read a frozen graph.

        The file is mapped, not copied. Replacing it by a rename, as tfpersist and most programs do,
        is safe while it is in use; writing into it is not.

        Args:
            path: a `.pb` or `.pbtxt`; a path or a URL such as memory://models/digits.pb.
            policy: what the graph may do when it runs; by default it may compute, keep state and
                draw random numbers, but reach no file, network or process. Reading and describing
                the graph is harmless; the first `run` refuses what is not allowed.

        Returns:
            The model.

        Raises:
            StorageError: there is no such file, or it cannot be read.
            CorruptionError: it is damaged.
            UnsupportedError: it is something else than a graph; what, and what reads that.

        Example:
            >>> graph = graphdef.parse_text(b'node { name: "x" op: "NoOp" }')
            >>> written = FrozenModel(graph).write("memory://frozen/load.pb")
            >>> FrozenModel.load("memory://frozen/load.pb")
            <FrozenModel memory://frozen/load.pb: 1 node, nothing -> nothing>
        """
        text = os.fsdecode(os.fspath(path))
        return cls(graph_file.load(text), text, policy or Policy.default())

    @property
    def inputs(self) -> tuple[TensorRef, ...]:
        """The placeholders, in the graph's order."""
        return tuple(self._refined(ref) for ref in summary.inputs(self.graph))

    @property
    def outputs(self) -> tuple[TensorRef, ...]:
        """The tensors that nothing in the graph uses, in its order."""
        return tuple(self._refined(ref) for ref in summary.outputs(self.graph))

    def __getitem__(self, name: str | TensorRef) -> TensorRef:
        """Find a tensor.

        Args:
            name: "operation:index", or "operation" for index 0.

        Returns:
            The reference, with data type and shape as far as the file tells them; after the first
            run, as far as TensorFlow infers them.

        Raises:
            NameNotFoundError: there is no such tensor; the nearest names are given.
        """
        text = name.name if isinstance(name, TensorRef) else name
        return self._refined(summary.find(self.graph, text))

    def run(self, fetches: Any, feeds: Mapping[Any, Any] | None = None) -> Any:
        """Compute tensors.

        Args:
            fetches: a tensor's name or TensorRef; a list of them; or a dict {any label: name}. A
                name without an index means the output 0; of an operation that has no output, it
                runs the operation and gives None.
            feeds: {name or TensorRef: value}. Values are cast within their kind: float64 to
                float32, int64 to int32, Python numbers, where they fit. Any tensor may be fed.

        Returns:
            An array, a list or a dict of arrays, as `fetches` is. They are the caller's own to
            change. Strings are object arrays of bytes.

        Raises:
            NameNotFoundError: a fetch or a feed names nothing in the graph.
            FeedError: a feed is missing, or of another kind or shape than the tensor.
            UnsafeModelError: the graph could do more than its policy allows; nothing was imported.
            UnsupportedError: this TensorFlow lacks an op of the graph.
            GraphError: TensorFlow refuses the graph.
            RunError: TensorFlow failed, or the model is closed.

        Example:
            >>> model = FrozenModel(graphdef.parse_text(b'''
            ...     node { name: "one" op: "Const" attr { key: "dtype" value { type: DT_INT32 } }
            ...       attr { key: "value" value { tensor {
            ...         dtype: DT_INT32 tensor_shape {} int_val: 1 } } } }'''))
            >>> model.run({"first": "one:0", "again": "one"})
            {'first': array(1, dtype=int32), 'again': array(1, dtype=int32)}
        """
        return self._engine.start(self).run(fetches, feeds)

    def summary(self) -> Summary:
        """Describe the graph: inputs, outputs, ops, weights, functions.

        Returns:
            The facts; print them to read them.

        Raises:
            GraphError: a node's attrs do not tell what it gives.

        Example:
            >>> model = FrozenModel(graphdef.parse_text(b'node { name: "x" op: "NoOp" }'))
            >>> model.summary().operations
            {'NoOp': 1}
        """
        return summary.summarize(self.graph, self.file)

    def write(self, path: str | os.PathLike[str], *, durable: bool = True) -> FrozenModel:
        """Write the graph as a `.pb`: all of it or nothing.

        Args:
            path: a path or a URL; a file that is there is replaced.
            durable: wait until the file would survive a power loss.

        Returns:
            The model, as of that file.

        Raises:
            StorageError: it cannot be written; nothing is left behind.
            UnsupportedError: it would be larger than 2 GB, or the name asks for text.

        Example:
            >>> model = FrozenModel(graphdef.parse_text(b'node { name: "x" op: "NoOp" }'))
            >>> model.write("memory://frozen/write.pb").file
            'memory://frozen/write.pb'
        """
        text = os.fsdecode(os.fspath(path))
        location, name = graph_file.place(text)
        if name.endswith((".pbtxt", ".pb.txt")):
            raise UnsupportedError(
                "frozen graphs are written in binary form", where=text, advice="Name it .pb."
            )
        graphdef.size(self.graph)
        with open_storage(location).publish(durable=durable) as publication:
            graphdef.join(self.graph, publication.create(name))
        return FrozenModel(self.graph, text, self.policy)

    def close(self) -> None:
        """Release the session and its memory; a later run raises RunError.

        Example:
            >>> model = FrozenModel(graphdef.parse_text(b'node { name: "x" op: "NoOp" }'))
            >>> model.close()
            >>> model.run("x")
            Traceback (most recent call last):
            tfpersist.errors.RunError: this model is closed. Load it again with FrozenModel.load().
        """
        self._engine.close()

    def __enter__(self) -> FrozenModel:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __copy__(self) -> FrozenModel:
        return FrozenModel(self.graph, self.file, self.policy)

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenModel:
        return FrozenModel(self.graph, self.file, self.policy)

    def __reduce__(self) -> tuple[Any, ...]:
        buffer = _Buffer()
        graphdef.join(self.graph, buffer)
        return _unpickled, (bytes(buffer.data), self.file, self.policy)

    def __repr__(self) -> str:
        takes, gives = (_short(refs) for refs in (self.inputs, self.outputs))
        name = self.file or "in memory"
        count = len(self.graph.proto.node)
        nodes = "1 node" if count == 1 else f"{count:,} nodes"
        return f"<FrozenModel {name}: {nodes}, {takes} -> {gives}>"

    def _repr_html_(self) -> str:
        about = self.summary()
        rows = [("input", ref) for ref in self.inputs] + [("output", ref) for ref in self.outputs]
        cells = "".join(
            f"<tr><td>{kind}</td><td>{html.escape(ref.name)}</td>"
            f"<td>{html.escape(str(ref.spec or 'unknown'))}</td></tr>"
            for kind, ref in rows[:20]
        )
        title = html.escape(self.file or "FrozenModel")
        facts = f"{about.nodes:,} nodes, {about.parameters:,} parameters, {about.nbytes:,} bytes"
        return f"<b>{title}</b><br>{facts}<table>{cells}</table>"

    def _refined(self, ref: TensorRef) -> TensorRef:
        executor = self._engine.executor
        known = ref.spec is not None and ref.spec.elements is not None
        if executor is None or known:
            return ref
        from tfpersist.tf.execute import spec_of_tensor

        spec: TensorSpec = spec_of_tensor(executor.tensor(ref.name))
        return attrs.evolve(ref, spec=spec)


@attrs.define(eq=False)
class _Buffer:
    """A sink in memory."""

    data: bytearray = attrs.field(factory=bytearray)

    def reserve(self, size: int) -> None:
        """Take note of nothing: the buffer grows as it needs."""

    def write(self, data: memoryview | bytes) -> None:
        self.data += data


def _unpickled(data: bytes, file: str, policy: Policy | None) -> FrozenModel:
    return FrozenModel(graphdef.split(data, file), file, policy)


def _short(refs: tuple[TensorRef, ...]) -> str:
    shown = ", ".join(map(str, refs[:3])) or "nothing"
    return f"{shown} and {len(refs) - 3} more" if len(refs) > 3 else shown
