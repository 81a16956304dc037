"""Constants become trainable variables again: a graph as a MetaGraphDef, and their values."""

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
from tfpersist.graph.structure.kinds import INIT
from tfpersist.graph.structure.names import producer
from tfpersist.graph.structure.prune import needed

_TRAINABLE = ("float", "bfloat", "complex")
_LOOPS = frozenset(
    {"Enter", "RefEnter", "While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase"}
)


@attrs.frozen
class Unfrozen:
    """A graph with variables.

    Args:
        meta: the MetaGraphDef.
        values: the value of each variable, by its name.
    """

    meta: Message
    values: Mapping[str, Payload]


def unfreeze(graph: Graph, patterns: Iterable[str]) -> Unfrozen:
    """Make variables of constants, under their names.

    What read the constant reads the variable. Its initializer wants a placeholder to be fed, so
    that nothing but a checkpoint, or a value given on purpose, gives it a value. Variables that the
    graph keeps stay variables, with their first values; tables are filled as they were.

    Args:
        graph: the graph, which stays as it is.
        patterns: names of constants or of what they give, or globs.

    Raises:
        NameNotFoundError: a pattern matches no constant, or there is none.
        UnsupportedError: what remains is larger than 2 GB, or a chosen constant flows into a loop
            or a branch, which TensorFlow cannot differentiate in a graph that was imported.

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
    chosen = _chosen(graph, patterns)
    _refuse_loops(graph, chosen)
    rest = {name: payload for name, payload in graph.payloads.items() if name not in chosen}
    proto = schema.GraphDef()
    proto.CopyFrom(graph.proto)
    values: dict[str, Payload] = {}
    reads: dict[str, str] = {}
    definitions = []
    taken = set(graph.nodes)
    for node in list(proto.node):
        if node.name in chosen:
            tensor = node.attr["value"].tensor
            held = graph.payloads.get(node.name)
            values[node.name] = held or payload_of(
                tensor_proto.to_array(tensor), dtypes.BY_NAME[_dtype(node)].name
            )
            definition = _variable(node, proto, taken)
            reads[node.name] = definition.snapshot_name.partition(":")[0]
            definitions.append(definition)
    own = {
        name
        for each in definitions
        for name in (each.initializer_name, each.snapshot_name.removesuffix(":0"))
    }
    for node in proto.node:
        if node.name not in own:
            _rewire(node, reads)
    state = find_initial_state(graph, graph.nodes)
    for name, first in state.variables.items():
        values[name] = initial_value(graph, first)
        definitions.append(_kept(graph, name, first, proto, taken))
    graphdef_writer.size(Graph(proto, rest))
    meta = schema.MetaGraphDef(graph_def=proto)
    meta.meta_info_def.tags.append("train")
    for node in meta.graph_def.node:
        if node.name in rest:
            node.attr["value"].tensor.tensor_content = rest[node.name].load().tobytes()
    for each in definitions:
        for collection in ("variables", *["trainable_variables"] * each.trainable):
            listed = meta.collection_def[collection].bytes_list
            listed.value.append(each.SerializeToString())
    for name in dict.fromkeys(fill for fills in state.tables.values() for fill in fills):
        meta.collection_def["table_initializer"].node_list.value.append(name)
    return Unfrozen(meta, values)


def _chosen(graph: Graph, patterns: Iterable[str]) -> set[str]:
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
            "no constants are named", advice="Name those to train, or '*' for all."
        )
    for pattern in patterns:
        found = {name for name in constants if fnmatch.fnmatchcase(name, pattern)}
        found |= {pattern} & set(constants)
        if not found:
            raise NameNotFoundError(
                f"no constant of a trainable type is called {pattern!r}",
                advice=did_you_mean(pattern, constants),
            )
        chosen |= found
    return chosen


def _refuse_loops(graph: Graph, chosen: set[str]) -> None:
    """Refuse what TensorFlow fails to differentiate: it no longer knows how the loop was made."""
    looping = {
        name
        for name, function in graph.functions.items()
        if any(node.op in _LOOPS for node in function.node_def)
    }
    for node in graph.proto.node:
        called = functions.reachable([node], graph.functions, {})
        if node.op not in _LOOPS and looping.isdisjoint(called):
            continue
        weights = sorted(needed(graph, [node.name]) & chosen)
        if weights:
            raise UnsupportedError(
                "TensorFlow cannot train what flows into a loop or branch of a graph that was "
                "frozen",
                where=f"node {node.name} ({node.op})",
                found=f"constant {weights[0]}",
                advice="Choose constants that flow into none, or train the model's own code.",
            )


def _kept(graph: Graph, name: str, first: str, proto: Message, taken: set[str]) -> Message:
    """Describe a variable that was one all the time, and add what reads it."""
    assign = next(
        each
        for each in map(producer, graph.nodes[INIT].input)
        if graph.nodes[each].op in ("Assign", "AssignVariableOp")
        and producer(graph.nodes[each].input[0]) == name
    )
    handle = graph.nodes[name].op == "VarHandleOp"
    read = proto.node.add(op="ReadVariableOp" if handle else "Identity", input=[name])
    read.name = functions.unused(f"{name}/read_value", taken)
    taken.add(read.name)
    read.attr["dtype" if handle else "T"].type = graph.nodes[name].attr["dtype"].type
    return schema.VariableDef(
        variable_name=f"{name}:0",
        initial_value_name=f"{producer(first)}:0",
        initializer_name=assign,
        snapshot_name=f"{read.name}:0",
        is_resource=handle,
        trainable=False,
    )


def _dtype(node: Message) -> str:
    dtype = dtypes.by_number(node.attr["dtype"].type)
    return dtype.name if dtype else ""


def _variable(node: Message, proto: Message, taken: set[str]) -> Message:
    """Turn a Const into a variable, and add what reads and assigns it."""

    def unique(suffix: str) -> str:
        name = f"{node.name}/{suffix}"
        while name in taken:
            name += "_"
        taken.add(name)
        return name

    number = node.attr["dtype"].type
    shape = schema.AttrValue()
    shape.shape.CopyFrom(node.attr["value"].tensor.tensor_shape)
    shape.shape.SetInParent()
    value = proto.node.add(name=unique("its_value_is_in_the_checkpoint"), op="Placeholder")
    read = proto.node.add(name=unique("read_value"), op="ReadVariableOp", input=[node.name])
    assign = proto.node.add(
        name=unique("assign"), op="AssignVariableOp", input=[node.name, value.name]
    )
    node.op = "VarHandleOp"
    node.attr.clear()
    node.attr["shared_name"].s = node.name.encode()
    for each in (node, value):
        each.attr["shape"].CopyFrom(shape)
    for each in (node, value, read, assign):
        each.attr["dtype"].type = number
    return schema.VariableDef(
        variable_name=f"{node.name}:0",
        initial_value_name=f"{value.name}:0",
        initializer_name=assign.name,
        snapshot_name=f"{read.name}:0",
        is_resource=True,
        trainable=True,
    )


def _rewire(node: Message, reads: Mapping[str, str]) -> None:
    for position, text in enumerate(node.input):
        mark = "^" if text.startswith("^") else ""
        source = text.removeprefix("^").removesuffix(":0")
        if source in reads:
            node.input[position] = mark + reads[source]
