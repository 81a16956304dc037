"""Import a frozen graph as a part of another graph or of a function."""

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
        prefix: the name scope of the import; TensorFlow makes it unique.
        owned: {tensor name: tf.Tensor}, the handles of variables and tables that the caller has
            created; None to create them in the target.

    Returns:
        The tf.Tensor of each output, by name.

    Raises:
        ArgumentError: the target is not a graph, or the inputs are not a dict.
        NameNotFoundError: the graph does not have an input.
        FeedError: an input is missing or does not fit.
        GraphError: TensorFlow refuses the graph, or its state cannot be created in the target.
    """
    import tensorflow as tf

    trusted_values.refuse_growth(graph)
    if target is None:
        target = tf.compat.v1.get_default_graph()
    if not isinstance(target, tf.Graph) or not isinstance(inputs, Mapping):
        raise ArgumentError(
            "import_into() needs a graph, and a dict of what replaces the model's tensors",
            expected="import_into(graph, {name: tensor}), where graph is a tf.Graph or None",
            found=value_text(inputs if isinstance(target, tf.Graph) else target),
            advice="In the current graph: import_into(inputs={'x': tensor}).",
        )
    with target.as_default():
        replaced = {}
        for key, value in inputs.items():
            ref = endpoints.find(graph, key.name if isinstance(key, TensorRef) else key)
            replaced[ref.name] = tensor_of(ref, value, target)
        for name, handle in (owned or {}).items():
            replaced[name] = _inside(name, handle, target)
        names = [name for name in outputs if name not in replaced]
        part, input_map = _cut(graph, replaced, names)
        _rename_functions(part.proto)
        stateful = owned is None and _has_state(graph, part, target)
        if stateful:
            part, input_map = _cut(graph, replaced, [*names, INIT])
            _rename_functions(part.proto)
            _rename_state(part.proto, target.unique_name(prefix, mark_as_used=False))
        imported = import_into(
            target,
            part,
            input_map=input_map,
            return_elements=[*names, INIT] if stateful else names,
            name=prefix,
        )
        if stateful:
            # `tf.compat.v1.tables_initializer()` and monitored sessions run this collection.
            target.add_to_collection(tf.compat.v1.GraphKeys.TABLE_INITIALIZERS, imported.pop())
    tensors = {**replaced, **dict(zip(names, imported, strict=True))}
    return {name: tensors[name] for name in outputs}


def tensor_of(ref: TensorRef, value: Any, target: Any) -> Any:
    """Return a tensor that can replace another one.

    Args:
        ref: the tensor to replace.
        value: a tf.Tensor, a variable, or a value that can be fed.
        target: the graph of the tensor; None to leave a tensor in its graph, and to return an array
            for a value.

    Raises:
        FeedError: the value does not fit.
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
    for property_, fits in (
        ("data type", ref.spec is None or spec.dtype == ref.spec.dtype),
        ("shape", ref.spec is None or tensor.shape.is_compatible_with(ref.spec.shape)),
    ):
        if not fits:
            raise FeedError(
                f"the input has the wrong {property_}",
                where=ref.name,
                expected=ref.spec,
                found=str(spec),
                advice="Convert it first, with tf.cast." if property_ == "data type" else None,
            )
    return tensor if target is None else _inside(ref.name, tensor, target)


def _inside(name: str, tensor: Any, target: Any) -> Any:
    """Return a tensor as one of the target graph."""
    if getattr(tensor, "graph", None) is target:
        return tensor
    if not target.building_function:
        raise FeedError(
            "the tensor belongs to another graph",
            where=name,
            found=tensor.name,
            advice="Pass a tensor of the graph that the model is imported into.",
        )
    with translated(FeedError):
        return target.capture(tensor)


def _has_state(graph: Graph, part: Graph, target: Any) -> bool:
    """Return whether a part has variables or tables, which must be created in the target."""
    state = find_initial_state(graph, part.nodes)
    if state and target.building_function:
        name = next(iter({**state.variables, **state.tables}))
        raise GraphError(
            "a function cannot create the variables and tables of a model",
            where=f"node {name} ({part.nodes[name].op})",
            advice="Make it a module first, with `as_module()`, and call that in the function.",
        )
    return bool(state)


def _rename_functions(proto: Any) -> None:
    """Rename functions uniquely for this import: the eager context has those of all imports."""
    number = next(_IMPORTS)
    names = [function.signature.name for function in proto.library.function]
    functions.rename_functions(
        proto, {name: _DIGEST.sub(rf"_{number}\1", name, count=1) for name in names}
    )


def _rename_state(proto: Any, scope: str) -> None:
    """Rename variables and tables uniquely: two of one name would be one object."""
    for node in proto.node:
        if node.op == "VarHandleOp" or ("table" in node.op.lower() and "shared_name" in node.attr):
            shared = node.attr["shared_name"].s or node.name.encode()
            node.attr["shared_name"].s = f"{scope}/".encode() + shared


def _cut(
    graph: Graph, replaced: Mapping[str, Any], outputs: Sequence[str]
) -> tuple[Graph, dict[str, Any]]:
    """Return the nodes that outputs need beside the replaced tensors, and an input map.

    The nodes read each replaced tensor under a name that no node has, so that TensorFlow maps it.

    Args:
        graph: the frozen graph.
        replaced: the tensors that replace some of the graph, by name.
        outputs: full names of tensors, or names of operations.

    Raises:
        FeedError: the outputs need a placeholder that is not replaced.
    """
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    aliases = {name: f"tfpersist_given/{number}" for number, name in enumerate(replaced)}
    placeholders = {
        name.removesuffix(":0")
        for name in replaced
        if graph.nodes[name.rpartition(":")[0]].op in _PLACEHOLDERS
    }
    for node in proto.node:
        inputs = [text for text in node.input if text[:1] != "^" or text[1:] not in placeholders]
        full = (text if ":" in text or text[:1] == "^" else f"{text}:0" for text in inputs)
        node.input[:] = [aliases.get(name, text) for name, text in zip(full, inputs, strict=True)]
    proto.node.extend(schema.NodeDef(name=alias, op="Placeholder") for alias in aliases.values())
    part = prune(Graph(proto, graph.payloads), outputs).proto
    used = [name for name, alias in aliases.items() if any(n.name == alias for n in part.node)]
    kept = [node for node in part.node if node.name not in aliases.values()]
    missing = [node.name for node in kept if node.op in _PLACEHOLDERS]
    if missing:
        raise FeedError(
            "the outputs need this input, and nothing is passed for it",
            where=", ".join(missing),
            advice=f"Pass a tensor for it: inputs={{{missing[0]!r}: tensor}}.",
        )
    del part.node[:]
    part.node.extend(kept)
    names = {node.name for node in kept}
    payloads = {name: payload for name, payload in graph.payloads.items() if name in names}
    return Graph(part, payloads), {f"{aliases[name]}:0": replaced[name] for name in used}
