"""Refuse nodes that would not work in another process.

The state or code of some is not in the graph. TensorFlow has removed some ops, and imports them in
graphs only that were written before: each GraphDef has the version of its producer.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection

from tfpersist.errors import FreezeError
from tfpersist.formats import dtypes
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.schema import Message
from tfpersist.graph.constants.tables import FEED_THE_RESULT
from tfpersist.graph.structure import ops
from tfpersist.graph.structure.functions import all_nodes
from tfpersist.graph.structure.kinds import VARIABLES, is_table

_RESOURCE = dtypes.BY_NAME["resource"].number
_VARIANT = dtypes.BY_NAME["variant"].number
# (pattern of ops, problem, advice)
_KINDS = (
    (
        r"(?:Eager)?PyFunc(?:Stateless)?",
        "this node calls a Python function of the process that built the graph",
        "Write the function with TensorFlow ops, or freeze an output that does not need it.",
    ),
    (
        r"(?:Anonymous)?(?:Mutable|MutableDense)?HashTable(?:OfTensors)?(?:V\d)?"
        r"|InitializeTableFrom\w*",
        "this node uses a lookup table whose content is not in the graph",
        FEED_THE_RESULT,
    ),
    (
        r"Iterator(?:V2|FromStringHandle\w*)?|MultiDeviceIterator\w*",
        "this node is an iterator, which a program must initialize",
        "Feed the data instead: with inputs(), the tensors that it gives become placeholders.",
    ),
    (
        r"\w*Queue(?:V2|Many\w*|UpTo\w*|Enqueue\w*|Dequeue\w*)?\w*|Barrier\w*|\w*Reader(?:V2)?"
        r"|Reader\w+|(?:Map|OrderedMap)?(?:Stage|Unstage)\w*",
        "this node uses a queue or reader, which a program must fill",
        "Feed the data instead: with inputs(), the tensors that it gives become placeholders.",
    ),
    (
        r"VarHandleOp|VariableV2|Variable|AutoReloadVariable",
        "a variable inside a function cannot be frozen",
        "Create the variable outside of the function.",
    ),
)
_REFUSED = tuple((re.compile(pattern), problem, advice) for pattern, problem, advice in _KINDS)
# The patterns match these too, but they work anywhere: they are made again at each run.
_ALLOWED = frozenset({"TemporaryVariable", "OneShotIterator"})


def refuse(graph: Graph, kept: Collection[str], inputs: Collection[str] = ()) -> None:
    """Raise for the first node that would not work in another process.

    Args:
        graph: the frozen graph. Its tables outside of functions are filled.
        kept: names of the variables that stay variables.
        inputs: names of the tensors that are fed.

    Raises:
        FreezeError: there is such a node; the message names it, its op and what to do.
    """
    producer = graph.proto.versions.producer
    for node, function in all_nodes(graph.proto):
        op = node.op
        _refuse_removed(node, function, producer)
        if op != "Placeholder" and _refusal(op) is None:
            continue
        if function is None and (node.name in kept or is_table(op)):
            continue
        where = _where(node, function)
        if op == "Placeholder" and node.attr["dtype"].type == _RESOURCE:
            raise FreezeError(
                "this node stands for a table, a generator or another resource of the live model",
                where=where,
                advice="Freeze an output that does not depend on it.",
            )
        is_fed = op != "Placeholder" or f"{node.name}:0" in inputs or function is not None
        if not is_fed and node.attr["dtype"].type == _VARIANT:
            raise FreezeError(
                "this node stands for a data set, an Optional or a list of tensors of the live"
                " model, which no file can hold",
                where=where,
                advice="Make it inside of the function, or freeze an output that does not depend on"
                " it.",
            )
        refusal = _refusal(op)
        if refusal is not None:
            problem, advice = refusal
            raise FreezeError(problem, where=where, advice=advice)


def _where(node: Message, function: str | None) -> str:
    return f"node {node.name} ({node.op})" + (f" in function {function}" if function else "")


def _refuse_removed(node: Message, function: str | None, producer: int) -> None:
    op = ops.table().get(node.op)
    if op is None or not op.HasField("deprecation") or producer < op.deprecation.version:
        return
    # TensorFlow's advice has a full stop or none.
    advice = op.deprecation.explanation.rstrip(".")
    raise FreezeError(
        "TensorFlow has removed this op, and imports it in older graphs only",
        where=_where(node, function),
        expected=f"a graph of a version before {op.deprecation.version}",
        found=f"version {producer}",
        advice=f"TensorFlow says: {advice}.",
    )


def is_live(op: str) -> bool:
    """Return whether an op gives what a program has put there, such as an iterator or a queue.

    Args:
        op: the name of the op.

    Example:
        >>> is_live("IteratorV2"), is_live("VarHandleOp"), is_live("Add")
        (True, False, False)
    """
    return op not in VARIABLES and not is_table(op) and _refusal(op) is not None


@functools.cache
def _refusal(op: str) -> tuple[str, str] | None:
    """Return the problem and the advice for an op; None where it works anywhere."""
    if op in _ALLOWED:
        return None
    return next(
        ((problem, advice) for pattern, problem, advice in _REFUSED if pattern.fullmatch(op)),
        None,
    )
