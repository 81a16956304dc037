"""Find out what of a SavedModel can run: what its signatures, its loader and its objects lead to.

A SavedModel also has nodes and functions that save it. Nothing leads to them but a user who asks
for them by name. Its loader restores the variables, so what it runs for that counts, too. The only
exception are ops that read the checkpoint that the loader names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import attrs

from tfpersist.formats.schema import Message
from tfpersist.graph.structure.functions import names_in
from tfpersist.graph.structure.names import producer

_COLLECTIONS = ("saved_model_main_op", "legacy_init_op", "saved_model_train_op")
_RESTORES = frozenset({"Restore", "RestoreSlice", "RestoreV2"})
_PASSES = frozenset({"Identity", "PlaceholderWithDefault"})
_MOST_STEPS = 8
# Functions of one interface: TensorFlow may call another one of them than the graph says.
_INTERFACE = "api_implements"


@attrs.frozen
class Reach:
    """The nodes of a graph and the functions of its library that can run.

    Args:
        nodes: names of the nodes of the main graph.
        functions: names of the functions.
        harmless: (name of a function, name of a node) of nodes that read the model's own variables
            when it is restored; "" stands for the main graph. They are not among the others.
    """

    nodes: frozenset[str]
    functions: frozenset[str]
    harmless: frozenset[tuple[str, str]] = frozenset()

    def includes(self, function: str, node: str) -> bool:
        """Return whether a node can run.

        Args:
            function: the name of its function; "" for the main graph.
            node: its name; "" for the function itself.
        """
        if (function, node) in self.harmless:
            return False
        return function in self.functions if function else node in self.nodes


def reach_of(meta: Message) -> Reach | None:
    """Return what of a graph of a SavedModel can run.

    Args:
        meta: the MetaGraphDef.

    Returns:
        The nodes and functions; None for a graph without signatures and objects, of which users
        ask for any node by name.
    """
    graph = meta.graph_def
    nodes = {node.name: node for node in graph.node}
    library = _Library.of(graph)
    roots = [*_roots(meta)]
    if not meta.object_graph_def.nodes and not any(name in nodes for name in roots):
        return None
    run = _needed(nodes, roots)
    functions = library.closure([*_objects_call(meta), *library.called(nodes[n] for n in run)])
    restored = _needed(nodes, [producer(meta.saver_def.restore_op_name)]) - run
    restoring = library.closure(library.called(nodes[name] for name in restored)) - functions
    file = [producer(meta.saver_def.filename_tensor_name)]
    harmless = {
        ("", name)
        for name in restored
        if nodes[name].op in _RESTORES and _is_read_from(nodes[name], nodes, file)
    }
    for name in restoring:
        body = {node.name: node for node in library.functions[name].node_def}
        arguments = {argument.name for argument in library.functions[name].signature.input_arg}
        harmless |= {
            (name, node.name)
            for node in body.values()
            if node.op in _RESTORES and _is_read_from(node, body, arguments)
        }
    return Reach(run | restored, functions | restoring, frozenset(harmless))


def _roots(meta: Message) -> Iterator[str]:
    """Yield the names of the nodes that signatures and loaders ask for."""
    for signature in meta.signature_def.values():
        for info in signature.outputs.values():
            yield producer(info.name)
            for part in ("values", "indices", "dense_shape"):
                yield producer(getattr(info.coo_sparse, f"{part}_tensor_name"))
            yield from (producer(part.name) for part in info.composite_tensor.components)
    for collection in _COLLECTIONS:
        if collection in meta.collection_def:
            yield from map(producer, meta.collection_def[collection].node_list.value)


def _objects_call(meta: Message) -> Iterator[str]:
    """Yield the names of the functions that objects of a TF2 SavedModel have."""
    for node in meta.object_graph_def.nodes:
        yield from node.function.concrete_functions
        yield node.bare_concrete_function.concrete_function_name


def _needed(nodes: Mapping[str, Message], roots: Iterable[str]) -> frozenset[str]:
    reached = {name for name in roots if name in nodes}
    pending = list(reached)
    while pending:
        for name in map(producer, nodes[pending.pop()].input):
            if name in nodes and name not in reached:
                reached.add(name)
                pending.append(name)
    return frozenset(reached)


def _is_read_from(node: Message, nodes: Mapping[str, Message], files: Collection[str]) -> bool:
    """Return whether a node restores from a file whose name one of some nodes or arguments has."""
    name = producer(node.input[0]) if node.input else ""
    for _ in range(_MOST_STEPS):
        if name in files:
            break
        source = nodes.get(name)
        if source is None or source.op not in _PASSES or not source.input:
            break
        name = producer(source.input[0])
    return name in files


@attrs.frozen(eq=False)
class _Library:
    """The functions of a graph, and which of them stand for each other.

    Args:
        functions: FunctionDefs by name.
        gradients: names of gradient functions, by the names of the functions.
        interfaces: names of functions, by the interface that they say they implement.
    """

    functions: Mapping[str, Message]
    gradients: Mapping[str, str]
    interfaces: Mapping[bytes, list[str]]

    @classmethod
    def of(cls, graph: Message) -> _Library:
        functions = {function.signature.name: function for function in graph.library.function}
        gradients = {g.function_name: g.gradient_func for g in graph.library.gradient}
        interfaces: dict[bytes, list[str]] = {}
        for name, function in functions.items():
            if _INTERFACE in function.attr:
                interfaces.setdefault(function.attr[_INTERFACE].s, []).append(name)
        return cls(functions, gradients, interfaces)

    def called(self, nodes: Iterable[Message]) -> Iterator[str]:
        """Yield the names of the functions that nodes call or name in their attrs."""
        for node in nodes:
            yield node.op
            yield from names_in(node.attr)
            yield from self._interface_of(node.attr)

    def closure(self, names: Iterable[str]) -> frozenset[str]:
        """Return functions, and all that they call or that may be called in their places."""
        reached: set[str] = set()
        pending = [name for name in names if name in self.functions]
        while pending:
            name = pending.pop()
            if name in reached:
                continue
            reached.add(name)
            function = self.functions[name]
            others = [*self.called(function.node_def), *names_in(function.attr)]
            others += [value.s.decode(errors="replace") for value in function.attr.values()]
            others += [self.gradients.get(name, ""), *self._interface_of(function.attr)]
            pending += [other for other in others if other in self.functions]
        return frozenset(reached)

    def _interface_of(self, attrs: Mapping[str, Message]) -> Iterable[str]:
        return self.interfaces.get(attrs[_INTERFACE].s, ()) if _INTERFACE in attrs else ()
