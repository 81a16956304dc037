"""Remove what inlining leaves behind: nodes with the names of calls, and needless control inputs.

After its function is inlined, a call is a node that only passes on the results, under the name of
the call. Most graphs do not need it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import attrs

from tfpersist.formats.schema import Message
from tfpersist.graph.structure.effects import Effects
from tfpersist.graph.structure.kinds import CONTROL_FLOW
from tfpersist.graph.structure.names import full_name, producer
from tfpersist.graph.structure.order import ordered


@attrs.define(eq=False)
class Inlined:
    """The nodes of a main graph whose calls have been inlined.

    Args:
        nodes: all nodes, in their order; `remove_leftovers` changes them in place.
        sources: {result of a call: the tensor that it is equal to}.
        stand_ins: names of the nodes that are left under the names of calls.
        order_only: (name of a node, its control input) of those control inputs that are needed only
            if the node that they come from has an effect.
    """

    nodes: list[Message] = attrs.field(factory=list)
    sources: dict[str, str] = attrs.field(factory=dict)
    stand_ins: set[str] = attrs.field(factory=set)
    order_only: set[tuple[str, str]] = attrs.field(factory=set)


def remove_leftovers(
    inlined: Inlined, before: Collection[str], wanted: Collection[str], effects: Effects
) -> list[Message]:
    """Let nodes read the results of functions directly, and remove what is then needless.

    Args:
        inlined: the nodes; they are changed in place.
        before: names of the nodes that the graph had before its calls were inlined.
        wanted: names of the nodes that stay.
        effects: tells which nodes have effects.

    Returns:
        The nodes that stay.
    """
    for node in inlined.nodes:
        node.input[:] = [_source(text, inlined.sources) for text in node.input]
    nodes = {node.name: node for node in inlined.nodes}
    only_computes: dict[str, bool] = {}
    for name in ordered(nodes):
        node = nodes[name]
        has_effect = node.op in CONTROL_FLOW or effects.has_effects(node)
        only_computes[name] = not has_effect and all(
            only_computes.get(producer(text), False) for text in node.input
        )
    for name, control in inlined.order_only:
        if only_computes.get(control[1:]):
            nodes[name].input.remove(control)
    removed = _needless(inlined, nodes, wanted)
    roots = {
        name for name in nodes if name in before or name in wanted or not only_computes[name]
    } - removed
    computed = _data_sources(roots, nodes)
    replacements = {
        name: _controls_behind(nodes[name], computed, only_computes) for name in removed
    }
    for node in inlined.nodes:
        controls = [text for text in node.input if text[:1] == "^"]
        if any(text[1:] in removed for text in controls):
            data = [text for text in node.input if text[:1] != "^"]
            node.input[:] = [*data, *_replaced(controls, replacements)]
    return [node for node in inlined.nodes if node.name not in removed]


def _source(text: str, sources: Mapping[str, str]) -> str:
    """Return the input that an input is equal to, where it is the result of a call."""
    if text.startswith("^"):
        return text
    while (name := full_name(text)) in sources:
        text = sources[name]
    return text


def _needless(inlined: Inlined, nodes: Mapping[str, Message], wanted: Collection[str]) -> set[str]:
    """Return the names of the stand-ins that are not wanted and that no node reads."""
    read = {producer(text) for node in inlined.nodes for text in node.input if text[:1] != "^"}
    # A control input cannot replace the stand-in of a Switch: it does not tell which output is
    # live.
    branching = {name for name, node in nodes.items() if node.op in CONTROL_FLOW}
    return {
        name
        for name in inlined.stand_ins - read - set(wanted)
        if branching.isdisjoint(map(producer, nodes[name].input))
    }


def _data_sources(names: Iterable[str], nodes: Mapping[str, Message]) -> set[str]:
    """Return the names of the nodes that some nodes compute with, their own included."""
    pending = list(names)
    reached = set(pending)
    while pending:
        sources = {producer(text) for text in nodes[pending.pop()].input if text[:1] != "^"}
        # An input of a damaged graph can come from nowhere.
        new = (sources & nodes.keys()) - reached
        pending += new
        reached |= new
    return reached


def _controls_behind(
    node: Message, computed: Collection[str], only_computes: Mapping[str, bool]
) -> list[str]:
    """Return the control inputs that replace one from a stand-in.

    They come from the nodes that the stand-in depends on, without those that only compute and that
    nothing else needs.
    """
    needless = {
        text
        for text in node.input
        if text[:1] != "^"
        and only_computes.get(producer(text), False)
        and producer(text) not in computed
    }
    return [f"^{producer(text)}" for text in node.input if text not in needless]


def _replaced(controls: Iterable[str], replacements: Mapping[str, Iterable[str]]) -> list[str]:
    """Return control inputs without those from removed stand-ins, each once."""
    pending = list(controls)
    met: dict[str, None] = {}
    for text in pending:
        if text not in met:
            met[text] = None
            pending += replacements.get(text[1:], ())
    return [text for text in met if text[1:] not in replacements]
