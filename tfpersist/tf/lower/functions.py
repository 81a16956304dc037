"""Living models become graphs with values: sessions, Keras models, functions."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tfpersist.errors import (
    TargetError,
    value_text,
)
from tfpersist.formats import dtypes, schema, tensor_proto
from tfpersist.formats.graphdef import Graph, split, with_payload
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Payload, TensorSpec, payload_of
from tfpersist.graph.constants.tables import is_counted, table_types
from tfpersist.graph.structure.functions import unused
from tfpersist.graph.structure.lowered import Lowered, Origin
from tfpersist.graph.structure.names import producer
from tfpersist.tf.internals import functions
from tfpersist.tf.lower.sessions import as_array, uninitialized
from tfpersist.tf.lower.structures import names_of_arguments, names_of_results
from tfpersist.tf.run.translate import translated
from tfpersist.tf.targets import keras_kinds

# Keras numbers unnamed tensors over the life of a process.
_UNNAMED = re.compile(r"keras_tensor(_\d+)?")
_MOST_SHOWN = 8
# A table of which nothing but its size is asked may hold anything.
_COUNTED = (dtypes.BY_NAME["int64"].number,) * 2
_FOREIGN = re.compile(r"[^A-Za-z0-9_.\\/>-]", re.ASCII)


def lower(source: Any, shaped: Sequence[str] | None = None) -> Lowered:
    """Lower a living model.

    Args:
        source: a session, a Keras model, a tf.function or a ConcreteFunction. Of a tf.function
            without an input_signature it is what it was called for, if that is one signature.
        shaped: names of the tensors whose shapes are wanted of a session; None for all.

    Returns:
        Its graph, variables, inputs and outputs.

    Raises:
        TargetError: it is none of these, or a function whose inputs are not known, or not which
            of several.
    """
    import tensorflow as tf

    from tfpersist.tf.lower import sessions
    from tfpersist.tf.targets import session

    target = session.adapt_session(source)
    if isinstance(target, session.SessionTarget):
        return sessions.lower_session(target, shaped)
    if isinstance(source, tf.types.experimental.ConcreteFunction):
        return lower_function(source)
    if isinstance(source, tf.types.experimental.GenericFunction):
        return lower_function(_concrete(source))
    if isinstance(source, keras_kinds.models()):
        return _lower_keras(source)
    raise TargetError(
        f"{value_text(source)} cannot be frozen",
        advice="Pass a session, a Keras model, a tf.function with an input_signature, what"
        " get_concrete_function() gives, a Checkpoint or ModelStore with a .meta, the directory of"
        " a SavedModel, a GraphDef or the path of one.",
    )


def _concrete(function: Any) -> Any:
    if getattr(function, "input_signature", None) is not None:
        with translated(TargetError):
            return function.get_concrete_function()
    traces = functions.traces(function)
    if len(traces) == 1:
        return traces[0]
    try:
        # If this fails in TensorFlow, a function that makes variables can never be called.
        inspect.signature(function).bind()
        return function.get_concrete_function()
    except (TypeError, ValueError) as error:
        if traces:
            told = [str(trace.function_type).partition(" -> ")[0] for trace in traces]
            more = f" and {len(told) - _MOST_SHOWN} more" if len(told) > _MOST_SHOWN else ""
            raise TargetError(
                "this tf.function has been called with several kinds of arguments",
                expected="one",
                found="; ".join(told[:_MOST_SHOWN]) + more,
                advice="Choose one: pass function.get_concrete_function(...) with its arguments,"
                " tensors as tf.TensorSpec(shape, dtype).",
            ) from error
        raise TargetError(
            "the inputs of this tf.function are not known",
            advice="Call it once, give it an input_signature, or pass"
            " function.get_concrete_function(tf.TensorSpec(...)).",
        ) from error


def _lower_keras(model: Any) -> Lowered:
    import tensorflow as tf

    inputs = getattr(model, "inputs", None)
    if not inputs:
        raise TargetError(
            "this model does not tell its inputs",
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
    with translated(TargetError):
        concrete = traced.get_concrete_function()
    return lower_function(concrete, _output_names(model, concrete.structured_outputs))


def _spec(tensor: Any, name: str) -> Any:
    import tensorflow as tf

    # What tf-keras takes may be of any kind; Keras 3 knows two.
    spec = getattr(tensor, "type_spec", None)
    if spec is not None and not isinstance(spec, tf.TensorSpec):
        return spec
    kind = tf.SparseTensorSpec if getattr(tensor, "sparse", False) else tf.TensorSpec
    facts = {} if kind is tf.SparseTensorSpec else {"name": name}
    return kind(tensor.shape, tensor.dtype, **facts)


def _input_names(tensors: Sequence[Any]) -> list[str]:
    names: list[str] = []
    for tensor in tensors:
        name = _FOREIGN.sub("_", str(tensor.name).partition(":")[0])
        names.append(unused("input" if _UNNAMED.fullmatch(name) else name, names))
    return names


def _output_names(model: Any, outputs: Any) -> list[str]:
    import tensorflow as tf

    flat = tf.nest.flatten(outputs)
    if isinstance(outputs, Mapping):
        names = [str(name) for name in sorted(outputs)]
    else:
        names = list(getattr(model, "output_names", None) or ())
    if len(names) != len(flat) and len(flat) == 1 and getattr(model, "layers", None):
        names = [model.layers[-1].name]
    return names if len(names) == len(flat) else []


def lower_function(function: Any, output_names: Sequence[str] = ()) -> Lowered:
    """Lower a ConcreteFunction.

    Args:
        function: the function; what it captured becomes its variables and constants.
        output_names: what the results are to be called, in their order; none for TensorFlow's own
            "Identity", "Identity_1" ..., which the signature then calls by the keys of a dict.

    Returns:
        Its graph, whose variables are VarHandleOps under the variables' names.
    """
    import tensorflow as tf

    graph = split(memoryview(function.graph.as_graph_def(add_shapes=True).SerializeToString()))
    captured = list(function.captured_inputs)
    arguments = function.inputs[: len(function.inputs) - len(captured)]
    placeholders = function.inputs[len(arguments) :]
    try:
        held = {id(variable.handle): variable for variable in function.graph.variables}
    except AssertionError as error:
        raise TargetError(
            "the variables of this function are gone",
            advice="Keep the object that owns them alive.",
        ) from error
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    nodes = {node.name: node for node in proto.node}
    taken = set(nodes)
    payloads, variables = dict(graph.payloads), dict[str, Payload]()
    renamed: dict[str, str] = {}
    objects: dict[str, object] = {}
    tables: dict[str, Any] = {}
    for outside, inside in zip(captured, placeholders, strict=True):
        node = nodes[inside.op.name]
        variable = held.get(id(outside))
        if variable is not None:
            name = unused(_FOREIGN.sub("_", variable.name.partition(":")[0]), taken)
            taken.add(name)
            renamed[node.name] = name
            variables[name] = _read(variable, name)
            objects[name] = variable
            _make_handle(node, name, variables[name].spec)
        elif hasattr(outside, "numpy") and dtypes.BY_NAME[outside.dtype.name].numpy is not None:
            _make_constant(node, outside, payloads)
        elif outside.dtype == "resource":
            types = table_types(graph, inside.op.name)
            contents = _exported(outside, types) if types is not None else None
            if types is None and is_counted(graph, inside.op.name):
                types, contents = _COUNTED, _as_many(outside)
            if types is not None and contents is not None:
                _make_table(node, types, contents[1].shape[1:])
                tables[node.name] = partial(tuple[Any, Any], contents)
    outputs = [tensor.name for tensor in function.outputs]
    for output, name in zip(outputs, output_names, strict=False):
        wanted = _FOREIGN.sub("_", name)
        if producer(output) not in renamed and nodes[producer(output)].op == "Identity":
            renamed[producer(output)] = unused(wanted, taken)
            taken.add(renamed[producer(output)])
    _rename(proto, renamed)
    inputs = tuple(tensor.name for tensor in arguments)
    ends = tuple(_renamed(name, renamed) for name in outputs)
    labels = _labels(_argument_names(function), inputs)
    labels |= _labels(output_names or names_of_results(function.structured_outputs), ends)
    return Lowered(
        Graph(proto, payloads),
        variables,
        inputs,
        ends,
        objects=objects,
        live=True,
        labels=labels,
        tables=tables,
        origin=Origin(tensorflow=tf.__version__),
        run=partial(_call, function, inputs, ends),
    )


def _argument_names(function: Any) -> list[str]:
    known = getattr(getattr(function, "function_type", None), "parameters", {})
    return names_of_arguments(function.structured_input_signature, list(known))


def _labels(names: Sequence[str], tensors: Sequence[str]) -> dict[str, str]:
    """Pair tensors with what they are called, if that is told of all of them."""
    if len(names) != len(tensors):
        return {}
    return {name: tensor for name, tensor in zip(names, tensors, strict=True) if name}


def _call(
    function: Any,
    inputs: Sequence[str],
    outputs: Sequence[str],
    fetches: Sequence[str],
    feeds: Mapping[str, np.ndarray[Any, Any]],
) -> list[np.ndarray[Any, Any]] | None:
    """Call a ConcreteFunction; None where it takes or gives something else, or not by these names.

    Args:
        function: the function.
        inputs: names of its arguments.
        outputs: names of its results.
        fetches: names of the results that are wanted.
        feeds: values of the arguments.
    """
    import tensorflow as tf

    structure = function.structured_input_signature
    if set(inputs) != feeds.keys() or not set(fetches) <= set(outputs) or structure is None:
        return None
    leaves = tf.nest.flatten(structure, expand_composites=True)
    specs = [leaf for leaf in leaves if isinstance(leaf, tf.TensorSpec)]
    if len(specs) != len(inputs) or any(
        spec.name not in (None, producer(name)) for spec, name in zip(specs, inputs, strict=True)
    ):
        return None
    values = iter([feeds[name] for name in inputs])
    flat = [
        tf.constant(next(values), leaf.dtype) if isinstance(leaf, tf.TensorSpec) else leaf
        for leaf in leaves
    ]
    args, kwargs = tf.nest.pack_sequence_as(structure, flat, expand_composites=True)
    with translated():
        given = tf.nest.flatten(function(*args, **kwargs), expand_composites=True)
    found = [tensor for tensor in given if tensor is not None]
    if len(found) != len(outputs):
        return None
    by_name = dict(zip(outputs, found, strict=True))
    return [np.array(as_array(by_name[name].numpy(), by_name[name].dtype.name)) for name in fetches]


def _make_table(node: Message, types: tuple[int, int], value: tuple[int, ...]) -> None:
    node.op = "MutableHashTableOfTensorsV2" if value else "MutableHashTableV2"
    node.ClearField("attr")
    node.attr["shared_name"].s = node.name.encode()
    node.attr["key_dtype"].type, node.attr["value_dtype"].type = types
    for extent in value:
        node.attr["value_shape"].shape.dim.add(size=extent)


def _as_many(handle: Any) -> tuple[Any, Any]:
    """Give as many keys and values as a table has, which does not tell of what types they are."""
    import tensorflow as tf

    keys = np.arange(tf.raw_ops.LookupTableSizeV2(table_handle=handle).numpy(), dtype=np.int64)
    return keys, keys


def _exported(handle: Any, types: tuple[int, int]) -> tuple[Any, Any] | None:
    """Take keys and values out of a table; None where its keys are vectors."""
    import tensorflow as tf

    exported = tf.raw_ops.LookupTableExportV2(
        table_handle=handle,
        Tkeys=tf.dtypes.as_dtype(types[0]),
        Tvalues=tf.dtypes.as_dtype(types[1]),
    )
    keys, values = (tensor.numpy() for tensor in exported)
    if keys.ndim == 1:
        return keys, values
    if keys.shape[1:] != (1,):
        return None
    # A dense table gives all of its buckets; only what lies in the empty ones is there twice.
    found, first, count = np.unique(keys[:, 0], return_index=True, return_counts=True)
    values = values[first[count == 1]]
    return found[count == 1], values[:, 0] if values.shape[1:] == (1,) else values


def _read(variable: Any, name: str) -> Payload:
    spec = TensorSpec(variable.dtype.name, tuple(variable.shape.as_list()))

    def load() -> np.ndarray[Any, Any]:
        import tensorflow as tf

        try:
            return _view(variable.read_value())
        except tf.errors.FailedPreconditionError as error:
            raise uninitialized(name) from error

    return payload_of(load(), spec.dtype) if spec.elements is None else Payload(spec, load)


def _view(tensor: Any) -> np.ndarray[Any, Any]:
    """Look at the elements of an eager tensor, which never change."""
    dtype = dtypes.BY_NAME[tensor.dtype.name]
    if dtype.numpy is None or not dtype.size or dtype.numpy.isbuiltin != 1:
        return as_array(tensor.numpy(), dtype.name)
    return np.asarray(memoryview(tensor)).reshape(tensor.shape)


def _make_handle(node: Message, name: str, spec: TensorSpec) -> None:
    node.op = "VarHandleOp"
    node.ClearField("attr")
    node.attr["dtype"].type = dtypes.BY_NAME[spec.dtype].number
    node.attr["shared_name"].s = name.encode()
    node.attr["shape"].shape.SetInParent()
    for extent in spec.shape or ():
        node.attr["shape"].shape.dim.add(size=extent)


def _make_constant(node: Message, tensor: Any, payloads: dict[str, Payload]) -> None:
    payload = payload_of(_view(tensor), tensor.dtype.name)
    node.ClearField("attr")
    if payload.spec.nbytes:
        with_payload(node, payload.spec)
        payloads[node.name] = payload
        return
    node.op = "Const"
    node.attr["dtype"].type = dtypes.BY_NAME[payload.spec.dtype].number
    constant = tensor_proto.from_array(payload.load(), payload.spec.dtype)
    node.attr["value"].tensor.CopyFrom(constant)


def _renamed(text: str, renamed: Mapping[str, str]) -> str:
    name = producer(text)
    return text.replace(name, renamed.get(name, name), 1)


def _rename(proto: Message, renamed: Mapping[str, str]) -> None:
    for node in proto.node:
        node.name = renamed.get(node.name, node.name)
        inputs = [_renamed(text, renamed) for text in node.input]
        node.ClearField("input")
        node.input.extend(inputs)
