"""A frozen model as a part of something larger: a graph, a module, a checkpoint to train on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from tfpersist import safety
from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.errors import ArgumentError, FeedError, told
from tfpersist.formats.bundle_writer import Item
from tfpersist.graph.constants import unfreeze
from tfpersist.graph.describe.described import Described
from tfpersist.graph.optimize.weights import expand
from tfpersist.graph.structure.names import TensorRef
from tfpersist.safety import Policy, as_policy
from tfpersist.storage import open_storage
from tfpersist.tf.embed import composed, keras_layer, modules
from tfpersist.tf.internals.functions import unconverted


@attrs.frozen(eq=False, repr=False)
class Parts(Described):
    """What can be made of a frozen model.

    Args:
        graph: the graph.
        file: where it came from; "" for one that was made in memory.
        policy: what it may do, checked before anything of it is imported; None for everything.
    """

    policy: Policy | None = attrs.field(default=None, converter=as_policy)

    @unconverted
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
        names = [self[ref].name for ref in (self.outputs if outputs is None else outputs)]
        self._check()
        return composed.compose(self.graph, graph, inputs or {}, names, prefix)

    @unconverted
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
            >>> import tfpersist as tfp
            >>> from tfpersist.formats import graphdef
            >>> model = tfp.FrozenModel(graphdef.parse_text(b'''
            ...     node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: 1 } } }
            ...     node { name: "y" op: "Neg" input: "x" attr { key: "T" value { type: 1 } } }'''))
            >>> float(model.as_module("x", "y")(3.0))
            -3.0
        """
        taken, given, single = self._ends(inputs, outputs)
        self._check()
        labels = list(outputs) if isinstance(outputs, Mapping) else None
        return modules.module_of(self.graph, taken, given, single=single, labels=labels)

    @unconverted
    def as_layer(self, inputs: Any = None, outputs: Any = None, *, name: str | None = None) -> Any:
        """Make a Keras 3 layer of the model, which no training changes.

        Gradients go through it to the layers before it. It has no weights: all are constants, and
        `unfreeze` makes variables of them. Variables that the model keeps are the layer's own
        state, which is saved with it; tables too, but the model fills them.

        `model.save("net.keras")` writes the graph into the file. Where that is loaded, Keras has to
        know the layer: `keras.models.load_model("net.keras", custom_objects=
        tfpersist.FrozenModel.custom_objects())`. What such a file holds may do what
        `FrozenModel.load` allows; with `safe_mode=False` it may do all.

        Args:
            inputs: as in `bind`. The layer is called with one tensor, or with a list of them;
                floats of another size are cast.
            outputs: as in `bind`. It gives one tensor, a list or a dict of them.
            name: what Keras is to call the layer.

        Returns:
            The keras.Layer.

        Raises:
            NameNotFoundError: one of them names nothing in the graph.
            FeedError: there are no inputs, or the outputs need others.
            UnsupportedError: there is no Keras 3 that runs on TensorFlow, or the model is larger
                than 2 GB.
            GraphError: it keeps a variable or table by reference, as TensorFlow 1 did.
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
        taken, given, single = self._ends(inputs, outputs)
        self._check()
        labels = list(outputs) if isinstance(outputs, Mapping) else None
        return keras_layer.layer_of(
            self.graph, taken, given, single=single, labels=labels, name=name
        )

    @staticmethod
    def custom_objects() -> dict[str, Any]:
        """Let Keras load files with layers that `as_layer` made.

        Returns:
            What `keras.models.load_model` takes as `custom_objects`. Keras knows the layer from
            then on; to have called this, or `as_layer`, is enough.

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
            >>> import tfpersist as tfp
            >>> from tfpersist.formats import graphdef
            >>> model = tfp.FrozenModel(graphdef.parse_text(b'''
            ...     node { name: "w" op: "Const" attr { key: "dtype" value { type: 1 } } attr { key:
            ...       "value" value { tensor { dtype: 1 float_val: 3 tensor_shape {} } } } }'''))
            >>> dict(model.unfreeze("w", "memory://frozen/unfrozen"))
            {'w': array(3., dtype=float32)}
        """
        unfrozen = unfreeze.unfreeze(expand(self.graph), _listed(names))
        items = [Item(name, value) for name, value in sorted(unfrozen.values.items())]
        prefix = "model.ckpt" if step is None else f"model.ckpt-{step}"
        storage, meta = open_storage(location), unfrozen.meta.SerializeToString(deterministic=True)
        write_checkpoint(storage, prefix, items, meta=meta, step=step, durable=durable)
        return Checkpoint(prefix, storage=storage)

    def _ends(self, inputs: Any, outputs: Any) -> tuple[list[TensorRef], list[TensorRef], bool]:
        if isinstance(inputs, Mapping):
            raise FeedError(
                "inputs are names, one for each argument",
                expected="a name or a list of names",
                found=f"a dict of {', '.join(map(repr, inputs))}",
                advice="Give the values when you call what you get.",
            )
        wanted = outputs.values() if isinstance(outputs, Mapping) else outputs
        taken = [self[ref] for ref in _listed(self.inputs if inputs is None else inputs)]
        given = [self[ref] for ref in _listed(self.outputs if wanted is None else wanted)]
        single = isinstance(outputs, (str, TensorRef)) or (outputs is None and len(given) == 1)
        return taken, given, single

    def _check(self) -> None:
        if self.policy is not None:
            self.policy.check(safety.scan(self.graph, self.file))


def _listed(refs: Any) -> list[Any]:
    if isinstance(refs, (str, TensorRef)):
        return [refs]
    if isinstance(refs, bytes) or not isinstance(refs, Iterable):
        raise ArgumentError(
            "this names nothing of a graph", expected="a name or a list of names", found=told(refs)
        )
    return list(refs)
