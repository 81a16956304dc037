"""A frozen graph as a part of another graph, of a function, of a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfpersist.errors import FeedError, NameNotFoundError
from tfpersist.formats import dtypes, schema
from tfpersist.formats.graphdef import Graph
from tfpersist.graph import soundness, summary
from tfpersist.graph.names import TensorRef
from tfpersist.graph.prune import prune
from tfpersist.tf.execute import spec_of_tensor, translated
from tfpersist.tf.imported import import_into

_PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2"})


def compose(
    graph: Graph, target: Any, inputs: Mapping[Any, Any], outputs: Sequence[str], prefix: str
) -> dict[str, Any]:
    """Import what some outputs need.

    Args:
        graph: the frozen graph.
        target: the tf.Graph to import into; None for the current one.
        inputs: {tensor name or TensorRef: tf.Tensor or value}.
        outputs: full names of tensors.
        prefix: the name scope of what is imported; TensorFlow makes it unique.

    Returns:
        The tf.Tensor of each output, by name.

    Raises:
        NameNotFoundError: an input names nothing in the graph.
        FeedError: an input is missing or does not fit.
        GraphError: TensorFlow refuses the graph.
    """
    import tensorflow as tf

    soundness.refuse_growth(graph)
    if target is None:
        target = tf.compat.v1.get_default_graph()
    with target.as_default():
        given = {}
        for key, value in inputs.items():
            ref = summary.find(graph, key.name if isinstance(key, TensorRef) else key)
            given[ref.name] = _tensor(ref, value)
        wanted = [name for name in outputs if name not in given]
        part, mapped = _cut(graph, given, wanted)
        found = import_into(target, part, input_map=mapped, return_elements=wanted, name=prefix)
    tensors = {**given, **dict(zip(wanted, found, strict=True))}
    return {name: tensors[name] for name in outputs}


def module_of(
    graph: Graph, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef], *, single: bool
) -> Any:
    """Make a tf.Module that computes outputs from inputs, in their order.

    Args:
        graph: the frozen graph.
        inputs: what its arguments are.
        outputs: what it gives.
        single: whether it gives the one output itself, not a tuple.
    """
    import tensorflow as tf

    signature = []
    for ref in inputs:
        if ref.spec is None:
            raise NameNotFoundError("the data type of this is not known", where=ref.name)
        number = dtypes.BY_NAME[ref.spec.dtype].number
        signature.append(tf.TensorSpec(ref.spec.shape, tf.dtypes.as_dtype(number)))
    names = [ref.name for ref in outputs]

    class Frozen(tf.Module):  # type: ignore[misc]
        """A frozen model."""

        @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
        def __call__(self, *values: Any) -> Any:
            fed = dict(zip((ref.name for ref in inputs), values, strict=True))
            tensors = compose(graph, None, fed, names, "frozen")
            return tensors[names[0]] if single else tuple(tensors[name] for name in names)

    return Frozen(name="frozen")


def _tensor(ref: TensorRef, value: Any) -> Any:
    import tensorflow as tf

    if ref.spec is None:
        return tf.convert_to_tensor(value)
    number = dtypes.BY_NAME[ref.spec.dtype].number
    with translated(FeedError):
        tensor = tf.convert_to_tensor(value, tf.dtypes.as_dtype(number))
    if not tensor.shape.is_compatible_with(ref.spec.shape):
        raise FeedError(
            "an input of another shape",
            where=ref.name,
            expected=ref.spec,
            found=str(spec_of_tensor(tensor)),
        )
    return tensor


def _cut(
    graph: Graph, given: Mapping[str, Any], wanted: Sequence[str]
) -> tuple[Graph, dict[str, Any]]:
    """Keep what the outputs need beyond the given tensors, and tell which of these they use.

    Each given tensor is read by a name that nobody defines, for TensorFlow to map.
    """
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    aliases = {name: f"tfpersist_given/{number}" for number, name in enumerate(given)}
    replaced = {
        name.removesuffix(":0")
        for name in given
        if graph.nodes[name.rpartition(":")[0]].op in _PLACEHOLDERS
    }
    for node in proto.node:
        inputs = [text for text in node.input if text[:1] != "^" or text[1:] not in replaced]
        full = (text if ":" in text or text[:1] == "^" else f"{text}:0" for text in inputs)
        node.input[:] = [aliases.get(name, text) for name, text in zip(full, inputs, strict=True)]
    proto.node.extend(schema.NodeDef(name=alias, op="Placeholder") for alias in aliases.values())
    part = prune(Graph(proto, graph.payloads), wanted).proto
    used = [name for name, alias in aliases.items() if any(n.name == alias for n in part.node)]
    kept = [node for node in part.node if node.name not in aliases.values()]
    missing = [node.name for node in kept if node.op in _PLACEHOLDERS]
    if missing:
        raise FeedError("needed by the outputs and not given", where=", ".join(missing))
    del part.node[:]
    part.node.extend(kept)
    names = {node.name for node in kept}
    payloads = {name: each for name, each in graph.payloads.items() if name in names}
    return Graph(part, payloads), {f"{aliases[name]}:0": given[name] for name in used}
