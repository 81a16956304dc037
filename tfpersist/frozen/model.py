"""FrozenModel: one graph file, loaded, described and run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import attrs

from tfpersist import graph_file
from tfpersist.formats import graphdef
from tfpersist.frozen import golden_check
from tfpersist.frozen.parts import Parts
from tfpersist.graph.describe.parity import Parity
from tfpersist.graph.structure.names import TensorRef
from tfpersist.safety import Policy
from tfpersist.storage import text_of
from tfpersist.tf.run import bound
from tfpersist.tf.run.bound import Bound
from tfpersist.tf.run.engine import Engine
from tfpersist.tf.run.execute import Executor, spec_of_tensor


@attrs.frozen(eq=False, repr=False)
class FrozenModel(Parts):
    """A graph that holds its weights as constants.

    Everything but `run` works without TensorFlow. A model may be run from several threads, copied,
    pickled, and used in a `with` statement, which releases its session.

    Args:
        graph: the graph.
        file: where it came from; "" for one that was made in memory.
        policy: what it may do, checked before anything of it is imported; None for everything.
        mapped: whether constants of 64 MB and more together stay where they are, in the mapped
            file or in memory: the model is there at once, in little memory. False copies them into
            TensorFlow, which then makes more of them: slower to load, faster to call.

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

    mapped: bool = attrs.field(default=True, kw_only=True)
    _engine: Engine = attrs.field(factory=Engine, init=False)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        policy: Policy | None = None,
        mapped: bool = True,
    ) -> FrozenModel:
        """Read a frozen graph.

        The file is mapped, not copied. Replacing it by a rename, as tfpersist and most programs do,
        is safe while it is in use; writing into it or cutting it off is not: it changes the weights
        or ends the process.

        Args:
            path: a `.pb` or `.pbtxt`; a path or a URL such as memory://models/digits.pb.
            policy: what the graph may do when it runs, which the first `run` checks; by default it
                may compute, keep state and draw random numbers, but reach no file or network.
            mapped: False for the fastest calls of a model over 64 MB, at a slower start and some
                times its size in memory.

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
        text = text_of(path, "the path or URL of a .pb")
        return cls(graph_file.load(text), text, policy or Policy.default(), mapped=mapped)

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
            ...   node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: 3 } } }'''))
            >>> model.run({"first": "x:0", "again": "x"}, {"x": 1})
            {'first': array(1, dtype=int32), 'again': array(1, dtype=int32)}
        """
        return self._executor().run(fetches, feeds)

    def bind(self, inputs: Any = None, outputs: Any = None) -> Bound:
        """Make a function of some inputs that gives some outputs, at the least cost a call.

        Args:
            inputs: the name or TensorRef of a tensor, or a list of them, one for each argument; by
                default all inputs of the model.
            outputs: one to get an array, a list to get a tuple, a dict {any label: name} to get a
                dict; by default all of the model's.

        Returns:
            The function. It checks and casts its arguments as `run` does, and computes in the
            thread that calls it. Results are the caller's own.

        Raises:
            NameNotFoundError: one of them names nothing in the graph.
            FeedError: the outputs need other inputs as well, or the inputs are no names.
            RunError: an output has no value, or the model is closed.
            UnsafeModelError, GraphError: as `run` does.

        Example:
            >>> model = FrozenModel(graphdef.parse_text(b'''
            ...     node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: 3 } } }
            ...     node { name: "y" op: "Neg" input: "x" attr { key: "T" value { type: 3 } } }'''))
            >>> negative = model.bind("x:0", "y:0")
            >>> negative([1, 2])
            array([-1, -2], dtype=int32)
        """
        taken, given, single = self._ends(inputs, outputs)
        labels = list(outputs) if isinstance(outputs, Mapping) else None
        names = [ref.name for ref in given]
        again: Any = names[0] if single else names
        if labels is not None:
            again = dict(zip(labels, names, strict=True))
        asked = (self, [ref.name for ref in taken], again)
        return bound.bind(
            self._executor(),
            taken,
            given,
            single=single,
            labels=labels,
            again=lambda: (_bound, asked),
        )

    def verify(
        self, feeds: Mapping[Any, Any] | None = None, *, tolerance: float | None = None
    ) -> Parity:
        """Repeat what `Freezer.parity` tried, here: with the feeds that the file holds, or knows.

        Args:
            feeds: what was fed at first, where it is too large to be in the file, which then has
                its digest.
            tolerance: how much the outputs may differ; by default what was allowed at first. Other
                processors and releases of TensorFlow compute in other orders: 1e-5 is common.

        Returns:
            How each output differs; it may be printed, and `exact` tells whether none does.

        Raises:
            ParityError: an output differs by more, or there is nothing to verify it with.
            FeedError: the file does not hold the feeds, or these are others.
            ArgumentError: the tolerance is negative, not finite or no number.
            UnsafeModelError, UnsupportedError, GraphError, RunError: as `run` does.

        Example:
            >>> import tensorflow as tf, tfpersist as tfp
            >>> double = tf.function(lambda x: x + x, input_signature=[tf.TensorSpec((), name="x")])
            >>> tfp.Freezer(double).parity({"x": 2}).freeze().verify().exact
            True
        """
        return golden_check.verify(self, self.run, feeds, tolerance)

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
        text = text_of(path, "the path or URL of a .pb")
        graph_file.save(self.graph, text, durable=durable)
        return FrozenModel(self.graph, text, self.policy, mapped=self.mapped)

    def close(self) -> None:
        """Release the session and its memory; a later run raises RunError.

        Example:
            >>> (model := FrozenModel(graphdef.parse_text(b'node { name: "x" }'))).close()
            >>> model.run("x")
            Traceback (most recent call last):
            tfpersist.errors.RunError: this model is closed. Load it again with FrozenModel.load().
        """
        self._engine.close()

    def __enter__(self) -> FrozenModel:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __copy__(self, memo: object = None) -> FrozenModel:
        return FrozenModel(self.graph, self.file, self.policy, mapped=self.mapped)

    __deepcopy__ = __copy__

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (graph_file.encoded(self.graph), self.file, self.policy, self.mapped)

    def _executor(self) -> Executor:
        return self._engine.start(self.graph, self.file, self.policy, mapped=self.mapped)

    def _refined(self, ref: TensorRef) -> TensorRef:
        executor = self._engine.executor
        if executor is None or (ref.spec is not None and ref.spec.elements is not None):
            return ref
        return attrs.evolve(ref, spec=spec_of_tensor(executor.tensor(ref.name)))


def _bound(model: FrozenModel, inputs: list[str], outputs: Any) -> Bound:
    return model.bind(inputs, outputs)


def _unpickled(data: bytes, file: str, policy: Policy | None, mapped: bool) -> FrozenModel:
    return FrozenModel(graphdef.split(data, file), file, policy, mapped=mapped)
