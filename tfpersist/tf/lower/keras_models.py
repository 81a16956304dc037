"""Lower a Keras or tf-keras model: trace its call, and name inputs and outputs as Keras does."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfpersist.errors import TargetError
from tfpersist.graph.structure.functions import unused
from tfpersist.graph.structure.lowered import Lowered
from tfpersist.tf.internals.keras import (
    keeps_state,
    name_scopes_restored,
    outputs_of_layers,
    recorded_inputs,
)
from tfpersist.tf.lower.functions import lower_concrete_function
from tfpersist.tf.lower.values import node_name
from tfpersist.tf.run.translate import translated
from tfpersist.tf.targets import keras_kinds

# Keras numbers unnamed tensors over the life of a process.
_UNNAMED = re.compile(r"keras_tensor(_\d+)?")


def lower_keras_model(model: Any, named: Sequence[str] = (), batch: int | None = None) -> Lowered:
    """Lower a Keras model as it runs in inference.

    A subclassed model, and one that got its inputs from its first call, take a batch of any size,
    as after their own `export`.

    Args:
        model: a keras.Model or tf_keras.Model.
        named: names of layers and of their outputs that are outputs, too.
        batch: the size of the batch; None for any. Layers such as LSTM make use of it.

    Returns:
        Its graph, variables, inputs and outputs.

    Raises:
        TargetError: the model has no known inputs, or TensorFlow cannot trace it.
    """
    import tensorflow as tf

    inputs = getattr(model, "inputs", None)
    inner: dict[str, Any] = {}
    if not inputs:
        specs, call = _subclassed(model)
    else:
        structure = getattr(model, "input", inputs[0] if len(inputs) == 1 else inputs)
        tensors = tf.nest.flatten(structure)
        # A Sequential without an Input has the shape of its first batch.
        free = hasattr(model, "add") and not keeps_state(model)
        specs = [
            _spec(tensor, name, free=free)
            for tensor, name in zip(tensors, _input_names(tensors), strict=True)
        ]

        inner = _inner_tensors(model, named)
        called = _with_outputs(model, structure, inner) if inner else model

        def call(*inputs: Any) -> Any:
            return called(tf.nest.pack_sequence_as(structure, inputs), training=False)

    specs = [_with_batch(spec, batch) for spec in specs]
    traced = tf.function(call, input_signature=specs, autograph=False)
    with translated(TargetError), name_scopes_restored():
        concrete = traced.get_concrete_function()
    if not inner:
        return lower_concrete_function(concrete, _output_names(model, concrete.structured_outputs))
    outputs = _outputs(model)
    own = _output_names(model, outputs)
    own = own or [f"output_{number}" for number in range(len(tf.nest.flatten(outputs)))]
    return lower_concrete_function(concrete, [*own, *inner])


def _inner_tensors(model: Any, named: Sequence[str]) -> dict[str, Any]:
    """Return the tensors of a model that names of layers, or of their outputs, stand for."""
    if not named:
        return {}
    outputs = outputs_of_layers(model)
    tensors = {tensor.name: tensor for one in outputs.values() for tensor in one}
    tensors |= {name: one[0] for name, one in outputs.items() if len(one) == 1}
    own = {*_output_names(model, _outputs(model)), *(getattr(model, "input_names", None) or ())}
    wanted = (name.removesuffix(":0") if name not in tensors else name for name in named)
    return {name: tensors[name] for name in wanted if name in tensors and name not in own}


def _with_outputs(model: Any, structure: Any, inner: Mapping[str, Any]) -> Any:
    """Return a model of the same layers that also gives some inner tensors."""
    import tensorflow as tf

    [kind] = [kind for kind in keras_kinds.models() if isinstance(model, kind)][:1]
    return kind(structure, [*tf.nest.flatten(_outputs(model)), *inner.values()])


def _outputs(model: Any) -> Any:
    """Return the structure of the outputs of a model; a Sequential has a list of them only."""
    structure = getattr(model, "output", None)
    return model.outputs if structure is None else structure


def _subclassed(model: Any) -> tuple[Sequence[Any], Callable[..., Any]]:
    """Return the arguments of a subclassed model, and a function that takes them.

    Raises:
        TargetError: they are not known.
    """
    specs = recorded_inputs(model)
    try:
        inspect.signature(model.call).bind(*(specs or ()))
    except TypeError:
        specs = None
    if specs is None:
        raise TargetError(
            "the inputs of this model are not known",
            advice="Call the model once on a batch. If it takes several arguments, pass"
            " tf.function(model).get_concrete_function(tf.TensorSpec(...), ...) instead.",
        )
    return specs, lambda *inputs: model(*inputs, training=False)


def _spec(tensor: Any, name: str, *, free: bool) -> Any:
    import tensorflow as tf

    # A tf-keras input may be of any type of tensor; Keras 3 has dense and sparse ones.
    spec = getattr(tensor, "type_spec", None)
    if spec is not None and not isinstance(spec, tf.TensorSpec):
        return spec
    if getattr(tensor, "sparse", False):
        return tf.SparseTensorSpec(tensor.shape, tensor.dtype)
    shape = (None, *tensor.shape[1:]) if free and tensor.shape else tensor.shape
    return tf.TensorSpec(shape, tensor.dtype, name=name)


def _with_batch(spec: Any, size: int | None) -> Any:
    import tensorflow as tf

    if size is None or not isinstance(spec, tf.TensorSpec) or spec.shape.rank in (None, 0):
        return spec
    if spec.shape[0] is not None:
        return spec
    return tf.TensorSpec((size, *spec.shape[1:]), spec.dtype, spec.name)


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
