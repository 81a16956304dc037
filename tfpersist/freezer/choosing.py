"""What a freezer is asked for, one step after another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs

from tfpersist import arguments
from tfpersist.freezer.pipeline import Wishes
from tfpersist.graph.optimize.weights import FORMS, Form
from tfpersist.graph.runtimes.releases import Runtime, runtime_of

_Freezer = TypeVar("_Freezer", bound="Choosing")


@attrs.frozen(repr=False)
class Choosing:
    """The part of a freezer that is told what to freeze, and how.

    Args:
        wishes: what it has been told so far.
    """

    wishes: Wishes = attrs.field(factory=Wishes, kw_only=True)

    def outputs(self: _Freezer, *names: object) -> _Freezer:
        """Say which tensors the frozen graph computes.

        Args:
            names: "operation", "operation:index", TensorRefs or tf.Tensors, or lists of them. The
                frozen graph has all that they need, and nothing else.

        Returns:
            A changed copy.

        Raises:
            ArgumentError: one of them names no tensor.

        Example:
            >>> import tfpersist as tfp
            >>> tfp.Freezer("runs/mnist").outputs("probabilities", "split:1")
            Freezer('runs/mnist', outputs=('probabilities', 'split:1'))
        """
        return self._with(outputs=arguments.tensors(arguments.each(names), "outputs"))

    def inputs(self: _Freezer, *names: object, **named: object) -> _Freezer:
        """Say where the frozen graph begins: at placeholders in the places of these tensors.

        Args:
            names: "operation", "operation:index", TensorRefs or tf.Tensors, or lists of them;
                placeholders too.
            named: the same; the argument's name becomes that of the placeholder.

        Returns:
            A changed copy.

        Raises:
            ArgumentError: one of them names no tensor.

        Example:
            >>> import tfpersist as tfp
            >>> _ = tfp.Freezer("runs/bert").inputs("embeddings", ids="IteratorGetNext:1")
        """
        given = arguments.tensors(arguments.each(names), "inputs")
        pairs = [(name, name) for name in given]
        pairs += zip(named, arguments.tensors(named.values(), "inputs"), strict=True)
        return self._with(inputs=tuple(pairs))

    def bake(self: _Freezer, values: Mapping[Any, Any]) -> _Freezer:
        """Fix what would have to be fed, and leave out what then never runs.

        Branches that are not taken go, with the assignments in them, before any variable is frozen;
        so does a dropout that keeps everything. Calls of functions are not looked into.

        Args:
            values: {placeholder or any other tensor: its value}, such as {"is_training": False,
                "keep_prob": 1.0}. Values are cast as `FrozenModel.run` casts feeds.

        Returns:
            A changed copy. Freezing it raises NameNotFoundError for a tensor that is not there, and
            FeedError for a value of another kind or shape.

        Raises:
            ArgumentError: it is no dict, or a key names no tensor.

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
        return self._with(baked={**self.wishes.baked, **named})

    def portable(self: _Freezer, target: Runtime) -> _Freezer:
        """Let an older TensorFlow, or another runtime, load the frozen graph.

        What its ops can say as well is said with them; whatever it does not know beyond that is an
        error of the freezing.

        Args:
            target: "1.15", "2.4", "openvino" or "onnx", as `check` takes it.

        Returns:
            A changed copy.

        Raises:
            FreezeError: nothing is known of that release.

        Example:
            >>> import tfpersist as tfp
            >>> tfp.Freezer("runs/mnist").portable("1.15")
            Freezer('runs/mnist', target='1.15')
        """
        return self._with(target=runtime_of(target))

    def only_variables(self: _Freezer, *names: object) -> _Freezer:
        """Make constants of these variables alone; all others stay variables.

        A frozen model that keeps variables goes on keeping them unless they are named here.

        Args:
            names: variables, their names, globs such as "conv1/*", or lists of them.

        Returns:
            A changed copy.

        Raises:
            ArgumentError: one of them is no name and no variable.

        Example:
            >>> import tfpersist as tfp
            >>> tfp.Freezer("runs/mnist").only_variables() == tfp.Freezer("runs/mnist")
            False
        """
        return self._with(only=arguments.variables(arguments.each(names), "only_variables"))

    def keep_variables(self: _Freezer, *names: object) -> _Freezer:
        """Let these variables stay variables, with the values they have as their first ones.

        FrozenModel gives them these values when it is first used; whoever else loads the graph has
        to run the operation `tfpersist/init` once.

        Args:
            names: variables, their names, globs such as "counter*", or lists of them.

        Returns:
            A changed copy.

        Raises:
            ArgumentError: one of them is no name and no variable.

        Example:
            >>> import tfpersist as tfp
            >>> tfp.Freezer("runs/mnist").keep_variables() == tfp.Freezer("runs/mnist")
            True
        """
        return self._with(keep=arguments.variables(arguments.each(names), "keep_variables"))

    def signature(self: _Freezer, name: str) -> _Freezer:
        """Say which signature of a SavedModel to freeze.

        Args:
            name: such as "serving_default", which is what is taken where nothing is said.

        Returns:
            A changed copy.

        Raises:
            ArgumentError: it is no name.

        Example:
            >>> import tfpersist as tfp
            >>> tfp.Freezer("export/1").signature("classify") == tfp.Freezer("export/1")
            False
        """
        return self._with(signature=arguments.text(name, "signature"))

    def tags(self: _Freezer, *tags: str) -> _Freezer:
        """Say which graph of a SavedModel to freeze.

        Args:
            tags: all tags of the graph; "serve" is what is taken where nothing is said.

        Returns:
            A changed copy.

        Raises:
            ArgumentError: one of them is no name.

        Example:
            >>> import tfpersist as tfp
            >>> tfp.Freezer("export/1").tags("serve", "gpu") == tfp.Freezer("export/1")
            False
        """
        return self._with(tags=tuple(arguments.text(tag, "tags") for tag in tags))

    def optimize(self: _Freezer) -> _Freezer:
        """Leave out what need not be computed, so that every runtime still reads the result.

        Constants are folded; identities, arithmetic that changes nothing, needless waiting and
        branches that are never taken go: the outputs stay the same bit by bit. Batch normalization
        behind a Conv2D, DepthwiseConv2dNative or MatMul goes into its weights, which changes
        outputs by rounding: 1e-5 of the largest, if the layer is well conditioned. Inputs and
        outputs keep their names; of what lies in between, only what has its old value does. Bodies
        of loops and undecided branches are not looked into.

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

    def weights(self: _Freezer, form: Form) -> _Freezer:
        """Write a smaller file: hold the large float32 weights, from 4 KB on, in fewer bytes.

        FrozenModel decodes them when it loads the file; other TensorFlows do so by a Cast, and a
        Mul, at each call. Not every runtime does: OpenCV does not. What float16 cannot hold (not
        finite, over 65504, all below 6e-5) and, for int8, vectors stay float32. Each weight is read
        once before it is written, one at a time.

        Args:
            form: "float16" for half the bytes: each weight is off by up to 1/2048 of itself. "int8"
                for a quarter: by up to 1/254 of the largest of its channel (its last dimension),
                or of its row in an embedding.

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

    def parity(self: _Freezer, feeds: Mapping[Any, Any], tolerance: float = 0.0) -> _Freezer:
        """Try the frozen model beside its source, and refuse to write it if they differ.

        Both run once on these feeds, which takes the memory of both. A session, a function or a
        Keras model runs itself; of files, their graph runs before anything is done to it. What was
        fed and what the source gave goes into the file, for `FrozenModel.verify` to repeat it:
        whole if it is not over 128 KB; of larger feeds a digest, of larger outputs an even sample.

        Args:
            feeds: {an input of the frozen model, as `FrozenModel.run` takes it: its value}.
            tolerance: numbers may differ by `tolerance * (1 + |what the source gives|)`. What is
                computed in another order differs by about 1e-6. All else must be the same.

        Returns:
            A changed copy. Freezing it raises ParityError where an output differs, with the
            largest differences and the first element; FeedError for feeds that do not fit.

        Raises:
            ArgumentError: the feeds are no dict, or the tolerance is negative, not finite or no
                number.

        Example:
            >>> import tensorflow as tf, tfpersist as tfp
            >>> double = tf.function(lambda x: x + x, input_signature=[tf.TensorSpec((), name="x")])
            >>> model = tfp.Freezer(double).parity({"x": 2}).write("memory://models/parity.pb")
            >>> print(tfp.FrozenModel.load("memory://models/parity.pb").verify())
            Identity:0 is the same, bit by bit
        """
        named = arguments.values_of(feeds, "parity")
        return self._with(feeds=named, tolerance=arguments.tolerance(tolerance, "parity"))

    def _with(self: _Freezer, **wishes: Any) -> _Freezer:
        return attrs.evolve(self, wishes=attrs.evolve(self.wishes, **wishes))
