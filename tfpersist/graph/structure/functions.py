"""The function library: who calls whom, what is reachable, and names that do not vary."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping

from tfpersist.formats import schema
from tfpersist.formats.schema import Message
from tfpersist.graph.structure import ops

# TensorFlow numbers traced functions over the life of a process; clones end in _frozen here, and
# settled names in a digest.
_TRACED = re.compile(
    r"(?:__(?:inference|forward|backward)_)?(?P<name>.+?)(?:_\d+)*(?:__[0-9a-f]{8})?"
    r"(?:_frozen(?:_\d+)?)?",
    re.ASCII,
)


def references(node: Message) -> Iterator[Message]:
    """Give the functions that the attrs of a node name, as NameAttrLists.

    Attrs come in the order of their names, functions inside of a function's attrs after it.
    """
    pending = [node.attr[name] for name in sorted(node.attr, reverse=True)]
    while pending:
        value = pending.pop()
        kind = value.WhichOneof("value")
        if kind == "func":
            found = [value.func]
        elif kind == "list":
            found = list(value.list.func)
        else:
            continue
        for function in found:
            yield function
            pending += [function.attr[name] for name in sorted(function.attr, reverse=True)]


def called(node: Message, library: Mapping[str, Message]) -> list[str]:
    """Name the library functions that a node calls itself, once each.

    Args:
        node: the NodeDef.
        library: FunctionDefs by name.
    """
    names = [node.op, *(function.name for function in references(node))]
    return [name for name in dict.fromkeys(names) if name in library]


def reachable(
    nodes: Iterable[Message], library: Mapping[str, Message], gradients: Mapping[str, str]
) -> list[str]:
    """Name the functions that running some nodes can call, in the order in which they are met.

    Args:
        nodes: NodeDefs of the main graph.
        library: FunctionDefs by name.
        gradients: the gradient function of a function, by name.

    Returns:
        Names of the library; those called by called functions included.
    """
    met: dict[str, None] = {}
    pending: list[str] = []

    def meet(names: Iterable[str]) -> None:
        for name in names:
            if name in library and name not in met:
                met[name] = None
                pending.append(name)

    for node in nodes if library else ():
        meet(called(node, library))
    at = 0
    while at < len(pending):
        name = pending[at]
        at += 1
        for inner in library[name].node_def:
            meet(called(inner, library))
        if name in gradients:
            meet([gradients[name]])
    return list(met)


def gradient_functions(library: Message) -> dict[str, str]:
    """Give the gradient function of each function that has one.

    Args:
        library: a FunctionDefLibrary.
    """
    return {pair.function_name: pair.gradient_func for pair in library.gradient}


def prune_library(graph: Message) -> None:
    """Keep only the functions of a GraphDef that its nodes can reach.

    Args:
        graph: a GraphDef of the caller's own; it is changed.
    """
    library = {function.signature.name: function for function in graph.library.function}
    gradients = gradient_functions(graph.library)
    names = reachable(graph.node, library, gradients)
    kept = schema.FunctionDefLibrary(
        function=[library[name] for name in names],
        gradient=[
            pair
            for pair in graph.library.gradient
            if pair.function_name in names and pair.gradient_func in names
        ],
    )
    graph.ClearField("library")
    if names:
        graph.library.CopyFrom(kept)


def settle_names(graph: Message) -> None:
    """Rename functions so that the same source has the same names in any process.

    `__inference_call_1234` becomes `call__0badf00d`, with a digest of the whole library: a graph
    that two frozen models are imported into has one space of function names.

    Args:
        graph: a GraphDef of the caller's own, whose library is pruned; it is changed.
    """
    if not graph.library.function:
        return
    taken = {*ops.table(), *(node.op for node in graph.node)}
    renamed: dict[str, str] = {}
    for function in graph.library.function:
        name = function.signature.name
        traced = _TRACED.fullmatch(name)
        renamed[name] = unused(traced["name"] if traced else name, taken)
        taken.add(renamed[name])
    bases = {name.partition("_frozen")[0]: settled for name, settled in renamed.items()}
    for function in graph.library.function:
        _settle_arguments(function, bases)
    rename_functions(graph, renamed)
    encoded = graph.library.SerializeToString(deterministic=True)
    digest = hashlib.sha256(encoded).hexdigest()[:8]
    rename_functions(graph, {name: f"{name}__{digest}" for name in renamed.values()})


def rename_functions(graph: Message, renamed: Mapping[str, str]) -> None:
    """Give functions other names, wherever they are named.

    Args:
        graph: a GraphDef of the caller's own; it is changed.
        renamed: {name: new name}.
    """
    for function in graph.library.function:
        function.signature.name = renamed.get(function.signature.name, function.signature.name)
    bodies = [graph.node, *(function.node_def for function in graph.library.function)]
    for node in itertools.chain.from_iterable(bodies):
        node.op = renamed.get(node.op, node.op)
        for reference in references(node):
            reference.name = renamed.get(reference.name, reference.name)
    for pair in graph.library.gradient:
        pair.function_name = renamed.get(pair.function_name, pair.function_name)
        pair.gradient_func = renamed.get(pair.gradient_func, pair.gradient_func)


def _settle_arguments(function: Message, bases: Mapping[str, str]) -> None:
    """Rename the arguments that are called after a function."""
    numbered = re.compile("|".join(re.escape(name) + r"(?!\d)" for name in sorted(bases)))
    taken = {arg.name for arg in function.signature.input_arg}
    taken |= {node.name for node in function.node_def}
    renamed: dict[str, str] = {}
    for arg in function.signature.input_arg:
        settled = numbered.sub(lambda found: bases[found[0]], arg.name)
        if settled != arg.name:
            renamed[arg.name] = arg.name = unused(settled, taken)
            taken.add(arg.name)
    for node in function.node_def if renamed else ():
        inputs = [renamed.get(text, text) for text in node.input]
        node.ClearField("input")
        node.input.extend(inputs)
    for output, tensor in list(function.ret.items()):
        function.ret[output] = renamed.get(tensor, tensor)


def unused(name: str, taken: Iterable[str]) -> str:
    """Give a name, or the first `name_1`, `name_2` ... that is not taken.

    Args:
        name: the name that is wanted.
        taken: a container of the names that are in use.

    Example:
        >>> unused("axis", {"axis", "axis_1"})
        'axis_2'
    """
    known = taken if isinstance(taken, (set, dict)) else set(taken)
    wanted, number = name, 0
    while wanted in known:
        number += 1
        wanted = f"{name}_{number}"
    return wanted
