"""The function library: calls between functions, and function names that do not vary."""

from __future__ import annotations

import collections
import functools
import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping

import attrs

from tfpersist.formats import schema
from tfpersist.formats.schema import Message
from tfpersist.graph.structure import ops

# TensorFlow appends a number to a traced function, which differs from process to process. A clone
# that freezing makes ends in _frozen, and a settled name in a digest.
_TRACED = re.compile(
    r"(?:__(?:inference|forward|backward)_)?(?P<name>.+?)(?:_\d+)*(?:__[0-9a-f]{8})?"
    r"(?:_frozen(?:_\d+)?)?",
    re.ASCII,
)
_NUMBER = re.compile(r"\d+", re.ASCII)
_LAST_NUMBER = re.compile(r"\d+\Z", re.ASCII)


def references(node: Message) -> Iterator[Message]:
    """Yield the functions in the attrs of a node, as NameAttrLists.

    Attrs are read in the order of their names. A function comes before those in its own attrs.

    Args:
        node: the NodeDef.
    """
    pending = [node.attr[name] for name in sorted(node.attr, reverse=True)]
    while pending:
        value = pending.pop()
        field = value.WhichOneof("value")
        if field == "func":
            named = [value.func]
        elif field == "list":
            named = list(value.list.func)
        else:
            continue
        for function in named:
            yield function
            pending += [function.attr[name] for name in sorted(function.attr, reverse=True)]


def names_in(attrs: Mapping[str, Message]) -> Iterator[str]:
    """Yield the names of the functions in some attrs, and in the attrs of these functions.

    The name may be that of an op, too: TensorFlow lowers an If whose branch is called WriteFile to
    a WriteFile node.

    Args:
        attrs: AttrValues by name.
    """
    pending = list(attrs.values())
    while pending:
        value = pending.pop()
        field = value.WhichOneof("value")
        named = [value.func] if field == "func" else value.list.func if field == "list" else ()
        for function in named:
            if function.name:
                yield function.name
            pending.extend(function.attr.values())


@functools.lru_cache(maxsize=4096)
def calls_no_function(op: str) -> bool:
    """Return whether this is an op of TensorFlow's that has no attr for a function.

    Args:
        op: the name of the op.

    Example:
        >>> calls_no_function("Add"), calls_no_function("While"), calls_no_function("my_function")
        (True, False, False)
    """
    op_def = ops.table().get(op)
    return op_def is not None and not any("func" in attr.type for attr in op_def.attr)


def all_nodes(graph: Message) -> Iterator[tuple[Message, str | None]]:
    """Yield each node of a GraphDef, and the name of its function; None for the main graph.

    Args:
        graph: the GraphDef.
    """
    yield from ((node, None) for node in graph.node)
    for function in graph.library.function:
        yield from ((node, function.signature.name) for node in function.node_def)


def called(node: Message, library: Mapping[str, Message]) -> list[str]:
    """Return the names of the library functions that a node calls directly, each once.

    Args:
        node: the NodeDef.
        library: FunctionDefs by name.
    """
    names = [node.op, *(function.name for function in references(node))]
    return [name for name in dict.fromkeys(names) if name in library]


def reachable(
    nodes: Iterable[Message], library: Mapping[str, Message], gradients: Mapping[str, str]
) -> list[str]:
    """Return the names of the functions that some nodes call, directly or through others.

    Args:
        nodes: NodeDefs of the main graph.
        library: FunctionDefs by name.
        gradients: the name of the gradient function, by the name of the function.

    Returns:
        Names of the library, in the order of a breadth-first search.
    """
    reached: dict[str, None] = {}
    for node in nodes if library else ():
        reached.update(dict.fromkeys(called(node, library)))
    pending = collections.deque(reached)
    while pending:
        name = pending.popleft()
        callees = [callee for node in library[name].node_def for callee in called(node, library)]
        if gradients.get(name) in library:
            callees.append(gradients[name])
        for callee in callees:
            if callee not in reached:
                reached[callee] = None
                pending.append(callee)
    return list(reached)


def gradient_functions(library: Message) -> dict[str, str]:
    """Return the name of the gradient function of each function that has one.

    Args:
        library: a FunctionDefLibrary.
    """
    return {pair.function_name: pair.gradient_func for pair in library.gradient}


def is_pruned(graph: Message) -> bool:
    """Return whether `prune_library` would leave the library of a GraphDef as it is.

    Args:
        graph: the GraphDef.
    """
    library = {function.signature.name: function for function in graph.library.function}
    gradients = gradient_functions(graph.library)
    pairs = itertools.chain.from_iterable(gradients.items())
    return (
        bool(library) == graph.HasField("library")
        and library.keys() >= set(pairs)
        and reachable(graph.node, library, gradients) == list(library)
    )


def prune_library(graph: Message) -> None:
    """Remove the functions of a GraphDef that its nodes do not call, directly or through others.

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
    """Rename functions so that a source has the same function names in every process.

    `__inference_call_1234` becomes `call__0badf00d`, where the digits are a digest of the whole
    library: so two frozen models can be imported into one graph.

    Args:
        graph: a GraphDef of the caller's own, whose library is pruned; it is changed.
    """
    if not graph.library.function:
        return
    used_names = {*ops.table(), *(node.op for node in graph.node)}
    renamed: dict[str, str] = {}
    for function in graph.library.function:
        name = function.signature.name
        traced = _TRACED.fullmatch(name)
        renamed[name] = unused(traced["name"] if traced else name, used_names)
        used_names.add(renamed[name])
    numbered = _Numbered.of(
        {name.partition("_frozen")[0]: settled for name, settled in renamed.items()}
    )
    for function in graph.library.function:
        _settle_arguments(function, numbered)
    rename_functions(graph, renamed)
    encoded = graph.library.SerializeToString(deterministic=True)
    digest = hashlib.sha256(encoded).hexdigest()[:8]
    rename_functions(graph, {name: f"{name}__{digest}" for name in renamed.values()})


def rename_functions(graph: Message, renamed: Mapping[str, str]) -> None:
    """Rename functions where they are defined, called and differentiated.

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


@attrs.frozen
class _Numbered:
    """The names of functions that end in a number.

    Args:
        settled: the settled name of each.
        lengths: how long the names are that end in a number, the longest first.
    """

    settled: Mapping[str, str]
    lengths: Mapping[str, list[int]]

    @classmethod
    def of(cls, settled: Mapping[str, str]) -> _Numbered:
        lengths: dict[str, set[int]] = {}
        for name in settled:
            number = _LAST_NUMBER.search(name)
            if number is not None:
                lengths.setdefault(number[0], set()).add(len(name))
        return cls(settled, {n: sorted(found, reverse=True) for n, found in lengths.items()})

    def settle(self, text: str) -> str:
        """Return a text with the settled names in the places of the old ones."""
        parts, done = [], 0
        for number in _NUMBER.finditer(text):
            end = number.end()
            for length in self.lengths.get(number[0], ()):
                name = text[max(end - length, done) : end]
                if len(name) == length and name in self.settled:
                    parts += [text[done : end - length], self.settled[name]]
                    done = end
                    break
        return "".join([*parts, text[done:]])


def _settle_arguments(function: Message, numbered: _Numbered) -> None:
    """Rename the arguments of a function that have the old name of a function in their names."""
    used_names = {arg.name for arg in function.signature.input_arg}
    used_names |= {node.name for node in function.node_def}
    renamed: dict[str, str] = {}
    for arg in function.signature.input_arg:
        settled = numbered.settle(arg.name)
        if settled != arg.name:
            renamed[arg.name] = arg.name = unused(settled, used_names)
            used_names.add(arg.name)
    for node in function.node_def if renamed else ():
        inputs = [renamed.get(text, text) for text in node.input]
        node.ClearField("input")
        node.input.extend(inputs)
    for output, tensor in list(function.ret.items()):
        function.ret[output] = renamed.get(tensor, tensor)


def unused(name: str, used_names: Iterable[str]) -> str:
    """Return a name, or the first of `name_1`, `name_2` ... that is not in use.

    Args:
        name: the name to try first.
        used_names: the names that are in use.

    Example:
        >>> unused("axis", {"axis", "axis_1"})
        'axis_2'
    """
    used_names = used_names if isinstance(used_names, (set, dict)) else set(used_names)
    free_name, number = name, 0
    while free_name in used_names:
        number += 1
        free_name = f"{name}_{number}"
    return free_name
