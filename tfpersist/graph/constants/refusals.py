"""Nodes that a file cannot carry along: state and code that lives outside of the graph."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Iterator

from tfpersist.errors import FreezeError
from tfpersist.formats import dtypes
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph.structure.kinds import is_table

_RESOURCE = dtypes.BY_NAME["resource"].number
_KINDS = (
    (
        r"(?:Eager)?PyFunc(?:Stateless)?",
        "it calls a Python function of the process that built the graph",
        "Write the function with TensorFlow ops, or freeze an output that does not need it.",
    ),
    (
        r"(?:Anonymous)?(?:Mutable|MutableDense)?HashTable(?:OfTensors)?(?:V\d)?"
        r"|InitializeTableFrom\w*",
        "it uses a lookup table, whose content is not in the graph",
        "Freeze an output behind the lookup and feed what the table gives.",
    ),
    (
        r"Iterator(?:V2|FromStringHandle\w*)?|MultiDeviceIterator\w*",
        "it reads from an iterator, which has to be initialized",
        "Feed the data instead: freeze an output behind a placeholder.",
    ),
    (
        r"\w*Queue(?:V2|Many\w*|UpTo\w*|Enqueue\w*|Dequeue\w*)?\w*|Barrier\w*|\w*Reader(?:V2)?"
        r"|Reader\w+|(?:Map|OrderedMap)?(?:Stage|Unstage)\w*",
        "it reads from a queue, which runs beside the graph",
        "Feed the data instead: freeze an output behind a placeholder.",
    ),
    (
        r"VarHandleOp|VariableV2|Variable|AutoReloadVariable",
        "a variable inside of a function cannot be frozen",
        "Create the variable outside of the function.",
    ),
)
_REFUSED = tuple((re.compile(pattern), problem, advice) for pattern, problem, advice in _KINDS)
# These carry what they need, or are made anew at each run.
_ALLOWED = frozenset({"TemporaryVariable", "OneShotIterator"})


def refuse(graph: Graph, kept: Collection[str]) -> None:
    """Raise for the first node that would not work in another process.

    Args:
        graph: the frozen graph.
        kept: names of the variables that stay. Tables outside of functions are filled.

    Raises:
        FreezeError: names the node, its op and what to do.
    """
    for node, function in _nodes(graph):
        op = node.op
        if op != "Placeholder" and _refusal(op) is None:
            continue
        if function is None and (node.name in kept or is_table(op)):
            continue
        where = f"node {node.name} ({node.op})" + (f" in function {function}" if function else "")
        if op == "Placeholder" and node.attr["dtype"].type == _RESOURCE:
            raise FreezeError(
                "it stands for a table, a generator or another resource of the living model",
                where=where,
                advice="Freeze an output that does not depend on it.",
            )
        found = _refusal(op)
        if found is not None:
            raise FreezeError(found[0], where=where, advice=found[1])


@functools.cache
def _refusal(op: str) -> tuple[str, str] | None:
    if op in _ALLOWED:
        return None
    return next(
        ((problem, advice) for pattern, problem, advice in _REFUSED if pattern.fullmatch(op)),
        None,
    )


def _nodes(graph: Graph) -> Iterator[tuple[Message, str | None]]:
    yield from ((node, None) for node in graph.proto.node)
    bodies: Iterable[Message] = graph.proto.library.function
    for function in bodies:
        yield from ((node, function.signature.name) for node in function.node_def)
