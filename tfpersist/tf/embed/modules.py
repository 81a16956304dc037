"""A frozen model as a tf.Module, which owns the variables and tables that the model keeps."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from tfpersist.errors import FeedError, NameNotFoundError
from tfpersist.formats import dtypes, schema
from tfpersist.formats.graphdef import Graph
from tfpersist.graph.constants.initial_state import find_initial_state, initial_value
from tfpersist.graph.structure.names import TensorRef
from tfpersist.graph.structure.prune import needed
from tfpersist.tf.embed.composed import compose, tensor_of
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
    """Make a tf.Module that computes outputs from inputs, in their order.

    Args:
        graph: the frozen graph.
        inputs: what its arguments are.
        outputs: what it gives.
        single: whether it gives the one output itself, not a tuple.
        labels: what to call the outputs in a dict; None for a tuple.

    Raises:
        NameNotFoundError: the data type of an input is not known.
        GraphError: the model keeps state in a way that only a session of TensorFlow 1 knows.
        RunError: TensorFlow ran before this process was forked.
    """
    import tensorflow as tf

    forks.begin()
    signature = specs_of(inputs)
    names = [ref.name for ref in outputs]
    with tf.init_scope(), translated():
        owned = set_up(graph, names)

    @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
    def compute(*values: Any) -> Any:
        fed = dict(zip((ref.name for ref in inputs), values, strict=True))
        handles = {f"{name}:0": handle_of(each) for name, each in owned.items()}
        tensors = compose(graph, None, fed, names, "frozen", owned=handles)
        if labels is not None:
            return {label: tensors[name] for label, name in zip(labels, names, strict=True)}
        return tensors[names[0]] if single else tuple(tensors[name] for name in names)

    class Frozen(tf.Module):  # type: ignore[misc]
        """A frozen model."""

        def __init__(self) -> None:
            super().__init__(name="frozen")
            # What is saved and loaded again is the function; what is called here checks first.
            self.__call__ = self.compute = compute
            self.state = list(owned.values())

        @unconverted  # type: ignore[no-redef]
        def __call__(self, *values: Any) -> Any:
            if len(values) != len(inputs):
                wanted = f"{len(inputs)}: {', '.join(ref.name for ref in inputs)}"
                found = str(len(values))
                raise FeedError("wrong number of values", expected=wanted, found=found)
            fitted = [tensor_of(r, v, None) for r, v in zip(inputs, values, strict=True)]
            return self.compute(*fitted)

    return Frozen()


def specs_of(inputs: Sequence[TensorRef]) -> list[Any]:
    """Give a tf.TensorSpec for each tensor.

    Raises:
        NameNotFoundError: the data type of one is not known.
    """
    import tensorflow as tf

    specs = []
    for ref in inputs:
        if ref.spec is None:
            raise NameNotFoundError("the data type of this is not known", where=ref.name)
        number = dtypes.BY_NAME[ref.spec.dtype].number
        specs.append(tf.TensorSpec(ref.spec.shape, tf.dtypes.as_dtype(number)))
    return specs


def handle_of(owned: Any) -> Any:
    """Give the tensor by which operations reach a variable or table."""
    handle = getattr(owned, "resource_handle", None)
    return owned.handle if handle is None else handle


def set_up(graph: Graph, outputs: Sequence[str]) -> dict[str, Any]:
    """Set up what the outputs need, and give the objects that hold it, by name of the node.

    Raises:
        GraphError: the model keeps state in a way that only a session of TensorFlow 1 knows.
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


def _table(graph: Graph, name: str, fills: Sequence[str]) -> Any:
    import tensorflow as tf

    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    node = next(node for node in proto.node if node.name == name)
    node.attr["shared_name"].s = f"tfpersist/{uuid.uuid4().hex}/{name}".encode()
    separate = Graph(proto, graph.payloads)

    class Table(tf.saved_model.experimental.TrackableResource):  # type: ignore[misc]
        """A lookup table of a frozen model."""

        def _create_resource(self) -> Any:
            @tf.function(input_signature=(), autograph=False)  # type: ignore[untyped-decorator]
            def create() -> Any:
                return compose(separate, None, {}, [f"{name}:0"], "table", owned={})[f"{name}:0"]

            return create.get_concrete_function()()

        def _initialize(self) -> None:
            held = {f"{name}:0": self.resource_handle}

            @tf.function(input_signature=(), autograph=False)  # type: ignore[untyped-decorator]
            def fill() -> None:
                compose(separate, None, {}, fills, "table", owned=held)

            fill.get_concrete_function()()

        def _destroy_resource(self) -> None:
            tf.raw_ops.DestroyResourceOp(resource=self.resource_handle, ignore_lookup_error=True)

    table = Table()
    table._initialize()
    return table
