"""Replace function calls with the nodes of the functions.

The result computes the same, bit by bit, and more runtimes can read it: OpenCV has no functions.
The passes of this package work on the main graph only, so they need it too. Every freeze does it,
as TensorFlow's own freezer does. So a Keras model and its export become the same nodes
(MobileNetV2: 1,056 nodes without a call instead of 264 nodes and a function of 824, in as many
bytes).

The node `n` of the function that `call` calls becomes `call/n`. The bodies of loops, and of
branches whose condition is not constant, stay functions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import attrs

from tfpersist.formats import schema
from tfpersist.formats.graphdef import APART_FROM, Graph, with_payload
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Payload, payload_of
from tfpersist.graph.optimize import fold
from tfpersist.graph.optimize.inlined import Inlined, remove_leftovers
from tfpersist.graph.structure.calls import Callee
from tfpersist.graph.structure.effects import NOT_PURE, Effects
from tfpersist.graph.structure.functions import unused
from tfpersist.graph.structure.kinds import CONTROL_FLOW, VARIABLES, is_table
from tfpersist.graph.structure.names import producer
from tfpersist.graph.structure.order import ordered

_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
# A call or function with one of these attrs stays a call.
STAYS_A_CALL = frozenset({"_noinline", "_XlaMustCompile"})
_MOST_NESTED = 64
# The most kilobytes of nodes that are added (a node counts as one at least). Without a bound, a
# small file could fill the memory: each of its functions calls the next one twice.
_MOST_KILOBYTES = 1 << 17


def inline(graph: Graph, wanted: Collection[str] = ()) -> Graph:
    """Replace function calls with the nodes of the functions.

    The effects of a function keep their order: they come after the control inputs of the call, and
    before the nodes that read the call or have a control input from it. These calls stay: calls of
    a function by itself, calls nested more than 64 deep, and functions that XLA compiles or whose
    attrs forbid inlining.

    Args:
        graph: the graph; it is not changed.
        wanted: names of tensors and operations whose names stay.

    Returns:
        The graph. Functions that nothing calls any more are still in it.

    Example:
        >>> from tfpersist.formats.graphdef import parse_text
        >>> graph = parse_text(b'''
        ...     node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
        ...     node { name: "call" op: "twice" input: "x" }
        ...     node { name: "y" op: "Neg" input: "call" }
        ...     library { function {
        ...       signature { name: "twice" input_arg { name: "a" type: DT_FLOAT }
        ...         output_arg { name: "b" type: DT_FLOAT } }
        ...       node_def { name: "sum" op: "Add" input: "a" input: "a"
        ...         attr { key: "T" value { type: DT_FLOAT } } }
        ...       ret { key: "b" value: "sum:z:0" } } }''')
        >>> [(node.name, node.op, *node.input) for node in inline(graph).proto.node]
        [('x', 'Placeholder'), ('call/sum', 'Add', 'x', 'x'), ('y', 'Neg', 'call/sum')]
    """
    library = graph.functions
    if not any(node.op in _CALLS or node.op in library for node in graph.proto.node):
        return graph
    control_sources = {
        text[1:] for node in graph.proto.node for text in node.input if text[:1] == "^"
    }
    inliner = _Inliner(
        library, set(graph.nodes), dict(graph.payloads), _wanted_outputs(wanted), control_sources
    )
    in_control_flow = _in_control_flow(graph)
    for node in graph.proto.node:
        copy = schema.NodeDef()
        copy.CopyFrom(node)
        is_inside = any(producer(text) in in_control_flow for text in node.input)
        inliner.place(copy, _Scope(in_control_flow=is_inside))
    if not inliner.result.stand_ins:
        return graph
    nodes = remove_leftovers(
        inliner.result, graph.nodes.keys(), inliner.wanted.keys(), inliner.effects
    )
    proto = schema.GraphDef(node=nodes)
    proto.versions.CopyFrom(graph.proto.versions)
    # What a frozen file says of itself does not hold for another graph.
    proto.versions.DiscardUnknownFields()
    proto.version = graph.proto.version
    proto.library.CopyFrom(graph.proto.library)
    names = {node.name for node in proto.node}
    payloads = {name: p for name, p in inliner.payloads.items() if name in names}
    return Graph(proto, payloads)


def _wanted_outputs(wanted: Iterable[str]) -> dict[str, set[str]]:
    """Return {operation: the wanted indices of its outputs}."""
    outputs: dict[str, set[str]] = {}
    for name in wanted:
        operation, _, index = name.partition(":")
        outputs.setdefault(operation, set()).add(index or "0")
    return outputs


def _in_control_flow(graph: Graph) -> set[str]:
    """Return the names of nodes in the loops and branches of TensorFlow 1, and of those behind."""
    names = {node.name for node in graph.proto.node if node.op in CONTROL_FLOW}
    for name in ordered(graph.nodes) if names else ():
        if any(producer(text) in names for text in graph.nodes[name].input):
            names.add(name)
    return names


@attrs.frozen
class _Scope:
    """The calls around a node.

    Args:
        functions: names of the functions that the node is inside of, the outermost first.
        in_control_flow: whether the node can be in a loop or branch of TensorFlow 1. Then every
            node of a body must depend on the arguments: where these are dead, the body is dead.
        controls: the control inputs that the node has from these calls.
        needed: those of them that are needed for the order of effects.
    """

    functions: tuple[str, ...] = ()
    in_control_flow: bool = False
    controls: frozenset[str] = frozenset()
    needed: frozenset[str] = frozenset()


@attrs.define(eq=False)
class _Inliner:
    """Builds the nodes of a main graph without calls.

    Args:
        library: FunctionDefs by name.
        used_names: all names of nodes.
        payloads: the payloads of the graph; large constants of functions are added.
        wanted: {operation: the wanted indices of its outputs}.
        control_sources: names of the nodes from which the main graph has control inputs.
        result: the nodes so far.
        shared: {(function, name of a large constant in it): the node of its first call}.
        kilobytes: the size of the nodes that were added.
    """

    library: Mapping[str, Message]
    used_names: set[str]
    payloads: dict[str, Payload]
    wanted: Mapping[str, set[str]]
    control_sources: Collection[str]
    result: Inlined = attrs.field(factory=Inlined)
    shared: dict[tuple[str, str], str] = attrs.field(factory=dict)
    kilobytes: int = 0
    effects: Effects = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.effects = Effects(self.library)

    def place(self, node: Message, scope: _Scope) -> list[str]:
        """Add a node, or the nodes of the function that it calls.

        Args:
            node: the NodeDef, changed in place; its inputs are tensors of the main graph.
            scope: the calls around it.

        Returns:
            Names of the added nodes with effects.
        """
        callee = self._callee(node, scope)
        if callee is not None:
            return self._expand(node, callee, scope)
        self.result.nodes.append(node)
        self.result.order_only |= {(node.name, text) for text in scope.controls - scope.needed}
        return [node.name] if self.effects.has_effects(node) and node.op not in NOT_PURE else []

    def _callee(self, node: Message, scope: _Scope) -> Callee | None:
        """Return the function that a node calls; None where there is none, or the call stays."""
        if node.op in _CALLS:
            name, call_attrs = node.attr["f"].func.name, node.attr["f"].func.attr
        else:
            name, call_attrs = node.op, node.attr
        function = self.library.get(name)
        if function is None or name in scope.functions or len(scope.functions) >= _MOST_NESTED:
            return None
        # Values of variables and tables are known by the names of their nodes in the main graph.
        if any(n.op in VARIABLES or is_table(n.op) for n in function.node_def):
            return None
        if _stays_a_call(node) or _stays_a_call(function):
            return None
        callee = Callee.of(function, call_attrs, self.library)
        data = [text for text in node.input if text[:1] != "^"]
        if callee is None or len(callee.arguments) != len(data):
            return None
        if self.kilobytes + len(callee) > _MOST_KILOBYTES:
            return None
        self.kilobytes += len(callee)
        return callee

    def _expand(self, call: Message, callee: Callee, scope: _Scope) -> list[str]:
        """Add the nodes of a function, and the stand-in of its call.

        Returns:
            Names of the added nodes with effects.
        """
        data = [text for text in call.input if text[:1] != "^"]
        controls = [text for text in call.input if text[:1] == "^"]
        if scope.in_control_flow:
            data, controls = self._gather_arguments(call, data, controls, callee)
        tensors = callee.passed(data)
        needed = (
            frozenset(controls) if self.effects.function_has_effects(callee.name) else scope.needed
        )
        names = {inner.name: self._new_name(f"{call.name}/{inner.name}") for inner in callee.nodes}
        constants = {n.name for n in callee.nodes if n.op == "Const" and not n.input}
        for inner in callee.nodes:
            for text, port in callee.outputs(inner):
                tensors[text] = f"{names[inner.name]}:{port}".removesuffix(":0")
        with_effects: list[str] = []
        for inner in callee.nodes:
            is_free = inner.name in constants and not scope.in_control_flow
            if is_free and self._is_shared(inner, callee.name, names[inner.name], tensors):
                continue
            inner_name, inner.name = inner.name, names[inner.name]
            sources = {producer(text) for text in inner.input} & names.keys()
            # The nodes that begin the body wait for what the call waits for.
            begins = not is_free and not (sources if scope.in_control_flow else sources - constants)
            inner.input[:] = [_translated(text, tensors, names) for text in inner.input]
            added = [text for text in controls if begins and text not in inner.input]
            inner.input.extend(added)
            if inner.op in ("Enter", "RefEnter"):
                frame_name = inner.attr["frame_name"]
                frame_name.s = f"{call.name}/".encode() + frame_name.s
            inner_scope = _Scope(
                (*scope.functions, callee.name),
                callee.flows or scope.in_control_flow,
                frozenset(added),
                needed,
            )
            placed = self.place(inner, inner_scope)
            if not placed and inner_name in callee.ends and self.effects.has_effects(inner):
                placed = [inner.name]
            with_effects += placed
        # These tensors exist before the control inputs of the call have run.
        early = {*data, *(tensors[f"{name}:output:0"] for name in constants)}
        results = [tensors[text] for text in callee.returned]
        waits = [f"^{name}" for name in with_effects]
        if not results or early.intersection(results):
            waits += controls
        waits = list(dict.fromkeys(waits))
        self._add_stand_in(call, callee, results, waits, set(controls) - needed)
        return with_effects

    def _new_name(self, name: str) -> str:
        name = unused(name, self.used_names)
        self.used_names.add(name)
        return name

    def _gather_arguments(
        self, call: Message, data: list[str], controls: list[str], callee: Callee
    ) -> tuple[list[str], list[str]]:
        """Add a node that depends on every argument of a call, for its body to wait for.

        Returns:
            The arguments, and the control inputs for the nodes that begin the body.
        """
        arguments = []
        for text, (name, number) in zip(data, callee.arguments, strict=True):
            argument = schema.NodeDef(name=self._new_name(f"{call.name}/{name}"), op="Identity")
            argument.input.extend([text, *controls])
            argument.attr["T"].type = number
            self.result.nodes.append(argument)
            arguments.append(argument.name)
        if not arguments:
            return [], controls
        start = schema.NodeDef(name=self._new_name(f"{call.name}/start"), op="NoOp")
        start.input.extend(f"^{name}" for name in arguments)
        self.result.nodes.append(start)
        return arguments, [f"^{start.name}"]

    def _is_shared(self, node: Message, function: str, name: str, tensors: dict[str, str]) -> bool:
        """Return whether an earlier call of the function has added this large constant."""
        content = node.attr["value"].tensor.tensor_content
        if len(content) <= APART_FROM:
            return False
        first = self.shared.setdefault((function, node.name), name)
        if first != name:
            tensors[f"{node.name}:output:0"] = tensors[f"{node.name}:output"] = first
            return True
        value = fold.constant_value(node)
        if value is not None:
            payload = payload_of(value)
            node.ClearField("attr")
            with_payload(node, payload.spec)
            self.payloads[name] = payload
        return False

    def _add_stand_in(
        self,
        call: Message,
        callee: Callee,
        results: list[str],
        waits: list[str],
        order_only: Collection[str],
    ) -> None:
        """Turn a call into a node that passes on the results of the function.

        Args:
            call: the NodeDef; it is changed in place.
            callee: the function.
            results: the tensors that the function returns.
            waits: the control inputs of the new node.
            order_only: those of them that are needed only if they come from nodes with effects.
        """
        types = [number for _, number in callee.results]
        if waits and len(results) > 1:
            results = self._wait_for_each(call, callee, results, waits, order_only)
            waits = []
        for index, result in enumerate(results if not waits else ()):
            self.result.sources[f"{call.name}:{index}"] = result
        shapes = schema.AttrValue()
        if "_output_shapes" in call.attr:
            shapes.CopyFrom(call.attr["_output_shapes"])
        only_first = len(results) > 1 and self.wanted.get(call.name, set()) == {"0"}
        if only_first and call.name not in self.control_sources:
            results, types = results[:1], types[:1]
            del shapes.list.shape[1:]
        call.ClearField("attr")
        call.input[:] = [*results, *waits]
        call.op = ("NoOp", "Identity", "IdentityN")[min(len(results), 2)]
        if len(results) == 1:
            call.attr["T"].type = types[0]
        elif results:
            call.attr["T"].list.type.extend(types)
        if len(shapes.list.shape) == len(results) > 0:
            call.attr["_output_shapes"].CopyFrom(shapes)
        self.result.nodes.append(call)
        self.result.order_only |= {(call.name, text) for text in waits if text in order_only}
        self.result.stand_ins.add(call.name)

    def _wait_for_each(
        self,
        call: Message,
        callee: Callee,
        results: list[str],
        waits: list[str],
        order_only: Collection[str],
    ) -> list[str]:
        """Add an Identity with control inputs for each result, and return their names."""
        names = []
        for result, (name, number) in zip(results, callee.results, strict=True):
            identity = schema.NodeDef(name=self._new_name(f"{call.name}/{name}"), op="Identity")
            identity.input.extend([result, *waits])
            identity.attr["T"].type = number
            self.result.nodes.append(identity)
            self.result.order_only |= {
                (identity.name, text) for text in waits if text in order_only
            }
            names.append(identity.name)
        return names


def _translated(text: str, tensors: Mapping[str, str], names: Mapping[str, str]) -> str:
    """Return the input in the main graph for an input of a node of a function."""
    if text[:1] != "^":
        return tensors[text]
    return "^" + (names.get(text[1:]) or producer(tensors[text[1:]]))


def _stays_a_call(node_or_function: Message) -> bool:
    return any(
        name in node_or_function.attr and node_or_function.attr[name].b for name in STAYS_A_CALL
    )
