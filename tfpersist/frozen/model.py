"""FrozenModel: one graph file, loaded, described, run, embedded, unfrozen and verified."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias

import attrs

from tfpersist import graph_file, safety
from tfpersist.calls.bound import Bound
from tfpersist.calls.executor import Executor
from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.errors import ArgumentError, FeedError, printable, value_text
from tfpersist.formats import graphdef
from tfpersist.formats.graphdef import Graph
from tfpersist.frozen import golden_check, unfreeze
from tfpersist.frozen.engine import Engine, EngineName, engine_name
from tfpersist.graph.describe import lookup, signature, summary
from tfpersist.graph.describe.parity import Parity
from tfpersist.graph.describe.signature import Signature
from tfpersist.graph.describe.summary import Summary
from tfpersist.graph.optimize.weights import expand
from tfpersist.graph.structure.names import TensorRef
from tfpersist.safety import Policy
from tfpersist.storage import open_storage, placed, text_of
from tfpersist.tf.embed import composed, keras_layer, modules
from tfpersist.tf.internals.functions import unconverted
from tfpersist.tf.run.imported import definition_of

# A tensor, and one or several of them. The keys of a dict are labels of the user's own.
Ref: TypeAlias = str | TensorRef
Refs: TypeAlias = Ref | Iterable[Ref]
LabelledRefs: TypeAlias = Refs | Mapping[Any, Ref]


@attrs.frozen(eq=False, repr=False)
class FrozenModel:
    """A graph that holds its weights as constants.

    Loading and describing a model needs no TensorFlow; embedding it does, and running it unless
    another engine runs it. A model may be run from several threads, copied, pickled, and used in a
    `with` statement, which releases its engine.

    Args:
        graph: a GraphDef.
        file: the path or URL that the graph is from; "" for a graph made in memory.
        policy: what the graph may do, checked before TensorFlow imports it; None for everything.
        mapped: True leaves constants of 64 MB and more together where they are, in the mapped file
            or in memory: the model loads at once and takes little memory. False copies them into
            TensorFlow, which can then optimize them: slower to load, faster to call.
        engine: what runs the model: "tensorflow" or "openvino".

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

    graph: Graph = attrs.field(converter=lookup.as_graph)
    file: str = ""
    policy: Policy | None = attrs.field(default=None, converter=safety.as_policy)
    mapped: bool = attrs.field(default=True, kw_only=True)
    engine: EngineName = attrs.field(default="tensorflow", kw_only=True, converter=engine_name)
    _engine: Engine = attrs.field(init=False)

    @_engine.default
    def _new_engine(self) -> Engine:
        return Engine(self.engine)

    # Names are looked up, as in a dict. Without this line, iter() would look up 0, 1, 2 and so on.
    __iter__ = None

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        policy: Policy | None = None,
        mapped: bool = True,
        verify: bool = False,
        engine: EngineName = "tensorflow",
        storage_options: object = None,
    ) -> FrozenModel:
        """Read a frozen graph from a file.

        All that describes the graph is compared with its checksum. The weights are not read before
        they are used; `verify=True` compares them too.

        The file is mapped, not copied. It is safe to replace it by a rename while it is in use, as
        tfpersist and most programs do. It is not safe to write into it or to truncate it: that
        changes the weights or ends the process.

        Args:
            path: a `.pb` or `.pbtxt`; a path or a URL such as memory://models/digits.pb.
            policy: what the graph may do when it runs, which the first `run` checks; by default it
                may compute, keep state and draw random numbers, but reach no file or network.
            mapped: False for the fastest calls of a model over 64 MB, at a slower start and several
                times its size in memory.
            verify: also read all weights, and compare them with their checksums.
            engine: what runs the model. "openvino" needs `pip install tfpersist[openvino]` and does
                not import TensorFlow: it starts sooner and takes less memory. What it cannot
                compute is refused when the model first runs.
            storage_options: what the file system of a URL is opened with, as for `ModelStore`.

        Returns:
            The model.

        Raises:
            StorageError: there is no such file, or it cannot be read.
            CorruptionError: the file is damaged.
            UnsupportedError: the file is not a graph; the error says what it is and what reads it.
                Or it is to be verified, and has no checksums.

        Example:
            >>> graph = graphdef.parse_text(b'node { name: "x" op: "NoOp" }')
            >>> written = FrozenModel(graph).write("memory://frozen/load.pb")
            >>> FrozenModel.load("memory://frozen/load.pb")
            <FrozenModel memory://frozen/load.pb: 1 node, nothing -> nothing>
        """
        path, options = placed(path, storage_options)
        text = text_of(path, "the path or URL of a .pb")
        graph = graph_file.load(text, options)
        if verify:
            golden_check.compare_bytes(graph, text)
        return cls(graph, text, policy or Policy.default(), mapped=mapped, engine=engine)

    @property
    def inputs(self) -> tuple[TensorRef, ...]:
        """The tensors to feed: those of the signature, in its order, or else the placeholders."""
        return tuple(self._refined(ref) for ref in signature.inputs(self.graph))

    @property
    def outputs(self) -> tuple[TensorRef, ...]:
        """The tensors to fetch: those of the signature, in its order.

        Of a graph without a signature, they are the tensors that nothing in it uses.
        """
        return tuple(self._refined(ref) for ref in signature.outputs(self.graph))

    @property
    def signature(self) -> Signature | None:
        """The source's names for inputs and outputs, and the origin of the values; or None."""
        return Signature.of(self.graph)

    def summary(self) -> Summary:
        """Describe the graph: inputs, outputs, ops, weights, functions.

        Returns:
            The facts; print them to read them.

        Raises:
            GraphError: the attrs of a node do not tell its outputs.

        Example:
            >>> import tfpersist as tfp
            >>> from tfpersist.formats.graphdef import parse_text
            >>> model = tfp.FrozenModel(parse_text(b'node { name: "x" op: "NoOp" }'))
            >>> model.summary().operations
            {'NoOp': 1}
        """
        facts = summary.summarize(self.graph, self.file)
        return attrs.evolve(facts, inputs=self.inputs, outputs=self.outputs)

    def __getitem__(self, name: str | TensorRef) -> TensorRef:
        """Find a tensor.

        Args:
            name: "operation:index", "operation" for index 0, or a name of the signature.

        Returns:
            The reference. Its data type and shape are those that the file gives; after the first
            run, those that the engine infers.

        Raises:
            NameNotFoundError: there is no such tensor, and the nearest names are given; or the name
                is that of an input and of another output.
        """
        return self._refined(lookup.find(self.graph, name))

    def __contains__(self, name: object) -> bool:
        """Return whether there is a tensor of that name, or an input or output."""
        finders = (lookup.find_output, lookup.find_input)
        return any(lookup.contains(partial(find, self.graph), name) for find in finders)

    def run(self, fetches: LabelledRefs, feeds: Mapping[Any, Any] | None = None) -> Any:
        """Compute tensors.

        Args:
            fetches: a tensor's name or TensorRef; a list of them; or a dict {any label: name}. A
                name is first that of an output of the signature, then that of an operation, whose
                output 0 it means. The name of an operation without outputs runs the operation; its
                result is None.
            feeds: {name or TensorRef: value}. A name is first that of an input. Values are cast
                within their kind: float64 to float32, int64 to int32, Python numbers, where they
                fit. Any tensor may be fed.

        Returns:
            An array, a list or a dict of arrays, as `fetches` is. The caller may change them.
            Strings are object arrays of bytes.

        Raises:
            NameNotFoundError: a fetch or a feed names nothing in the graph.
            FeedError: a feed is missing, or of another kind or shape than the tensor.
            UnsafeModelError: the graph could do more than its policy allows; nothing was imported.
            UnsupportedError: this TensorFlow lacks an op of the graph, or the engine cannot compute
                what the fetches need; the nodes are named.
            GraphError: the engine refuses the graph.
            RunError: the engine failed, or the model is closed.

        Example:
            >>> model = FrozenModel(graphdef.parse_text(b'''
            ...   node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: 3 } } }'''))
            >>> model.run({"first": "x:0", "again": "x"}, {"x": 1})
            {'first': array(1, dtype=int32), 'again': array(1, dtype=int32)}
        """
        return self._executor().run(fetches, feeds)

    def bind(self, inputs: Refs | None = None, outputs: LabelledRefs | None = None) -> Bound:
        """Make a function from some inputs to some outputs that costs the least time per call.

        Args:
            inputs: the name or TensorRef of a tensor, or a list of them, one for each argument; by
                default all inputs of the model.
            outputs: one name to get an array, a list to get a tuple, a dict {any label: name} to
                get a dict; by default all outputs of the model.

        Returns:
            The function. It checks and casts its arguments as `run` does, and computes in the
            thread that calls it. The caller may change its results.

        Raises:
            NameNotFoundError: one of the names is not in the graph.
            FeedError: the outputs need other inputs as well, or the inputs are not names.
            RunError: an output has no value, or the model is closed.
            UnsafeModelError, UnsupportedError, GraphError: as `run` does.

        Example:
            >>> model = FrozenModel(graphdef.parse_text(b'''
            ...     node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: 3 } } }
            ...     node { name: "y" op: "Neg" input: "x" attr { key: "T" value { type: 3 } } }'''))
            >>> negative = model.bind("x:0", "y:0")
            >>> negative([1, 2])
            array([-1, -2], dtype=int32)
        """
        ends = self._ends(inputs, outputs)
        names = [ref.name for ref in ends.outputs]
        output_names: Any = names[0] if ends.single else names
        if ends.labels is not None:
            output_names = dict(zip(ends.labels, names, strict=True))
        arguments = (self, [ref.name for ref in ends.inputs], output_names)
        return self._executor().bind(
            ends.inputs,
            ends.outputs,
            single=ends.single,
            labels=ends.labels,
            pickled=lambda: (_bound, arguments),
        )

    def as_graph_def(self) -> Any:
        """Return the graph as a GraphDef of TensorFlow's own class, with its weights as constants.

        Returns:
            A tf.compat.v1.GraphDef of the caller's own, for code that takes one. `import_into`
            needs less memory.

        Raises:
            UnsupportedError: the graph is larger than 2 GB.
            GraphError: this TensorFlow cannot read it.

        Example:
            >>> import tensorflow as tf, tfpersist as tfp
            >>> double = tf.function(lambda x: x + x, input_signature=[tf.TensorSpec((), name="x")])
            >>> model = tfp.Freezer(double).freeze()
            >>> with tf.Graph().as_default() as graph:
            ...     tf.graph_util.import_graph_def(model.as_graph_def(), name="")
            >>> graph.get_tensor_by_name("x:0").dtype
            tf.float32
        """
        return definition_of(expand(self.graph))

    @unconverted
    def import_into(
        self,
        graph: Any = None,
        inputs: Mapping[Any, Any] | None = None,
        outputs: Iterable[Ref] | None = None,
        *,
        prefix: str = "frozen",
    ) -> dict[str, Any]:
        """Import the model into another graph, or into a tf.function that is being traced.

        A GradientTape does not record what is imported; use `as_module` for gradients. Variables
        and tables that the model keeps are initialized by `tf.compat.v1.tables_initializer()`.
        Nothing runs that in a tf.function, so there such a model is refused: call a module there.

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
            UnsupportedError: the model is larger than 2 GB.
            UnsafeModelError, GraphError: as `run` does; GraphError also for kept state in a
                tf.function.

        Example:
            >>> import tensorflow as tf, tfpersist as tfp
            >>> from tfpersist.formats import graphdef
            >>> model = tfp.FrozenModel(graphdef.parse_text(b'''
            ...     node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: 1 } } }
            ...     node { name: "y" op: "Neg" input: "x" attr { key: "T" value { type: 1 } } }'''))
            >>> @tf.function
            ... def twice(value):
            ...     return 2.0 * model.import_into(inputs={"x": value})["y:0"]
            >>> float(twice(tf.constant(3.0)))
            -6.0
        """
        listed = self.outputs if outputs is None else outputs
        names = [lookup.find_output(self.graph, ref).name for ref in listed]
        if isinstance(inputs, Mapping):
            inputs = {lookup.find_input(self.graph, ref): value for ref, value in inputs.items()}
        self._check_policy()
        return composed.compose(self.graph, graph, inputs or {}, names, prefix)

    @unconverted
    def as_module(self, inputs: Refs | None = None, outputs: LabelledRefs | None = None) -> Any:
        """Make a tf.Module of the model: for a tf.function, a SavedModel, a Keras Lambda layer.

        Variables and tables that the model keeps belong to the module, which initializes them.

        Args:
            inputs: as in `bind`.
            outputs: as in `bind`.

        Returns:
            The module. It is called with tensors or with values that `run` takes as feeds, and
            raises FeedError for one that does not fit.

        Raises:
            NameNotFoundError: one of the names is not in the graph.
            GraphError: the model keeps a variable or table by reference, as TensorFlow 1 did.
            UnsafeModelError: the model could do more than its policy allows; nothing was imported.

        Example:
            >>> import tfpersist as tfp
            >>> from tfpersist.formats import graphdef
            >>> model = tfp.FrozenModel(graphdef.parse_text(b'''
            ...     node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: 1 } } }
            ...     node { name: "y" op: "Neg" input: "x" attr { key: "T" value { type: 1 } } }'''))
            >>> float(model.as_module("x", "y")(3.0))
            -3.0
        """
        ends = self._ends(inputs, outputs)
        self._check_policy()
        return modules.module_of(
            self.graph, ends.inputs, ends.outputs, single=ends.single, labels=ends.labels
        )

    @unconverted
    def as_layer(
        self,
        inputs: Refs | None = None,
        outputs: LabelledRefs | None = None,
        *,
        name: str | None = None,
    ) -> Any:
        """Make a Keras 3 layer of the model; training does not change it.

        Gradients flow through the layer to the layers before it. The layer has no weights: all are
        constants, and `unfreeze` makes variables of them. Variables that the model keeps are state
        of the layer, which is saved with it. The model fills its tables itself.

        `model.save("net.keras")` writes the graph into the file. To load it, Keras must know the
        layer: `keras.models.load_model("net.keras", custom_objects=
        tfpersist.FrozenModel.custom_objects())`. A graph from such a file may do what
        `FrozenModel.load` allows; with `safe_mode=False` it may do everything.

        Args:
            inputs: as in `bind`. The layer is called with one tensor, or with a list of them;
                floats of another size are cast.
            outputs: as in `bind`. The layer returns one tensor, a list or a dict of them.
            name: the layer's name in Keras.

        Returns:
            The keras.Layer.

        Raises:
            NameNotFoundError: one of the names is not in the graph.
            FeedError: there are no inputs, or the outputs need others.
            UnsupportedError: there is no Keras 3 that runs on TensorFlow, or the model is larger
                than 2 GB.
            GraphError: the model keeps a variable or table by reference, as TensorFlow 1 did.
            UnsafeModelError: the model could do more than its policy allows; nothing was imported.

        Example:
            >>> import keras, tfpersist as tfp
            >>> from tfpersist.formats import graphdef
            >>> model = tfp.FrozenModel(graphdef.parse_text(b'''
            ...     node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: 1 } } }
            ...     node { name: "y" op: "Neg" input: "x" attr { key: "T" value { type: 1 } } }'''))
            >>> network = keras.Sequential([model.as_layer("x", "y"), keras.layers.Dense(1)])
            >>> network.build((None, 3))
            >>> network.output_shape, len(network.trainable_variables)
            ((None, 1), 2)
        """
        ends = self._ends(inputs, outputs)
        self._check_policy()
        return keras_layer.layer_of(
            self.graph, ends.inputs, ends.outputs, single=ends.single, labels=ends.labels, name=name
        )

    @staticmethod
    def custom_objects() -> dict[str, Any]:
        """Let Keras load files with layers that `as_layer` made.

        Returns:
            The `custom_objects` argument of `keras.models.load_model`. After one call of this, or
            of `as_layer`, Keras knows the layer without the argument too.

        Raises:
            UnsupportedError: there is no Keras 3 that runs on TensorFlow.

        Example:
            >>> import tfpersist as tfp
            >>> list(tfp.FrozenModel.custom_objects())
            ['tfpersist>FrozenLayer']
        """
        return keras_layer.custom_objects()

    def unfreeze(
        self,
        names: str | Iterable[str],
        location: str | os.PathLike[str],
        *,
        step: int | None = None,
        durable: bool = True,
        storage_options: object = None,
    ) -> Checkpoint:
        """Save the model as a checkpoint in which constants are trainable variables again.

        A `.meta` is saved too, so `ModelStore(location).open_graph()` gives a model to train on.

        Args:
            names: names of constants or globs such as "dense*/kernel"; of floats only.
            location: the directory of the checkpoint, a path or a URL.
            step: the training step of the checkpoint.
            durable: as in `write`.
            storage_options: what the file system of a URL is opened with, as for `ModelStore`.

        Returns:
            The checkpoint. TensorFlow is not needed.

        Raises:
            NameNotFoundError: a name matches no such constant, or there are no names.
            UnsupportedError: such a constant flows into a loop or a branch, where TensorFlow cannot
                train it; the loop is named.
            StorageError: it cannot be written; nothing is left behind.

        Example:
            >>> import tfpersist as tfp
            >>> from tfpersist.formats import graphdef
            >>> model = tfp.FrozenModel(graphdef.parse_text(b'''
            ...     node { name: "w" op: "Const" attr { key: "dtype" value { type: 1 } } attr { key:
            ...       "value" value { tensor { dtype: 1 float_val: 3 tensor_shape {} } } } }'''))
            >>> dict(model.unfreeze("w", "memory://frozen/unfrozen"))
            {'w': array(3., dtype=float32)}
        """
        storage = open_storage(*placed(location, storage_options))
        return unfreeze.save(self.graph, _listed(names), storage, step=step, durable=durable)

    def verify(
        self, feeds: Mapping[Any, Any] | None = None, *, tolerance: float | None = None
    ) -> Parity:
        """Compare every byte with its checksum, and repeat the test of `Freezer.parity`.

        The test runs here, on the feeds that are stored in the file. A file of a model that was
        frozen without `parity` has only checksums, and one of another program has none.

        Args:
            feeds: the feeds of that test, if they are too large to be in the file, which then holds
                their digest.
            tolerance: how much the outputs may differ; by default the tolerance of that test. Other
                processors and releases of TensorFlow compute in other orders: 1e-5 is common.

        Returns:
            How each output differs, and whether the bytes were compared; print it to read it.
            `exact` is True if no output differs.

        Raises:
            CorruptionError: the bytes are not those that were written.
            ParityError: an output differs by more, or the file has neither checksums nor a golden
                pair.
            FeedError: the file does not hold the feeds, or these are others.
            ArgumentError: the tolerance is negative, not finite or not a number.
            UnsafeModelError, UnsupportedError, GraphError, RunError: as `run` does.

        Example:
            >>> import tensorflow as tf, tfpersist as tfp
            >>> double = tf.function(lambda x: x + x, input_signature=[tf.TensorSpec((), name="x")])
            >>> tfp.Freezer(double).parity({"x": 2}).freeze().verify().exact
            True
        """
        return golden_check.verify(self.graph, self.run, feeds, tolerance, file=self.file)

    def write(
        self,
        path: str | os.PathLike[str],
        *,
        durable: bool = True,
        storage_options: object = None,
    ) -> FrozenModel:
        """Write the graph as a `.pb`: all of it or nothing.

        Args:
            path: a path or a URL; an existing file is replaced.
            durable: wait until the file would survive a power loss.
            storage_options: what the file system of a URL is opened with, as for `ModelStore`.

        Returns:
            The model, with that file as its `file`.

        Raises:
            StorageError: the file cannot be written; nothing is left behind.
            UnsupportedError: the file would be larger than 2 GB, or its name asks for text.

        Example:
            >>> model = FrozenModel(graphdef.parse_text(b'node { name: "x" op: "NoOp" }'))
            >>> model.write("memory://frozen/write.pb").file
            'memory://frozen/write.pb'
        """
        path, options = placed(path, storage_options)
        text = text_of(path, "the path or URL of a .pb")
        graph_file.save(self.graph, text, options, durable=durable)
        return self._of_file(text)

    def close(self) -> None:
        """Release the engine and its memory; a later run raises RunError.

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
        return self._of_file(self.file)

    __deepcopy__ = __copy__

    def __reduce__(self) -> tuple[Any, ...]:
        data = graph_file.encoded(self.graph)
        return _unpickled, (data, self.file, self.policy, self.mapped, self.engine)

    def __repr__(self) -> str:
        inputs, outputs = map(summary.shortened, (self.inputs, self.outputs))
        nodes = f"{(count := len(self.graph.proto.node)):,} node" + "s" * (count != 1)
        place = self.file or "in memory"
        return printable(f"<{type(self).__name__} {place}: {nodes}, {inputs} -> {outputs}>")

    def _repr_html_(self) -> str:
        return self.summary().html()

    def _of_file(self, file: str) -> FrozenModel:
        return FrozenModel(self.graph, file, self.policy, mapped=self.mapped, engine=self.engine)

    def _executor(self) -> Executor:
        return self._engine.start(self.graph, self.file, self.policy, mapped=self.mapped)

    def _check_policy(self) -> None:
        if self.policy is not None:
            self.policy.check(safety.scan(self.graph, self.file))

    def _refined(self, ref: TensorRef) -> TensorRef:
        """Return a reference with the shape that the engine infers, once the graph has run."""
        executor = self._engine.executor
        if executor is None or (ref.spec is not None and ref.spec.elements is not None):
            return ref
        return attrs.evolve(ref, spec=executor.spec(ref))

    def _ends(self, inputs: Refs | None, outputs: LabelledRefs | None) -> _Ends:
        """Find the tensors that `bind`, `as_module` and `as_layer` are asked for."""
        if isinstance(inputs, Mapping):
            raise FeedError(
                "inputs are names, one for each argument",
                expected="a name or a list of names",
                found=f"a dict of {', '.join(map(repr, inputs))}",
                advice="Pass the values when you call the result.",
            )
        labels = list(outputs) if isinstance(outputs, Mapping) else None
        output_names = outputs.values() if isinstance(outputs, Mapping) else outputs
        input_refs = [
            self._refined(lookup.find_input(self.graph, ref))
            for ref in _listed(self.inputs if inputs is None else inputs)
        ]
        output_refs = [
            self._refined(lookup.find_output(self.graph, ref))
            for ref in _listed(self.outputs if output_names is None else output_names)
        ]
        single = isinstance(outputs, (str, TensorRef))
        single = single or (outputs is None and len(output_refs) == 1)
        return _Ends(input_refs, output_refs, single, labels)


@attrs.frozen
class _Ends:
    """The tensors between which a part of a model is called.

    Args:
        inputs: the tensors to feed, one for each argument.
        outputs: the tensors to compute.
        single: whether the result is the one output itself.
        labels: the keys of the result if it is a dict; else None.
    """

    inputs: list[TensorRef]
    outputs: list[TensorRef]
    single: bool
    labels: list[Any] | None


def _listed(refs: Any) -> list[Any]:
    if isinstance(refs, (str, TensorRef)):
        return [refs]
    if isinstance(refs, bytes) or not isinstance(refs, Iterable):
        raise ArgumentError(
            "this is not the name of a tensor",
            expected="a name or a list of names",
            found=value_text(refs),
        )
    return list(refs)


def _bound(model: FrozenModel, inputs: list[str], outputs: Any) -> Bound:
    return model.bind(inputs, outputs)


def _unpickled(
    data: bytes, file: str, policy: Policy | None, mapped: bool, engine: EngineName
) -> FrozenModel:
    return FrozenModel(graphdef.split(data, file), file, policy, mapped=mapped, engine=engine)
