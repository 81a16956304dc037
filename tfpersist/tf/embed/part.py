"""Set up a part of a frozen model so that it can be called with tensors, as a layer does."""

from __future__ import annotations

import uuid
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from tfpersist.formats import dtypes
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import TensorSpec
from tfpersist.graph.structure.names import TensorRef
from tfpersist.tf.embed.composed import compose, tensor_of
from tfpersist.tf.embed.layouts import Shape
from tfpersist.tf.embed.state import create_state, handles_of
from tfpersist.tf.internals.functions import note_use
from tfpersist.tf.run import forks
from tfpersist.tf.run.execute import spec_of_tensor
from tfpersist.tf.run.translate import translated


@attrs.frozen(eq=False)
class Part:
    """A graph, with all that its outputs need, to be called with tensors.

    Args:
        graph: the frozen graph.
        inputs: the tensors that its arguments are fed to.
        outputs: the tensors that it returns.
        owned: the variables and tables that it keeps, by name of the node.
        function: the tf.function.
        identity: a name that no other part of any process has.
    """

    graph: Graph
    inputs: tuple[TensorRef, ...]
    outputs: tuple[TensorRef, ...]
    owned: Mapping[str, Any]
    function: Any
    identity: str = attrs.field(factory=lambda: uuid.uuid4().hex)

    @property
    def variables(self) -> list[Any]:
        """The variables that it keeps, sorted by the names of their nodes."""
        return [owner for _, owner in sorted(self.owned.items()) if hasattr(owner, "assign")]

    def call(self, values: Sequence[Any]) -> list[Any]:
        """Return the outputs for tensors that are given for the inputs.

        Raises:
            FeedError: one of them does not fit.
        """
        tensors: list[Any] = self.function(*map(_fitting, self.inputs, values))
        return tensors

    def infer(self, inputs: Sequence[tuple[Shape, str]]) -> list[TensorSpec]:
        """Infer the data types and shapes of the outputs.

        Args:
            inputs: shape and data type of each input.

        Raises:
            FeedError: one of them does not fit.
        """
        import tensorflow as tf

        with tf.Graph().as_default() as scratch:
            fed = {}
            for ref, (shape, dtype) in zip(self.inputs, inputs, strict=True):
                fed[ref.name] = _fitting(ref, tf.compat.v1.placeholder(dtype, shape))
            names = [ref.name for ref in self.outputs]
            tensors = compose(self.graph, scratch, fed, names, "frozen")
            return [spec_of_tensor(_with_shape(ref, tensors[ref.name])) for ref in self.outputs]


# The parts of this process by their identity. Keras copies a layer by its config alone, and the
# copy finds its part here.
_PARTS: weakref.WeakValueDictionary[str, Part] = weakref.WeakValueDictionary()


def part_of(graph: Graph, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> Part:
    """Set up what the outputs need.

    Args:
        graph: the frozen graph.
        inputs: the tensors that its arguments are fed to.
        outputs: the tensors that it returns.

    Raises:
        NameNotFoundError: the data type of an input is not known.
        GraphError: the model keeps state in a way that only a session of TensorFlow 1 supports.
        RunError: TensorFlow ran before this process was forked.
    """
    import tensorflow as tf

    forks.threads.begin()
    names = [ref.name for ref in outputs]
    with tf.init_scope(), translated():
        owned = create_state(graph, names)

    def compute(*values: Any) -> list[Any]:
        fed = dict(zip((ref.name for ref in inputs), values, strict=True))
        for variable in part.variables:
            note_use(variable)
        tensors = compose(graph, None, fed, names, "frozen", owned=handles_of(owned))
        return [_with_shape(ref, tensors[ref.name]) for ref in outputs]

    function = tf.function(compute, autograph=False, reduce_retracing=True)
    part = Part(graph, tuple(inputs), tuple(outputs), owned, function)
    _PARTS[part.identity] = part
    return part


def existing_part(identity: str) -> Part | None:
    """Return the part of this process with an identity; None if there is none."""
    return _PARTS.get(identity)


def _with_shape(ref: TensorRef, tensor: Any) -> Any:
    """Return a tensor with the shape that the file has for it, if TensorFlow infers no rank."""
    import tensorflow as tf

    if tensor.shape.rank is None and ref.spec is not None and ref.spec.shape is not None:
        return tf.ensure_shape(tensor, ref.spec.shape)
    return tensor


def _fitting(ref: TensorRef, value: Any) -> Any:
    """Return a tensor for an input; floats of another size are cast, as Keras layers do."""
    import tensorflow as tf

    tensor = tf.convert_to_tensor(value)
    if ref.spec is not None:
        dtype = tf.dtypes.as_dtype(dtypes.BY_NAME[ref.spec.dtype].number)
        if tensor.dtype.is_floating and dtype.is_floating:
            tensor = tf.cast(tensor, dtype)
    return tensor_of(ref, tensor, None)
