"""FrozenModel: one graph file, loaded, described and run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from tfpersist import graph_file, safety, verifying
from tfpersist.checkpoint import Checkpoint
from tfpersist.checkpoints.writer import write_checkpoint
from tfpersist.described import Described
from tfpersist.formats import graphdef
from tfpersist.formats.bundle_writer import Item
from tfpersist.graph import unfreezing
from tfpersist.graph.compression import expand
from tfpersist.graph.names import TensorRef
from tfpersist.graph.parity import Parity
from tfpersist.safety import Policy
from tfpersist.storage import open_storage
from tfpersist.tf import bound, composed, modules
from tfpersist.tf.bound import Bound
from tfpersist.tf.engine import Engine
from tfpersist.tf.execute import Executor, spec_of_tensor


@attrs.frozen(eq=False, repr=False)
class FrozenModel(Described):
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

    policy: Policy | None = None
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
        text = os.fsdecode(os.fspath(path))
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
            outputs: one to get an array, a list to get a tuple; by default all of the model's.

        Returns:
            The function. It checks and casts its arguments as `run` does, and computes in the
            thread that calls it. Results are the caller's own.

        Raises:
            NameNotFoundError: one of them names nothing in the graph.
            FeedError: the outputs need other inputs as well.
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
        asked = [ref.name for ref in taken], given[0].name if single else [r.name for r in given]
        return bound.bind(
            self._executor(), taken, given, single=single, again=lambda: (_bound, (self, *asked))
        )

    def import_into(
        self,
        graph: Any = None,
        inputs: Mapping[Any, Any] | None = None,
        outputs: Iterable[Any] | None = None,
        *,
        prefix: str = "frozen",
    ) -> dict[str, Any]:
        """Make the model a part of another graph, or of a tf.function that is being traced.

        A GradientTape does not see into it; it does into what `as_module` gives. Variables and
        tables that the model keeps are set up by `tf.compat.v1.tables_initializer()`; in a
        tf.function nothing could, so it refuses them: call a module there.

        Args:
            graph: the tf.Graph; None for the current one, as inside of a tf.function.
            inputs: {name or TensorRef: tf.Tensor or value}. Any tensor may be replaced.
            outputs: names or TensorRefs; the model's outputs by default. Only what they need is
                imported, weights as constants.
            prefix: the name scope; TensorFlow makes it unique.

        Returns:
            The tf.Tensor of each output, by its name in the model.

        Raises:
            NameNotFoundError: an input or output names nothing in the model.
            FeedError: an input is missing, or does not fit.
            UnsupportedError: it is larger than 2 GB.
            UnsafeModelError, GraphError: as `run` does; GraphError also for kept state in a
                tf.function.

        Example:
            >>> import tensorflow as tf
            >>> model = FrozenModel(graphdef.parse_text(b'''
            ...     node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: 1 } } }
            ...     node { name: "y" op: "Neg" input: "x" attr { key: "T" value { type: 1 } } }'''))
            >>> @tf.function
            ... def twice(value):
            ...     return 2.0 * model.import_into(inputs={"x": value})["y:0"]
            >>> float(twice(tf.constant(3.0)))
            -6.0
        """

        def compose() -> dict[str, Any]:
            names = [self[ref].name for ref in (self.outputs if outputs is None else outputs)]
            self._check()
            return composed.compose(self.graph, graph, inputs or {}, names, prefix)

        parts: dict[str, Any] = composed.unconverted(compose)()
        return parts

    def as_module(self, inputs: Any = None, outputs: Any = None) -> Any:
        """Make a tf.Module of the model: for a tf.function, a SavedModel, a Keras Lambda layer.

        Variables and tables that the model keeps are the module's own, set up when it is made.

        Args:
            inputs: as in `bind`.
            outputs: as in `bind`.

        Returns:
            The module, which is called with tensors or with what may be fed; it raises FeedError
            where that does not fit.

        Raises:
            NameNotFoundError: one of them names nothing in the graph.
            GraphError: it keeps a variable or table by reference, as TensorFlow 1 did.
            UnsafeModelError: the model could do more than its policy allows; nothing was imported.

        Example:
            >>> model = FrozenModel(graphdef.parse_text(b'''
            ...     node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: 1 } } }
            ...     node { name: "y" op: "Neg" input: "x" attr { key: "T" value { type: 1 } } }'''))
            >>> float(model.as_module("x", "y")(3.0))
            -3.0
        """

        def make() -> Any:
            taken, given, single = self._ends(inputs, outputs)
            self._check()
            return modules.module_of(self.graph, taken, given, single=single)

        return composed.unconverted(make)()

    def unfreeze(
        self,
        names: str | Iterable[str],
        location: str | os.PathLike[str],
        *,
        step: int | None = None,
        durable: bool = True,
    ) -> Checkpoint:
        """Save the model as a checkpoint in which constants are trainable variables again.

        With it goes a `.meta`, so `ModelStore(location).open_graph()` gives a model to train on.

        Args:
            names: names of constants or globs such as "dense*/kernel"; of floats only.
            location: the directory of the checkpoint, a path or a URL.
            step: a training step to number it by.
            durable: as in `write`.

        Returns:
            The checkpoint, made without TensorFlow.

        Raises:
            NameNotFoundError: a name matches no such constant, or there are no names.
            UnsupportedError: such a constant flows into a loop or a branch, where TensorFlow cannot
                train it; the loop is named.
            StorageError: it cannot be written; nothing is left behind.

        Example:
            >>> model = FrozenModel(graphdef.parse_text(b'''
            ...     node { name: "w" op: "Const" attr { key: "dtype" value { type: 1 } } attr { key:
            ...       "value" value { tensor { dtype: 1 float_val: 3 tensor_shape {} } } } }'''))
            >>> dict(model.unfreeze("w", "memory://frozen/unfrozen"))
            {'w': array(3., dtype=float32)}
        """
        unfrozen = unfreezing.unfreeze(expand(self.graph), _listed(names))
        items = [Item(name, value) for name, value in sorted(unfrozen.values.items())]
        prefix = "model.ckpt" if step is None else f"model.ckpt-{step}"
        storage, meta = open_storage(location), unfrozen.meta.SerializeToString(deterministic=True)
        write_checkpoint(storage, prefix, items, meta=meta, step=step, durable=durable)
        return Checkpoint(prefix, storage=storage)

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
            UnsafeModelError, UnsupportedError, GraphError, RunError: as `run` does.

        Example:
            >>> import tensorflow as tf, tfpersist as tfp
            >>> double = tf.function(lambda x: x + x, input_signature=[tf.TensorSpec((), name="x")])
            >>> tfp.Freezer(double).parity({"x": 2}).freeze().verify().exact
            True
        """
        return verifying.verify(self, self.run, feeds, tolerance)

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
        graph_file.save(self.graph, text := os.fsdecode(os.fspath(path)), durable=durable)
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

    def _ends(self, inputs: Any, outputs: Any) -> tuple[list[TensorRef], list[TensorRef], bool]:
        taken = [self[ref] for ref in _listed(self.inputs if inputs is None else inputs)]
        given = [self[ref] for ref in _listed(self.outputs if outputs is None else outputs)]
        single = isinstance(outputs, (str, TensorRef)) or (outputs is None and len(given) == 1)
        return taken, given, single

    def _check(self) -> None:
        if self.policy is not None:
            self.policy.check(safety.scan(self.graph, self.file))

    def _executor(self) -> Executor:
        return self._engine.start(self.graph, self.file, self.policy, mapped=self.mapped)

    def _refined(self, ref: TensorRef) -> TensorRef:
        executor = self._engine.executor
        if executor is None or (ref.spec is not None and ref.spec.elements is not None):
            return ref
        return attrs.evolve(ref, spec=spec_of_tensor(executor.tensor(ref.name)))


def _bound(model: FrozenModel, inputs: list[str], outputs: Any) -> Bound:
    return model.bind(inputs, outputs)


def _listed(refs: Any) -> list[Any]:
    return [refs] if isinstance(refs, (str, TensorRef)) else list(refs)


def _unpickled(data: bytes, file: str, policy: Policy | None, mapped: bool) -> FrozenModel:
    return FrozenModel(graphdef.split(data, file), file, policy, mapped=mapped)
