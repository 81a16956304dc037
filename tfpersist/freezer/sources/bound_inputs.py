"""Find the values of a TF2 SavedModel by its object graph, as its own loader does.

Each function of the SavedModel has a list of the objects that it is bound to. The checkpoint in
`variables/` has an object graph, too. The same path leads to an object in both, and the object in
the checkpoint has the keys of its tensors.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph.constants.from_saver import Source, Sources
from tfpersist.graph.structure.calls import call_of
from tfpersist.graph.structure.kinds import VARIABLES, is_table
from tfpersist.graph.structure.names import producer
from tfpersist.matching.sides.object_graph import ObjectGraph, match_from

_VALUE = "VARIABLE_VALUE"


def bound_sources(
    graph: Graph, meta: Message, saved: Message | None, keys: Collection[str]
) -> Sources:
    """Return where the object graph of a SavedModel finds the values of variables and tables.

    Args:
        graph: the graph.
        meta: its MetaGraphDef.
        saved: the TrackableObjectGraph of the checkpoint; None where it has none.
        keys: the names of the tensors of the checkpoint.

    Returns:
        The sources; empty where the SavedModel has no object graph.

    Raises:
        CorruptionError: an object graph has an edge to an object that does not exist.
    """
    live = ObjectGraph.of(meta.object_graph_def, "the object graph of the SavedModel")
    if saved is None or not live.children:
        return Sources()
    theirs = ObjectGraph.of(saved, "the object graph of the checkpoint")
    same = match_from(theirs, live, [(0, 0)])
    variables: dict[str, Source] = {}
    tables: dict[str, tuple[Source, Source]] = {}
    for name, bound in _bound_nodes(graph, meta.object_graph_def):
        if bound not in same:
            continue
        for attribute in theirs.message.nodes[same[bound]].attributes:
            key = attribute.checkpoint_key
            if graph.nodes[name].op in VARIABLES and attribute.name == _VALUE:
                variables[name] = Source(key)
            elif is_table(graph.nodes[name].op) and f"{key}-keys" in keys:
                tables[name] = Source(f"{key}-keys"), Source(f"{key}-values")
    return Sources(variables, tables)


def _bound_nodes(graph: Graph, objects: Message) -> Iterator[tuple[str, int]]:
    """Yield the nodes of the main graph that are passed to functions, and the objects they are."""
    for node in graph.proto.node:
        call = call_of(node, graph.functions)
        for target in call.targets if call is not None else ():
            if target not in objects.concrete_functions:
                continue
            bound = objects.concrete_functions[target].bound_inputs
            passed = [producer(text) for text in node.input if not text.startswith("^")]
            # The arguments come first, then what the function is bound to.
            for name, number in zip(passed[len(passed) - len(bound) :], bound, strict=False):
                if name in graph.nodes:
                    yield name, number
