"""Lower a tf.function or a ConcreteFunction."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tfpersist.errors import TargetError
from tfpersist.formats.graphdef import Graph, split
from tfpersist.formats.schema import Message
from tfpersist.graph.structure.functions import unused
from tfpersist.graph.structure.lowered import Lowered, Origin
from tfpersist.graph.structure.names import Labels, producer
from tfpersist.tf.internals.functions import traces_of
from tfpersist.tf.lower.captured_inputs import replace_captured_inputs
from tfpersist.tf.lower.own_state import own_state
from tfpersist.tf.lower.structures import names_of_arguments, names_of_results
from tfpersist.tf.lower.values import as_array, node_name
from tfpersist.tf.run.translate import translated

_MOST_SHOWN = 8


def lower_function(function: Any) -> Lowered:
    """Lower a tf.function for the one signature that it has.

    Args:
        function: a tf.function with an input_signature, or one that takes no arguments, or one
            that has been called with one signature.

    Returns:
        Its graph, variables, inputs and outputs.

    Raises:
        TargetError: its inputs are not known, or it has been called with several signatures.
    """
    return lower_concrete_function(_concrete_function(function))


def _concrete_function(function: Any) -> Any:
    if getattr(function, "input_signature", None) is not None:
        with translated(TargetError):
            return function.get_concrete_function()
    traces = traces_of(function)
    if len(traces) == 1:
        return traces[0]
    try:
        # A function that makes variables cannot be called again after this has failed in
        # TensorFlow, so it must not get there with missing arguments.
        inspect.signature(function).bind()
        return function.get_concrete_function()
    except (TypeError, ValueError) as error:
        if traces:
            signatures = [str(trace.function_type).partition(" -> ")[0] for trace in traces]
            hidden = len(signatures) - _MOST_SHOWN
            raise TargetError(
                "this tf.function has been called with several signatures",
                expected="one",
                found="; ".join(signatures[:_MOST_SHOWN])
                + (f" and {hidden} more" if hidden > 0 else ""),
                advice="Choose one: pass function.get_concrete_function(...) with its arguments,"
                " tensors as tf.TensorSpec(shape, dtype).",
            ) from error
        raise TargetError(
            "the inputs of this tf.function are not known",
            advice="Call it once, give it an input_signature, or pass"
            " function.get_concrete_function(tf.TensorSpec(...)).",
        ) from error


def lower_concrete_function(function: Any, output_names: Sequence[str] = ()) -> Lowered:
    """Lower a ConcreteFunction.

    Args:
        function: the function; what it has captured becomes variables, constants and tables.
        output_names: names for the results, in their order. If there are none, they keep
            TensorFlow's names "Identity", "Identity_1" ..., and the signature calls them by the
            keys of a dict.

    Returns:
        Its graph. The variables that it has captured are VarHandleOps under the variables' names.

    Raises:
        TargetError: a variable of the function does not exist any more.
    """
    import tensorflow as tf

    graph = split(memoryview(function.graph.as_graph_def(add_shapes=True).SerializeToString()))
    captured = replace_captured_inputs(function, graph)
    own = own_state(graph)
    outputs = [tensor.name for tensor in function.outputs]
    new_names = {
        **captured.new_names,
        **_new_output_names(graph, captured.new_names, outputs, output_names),
    }
    _rename_nodes(captured.proto, new_names)
    arguments = function.inputs[: len(function.inputs) - len(function.captured_inputs)]
    inputs = tuple(tensor.name for tensor in arguments)
    renamed_outputs = tuple(_renamed(name, new_names) for name in outputs)
    result_names = output_names or names_of_results(function.structured_outputs)
    labels = Labels(
        _labelled(_argument_names(function), inputs), _labelled(result_names, renamed_outputs)
    )
    return Lowered(
        Graph(captured.proto, captured.payloads),
        {**own.variables, **captured.variables},
        inputs,
        renamed_outputs,
        objects=captured.objects,
        live=True,
        labels=labels,
        tables={**own.tables, **captured.tables},
        origin=Origin(tensorflow=tf.__version__),
        run=partial(_call, function, inputs, renamed_outputs),
    )


def _new_output_names(
    graph: Graph, new_names: Mapping[str, str], outputs: Sequence[str], names: Sequence[str]
) -> dict[str, str]:
    """Return the new name of each Identity that gives an output, by its old name."""
    in_use = {*graph.nodes, *new_names.values()}
    renamed: dict[str, str] = {}
    for output, name in zip(outputs, names, strict=False):
        node = producer(output)
        if node not in new_names and node not in renamed and graph.nodes[node].op == "Identity":
            renamed[node] = unused(node_name(name), in_use)
            in_use.add(renamed[node])
    return renamed


def _renamed(text: str, new_names: Mapping[str, str]) -> str:
    name = producer(text)
    return text.replace(name, new_names.get(name, name), 1)


def _rename_nodes(proto: Message, new_names: Mapping[str, str]) -> None:
    for node in proto.node:
        node.name = new_names.get(node.name, node.name)
        inputs = [_renamed(text, new_names) for text in node.input]
        node.ClearField("input")
        node.input.extend(inputs)


def _argument_names(function: Any) -> list[str]:
    parameters = getattr(getattr(function, "function_type", None), "parameters", {})
    return names_of_arguments(function.structured_input_signature, list(parameters))


def _labelled(names: Sequence[str], tensors: Sequence[str]) -> dict[str, str]:
    """Return the tensors by their names, or by those of their operations where they have none."""
    if len(names) != len(tensors):
        names = [""] * len(tensors)
    labels = {name: tensor for name, tensor in zip(names, tensors, strict=True) if name}
    for name, tensor in zip(names, tensors, strict=True):
        if not name:
            labels.setdefault(producer(tensor), tensor)
    return labels


def _call(
    function: Any,
    inputs: Sequence[str],
    outputs: Sequence[str],
    fetches: Sequence[str],
    feeds: Mapping[str, np.ndarray[Any, Any]],
) -> list[np.ndarray[Any, Any]] | None:
    """Call a ConcreteFunction by names of tensors.

    Args:
        function: the function.
        inputs: names of its arguments.
        outputs: names of its results.
        fetches: names of the results to return.
        feeds: the value of each argument.

    Returns:
        The results; None where the names are not those of all arguments and of results, or where
        the function takes or returns something else than tensors.
    """
    import tensorflow as tf

    signature = function.structured_input_signature
    if set(inputs) != feeds.keys() or not set(fetches) <= set(outputs) or signature is None:
        return None
    leaves = tf.nest.flatten(signature, expand_composites=True)
    specs = [leaf for leaf in leaves if isinstance(leaf, tf.TensorSpec)]
    if len(specs) != len(inputs) or any(
        spec.name not in (None, producer(name)) for spec, name in zip(specs, inputs, strict=True)
    ):
        return None
    values = iter([feeds[name] for name in inputs])
    flat_arguments = [
        tf.constant(next(values), leaf.dtype) if isinstance(leaf, tf.TensorSpec) else leaf
        for leaf in leaves
    ]
    args, kwargs = tf.nest.pack_sequence_as(signature, flat_arguments, expand_composites=True)
    with translated():
        results = tf.nest.flatten(function(*args, **kwargs), expand_composites=True)
    tensors = [tensor for tensor in results if tensor is not None]
    if len(tensors) != len(outputs):
        return None
    by_name = dict(zip(outputs, tensors, strict=True))
    return [np.array(as_array(by_name[name].numpy(), by_name[name].dtype.name)) for name in fetches]
