"""Refuse calls without end: TensorFlow replaces each call by the body of the function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tfpersist.errors import GraphError
from tfpersist.formats.schema import Message
from tfpersist.graph.structure.functions import gradient_functions, names_in

# TensorFlow takes minutes and gigabytes for a graph of so many nodes.
MOST_NODES = 10**7
# TensorFlow takes seconds for 300 nested calls and minutes for 1,000; 10,000 end the process.
MOST_DEPTH = 300
_GRADIENT = "SymbolicGradient"

# The name of a function, and whether its gradient is meant; the name "" is the main graph.
_Body = tuple[str, bool]


def refuse_endless(graph: Message) -> None:
    """Refuse a graph that becomes endless or too large when its calls are replaced by bodies.

    TensorFlow 2.16 to 2.21 have no recursion: a function that calls itself ends the process.

    Args:
        graph: a GraphDef.

    Raises:
        GraphError: a function calls itself, directly or through others; calls are nested more than
            `MOST_DEPTH` deep; or the graph would have more than `MOST_NODES` nodes.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> refuse_endless(parse_text(b'''library { function { signature { name: "f" }
        ...     node_def { name: "n" op: "g" } } function { signature { name: "g" }
        ...     node_def { name: "n" op: "f" } } }''').proto)
        Traceback (most recent call last):
        tfpersist.errors.GraphError: function f: the function calls itself; \
got f -> g -> f. TensorFlow has no recursion: use a while loop.
    """
    if not graph.library.function:
        return
    calls, own_nodes = _calls(graph)
    sizes: dict[_Body, tuple[int, int]] = {}
    _measure(("", False), calls, own_nodes, sizes)
    for (name, _), (nodes, depth) in sizes.items():
        where = f"function {name}" if name else "the graph"
        if depth > MOST_DEPTH:
            raise GraphError(
                "calls are nested too deep for TensorFlow",
                where=where,
                expected=f"at most {MOST_DEPTH} levels",
                advice="Call functions one after the other, or use a while loop.",
            )
        if nodes > MOST_NODES:
            raise GraphError(
                "the graph is too large after inlining all calls",
                where=where,
                expected=f"at most {MOST_NODES:,} nodes",
                advice="Use a while loop instead of functions that call functions many times.",
            )
    for name in own_nodes:
        _measure((name, False), calls, own_nodes, sizes)


def _measure(
    root: _Body,
    calls: Mapping[_Body, Mapping[_Body, int]],
    own_nodes: Mapping[str, int],
    sizes: dict[_Body, tuple[int, int]],
) -> None:
    """Add number of nodes and depth of calls of a body, and of all that it calls, to `sizes`."""
    path = {} if root in sizes else {root: iter(calls[root])}
    while path:
        body = next(reversed(path))
        callee = next((callee for callee in path[body] if callee not in sizes), None)
        if callee is None:
            nodes = sum(times * sizes[callee][0] for callee, times in calls[body].items())
            depth = max((1 + sizes[callee][1] for callee in calls[body]), default=0)
            # The sum is limited, because it can have more digits than memory has bytes.
            sizes[body] = min(own_nodes[body[0]] + nodes, MOST_NODES + 1), depth
            del path[body]
        elif callee in path:
            names = [name for name, _ in path]
            cycle = [*names[list(path).index(callee) :], callee[0]]
            raise GraphError(
                "the function calls itself",
                where=f"function {cycle[0]}",
                found=_chain(cycle),
                advice="TensorFlow has no recursion: use a while loop.",
            )
        else:
            path[callee] = iter(calls[callee])


def _calls(graph: Message) -> tuple[Mapping[_Body, Mapping[_Body, int]], Mapping[str, int]]:
    """Return how often each body calls others, and how many nodes each function has."""
    library = {function.signature.name: function for function in graph.library.function}
    gradients = gradient_functions(graph.library)
    calls: dict[_Body, Counter[_Body]] = {}
    own_nodes: dict[str, int] = {}
    for name, nodes in [("", graph.node), *((n, f.node_def) for n, f in library.items())]:
        own_nodes[name] = len(nodes)
        plain: Counter[_Body] = Counter()
        for node in nodes:
            for called in (node.op, *names_in(node.attr)):
                if called in library:
                    plain[called, node.op == _GRADIENT] += 1
        calls[name, False] = plain
        if gradients.get(name) in library:
            calls[name, True] = Counter({(gradients[name], False): 1})
        elif name:
            # TensorFlow derives the gradient from the body, and computes the body in it too.
            derived = Counter({(called, True): times for (called, _), times in plain.items()})
            calls[name, True] = derived + plain
    return calls, own_nodes


def _chain(names: list[str]) -> str:
    shown = names if len(names) <= 8 else [*names[:4], "...", *names[-3:]]
    return " -> ".join(shown)
