"""A frozen graph as a part of another graph or of a function."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tfpersist.errors import (
    ArgumentError,
    FeedError,
    GraphError,
    value_text,
)
from tfpersist.formats import dtypes, schema
from tfpersist.formats.graphdef import Graph
from tfpersist.graph.constants.initial_state import find_initial_state
from tfpersist.graph.describe import endpoints
from tfpersist.graph.structure import feeds, functions, trusted_values
from tfpersist.graph.structure.kinds import INIT
from tfpersist.graph.structure.names import TensorRef
from tfpersist.graph.structure.prune import prune
from tfpersist.tf.run.execute import spec_of_tensor
from tfpersist.tf.run.imported import import_into
from tfpersist.tf.run.translate import translated

_PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2"})
_DIGEST = re.compile(r"(__[0-9a-f]{8})?$")
_IMPORTS = itertools.count(1)


def compose(
    graph: Graph,
    target: Any,
    inputs: Mapping[Any, Any],
    outputs: Sequence[str],
    prefix: str,
    *,
    owned: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Import what some outputs need.

    Args:
        graph: the frozen graph.
        target: the tf.Graph to import into; None for the current one.
        inputs: {tensor name or TensorRef: tf.Tensor or value}.
        outputs: full names of tensors, or names of operations.
        prefix: the name scope of what is imported; TensorFlow makes it unique.
        owned: {tensor name: tf.Tensor}, the handles of state that somebody else has set up.

    Returns:
        The tf.Tensor of each output, by name.

    Raises:
        ArgumentError: the graph is none, or the inputs are no dict.
        NameNotFoundError: an input names nothing in the graph.
        FeedError: an input is missing or does not fit.
        GraphError: TensorFlow refuses the graph, or it has state that nobody can set up there.
    """
    import tensorflow as tf

    trusted_values.refuse_growth(graph)
    if target is None:
        target = tf.compat.v1.get_default_graph()
    if not isinstance(target, tf.Graph) or not isinstance(inputs, Mapping):
        raise ArgumentError(
            "a model is imported into a graph, and what replaces its tensors is a dict",
            expected="import_into(graph, {name: tensor}), the graph a tf.Graph or None",
            found=value_text(inputs if isinstance(target, tf.Graph) else target),
            advice="In the current graph: import_into(inputs={'x': tensor}).",
        )
    with target.as_default():
        given = {}
        for key, value in inputs.items():
            ref = endpoints.find(graph, key.name if isinstance(key, TensorRef) else key)
            given[ref.name] = tensor_of(ref, value, target)
        given.update((name, _inside(name, each, target)) for name, each in (owned or {}).items())
        wanted = [name for name in outputs if name not in given]
        part, mapped = _cut(graph, given, wanted)
        _separate_functions(part.proto)
        stateful = owned is None and _has_state(graph, part, target)
        if stateful:
            part, mapped = _cut(graph, given, [*wanted, INIT])
            _separate_functions(part.proto)
            _separate_state(part.proto, target.unique_name(prefix, mark_as_used=False))
        found = import_into(
            target,
            part,
            input_map=mapped,
            return_elements=[*wanted, INIT] if stateful else wanted,
            name=prefix,
        )
        if stateful:
            # What `tf.compat.v1.tables_initializer()` and monitored sessions run.
            target.add_to_collection(tf.compat.v1.GraphKeys.TABLE_INITIALIZERS, found.pop())
    tensors = {**given, **dict(zip(wanted, found, strict=True))}
    return {name: tensors[name] for name in outputs}


def tensor_of(ref: TensorRef, value: Any, target: Any) -> Any:
    """Make a tensor of a graph that fits in the place of another.

    Args:
        ref: the other one.
        value: a tf.Tensor, a variable, or what may be fed.
        target: the graph; None to leave a tensor where it is, and to give an array of a value.

    Raises:
        FeedError: it does not fit.
    """
    import tensorflow as tf

    symbolic = getattr(value, "graph", None) is not None
    if (
        isinstance(value, tf.Tensor)
        and not symbolic
        and not getattr(target, "building_function", 1)
    ):
        value = value.numpy()
    if ref.spec is not None and not tf.is_tensor(value):
        value = feeds.fit(value, ref.spec, ref.name)
        if target is None:
            return value
    with translated(FeedError):
        if ref.spec is None or tf.is_tensor(value):
            tensor = tf.convert_to_tensor(value)
        else:
            number = dtypes.BY_NAME[ref.spec.dtype].number
            tensor = tf.convert_to_tensor(value, tf.dtypes.as_dtype(number))
    spec = spec_of_tensor(tensor)
    for differs, fits in (
        ("data type", ref.spec is None or spec.dtype == ref.spec.dtype),
        ("shape", ref.spec is None or tensor.shape.is_compatible_with(ref.spec.shape)),
    ):
        if not fits:
            raise FeedError(
                f"an input of another {differs}",
                where=ref.name,
                expected=ref.spec,
                found=str(spec),
                advice="Convert it first, with tf.cast." if differs == "data type" else None,
            )
    return tensor if target is None else _inside(ref.name, tensor, target)


def _inside(name: str, tensor: Any, target: Any) -> Any:
    """Give a tensor as one of this graph."""
    if getattr(tensor, "graph", None) is target:
        return tensor
    if not target.building_function:
        raise FeedError("a tensor of another graph", where=name, found=tensor.name)
    with translated(FeedError):
        return target.capture(tensor)


def _has_state(graph: Graph, part: Graph, target: Any) -> bool:
    """Tell whether a part has state that is to be set up where it goes."""
    state = find_initial_state(graph, part.nodes)
    if state and target.building_function:
        name = next(iter({**state.variables, **state.tables}))
        raise GraphError(
            "a function cannot set up the variables and tables of a model",
            where=f"node {name} ({part.nodes[name].op})",
            advice="Make it a module first, with `as_module()`, and call that in the function.",
        )
    return bool(state)


def _separate_functions(proto: Any) -> None:
    """Give functions names of this import alone: TensorFlow's eager context has one for each."""
    number = next(_IMPORTS)
    names = [function.signature.name for function in proto.library.function]
    functions.rename_functions(
        proto, {name: _DIGEST.sub(rf"_{number}\1", name, count=1) for name in names}
    )


def _separate_state(proto: Any, scope: str) -> None:
    """Let nothing be shared with other models: resources of one name are one."""
    for node in proto.node:
        if node.op == "VarHandleOp" or ("table" in node.op.lower() and "shared_name" in node.attr):
            shared = node.attr["shared_name"].s or node.name.encode()
            node.attr["shared_name"].s = f"{scope}/".encode() + shared


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
