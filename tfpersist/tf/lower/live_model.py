"""Lower any living model to a graph with its variables, inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfpersist.errors import TargetError, value_text
from tfpersist.graph.structure.lowered import Lowered
from tfpersist.tf.lower.functions import lower_concrete_function, lower_function
from tfpersist.tf.lower.keras_models import lower_keras_model
from tfpersist.tf.lower.sessions import lower_session
from tfpersist.tf.targets import keras_kinds
from tfpersist.tf.targets.session import SessionTarget, adapt_session


def lower_live_model(
    source: Any, shaped: Sequence[str] | None = None, batch: int | None = None
) -> Lowered:
    """Lower a living model.

    Args:
        source: a session, a Keras model, a tf.function or a ConcreteFunction. A tf.function
            without an input_signature is lowered for the arguments that it has been called with,
            if those have one signature.
        shaped: names of the tensors that are needed: of those of a session the shapes are listed,
            and the inner tensors of a Keras model become outputs. None for all of a session, and
            for none of a model.
        batch: the size of the batch that a Keras model is traced with; None for any.

    Returns:
        Its graph, variables, inputs and outputs.

    Raises:
        TargetError: the source is of another type, or a function with unknown inputs or with
            several signatures.
    """
    import tensorflow as tf

    target = adapt_session(source)
    if isinstance(target, SessionTarget):
        return lower_session(target, shaped)
    if isinstance(source, tf.types.experimental.ConcreteFunction):
        return lower_concrete_function(source)
    if isinstance(source, tf.types.experimental.GenericFunction):
        return lower_function(source)
    if isinstance(source, keras_kinds.models()):
        return lower_keras_model(source, shaped or (), batch)
    raise TargetError(
        f"{value_text(source)} cannot be frozen",
        advice="Pass a session, a Keras model, a tf.function with an input_signature, the result of"
        " get_concrete_function(), a Checkpoint or ModelStore with a .meta file, the directory of"
        " a SavedModel, a GraphDef or the path of one.",
    )
