"""Replace constants with trainable variables: a MetaGraphDef, and the values of the variables."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping

import attrs

from tfpersist.errors import NameNotFoundError, UnsupportedError, did_you_mean
from tfpersist.formats import dtypes, graphdef_writer, schema, tensor_proto
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Payload, payload_of
from tfpersist.graph.constants.initial_state import find_initial_state, initial_value
from tfpersist.graph.structure import functions
from tfpersist.graph.structure.kinds import ASSIGNS, INIT
from tfpersist.graph.structure.names import producer
from tfpersist.graph.structure.prune import needed

_TRAINABLE = ("float", "bfloat", "complex")
_CONTROL_FLOW = frozenset(
    {"Enter", "RefEnter", "While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase"}
)


@attrs.frozen
class Unfrozen:
    """A graph with trainable variables.

    Args:
        meta: the MetaGraphDef.
        values: the value of each variable, by its name.
    """

    meta: Message
    values: Mapping[str, Payload]


def unfreeze(graph: Graph, patterns: Iterable[str]) -> Unfrozen:
    """Replace constants with variables of the same names.

    The nodes that read the constant read the variable. The initializer of a variable needs a feed,
    so that a variable gets its value from a checkpoint, or from a user on purpose. Variables that
    the graph keeps stay variables, with their initial values. Tables are filled as before.

    Args:
        graph: the graph; it is not changed.
        patterns: names of constants or of their tensors, or globs.

    Raises:
        NameNotFoundError: a pattern matches no constant, or there are no patterns.
        UnsupportedError: the rest of the graph is larger than 2 GB; or a chosen constant flows into
            a loop or branch, which TensorFlow cannot differentiate in an imported graph.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''
        ...     node { name: "w" op: "Const" attr { key: "dtype" value { type: DT_FLOAT } }
        ...       attr { key: "value" value { tensor { dtype: DT_FLOAT float_val: 3
        ...         tensor_shape { dim { size: 2 } } } } } }
        ...     node { name: "y" op: "Neg" input: "w" }''')
        >>> unfrozen = unfreeze(graph, ["w*"])
        >>> unfrozen.values["w"].load()
        array([3., 3.], dtype=float32)
        >>> unfrozen.meta.graph_def.node[1].input
        ['w/read_value']
    """
    chosen = _choose(graph, patterns)
    _refuse_control_flow(graph, chosen)
    payloads = {name: payload for name, payload in graph.payloads.items() if name not in chosen}
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    values: dict[str, Payload] = {}
    read_nodes: dict[str, str] = {}
    definitions = []
    used_names = set(graph.nodes)
    for node in list(proto.node):
        if node.name in chosen:
            tensor = node.attr["value"].tensor
            payload = graph.payloads.get(node.name)
            values[node.name] = payload or payload_of(
                tensor_proto.to_array(tensor), dtypes.BY_NAME[_dtype(node)].name
            )
            definition = _replace_constant(node, proto, used_names)
            read_nodes[node.name] = definition.snapshot_name.partition(":")[0]
            definitions.append(definition)
    new_nodes = {
        name
        for definition in definitions
        for name in (definition.initializer_name, definition.snapshot_name.removesuffix(":0"))
    }
    for node in proto.node:
        if node.name not in new_nodes:
            _read_variables(node, read_nodes)
    state = find_initial_state(graph, graph.nodes)
    for name, tensor in state.variables.items():
        values[name] = initial_value(graph, tensor)
        definitions.append(_describe_kept(graph, name, tensor, proto, used_names))
    graphdef_writer.size(Graph(proto, payloads))
    meta = schema.MetaGraphDef(graph_def=proto)
    meta.meta_info_def.tags.append("train")
    for node in meta.graph_def.node:
        if node.name in payloads:
            node.attr["value"].tensor.tensor_content = payloads[node.name].load().tobytes()
    for definition in definitions:
        for collection in ("variables", *["trainable_variables"] * definition.trainable):
            collected = meta.collection_def[collection].bytes_list
            collected.value.append(definition.SerializeToString())
    for name in dict.fromkeys(fill for fills in state.tables.values() for fill in fills):
        meta.collection_def["table_initializer"].node_list.value.append(name)
    return Unfrozen(meta, values)


def _choose(graph: Graph, patterns: Iterable[str]) -> set[str]:
    """Return the names of the trainable constants that match some patterns."""
    set_up = needed(graph, [INIT]) if INIT in graph.nodes else set()
    computed = needed(graph, graph.nodes.keys() - set_up)
    constants = [
        node.name
        for node in graph.proto.node
        if node.op == "Const" and not node.input and _dtype(node).startswith(_TRAINABLE)
        if node.name in computed
    ]
    chosen: set[str] = set()
    patterns = [pattern.removesuffix(":0") for pattern in patterns]
    if not patterns:
        raise NameNotFoundError(
            "no constants are named",
            advice="Name the constants to train, or '*' for all.",
        )
    for pattern in patterns:
        matches = {name for name in constants if fnmatch.fnmatchcase(name, pattern)}
        matches |= {pattern} & set(constants)
        if not matches:
            raise NameNotFoundError(
                f"no constant of a trainable data type is called {pattern!r}",
                advice=did_you_mean(pattern, constants),
            )
        chosen |= matches
    return chosen


def _refuse_control_flow(graph: Graph, chosen: set[str]) -> None:
    """Raise if constants flow into a loop or branch.

    TensorFlow cannot differentiate it: an imported graph lacks what TensorFlow knew about the loop
    when it was built.
    """
    functions_with_control_flow = {
        name
        for name, function in graph.functions.items()
        if any(node.op in _CONTROL_FLOW for node in function.node_def)
    }
    for node in graph.proto.node:
        called = functions.reachable([node], graph.functions, {})
        if node.op not in _CONTROL_FLOW and functions_with_control_flow.isdisjoint(called):
            continue
        weights = sorted(needed(graph, [node.name]) & chosen)
        if weights:
            raise UnsupportedError(
                "TensorFlow cannot train a constant that flows into a loop or branch of a frozen"
                " graph",
                where=f"node {node.name} ({node.op})",
                found=f"constant {weights[0]}",
                advice="Choose other constants, or train the model with its own code.",
            )


def _describe_kept(
    graph: Graph, name: str, initial: str, proto: Message, used_names: set[str]
) -> Message:
    """Return the VariableDef of a kept variable, and add a node that reads it."""
    assign = next(
        source
        for source in map(producer, graph.nodes[INIT].input)
        if graph.nodes[source].op in ASSIGNS and producer(graph.nodes[source].input[0]) == name
    )
    is_resource = graph.nodes[name].op == "VarHandleOp"
    read = proto.node.add(op="ReadVariableOp" if is_resource else "Identity", input=[name])
    read.name = functions.unused(f"{name}/read_value", used_names)
    used_names.add(read.name)
    read.attr["dtype" if is_resource else "T"].type = graph.nodes[name].attr["dtype"].type
    return schema.VariableDef(
        variable_name=f"{name}:0",
        initial_value_name=f"{producer(initial)}:0",
        initializer_name=assign,
        snapshot_name=f"{read.name}:0",
        is_resource=is_resource,
        trainable=False,
    )


def _dtype(node: Message) -> str:
    dtype = dtypes.by_number(node.attr["dtype"].type)
    return dtype.name if dtype else ""


def _replace_constant(node: Message, proto: Message, used_names: set[str]) -> Message:
    """Turn a Const into a variable, add nodes that read and assign it, return its VariableDef."""

    def new_name(suffix: str) -> str:
        name = f"{node.name}/{suffix}"
        while name in used_names:
            name += "_"
        used_names.add(name)
        return name

    number = node.attr["dtype"].type
    shape = schema.AttrValue()
    shape.shape.CopyFrom(node.attr["value"].tensor.tensor_shape)
    shape.shape.SetInParent()
    value = proto.node.add(name=new_name("its_value_is_in_the_checkpoint"), op="Placeholder")
    read = proto.node.add(name=new_name("read_value"), op="ReadVariableOp", input=[node.name])
    assign = proto.node.add(
        name=new_name("assign"), op="AssignVariableOp", input=[node.name, value.name]
    )
    node.op = "VarHandleOp"
    node.attr.clear()
    node.attr["shared_name"].s = node.name.encode()
    for shaped in (node, value):
        shaped.attr["shape"].CopyFrom(shape)
    for typed in (node, value, read, assign):
        typed.attr["dtype"].type = number
    return schema.VariableDef(
        variable_name=f"{node.name}:0",
        initial_value_name=f"{value.name}:0",
        initializer_name=assign.name,
        snapshot_name=f"{read.name}:0",
        is_resource=True,
        trainable=True,
    )


def _read_variables(node: Message, read_nodes: Mapping[str, str]) -> None:
    """Let a node read variables instead of the constants that they replace."""
    for position, text in enumerate(node.input):
        mark = "^" if text.startswith("^") else ""
        source = text.removeprefix("^").removesuffix(":0")
        if source in read_nodes:
            node.input[position] = mark + read_nodes[source]
