"""Read the variables and tables that are nodes of a function itself, and no objects outside of it.

The signatures that `tf.saved_model.load` makes of a SavedModel of TensorFlow 1 have such nodes:
all reference variables, the resource variables that are in no collection, and all lookup tables.
TensorFlow keeps their state under a shared name, so a function of our own can read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import attrs
import numpy as np

from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Payload, payload_of
from tfpersist.graph.constants.tables import table_types
from tfpersist.graph.structure.kinds import REFERENCES, VARIABLES, declared_spec, is_table
from tfpersist.tf.lower.values import as_array, uninitialized

_READ = "read"


@attrs.frozen
class OwnState:
    """The state of the nodes of a function.

    Args:
        variables: the value of each variable, by the name of its node.
        tables: functions that return the keys and values of a table, by the name of its node.
    """

    variables: Mapping[str, Payload] = attrs.field(factory=dict)
    tables: Mapping[str, Any] = attrs.field(factory=dict)


def own_state(graph: Graph) -> OwnState:
    """Find the variables and tables among the nodes of a function.

    Args:
        graph: the graph of the function.
    """
    variables: dict[str, Payload] = {}
    tables: dict[str, Any] = {}
    for node in graph.proto.node:
        if node.op in VARIABLES:
            spec = declared_spec(node)
            load = partial(_value, node, spec.dtype)
            known = spec.elements is not None
            variables[node.name] = Payload(spec, load) if known else payload_of(load(), spec.dtype)
        elif is_table(node.op) and node.op.endswith("V2"):
            types = table_types(graph, node.name)
            if types is not None:
                tables[node.name] = partial(_entries, node, types)
    return OwnState(variables, tables)


def _value(node: Message, dtype: str) -> np.ndarray[Any, Any]:
    import tensorflow as tf

    read = schema.NodeDef(name=_READ, op="ReadVariableOp", input=[node.name])
    attr = "dtype"
    if node.op in REFERENCES:
        read.op, attr = "Identity", "T"
    read.attr[attr].type = node.attr["dtype"].type
    try:
        [value] = _computed(node, read, 1)
    except (tf.errors.FailedPreconditionError, tf.errors.NotFoundError) as error:
        raise uninitialized(node.name) from error
    return as_array(value, dtype)


def _entries(
    node: Message, types: tuple[int, int]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    read = schema.NodeDef(name=_READ, op="LookupTableExportV2", input=[node.name])
    read.attr["Tkeys"].type, read.attr["Tvalues"].type = types
    keys, values = _computed(node, read, 2)
    return keys, values


def _computed(node: Message, read: Message, outputs: int) -> list[np.ndarray[Any, Any]]:
    """Run a node that holds state, and one that reads it, in a function of their own."""
    import tensorflow as tf

    holder = schema.NodeDef()
    holder.CopyFrom(node)
    if not holder.attr["shared_name"].s and holder.op != "VarHandleOp":
        holder.attr["shared_name"].s = node.name.encode()
    holder.ClearField("input")
    encoded = schema.GraphDef(node=[holder, read]).SerializeToString()
    definition = tf.compat.v1.GraphDef.FromString(encoded)
    names = [f"{_READ}:{index}" for index in range(outputs)]

    def body() -> Any:
        return tf.graph_util.import_graph_def(definition, return_elements=names, name="")

    with tf.init_scope():
        results = tf.compat.v1.wrap_function(body, [])()
        return [result.numpy() for result in results]
