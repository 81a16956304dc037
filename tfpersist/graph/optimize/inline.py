"""Calls of functions become the nodes of the functions.

The result computes the same bit by bit, and more runtimes read it: OpenCV knows no functions, and
optimizing looks into the main graph alone. So it is done whenever a model is frozen, which is what
TensorFlow's own freezer does: a Keras model and its export become the same nodes (MobileNetV2:
1,056 and no call, for 264 and a function of 824, in as many bytes). Node `n` of what `call` calls
is `call/n`. The bodies of loops and of undecided branches stay functions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import attrs

from tfpersist.formats import schema
from tfpersist.formats.graphdef import APART_FROM, Graph, with_payload
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Payload, payload_of
from tfpersist.graph.optimize import fold
from tfpersist.graph.structure.calls import Callee
from tfpersist.graph.structure.effects import NOT_PURE, Effects
from tfpersist.graph.structure.functions import unused
from tfpersist.graph.structure.kinds import CONTROL_FLOW, VARIABLES, is_table
from tfpersist.graph.structure.names import producer
from tfpersist.graph.structure.order import ordered

_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
# Whoever wrote these wants the function to be one.
_STAYS = frozenset({"_noinline", "_XlaMustCompile"})
_DEEPEST = 64
# Kilobytes of nodes: functions that call each other twice and twice again fill any memory.
_MOST = 1 << 17


def inline(graph: Graph, wanted: Collection[str] = ()) -> Graph:
    """Put the nodes of functions in the places of their calls.

    What a function does beside computing is still done before anything that reads or waits for its
    call goes on, and after what the call waited for. Functions that call themselves, that are to be
    compiled or that are to stay one do.

    Args:
        graph: the graph, which stays as it is.
        wanted: names of tensors and operations whose names stay.

    Returns:
        The graph; functions that nothing calls any more are still there.

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
    work = _Inliner(library, set(graph.nodes), dict(graph.payloads), _indices(wanted))
    work.waited = {text[1:] for node in graph.proto.node for text in node.input if text[:1] == "^"}
    placed = _placed(graph)
    for node in graph.proto.node:
        copy = schema.NodeDef()
        copy.CopyFrom(node)
        work.place(copy, _Where(placed=any(producer(text) in placed for text in node.input)))
    if not work.inlined:
        return graph
    proto = schema.GraphDef(node=work.finished())
    proto.versions.CopyFrom(graph.proto.versions)
    proto.version = graph.proto.version
    proto.library.CopyFrom(graph.proto.library)
    kept = {node.name for node in proto.node}
    return Graph(proto, {name: each for name, each in work.payloads.items() if name in kept})


def _indices(wanted: Iterable[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name in wanted:
        operation, _, index = name.partition(":")
        found.setdefault(operation, set()).add(index or "0")
    return found


def _placed(graph: Graph) -> set[str]:
    """Name what comes after the loops and branches of TensorFlow 1, or stands in them."""
    found = {node.name for node in graph.proto.node if node.op in CONTROL_FLOW}
    for name in ordered(graph.nodes) if found else ():
        if any(producer(text) in found for text in graph.nodes[name].input):
            found.add(name)
    return found


@attrs.frozen
class _Where:
    """Where a node is put.

    Args:
        chain: names of the functions that it is inside of.
        placed: whether it may be in a loop or branch of TensorFlow 1, so that all has to wait.
        passed: edges that it has from the calls that it is inside of.
        firm: those of them that are for more than order among what only computes.
    """

    chain: tuple[str, ...] = ()
    placed: bool = False
    passed: frozenset[str] = frozenset()
    firm: frozenset[str] = frozenset()


@attrs.define(eq=False)
class _Inliner:
    library: Mapping[str, Message]
    taken: set[str]
    payloads: dict[str, Payload]
    wanted: Mapping[str, set[str]]
    waited: set[str] = attrs.field(factory=set)
    inlined: bool = False
    nodes: list[Message] = attrs.field(factory=list)
    moved: dict[str, str] = attrs.field(factory=dict)
    main: frozenset[str] = attrs.field(init=False)
    remains: set[str] = attrs.field(factory=set)
    loose: set[tuple[str, str]] = attrs.field(factory=set)
    shared: dict[tuple[str, str], str] = attrs.field(factory=dict)
    spent: int = 0
    effects: Effects = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.effects = Effects(self.library)
        self.main = frozenset(self.taken)

    def place(self, node: Message, where: _Where) -> list[str]:
        """Add a node, or the nodes of the function that it calls.

        Args:
            node: a NodeDef of this object's own, whose inputs are tensors of the main graph.
            where: where it stands.

        Returns:
            Names of the nodes that have to run when this one is to run.
        """
        call = self._call(node, where)
        if call is not None:
            return self._expand(node, call, where)
        self.nodes.append(node)
        self.loose |= {(node.name, text) for text in where.passed - where.firm}
        return [node.name] if self.effects.has_effects(node) and node.op not in NOT_PURE else []

    def _call(self, node: Message, where: _Where) -> Callee | None:
        """Find what a node calls, if that can take its place."""
        if node.op in _CALLS:
            name, given = node.attr["f"].func.name, node.attr["f"].func.attr
        else:
            name, given = node.op, node.attr
        function = self.library.get(name)
        if function is None or name in where.chain or len(where.chain) >= _DEEPEST:
            return None
        # What has a value has it by the name that it has in the main graph.
        if any(n.op in VARIABLES or is_table(n.op) for n in function.node_def):
            return None
        if any(_stays(each) for each in (node, function)):
            return None
        callee = Callee.of(function, given, self.library)
        data = [text for text in node.input if text[:1] != "^"]
        if callee is None or len(callee.arguments) != len(data):
            return None
        if self.spent + len(callee) > _MOST:
            return None
        self.spent += len(callee)
        return callee

    def _expand(self, node: Message, callee: Callee, where: _Where) -> list[str]:
        self.inlined = True
        data = [text for text in node.input if text[:1] != "^"]
        controls = [text for text in node.input if text[:1] == "^"]
        function, flows = callee.name, callee.flows or where.placed
        if where.placed:
            data, controls = self._start(node, data, controls, callee)
        tensors = callee.passed(data)
        leaves = self.effects.function_has_effects(function)
        firm = frozenset(controls) if leaves else where.firm
        names = {inner.name: self._free(f"{node.name}/{inner.name}") for inner in callee.nodes}
        constants = {n.name for n in callee.nodes if n.op == "Const" and not n.input}
        for inner in callee.nodes:
            for text, port in callee.outputs(inner):
                tensors[text] = f"{names[inner.name]}:{port}".removesuffix(":0")
        must: list[str] = []
        for inner in callee.nodes:
            free = not where.placed and inner.name in constants
            if free and self._is_shared(inner, function, names[inner.name], tensors):
                continue
            texts = list(inner.input)
            inner_name, inner.name = inner.name, names[inner.name]
            within = {_inner(text) for text in texts} & names.keys()
            root = not free and not (within if where.placed else within - constants)
            inner.input[:] = [_translated(text, tensors, names) for text in texts]
            added = [text for text in controls if root and text not in inner.input]
            inner.input.extend(added)
            if inner.op in ("Enter", "RefEnter"):
                frame = inner.attr["frame_name"]
                frame.s = f"{node.name}/".encode() + frame.s
            inside = _Where((*where.chain, function), flows, frozenset(added), firm)
            runs = self.place(inner, inside)
            if not runs and inner_name in callee.ends and self.effects.has_effects(inner):
                runs = [inner.name]
            must += runs
        plain = {*data, *(tensors[f"{name}:output:0"] for name in constants)}
        sources = [tensors[text] for text in callee.returned]
        waits = [f"^{name}" for name in must]
        if not sources or plain & {*sources}:
            waits += controls
        self._finish(node, callee, sources, list(dict.fromkeys(waits)), {*controls} - firm)
        return must

    def _free(self, name: str) -> str:
        name = unused(name, self.taken)
        self.taken.add(name)
        return name

    def _start(
        self, node: Message, data: list[str], controls: list[str], callee: Callee
    ) -> tuple[list[str], list[str]]:
        """Let all of a body wait for all that is passed to it: where one is dead, all is."""
        passed = []
        for text, (name, number) in zip(data, callee.arguments, strict=True):
            here = schema.NodeDef(name=self._free(f"{node.name}/{name}"), op="Identity")
            here.input.extend([text, *controls])
            here.attr["T"].type = number
            self.nodes.append(here)
            passed.append(here.name)
        if not passed:
            return [], controls
        start = schema.NodeDef(name=self._free(f"{node.name}/start"), op="NoOp")
        start.input.extend(f"^{name}" for name in passed)
        self.nodes.append(start)
        return passed, [f"^{start.name}"]

    def _is_shared(self, node: Message, function: str, name: str, tensors: dict[str, str]) -> bool:
        """Let a large constant be there once, however often its function is called."""
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

    def _finish(
        self,
        node: Message,
        callee: Callee,
        sources: list[str],
        waits: list[str],
        loose: Collection[str],
    ) -> None:
        """Leave a node under the name of the call, for those who wait for it or want it."""
        types = [number for _, number in callee.results]
        if waits and len(sources) > 1:
            for index, (name, number) in enumerate(callee.results):
                each = schema.NodeDef(name=self._free(f"{node.name}/{name}"), op="Identity")
                each.input.extend([sources[index], *waits])
                each.attr["T"].type = number
                self.nodes.append(each)
                self.loose |= {(each.name, text) for text in waits if text in loose}
                sources[index] = each.name
            waits = []
        for index, source in enumerate(sources if not waits else ()):
            self.moved[f"{node.name}:{index}"] = source
        shapes = schema.AttrValue()
        if "_output_shapes" in node.attr:
            shapes.CopyFrom(node.attr["_output_shapes"])
        first = len(sources) > 1 and self.wanted.get(node.name, set()) == {"0"}
        if first and node.name not in self.waited:
            sources, types = sources[:1], types[:1]
            del shapes.list.shape[1:]
        node.ClearField("attr")
        node.ClearField("input")
        node.input.extend([*sources, *waits])
        node.op = ("NoOp", "Identity", "IdentityN")[min(len(sources), 2)]
        if len(sources) == 1:
            node.attr["T"].type = types[0]
        elif sources:
            node.attr["T"].list.type.extend(types)
        if len(shapes.list.shape) == len(sources) > 0:
            node.attr["_output_shapes"].CopyFrom(shapes)
        self.nodes.append(node)
        self.loose |= {(node.name, text) for text in waits if text in loose}
        self.remains.add(node.name)

    def finished(self) -> list[Message]:
        """Give the nodes under the names of what they read, without needless ones and waits."""
        for node in self.nodes:
            node.input[:] = [self._read(text) for text in node.input]
        nodes = {node.name: node for node in self.nodes}
        quiet: dict[str, bool] = {}
        for name in ordered(nodes):
            node = nodes[name]
            still = node.op not in CONTROL_FLOW and not self.effects.has_effects(node)
            quiet[name] = still and all(quiet.get(producer(text), False) for text in node.input)
        for name, text in self.loose:
            if quiet.get(text[1:]):
                nodes[name].input.remove(text)
        read = {producer(text) for node in self.nodes for text in node.input if text[:1] != "^"}
        # An edge of a damaged graph may lead nowhere.
        branching = {name for name, node in nodes.items() if node.op in CONTROL_FLOW}
        gone = {
            name
            for name in self.remains - read - self.wanted.keys()
            if branching.isdisjoint(map(producer, nodes[name].input))
        }
        starts = {n for n in nodes if n in self.main or n in self.wanted or not quiet[n]} - gone
        used = _used(starts, nodes)
        behind = {name: _behind(nodes[name], used, quiet) for name in gone}
        for node in self.nodes:
            waits = [text for text in node.input if text[:1] == "^"]
            if any(text[1:] in gone for text in waits):
                data = [text for text in node.input if text[:1] != "^"]
                node.input[:] = [*data, *_followed(waits, behind)]
        return [node for node in self.nodes if node.name not in gone]

    def _read(self, text: str) -> str:
        if text.startswith("^"):
            return text
        while (full := text if ":" in text else f"{text}:0") in self.moved:
            text = self.moved[full]
        return text


def _translated(text: str, tensors: Mapping[str, str], names: Mapping[str, str]) -> str:
    """Name in the main graph what a node of a function reads or waits for."""
    if text[:1] != "^":
        return tensors[text]
    return "^" + (names.get(text[1:]) or producer(tensors[text[1:]]))


def _used(starts: Iterable[str], nodes: Mapping[str, Message]) -> set[str]:
    """Name what some nodes compute with, themselves included."""
    pending = list(starts)
    found = set(pending)
    while pending:
        names = {producer(t) for t in nodes[pending.pop()].input if t[:1] != "^"}
        pending += (fresh := (names & nodes.keys()) - found)
        found |= fresh
    return found


def _behind(node: Message, used: Collection[str], quiet: Mapping[str, bool]) -> list[str]:
    """Say what to wait for where a call was waited for: what it did, and gave to others."""
    idle = {text for text in node.input if text[:1] != "^" and quiet.get(producer(text), False)}
    names = [producer(text) for text in node.input if text not in idle or producer(text) in used]
    return [f"^{name}" for name in names]


def _followed(waits: Iterable[str], behind: Mapping[str, Iterable[str]]) -> list[str]:
    """Wait for what is behind names that are gone, once for each."""
    pending = list(waits)
    met: dict[str, None] = {}
    for text in pending:
        if text not in met:
            met[text] = None
            pending += behind.get(text[1:], ())
    return [text for text in met if text[1:] not in behind]


def _inner(text: str) -> str:
    return text.removeprefix("^").partition(":")[0]


def _stays(holder: Message) -> bool:
    """Whether a function, or a call, is to stay one."""
    return any(name in holder.attr and holder.attr[name].b for name in _STAYS)
