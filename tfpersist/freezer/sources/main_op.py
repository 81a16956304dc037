"""The main op of a SavedModel: what it assigns after the variables are restored.

A loader of TensorFlow restores the variables and then runs the main op, which older releases call
the legacy init op. So the value that it assigns to a variable counts, and not the restored one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import attrs

from tfpersist.errors import TFPersistError
from tfpersist.formats import dtypes, schema
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Payload
from tfpersist.graph.constants.initial_state import initial_value
from tfpersist.graph.constants.variables import replace_variables
from tfpersist.graph.optimize.passes import optimize
from tfpersist.graph.structure import ops
from tfpersist.graph.structure.calls import call_of
from tfpersist.graph.structure.effects import Effects
from tfpersist.graph.structure.kinds import ASSIGNS, REFERENCES, VARIABLES, declared_spec
from tfpersist.graph.structure.lowered import Lowered
from tfpersist.graph.structure.names import producer
from tfpersist.graph.structure.prune import needed, prune

_SIGNATURE = "__saved_model_init_op"
_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")
# The ops that pass on a handle or a reference. Identity makes a value of a reference.
_PASSES_HANDLES = frozenset({"Identity", "Enter", "Switch"})
_PASSES_REFERENCES = frozenset({"RefIdentity", "RefEnter", "RefSwitch"})
_MOST_STEPS = 16
_RESULT = "tfpersist/main_op"


def main_op(meta: Message) -> str | None:
    """Return the name of the operation that a loader runs after it has restored the variables.

    Args:
        meta: the MetaGraphDef.

    Returns:
        The name; None where there is no such operation.

    Example:
        >>> from tfpersist.formats import schema
        >>> meta = schema.MetaGraphDef()
        >>> meta.collection_def["legacy_init_op"].node_list.value.append("init")
        >>> main_op(meta)
        'init'
    """
    if _SIGNATURE in meta.signature_def:
        outputs = meta.signature_def[_SIGNATURE].outputs
        if _SIGNATURE in outputs:
            return producer(outputs[_SIGNATURE].name)
    for collection in _COLLECTIONS:
        if collection in meta.collection_def:
            names = meta.collection_def[collection].node_list.value
            if len(names) == 1:
                return producer(names[0])
    return None


def with_main_op(lowered: Lowered, name: str | None) -> Lowered:
    """Apply the values that the main op of a SavedModel assigns to its variables.

    Args:
        lowered: the graph, and the values of its variables after they are restored.
        name: the name of the main op; None where there is none.

    Returns:
        The graph with the values. A variable whose new value cannot be computed here has none, and
        the problems say why.
    """
    graph = lowered.graph
    if name is None or name not in graph.nodes:
        return lowered
    run = needed(graph, [name])
    writes: dict[str, list[Message]] = {}
    for node in graph.proto.node:
        if node.name in run:
            for variable in _written(graph, node):
                writes.setdefault(variable, []).append(node)
    values = dict(lowered.variables)
    problems = dict(lowered.problems)
    for variable, nodes in writes.items():
        try:
            value = _assigned(lowered, variable, nodes, writes.keys())
        except TFPersistError as error:
            value = None
            reason = str(error)
        else:
            reason = "" if value is not None else _reason(nodes)
        values.pop(variable, None)
        problems.pop(variable, None)
        if value is None:
            problems[variable] = (
                f"the main op {name!r} of the SavedModel changes the variable when it is loaded,"
                f" and its value cannot be computed without TensorFlow: {reason}"
            )
        else:
            values[variable] = value
    return attrs.evolve(lowered, variables=values, problems=problems)


def _reason(nodes: Collection[Message]) -> str:
    return " and ".join(f"node {node.name} ({node.op})" for node in nodes)


def _origin(nodes: Mapping[str, Message], text: str) -> str:
    """Return the name of the node that a handle or reference comes from."""
    name = producer(text)
    passed: set[str] = set()
    for _ in range(_MOST_STEPS):
        node = nodes.get(name)
        if node is None or node.op not in _PASSES_HANDLES | _PASSES_REFERENCES or not node.input:
            break
        passed.add(node.op)
        name = producer(node.input[0])
    is_value = name in nodes and nodes[name].op in REFERENCES and passed & _PASSES_HANDLES
    return producer(text) if is_value else name


def _written(graph: Graph, node: Message) -> Iterator[str]:
    """Yield the names of the variables that a node of the main graph writes."""
    effects = Effects(graph.functions)
    call = call_of(node, graph.functions)
    if call is None and not effects.has_effects(node):
        return
    inputs = [text for text in node.input if not text.startswith("^")]
    for position, text in enumerate(inputs):
        name = _origin(graph.nodes, text)
        if name not in graph.nodes or graph.nodes[name].op not in VARIABLES:
            continue
        if graph.nodes[name].op in REFERENCES and not _takes_reference(node, position):
            continue
        if call is None or _writes_argument(graph, node, position, effects, set()):
            yield name


def _takes_reference(node: Message, position: int) -> bool:
    """Return whether an op may change the reference variable that one of its inputs is."""
    op = ops.definition(node.op)
    if op is None:
        return True
    arguments = {argument.name: argument for argument in op.input_arg}
    names = [name for name, _ in ops.ports(node, op.input_arg, op)]
    return position >= len(names) or arguments[names[position]].is_ref


def _writes_argument(
    graph: Graph, node: Message, position: int, effects: Effects, seen: set[tuple[str, int]]
) -> bool:
    """Return whether a call writes the variable that one of its inputs is."""
    call = call_of(node, graph.functions)
    index = position - call.skip + call.captured if call is not None else -1
    for target in call.targets if call is not None and index >= 0 else ():
        function = graph.functions[target]
        if (target, index) in seen or index >= len(function.signature.input_arg):
            continue
        seen.add((target, index))
        argument = function.signature.input_arg[index].name
        nodes = {inner.name: inner for inner in function.node_def}
        for inner in function.node_def:
            texts = [text for text in inner.input if not text.startswith("^")]
            places = [at for at, text in enumerate(texts) if _origin(nodes, text) == argument]
            if not places:
                continue
            if call_of(inner, graph.functions) is None:
                if effects.has_effects(inner):
                    return True
            elif any(_writes_argument(graph, inner, at, effects, seen) for at in places):
                return True
    return False


def _assigned(
    lowered: Lowered, variable: str, writes: list[Message], all_written: Collection[str]
) -> Payload | None:
    """Return the value that the main op assigns to a variable; None where it is not known."""
    graph = lowered.graph
    [*others, write] = writes
    handle = producer(write.input[0])
    is_direct = handle == variable and write.op in ASSIGNS and len(write.input) > 1
    if others or not is_direct:
        return None
    value = write.input[1]
    read = needed(graph, [value])
    # Whether such a variable is read before or after it is written is not known.
    if not read.isdisjoint(all_written):
        return None
    declared = declared_spec(graph.nodes[variable])
    part = attrs.evolve(lowered, graph=prune(graph, [value]))
    payload = _computed(part, value, dtypes.BY_NAME[declared.dtype].number)
    return payload if payload is not None and declared.accepts(payload.spec) else None


def _computed(lowered: Lowered, tensor: str, dtype: int) -> Payload | None:
    """Return the value of a tensor that depends on nothing but constants and variables."""
    graph = replace_variables(lowered)
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    node = proto.node.add(name=_RESULT, op="Identity", input=[tensor])
    node.attr["T"].type = dtype
    folded = optimize(Graph(proto, graph.payloads), [_RESULT])
    source = folded.nodes[_RESULT].input[0]
    if folded.nodes[producer(source)].op != "Const":
        return None
    return initial_value(folded, source)
