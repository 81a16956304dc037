"""Lower a Keras or tf-keras model: trace its call, and name inputs and outputs as Keras does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tfpersist.errors import TargetError
from tfpersist.graph.structure.functions import unused
from tfpersist.graph.structure.lowered import Lowered
from tfpersist.tf.internals.keras import name_scopes_restored
from tfpersist.tf.lower.functions import lower_concrete_function
from tfpersist.tf.lower.values import node_name
from tfpersist.tf.run.translate import translated

# Keras numbers unnamed tensors over the life of a process.
_UNNAMED = re.compile(r"keras_tensor(_\d+)?")


def lower_keras_model(model: Any) -> Lowered:
    """Lower a Keras model as it runs in inference.

    Args:
        model: a keras.Model or tf_keras.Model.

    Returns:
        Its graph, variables, inputs and outputs.

    Raises:
        TargetError: the model has no known inputs, or TensorFlow cannot trace it.
    """
    import tensorflow as tf

    inputs = getattr(model, "inputs", None)
    if not inputs:
        raise TargetError(
            "the inputs of this model are not known",
            advice="Pass tf.function(model).get_concrete_function(tf.TensorSpec(...)) instead.",
        )
    structure = getattr(model, "input", inputs[0] if len(inputs) == 1 else inputs)
    tensors = tf.nest.flatten(structure)
    specs = [
        _spec(tensor, name) for tensor, name in zip(tensors, _input_names(tensors), strict=True)
    ]

    def call(*inputs: Any) -> Any:
        return model(tf.nest.pack_sequence_as(structure, inputs), training=False)

    traced = tf.function(call, input_signature=specs, autograph=False)
    with translated(TargetError), name_scopes_restored():
        concrete = traced.get_concrete_function()
    return lower_concrete_function(concrete, _output_names(model, concrete.structured_outputs))


def _spec(tensor: Any, name: str) -> Any:
    import tensorflow as tf

    # A tf-keras input may be of any type of tensor; Keras 3 has dense and sparse ones.
    spec = getattr(tensor, "type_spec", None)
    if spec is not None and not isinstance(spec, tf.TensorSpec):
        return spec
    if getattr(tensor, "sparse", False):
        return tf.SparseTensorSpec(tensor.shape, tensor.dtype)
    return tf.TensorSpec(tensor.shape, tensor.dtype, name=name)


def _input_names(tensors: Sequence[Any]) -> list[str]:
    names: list[str] = []
    for tensor in tensors:
        name = node_name(str(tensor.name).partition(":")[0])
        names.append(unused("input" if _UNNAMED.fullmatch(name) else name, names))
    return names


def _output_names(model: Any, outputs: Any) -> list[str]:
    """Return a name for each output; none where Keras has no name for each."""
    import tensorflow as tf

    tensors = tf.nest.flatten(outputs)
    if isinstance(outputs, Mapping):
        names = [str(name) for name in sorted(outputs)]
    else:
        names = list(getattr(model, "output_names", None) or ())
    if len(names) != len(tensors) and len(tensors) == 1 and getattr(model, "layers", None):
        names = [model.layers[-1].name]
    return names if len(names) == len(tensors) else []
