"""Create the variables and tables that a frozen model keeps, as objects of TensorFlow."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph
from tfpersist.graph.constants.initial_state import find_initial_state, initial_value
from tfpersist.graph.structure.prune import needed
from tfpersist.tf.embed.composed import compose


def create_state(graph: Graph, outputs: Sequence[str]) -> dict[str, Any]:
    """Create the variables and tables that outputs need.

    Args:
        graph: the frozen graph.
        outputs: full names of tensors, or names of operations.

    Returns:
        The tf.Variables, and objects that own a table, by name of their node in the graph.

    Raises:
        GraphError: the model keeps state in a way that only a session of TensorFlow 1 supports.
    """
    import tensorflow as tf

    state = find_initial_state(graph, needed(graph, outputs))
    state.refuse_references(graph)
    owned: dict[str, Any] = {}
    for name, first in state.variables.items():
        payload = initial_value(graph, first)
        value = tf.constant(payload.load(), tf.dtypes.as_dtype(payload.spec.dtype))
        owned[name] = tf.Variable(value, trainable=False, name=name.replace("/", "_"))
    for name, fills in state.tables.items():
        owned[name] = _table(graph, name, fills)
    return owned


def handles_of(owned: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tensors by which operations access variables and tables.

    Args:
        owned: the variables and tables, by name of their node.

    Returns:
        The handles, by full name of the tensor in the graph.
    """
    handles = {}
    for name, owner in owned.items():
        handle = getattr(owner, "resource_handle", None)
        handles[f"{name}:0"] = owner.handle if handle is None else handle
    return handles


def _table(graph: Graph, name: str, fills: Sequence[str]) -> Any:
    """Return an object that creates and fills a table as the operations of the graph do."""
    import tensorflow as tf

    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    node = next(node for node in proto.node if node.name == name)
    node.attr["shared_name"].s = f"tfpersist/{uuid.uuid4().hex}/{name}".encode()
    with_unique_table = Graph(proto, graph.payloads)

    class Table(tf.saved_model.experimental.TrackableResource):
        """A lookup table of a frozen model."""

        def _create_resource(self) -> Any:
            def create() -> Any:
                handle = f"{name}:0"
                return compose(with_unique_table, None, {}, [handle], "table", owned={})[handle]

            return _call_once(create)

        def _initialize(self) -> None:
            handles = {f"{name}:0": self.resource_handle}

            def fill() -> None:
                compose(with_unique_table, None, {}, fills, "table", owned=handles)

            _call_once(fill)

        def _destroy_resource(self) -> None:
            tf.raw_ops.DestroyResourceOp(resource=self.resource_handle, ignore_lookup_error=True)

    table = Table()
    table._initialize()
    return table


def _call_once(function: Any) -> Any:
    """Trace a function without arguments, and call it."""
    import tensorflow as tf

    traced = tf.function(function, input_signature=(), autograph=False)
    return traced.get_concrete_function()()
