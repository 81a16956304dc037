"""Calls inside of calls: TensorFlow puts the body of a function in the place of each call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tfpersist.errors import GraphError
from tfpersist.formats.schema import Message
from tfpersist.graph.structure.capabilities import mentioned
from tfpersist.graph.structure.functions import gradient_functions

# A graph of so many nodes takes TensorFlow minutes and gigabytes.
MOST_NODES = 10**7
# Of 300 calls inside of each other TensorFlow takes seconds, of 1,000 minutes; 10,000 end it.
MOST_DEPTH = 300
_GRADIENT = "SymbolicGradient"

# A function as it is, or what computes its gradient; "" is the graph itself.
_Body = tuple[str, bool]


def refuse_endless(graph: Message) -> None:
    """Refuse a graph that grows without end, or beyond reason, once its calls are put in place.

    TensorFlow 2.16 to 2.21 have no recursion: what calls itself ends the process.

    Args:
        graph: a GraphDef.

    Raises:
        GraphError: a function calls itself, perhaps by way of others, calls stand inside of each
            other more than `MOST_DEPTH` deep, or for more than `MOST_NODES` nodes.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> refuse_endless(parse_text(b'''library { function { signature { name: "f" }
        ...     node_def { name: "n" op: "g" } } function { signature { name: "g" }
        ...     node_def { name: "n" op: "f" } } }''').proto)
        Traceback (most recent call last):
        tfpersist.errors.GraphError: function f: functions that call themselves have no end; \
got f -> g -> f. TensorFlow has no recursion: use a while loop.
    """
    if not graph.library.function:
        return
    calls, own = _calls(graph)
    nodes: dict[_Body, tuple[int, int]] = {}
    _count(("", False), calls, own, nodes)
    for (name, _), (count, depth) in nodes.items():
        if depth > MOST_DEPTH:
            raise GraphError(
                "calls are nested deeper than TensorFlow bears",
                where=f"function {name}" if name else "the graph",
                expected=f"{MOST_DEPTH} calls inside of each other at most",
                found="more",
            )
        if count > MOST_NODES:
            raise GraphError(
                "functions call each other so often that no machine could hold all calls",
                where=f"function {name}" if name else "the graph",
                expected=f"{MOST_NODES:,} nodes at most, with a body for each call",
                found="more",
            )
    for name in own:
        _count((name, False), calls, own, nodes)


def _count(
    root: _Body,
    calls: Mapping[_Body, Mapping[_Body, int]],
    own: Mapping[str, int],
    nodes: dict[_Body, tuple[int, int]],
) -> None:
    """Count the nodes of a body with all that it calls, and how deep it calls, bottom up."""
    path = {} if root in nodes else {root: iter(calls[root])}
    while path:
        body = next(reversed(path))
        pending = next((each for each in path[body] if each not in nodes), None)
        if pending is None:
            total = sum(times * nodes[each][0] for each, times in calls[body].items())
            depth = max((1 + nodes[each][1] for each in calls[body]), default=0)
            # Without a bound, the numbers themselves could take up all memory.
            nodes[body] = min(own[body[0]] + total, MOST_NODES + 1), depth
            del path[body]
        elif pending in path:
            names = [name for name, _ in path]
            cycle = [*names[list(path).index(pending) :], pending[0]]
            raise GraphError(
                "functions that call themselves have no end",
                where=f"function {cycle[0]}",
                found=_chain(cycle),
                advice="TensorFlow has no recursion: use a while loop.",
            )
        else:
            path[pending] = iter(calls[pending])


def _calls(graph: Message) -> tuple[Mapping[_Body, Mapping[_Body, int]], Mapping[str, int]]:
    """Count who calls whom how often, and the nodes of each body."""
    library = {each.signature.name: each for each in graph.library.function}
    gradients = gradient_functions(graph.library)
    calls: dict[_Body, Counter[_Body]] = {}
    own: dict[str, int] = {}
    for name, nodes in [("", graph.node), *((n, f.node_def) for n, f in library.items())]:
        own[name] = len(nodes)
        plain: Counter[_Body] = Counter()
        for node in nodes:
            for called in (node.op, *mentioned(node.attr)):
                if called in library:
                    plain[called, node.op == _GRADIENT] += 1
        calls[name, False] = plain
        if gradients.get(name) in library:
            calls[name, True] = Counter({(gradients[name], False): 1})
        elif name:
            # What has no gradient of its own gets that of its body, which computes the body, too.
            derived = Counter({(called, True): times for (called, _), times in plain.items()})
            calls[name, True] = derived + plain
    return calls, own


def _chain(names: list[str]) -> str:
    shown = names if len(names) <= 8 else [*names[:4], "...", *names[-3:]]
    return " -> ".join(shown)
