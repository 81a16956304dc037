"""Make a frozen model a tf.Module, which owns the variables and tables that the model keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfpersist.errors import FeedError, NameNotFoundError
from tfpersist.formats import dtypes
from tfpersist.formats.graphdef import Graph
from tfpersist.graph.structure.names import TensorRef
from tfpersist.tf.embed.composed import compose, tensor_of
from tfpersist.tf.embed.state import create_state, handles_of
from tfpersist.tf.internals.functions import unconverted
from tfpersist.tf.run import forks
from tfpersist.tf.run.translate import translated


def module_of(
    graph: Graph,
    inputs: Sequence[TensorRef],
    outputs: Sequence[TensorRef],
    *,
    single: bool,
    labels: Sequence[Any] | None = None,
) -> Any:
    """Return a tf.Module that computes outputs from inputs.

    Args:
        graph: the frozen graph.
        inputs: the tensors that its arguments are fed to, in their order.
        outputs: the tensors that it returns.
        single: whether it returns the one output itself, not a tuple.
        labels: the keys of the outputs in a dict; None for a tuple.

    Raises:
        NameNotFoundError: the data type of an input is not known.
        GraphError: the model keeps state in a way that only a session of TensorFlow 1 supports.
        RunError: TensorFlow ran before this process was forked.
    """
    import tensorflow as tf

    forks.threads.begin()
    signature = specs_of(inputs)
    names = [ref.name for ref in outputs]
    with tf.init_scope(), translated():
        owned = create_state(graph, names)

    def compute(*values: Any) -> Any:
        fed = dict(zip((ref.name for ref in inputs), values, strict=True))
        tensors = compose(graph, None, fed, names, "frozen", owned=handles_of(owned))
        if labels is not None:
            return {label: tensors[name] for label, name in zip(labels, names, strict=True)}
        return tensors[names[0]] if single else tuple(tensors[name] for name in names)

    function = tf.function(compute, input_signature=signature, autograph=False)

    class Frozen(tf.Module):
        """A frozen model."""

        def __init__(self) -> None:
            super().__init__(name="frozen")
            # A SavedModel of the module holds this function under both names. A call of the module
            # itself goes to the class, whose `__call__` checks the values first.
            for attribute in ("__call__", "compute"):
                setattr(self, attribute, function)
            self.state = list(owned.values())

        @unconverted
        def __call__(self, *values: Any) -> Any:
            if len(values) != len(inputs):
                expected = f"{len(inputs)}: {', '.join(ref.name for ref in inputs)}"
                raise FeedError("wrong number of values", expected=expected, found=str(len(values)))
            return self.compute(*map(_fitting, inputs, values))

    return Frozen()


def _fitting(ref: TensorRef, value: Any) -> Any:
    return tensor_of(ref, value, None)


def specs_of(inputs: Sequence[TensorRef]) -> list[Any]:
    """Return a tf.TensorSpec for each tensor.

    Args:
        inputs: the tensors.

    Raises:
        NameNotFoundError: the data type of one is not known.
    """
    import tensorflow as tf

    specs = []
    for ref in inputs:
        if ref.spec is None:
            raise NameNotFoundError(
                "the data type of this tensor is not known",
                where=ref.name,
                advice="Choose another input, one whose op TensorFlow registers.",
            )
        number = dtypes.BY_NAME[ref.spec.dtype].number
        specs.append(tf.TensorSpec(ref.spec.shape, tf.dtypes.as_dtype(number)))
    return specs
