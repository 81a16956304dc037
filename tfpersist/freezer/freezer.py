"""Freezer: make one graph of a model of any kind, with constants in the places of its variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import attrs

from tfpersist import arguments, graph_file
from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.errors import ArgumentError
from tfpersist.formats.graphdef import Graph
from tfpersist.freezer import onnx_file, parity, pipeline
from tfpersist.freezer.draft import Draft
from tfpersist.freezer.options import Options
from tfpersist.freezer.sources.choice import Choice
from tfpersist.freezer.sources.lower import default_policy, lower
from tfpersist.frozen.model import FrozenModel
from tfpersist.gc_pause import gc_paused
from tfpersist.graph.constants import ends
from tfpersist.graph.describe.candidates import Candidates
from tfpersist.graph.optimize.weights import FORMS, Form
from tfpersist.graph.runtimes import op_lists, portability
from tfpersist.graph.runtimes.op_lists import Runtime
from tfpersist.graph.runtimes.portability import Portability
from tfpersist.graph.structure.lowered import Lowered
from tfpersist.safety import Policy, as_policy
from tfpersist.storage import placed, text_of


@attrs.frozen(init=False, repr=False)
class Freezer:
    """Takes what a model needs to compute some outputs, and makes constants of its variables.

    Args:
        source: a session (tf.compat.v1.Session or MonitoredSession), a Keras model, a tf.function
            (with an input_signature, or called with one kind of arguments so far) or
            ConcreteFunction, a FrozenModel, a GraphDef, the path of a `.pb` or `.pbtxt`, the
            directory of a SavedModel or its `saved_model.pb`, a Checkpoint that has a `.meta` or
            the path of one, or a ModelStore, for its newest checkpoint or the one that `at` or
            `best` chose. A source that is a file needs no TensorFlow.
        checkpoint: the checkpoint with the values of the variables, for a source that is a GraphDef
            or a graph file: whatever Checkpoint takes.
        policy: what the source may do while it is frozen and the frozen model when it runs. By
            default live code of your own may do everything. A source that is a file may do what
            `FrozenModel.load` allows, and may fill its tables from its own files only: those beside
            a `.meta` or `.pb`, the assets of a SavedModel. `Policy.trusted()` allows all files.

    Example:
        >>> import tensorflow as tf
        >>> graph = tf.Graph()
        >>> with graph.as_default():
        ...     v1 = tf.compat.v1.get_variable("v1", initializer=[1.0])
        ...     result = tf.add(v1, v1, name="add")
        ...     init = tf.compat.v1.global_variables_initializer()
        >>> with tf.compat.v1.Session(graph=graph) as session:
        ...     session.run(init)
        ...     model = Freezer(session).outputs("add").freeze()
        >>> model.run("add:0")
        array([2.], dtype=float32)
    """

    source: Any
    checkpoint: str | os.PathLike[str] | Checkpoint | None
    policy: Policy | None
    _options: Options

    def __init__(
        self,
        source: Any,
        *,
        checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
        policy: Policy | None = None,
    ) -> None:
        self.__attrs_init__(source, checkpoint, as_policy(policy), Options())

    def outputs(self, *names: object) -> Freezer:
        """Choose the tensors that the frozen graph computes.

        Args:
            names: "operation", "operation:index", TensorRefs or tf.Tensors, or lists of them. The
                frozen graph has all that they need, and nothing else. The name of an operation
                without outputs, such as a group, keeps the operation: `run` runs it. What the
                source's signature calls an output goes before the name of an operation. Of a Keras
                model also layers, their names, and what they give, such as `layer.output`.

        Returns:
            A changed copy.

        Raises:
            ArgumentError: an argument does not name a tensor.

        Example:
            >>> import tfpersist as tfp
            >>> tfp.Freezer("runs/mnist").outputs("probabilities", "split:1")
            Freezer('runs/mnist', outputs=('probabilities', 'split:1'))
        """
        return self._with(outputs=arguments.tensors(arguments.flattened(names), "outputs"))

    def inputs(self, *names: object, **named: object) -> Freezer:
        """Choose the tensors that become the inputs: placeholders take their places.

        Args:
            names: "operation", "operation:index", TensorRefs or tf.Tensors, or lists of them;
                placeholders too. What the source's signature calls an input goes before the name of
                an operation.
            named: the same; the name of the argument becomes the name of the placeholder.

        Returns:
            A changed copy.

        Raises:
            ArgumentError: an argument does not name a tensor.

        Example:
            >>> import tfpersist as tfp
            >>> _ = tfp.Freezer("runs/bert").inputs("embeddings", ids="IteratorGetNext:1")
        """
        tensors = arguments.tensors(arguments.flattened(names), "inputs")
        pairs = [(tensor, tensor) for tensor in tensors]
        pairs += zip(named, arguments.tensors(named.values(), "inputs"), strict=True)
        return self._with(inputs=tuple(pairs))

    def bake(self, values: Mapping[Any, Any]) -> Freezer:
        """Fix the values of inputs, and remove what can never run with these values.

        Branches that are not taken are removed, with the assignments in them, before any variable
        is frozen; so is a dropout that keeps everything. Functions that are called but cannot be
        inlined stay as they are.

        Args:
            values: {placeholder or any other tensor: its value}, such as {"is_training": False,
                "keep_prob": 1.0}. Values are cast as `FrozenModel.run` casts feeds.

        Returns:
            A changed copy. Freezing it raises NameNotFoundError for a tensor that is not there, and
            FeedError for a value of another kind or shape.

        Raises:
            ArgumentError: the argument is not a dict, or a key does not name a tensor.

        Example:
            >>> import tensorflow as tf, tfpersist as tfp
            >>> graph = tf.Graph()
            >>> with graph.as_default():
            ...     scale = tf.compat.v1.placeholder(tf.float32, [], name="scale")
            ...     x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
            ...     y = tf.multiply(x, scale, name="y")
            >>> model = tfp.Freezer(graph.as_graph_def()).bake({"scale": 3}).outputs("y").freeze()
            >>> model.run("y:0", {"x:0": [1.0, 2.0]})
            array([3., 6.], dtype=float32)
        """
        named = arguments.values_of(values, "bake")
        return self._with(baked={**self._options.baked, **named})

    def batch(self, size: int) -> Freezer:
        """Fix the batch: the first dimension of every input that takes any.

        Some runtimes need to know all shapes: TensorFlow Lite for LSTM and GRU, OpenCV for some
        reshapes. A Keras model is traced with this batch, so its layers know it too. Of another
        source only the inputs do, and what reads their shapes.

        Args:
            size: how many examples the frozen model takes at once.

        Returns:
            A changed copy. Freezing it raises FreezeError if no input takes such a batch, or the
            rank of one is not known.

        Raises:
            ArgumentError: the size is not a whole number from 1 on.

        Example:
            >>> import tensorflow as tf, tfpersist as tfp
            >>> spec = tf.TensorSpec((None, 3), name="x")
            >>> double = tf.function(lambda x: x + x, input_signature=[spec])
            >>> print(*tfp.Freezer(double).batch(1).freeze().inputs)
            x:0 float32[1,3]
        """
        return self._with(batch=arguments.size(size, "batch"))

    def portable(self, target: Runtime) -> Freezer:
        """Make the frozen graph one that an older TensorFlow, or another runtime, can load.

        Newer ops are replaced by older ones that compute the same. Freezing fails if an op has no
        older equal.

        Args:
            target: "1.4" to "1.15", "2.4", "openvino", "onnx", "opencv", "tflite" or "tfjs", as in
                `check`. For "opencv" the graph is optimized too, as `optimize` does.

        Returns:
            A changed copy.

        Raises:
            FreezeError: tfpersist has no op list for that target.

        Example:
            >>> import tfpersist as tfp
            >>> tfp.Freezer("runs/mnist").portable("1.15")
            Freezer('runs/mnist', target='1.15')
        """
        return self._with(target=op_lists.runtime_of(target))

    def only_variables(self, *names: object) -> Freezer:
        """Make constants of these variables only; all others stay variables.

        Variables that a frozen model keeps stay variables too, unless they are named here.

        Args:
            names: variables, their names, globs such as "conv1/*", or lists of them.

        Returns:
            A changed copy.

        Raises:
            ArgumentError: an argument is neither a name nor a variable.

        Example:
            >>> import tfpersist as tfp
            >>> tfp.Freezer("runs/mnist").only_variables() == tfp.Freezer("runs/mnist")
            False
        """
        return self._with(only=arguments.variables(arguments.flattened(names), "only_variables"))

    def keep_variables(self, *names: object) -> Freezer:
        """Let these variables stay variables; their present values become their first values.

        FrozenModel assigns these values when it is first used. Any other program that loads the
        graph must run the operation `tfpersist/init` once.

        Args:
            names: variables, their names, globs such as "counter*", or lists of them.

        Returns:
            A changed copy.

        Raises:
            ArgumentError: an argument is neither a name nor a variable.

        Example:
            >>> import tfpersist as tfp
            >>> tfp.Freezer("runs/mnist").keep_variables() == tfp.Freezer("runs/mnist")
            True
        """
        return self._with(keep=arguments.variables(arguments.flattened(names), "keep_variables"))

    def signature(self, name: str) -> Freezer:
        """Choose the signature of a SavedModel to freeze.

        Args:
            name: such as "serving_default", which is the default.

        Returns:
            A changed copy.

        Raises:
            ArgumentError: the name is not a string, or is empty.

        Example:
            >>> import tfpersist as tfp
            >>> tfp.Freezer("export/1").signature("classify") == tfp.Freezer("export/1")
            False
        """
        return self._with(signature=arguments.text(name, "signature"))

    def tags(self, *tags: str) -> Freezer:
        """Choose the graph of a SavedModel to freeze, by its tags.

        Args:
            tags: all tags of that graph, such as "serve", which is the default; none for the graph
                that has no tags.

        Returns:
            A changed copy.

        Raises:
            ArgumentError: a tag is not a string, or is empty.

        Example:
            >>> import tfpersist as tfp
            >>> tfp.Freezer("export/1").tags("serve", "gpu") == tfp.Freezer("export/1")
            False
        """
        return self._with(tags=tuple(arguments.text(tag, "tags") for tag in tags))

    def optimize(self) -> Freezer:
        """Remove what need not be computed; every runtime still reads the result.

        Constants are folded. Identities, arithmetic that changes nothing, needless control edges
        and branches that are never taken are removed: the outputs stay the same bit by bit. Batch
        normalization behind a convolution, a transposed convolution or a MatMul is folded into its
        weights, and elsewhere into one product and one sum, which changes outputs by rounding: 1e-5
        of the largest, if the layer is well conditioned.
        Inputs and outputs keep their names; a tensor between them keeps its name only if it keeps
        its value. Bodies of loops and of undecided branches stay as they are.

        Returns:
            A changed copy.

        Example:
            >>> import tensorflow as tf, tfpersist as tfp
            >>> half = tf.function(
            ...     lambda x: tf.identity(x) * (tf.constant(2.0) - 1.5),
            ...     input_signature=[tf.TensorSpec((), name="x")],
            ... )
            >>> len(tfp.Freezer(half).freeze().graph.nodes)
            7
            >>> [node.op for node in tfp.Freezer(half).optimize().freeze().graph.proto.node]
            ['Placeholder', 'Const', 'Mul', 'Identity']
        """
        return self._with(optimized=True)

    def weights(self, form: Form) -> Freezer:
        """Write a smaller file: store the large float32 weights, from 4 KB on, in fewer bytes.

        FrozenModel decodes them once, when it loads the file. Other TensorFlows decode them by a
        Cast, and a Mul, at each call. Not every runtime can: OpenCV cannot. A weight that float16
        cannot hold (not finite, over 65504, all below 6e-5) stays float32; for int8, so do vectors.
        Each weight is read once before it is written, one at a time.

        Args:
            form: "float16" for half the bytes: the error of a weight is up to 1/2048 of it. "int8"
                for a quarter: the error is up to 1/254 of the largest weight of its channel (its
                last dimension), or of its row in an embedding.

        Returns:
            A changed copy.

        Raises:
            ArgumentError: there is no such form.

        Example:
            >>> import tensorflow as tf, tfpersist as tfp
            >>> w = tf.Variable(tf.ones((64, 64)), name="w")
            >>> net = tf.function(lambda x: x @ w, input_signature=[tf.TensorSpec((1, 64))])
            >>> half = tfp.Freezer(net).weights("float16").freeze()
            >>> print(half["w/float16"], half["w"])
            w/float16:0 float16[64,64] w:0 float32[...]
        """
        return self._with(weights=arguments.one_of(form, FORMS, "weights"))

    def parity(self, feeds: Mapping[Any, Any], tolerance: float = 0.0) -> Freezer:
        """Run the frozen model beside its source, and refuse to write it if they differ.

        Both run once on these feeds, which takes the memory of both. A session, a function or a
        Keras model runs itself. For a file, its graph runs before anything is changed in it. The
        feeds and the outputs of the source go into the file, so that `FrozenModel.verify` can
        repeat the test. Feeds of up to 128 KB together are stored whole, and so are outputs of up
        to 128 KB together. Of larger feeds digests are stored, of larger outputs even samples.

        Args:
            feeds: {an input of the frozen model, as `FrozenModel.run` takes it: its value}.
            tolerance: numbers may differ by `tolerance * (1 + |output of the source|)`. Numbers
                that are computed in another order differ by about 1e-6. Everything else must be the
                same.

        Returns:
            A changed copy. Freezing it raises ParityError if an output differs, with the largest
            differences and the first element; FeedError for feeds that do not fit.

        Raises:
            ArgumentError: the feeds are not a dict, or the tolerance is negative, not finite or not
                a number.

        Example:
            >>> import tensorflow as tf, tfpersist as tfp
            >>> double = tf.function(lambda x: x + x, input_signature=[tf.TensorSpec((), name="x")])
            >>> model = tfp.Freezer(double).parity({"x": 2}).write("memory://models/parity.pb")
            >>> print(tfp.FrozenModel.load("memory://models/parity.pb").verify())
            Identity:0 is the same, bit by bit
            every byte of the file is as it was written
        """
        named = arguments.values_of(feeds, "parity")
        return self._with(feeds=named, tolerance=arguments.tolerance(tolerance, "parity"))

    def check(self, target: Runtime) -> Portability:
        """Find the nodes that an older TensorFlow, or another runtime, cannot load.

        Args:
            target: "1.4" to "1.15" or "2.4" for that release of TensorFlow; its patches, such as
                "1.15.5", have the same ops. "openvino" for OpenVINO, "onnx" for tf2onnx: their
                lists say for which ops there is a converter, and a converter may still refuse some
                forms and data types. "opencv" for OpenCV 5, "tflite" for TensorFlow Lite, "tfjs"
                for TensorFlow.js: the ops that they compute as TensorFlow does.

        Returns:
            The nodes that it cannot load; `ok` is True if there are none.

        Raises:
            FreezeError: tfpersist has no op list for that target, or the source cannot be frozen.

        Example:
            >>> import tensorflow as tf
            >>> double = tf.function(lambda x: x + x, input_signature=[tf.TensorSpec((), name="x")])
            >>> print(Freezer(double).check("1.15"))
            TensorFlow 1.15 knows every op and attr
        """
        options = attrs.evolve(self._options, target=op_lists.runtime_of(target))
        draft = pipeline.freeze(self._lowered(), options, converted=False)
        return portability.check(draft.graph, target)

    def candidates(self) -> Candidates:
        """List the tensors of the source that look like outputs, the likeliest first.

        Returns:
            The tensors with data types and shapes; print them to read them.

        Raises:
            FreezeError: the source has no graph.

        Example:
            >>> import tensorflow as tf
            >>> double = tf.function(lambda x: x + x, input_signature=[tf.TensorSpec((), name="x")])
            >>> print(Freezer(double).candidates())
            likely outputs:
              Identity:0 float32[]
            inputs:
              x:0 float32[]
        """
        return ends.candidates_of(pipeline.BAKE(Draft.of(self._lowered(), self._options)).lowered)

    def freeze(self) -> FrozenModel:
        """Freeze in memory.

        Returns:
            The model, with the present values of the source: later training does not change it. A
            model from a file may do what `FrozenModel.load` allows by default; one from live code
            of your own may do everything.

        Raises:
            NameNotFoundError: an output or a variable of that name is not in the graph.
            FreezeError: no outputs are set, or a node cannot be frozen.
            UnsafeModelError: a table is filled from a file that the policy does not allow to read.

        Example:
            >>> import tensorflow as tf
            >>> double = tf.function(lambda x: x + x, input_signature=[tf.TensorSpec((), name="x")])
            >>> float(Freezer(double).freeze().run("Identity:0", {"x:0": 2}))
            4.0
        """
        with gc_paused():
            return FrozenModel(self._frozen(snapshot=True), policy=self._policy())

    def write(
        self,
        path: str | os.PathLike[str],
        *,
        durable: bool = True,
        large: bool = False,
        storage_options: object = None,
    ) -> FrozenModel:
        """Freeze into a file, one variable at a time.

        A name such as "model.onnx" asks for an ONNX file, which tf2onnx makes of the frozen model:
        `pip install tfpersist[onnx]`. It is the model of `portable("onnx")`, and its inputs and
        outputs have the names of the signature. ONNX Runtime must be able to load it, and `parity`
        compares what it computes, too.

        Args:
            path: the `.pb` or `.onnx` to write, a path or a URL. The file appears whole or not at
                all.
            durable: wait until the file would survive a power loss.
            large: allow a file of more than 2 GB. FrozenModel loads such a file; TensorFlow and
                other programs that use protobuf cannot.
            storage_options: what the file system of a URL is opened with, as for `ModelStore`.

        Returns:
            The model, loaded from that file; it may do what the model of `freeze` may do. Of an
            `.onnx`, the model that was converted.

        Raises:
            NameNotFoundError: an output or a variable of that name is not in the graph.
            FreezeError: no outputs are set, or a node cannot be frozen, or not for that file.
            UnsafeModelError: a table is filled from a file that the policy does not allow to read.
            UnsupportedError: the file would be larger than 2 GB, and `large` is False; the largest
                weights are named, and nothing is written. Or there is no ONNX file of this model.
            StorageError: the file cannot be written; nothing is left behind.

        Example:
            >>> import tensorflow as tf
            >>> double = tf.function(lambda x: x + x, input_signature=[tf.TensorSpec((), name="x")])
            >>> model = Freezer(double).write("memory://models/double.pb")
            >>> print(*model.inputs, *model.outputs)
            x:0 float32[] Identity:0 float32[]
        """
        with gc_paused():
            path, options = placed(path, storage_options)
            text = text_of(path, "the path or URL of a .pb")
            if text.endswith(".onnx"):
                return self._write_onnx(text, options, durable=durable)
            graph = self._frozen(snapshot=self._options.feeds is not None)
            graph_file.save(graph, text, options, durable=durable, large=large)
            allowed = self._policy() or Policy.trusted()
            return FrozenModel.load(path, policy=allowed, storage_options=options)

    def __repr__(self) -> str:
        settings = {"checkpoint": self.checkpoint, "policy": self.policy}
        shown = [f"{name}={value!r}" for name, value in settings.items() if value is not None]
        return (
            f"Freezer({', '.join(filter(None, [repr(self.source), *shown, repr(self._options)]))})"
        )

    def _with(self, **changes: Any) -> Freezer:
        """Return a copy with some options changed."""
        options = attrs.evolve(self._options, **changes)
        changed = type(self).__new__(type(self))
        changed.__attrs_init__(self.source, self.checkpoint, self.policy, options)
        return changed

    def _policy(self) -> Policy | None:
        return default_policy(self.source) if self.policy is None else self.policy

    def _lowered(self) -> Lowered:
        options = self._options
        named = (*options.outputs, *options.input_tensors, *options.baked)
        shaped = named if options.outputs else None
        choice = Choice(
            self.checkpoint, options.signature, options.tags, shaped, options.batch, self.policy
        )
        return lower(self.source, choice)

    def _write_onnx(self, path: str, options: object, *, durable: bool) -> FrozenModel:
        target = self._options.target
        if target not in (None, "onnx"):
            raise ArgumentError(
                f"an .onnx file is written with portable('onnx'), not portable({target!r})",
                where=path,
                advice="Leave portable() out.",
            )
        freezer = self._with(target="onnx")
        frozen = pipeline.freeze(freezer._lowered(), freezer._options)
        frozen = frozen.snapshot() if frozen.source.live else frozen
        graph = onnx_file.write(frozen, self._policy(), path, options, durable=durable)
        return FrozenModel(graph, policy=self._policy())

    def _frozen(self, *, snapshot: bool) -> Graph:
        """Return the signed graph; with `snapshot`, with the values that a live source has now."""
        frozen = pipeline.freeze(self._lowered(), self._options)
        if snapshot and frozen.source.live:
            frozen = frozen.snapshot()
        if self._options.feeds is None:
            return frozen.signed()
        return parity.prove(frozen, self._policy())
