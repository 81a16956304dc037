"""Follow variables through a graph and its functions, and rewrite whatever used them.

A handle or reference can pass through Identity, Switch, loops and function calls before it is read.
First every body is searched for where handles flow; then each node that one reaches is rewritten.
A function is cloned for each combination of argument types that handles give it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import attrs

from tfpersist.errors import FreezeError
from tfpersist.formats import schema
from tfpersist.formats.schema import Message
from tfpersist.graph.constants import rewrites
from tfpersist.graph.constants.rewrites import HandleValue, HandleValues
from tfpersist.graph.structure import functions, ops
from tfpersist.graph.structure.bodies import Body
from tfpersist.graph.structure.calls import Call, call_of


@attrs.define(eq=False)
class Specializer:
    """Rewrites bodies; keeps the clones of functions that this needs.

    Args:
        library: FunctionDefs by name; clones are added to it.
        variables: names of the main graph's nodes that become constants.
    """

    library: dict[str, Message]
    variables: Mapping[str, HandleValue]
    _returns: dict[tuple[str, tuple[int, ...]], HandleValues] = attrs.field(factory=dict)
    _clones: dict[tuple[str, tuple[int, ...]], str] = attrs.field(factory=dict)

    def rewrite_main(self, nodes: dict[str, Message]) -> list[Message]:
        """Rewrite the main graph.

        Args:
            nodes: NodeDefs of the caller's own by name, variables included; they are changed.

        Returns:
            The nodes, with those that had to be added.

        Raises:
            FreezeError: something uses a variable in a way that no constant allows.
        """
        body = Body(nodes, self.library)
        held = {f"{name}:0": value for name, value in self.variables.items()}
        self._rewrite(body, self._flow(body, held))
        return body.finished()

    def _flow(self, body: Body, held: dict[str, HandleValue]) -> dict[str, HandleValue]:
        """Find every tensor of a body where a handle or reference flows."""
        consumers = body.consumers()
        pending = deque(dict.fromkeys(name for t in held for name in consumers.get(t, ())))
        while pending:
            node = body.nodes[pending.popleft()]
            flows = self._through(body, node, _inputs(body, node, held))
            for tensor, flow in zip(body.outputs(node), flows, strict=False):
                if flow is not None:
                    joined = flow.joined(held.get(tensor), body.place(node))
                    if joined != held.get(tensor):
                        held[tensor] = joined
                        pending.extend(consumers.get(tensor, ()))
        return held

    def _through(
        self, body: Body, node: Message, inputs: HandleValues
    ) -> Sequence[HandleValue | None]:
        """Tell what flows out of a node, given what flows in."""
        if not any(inputs):
            return ()
        call = call_of(node, self.library)
        if call is not None:
            return self._out_of(body, node, call, call.arguments(inputs))
        if node.op == "IdentityN":
            return inputs
        passes = node.op in rewrites.TWINS or (
            node.op in rewrites.PASSES and any(h is not None and not h.reference for h in inputs)
        )
        if not passes:
            return ()
        flow = None
        for one in inputs:
            flow = flow if one is None else one.joined(flow, body.place(node))
        return (flow, flow) if node.op.endswith("Switch") else (flow,)

    def _out_of(
        self, body: Body, node: Message, call: Call, arguments: HandleValues
    ) -> HandleValues:
        if call.loops:
            return arguments
        found = [self._returned(name, arguments) for name in call.targets]
        for other in found[1:]:
            if [h and h.dtype for h in other] != [h and h.dtype for h in found[0]]:
                raise FreezeError(
                    "one branch returns a variable where another does not",
                    where=body.place(node),
                    advice="Return the variable's value from both branches.",
                )
        return found[0] if found else ()

    def _returned(self, name: str, arguments: HandleValues) -> HandleValues:
        key = name, _types(arguments)
        if key not in self._returns:
            # A function that calls itself is taken to return no handle.
            self._returns[key] = ()
            body, held = self._enter(name, arguments)
            held = self._flow(body, held)
            function = self.library[name]
            self._returns[key] = tuple(
                held.get(function.ret.get(out.name, "")) for out in function.signature.output_arg
            )
        return self._returns[key]

    def _enter(self, name: str, arguments: HandleValues) -> tuple[Body, dict[str, HandleValue]]:
        function = self.library[name]
        signature = function.signature
        if any(arg.number_attr or arg.type_list_attr for arg in signature.input_arg):
            raise FreezeError(
                "a variable is passed to a function of variable arity",
                where=f"function {name}",
                found=", ".join(h.variables[0] for h in arguments if h),
                advice="Pass the variable's value instead.",
            )
        nodes = {}
        for node in function.node_def:
            nodes[node.name] = schema.NodeDef()
            nodes[node.name].CopyFrom(node)
        names = tuple(arg.name for arg in signature.input_arg)
        held = {n: h for n, h in zip(names, arguments, strict=False) if h is not None}
        return Body(nodes, self.library, name, names), held

    def _clone(self, name: str, arguments: HandleValues) -> str:
        """Give the name of a function that takes values where `name` took handles."""
        if not any(arguments):
            return name
        key = name, _types(arguments)
        if key in self._clones:
            return self._clones[key]
        returned = self._returned(name, arguments)
        clone = schema.FunctionDef()
        clone.CopyFrom(self.library[name])
        clone.signature.name = functions.unused(f"{name}_frozen", self.library)
        self._clones[key] = clone.signature.name
        self.library[clone.signature.name] = clone
        for args, helds in (
            (clone.signature.input_arg, arguments),
            (clone.signature.output_arg, returned),
        ):
            for index, (arg, one) in enumerate(zip(args, helds, strict=False)):
                if one is not None:
                    arg.type = one.dtype
                    arg.ClearField("type_attr")
                    arg.ClearField("handle_data")
                    if args is clone.signature.input_arg:
                        clone.arg_attr.pop(index, None)
                        clone.resource_arg_unique_id.pop(index, None)
        body, held = self._enter(name, arguments)
        self._rewrite(body, self._flow(body, held))
        clone.ClearField("node_def")
        clone.node_def.extend(body.finished())
        for output, tensor in list(clone.ret.items()):
            clone.ret[output] = body.renamed.get(tensor, tensor)
        return self._clones[key]

    def _rewrite(self, body: Body, held: dict[str, HandleValue]) -> None:
        consumers = body.consumers()
        touched = {name for tensor in held for name in consumers.get(tensor, ())}
        for name in [name for name in body.nodes if name in touched]:
            node = body.nodes[name]
            inputs = _inputs(body, node, held)
            if any(inputs):
                self._replace(body, node, inputs)

    def _replace(self, body: Body, node: Message, inputs: HandleValues) -> None:
        first = next(one for one in inputs if one is not None)
        call = call_of(node, self.library)
        if call is not None:
            self._redirect(node, call, call.arguments(inputs))
        elif node.op == "IdentityN":
            for index, one in enumerate(inputs):
                if one is not None:
                    node.attr["T"].list.type[index] = one.dtype
        elif node.op in rewrites.TWINS:
            node.op = rewrites.TWINS[node.op]
        elif node.op == "RefSelect":
            rewrites.REF_SELECT(body, node, first)
        elif node.op in rewrites.REWRITES and inputs[0] is not None:
            source = body.nodes.get(node.input[0].partition(":")[0])
            if (
                body.function is None
                and source is not None
                and source.name in self.variables
                and node.op in ("VarIsInitializedOp", "IsVariableInitialized")
            ):
                rewrites.constant_true(node)
            else:
                rewrites.REWRITES[node.op](body, node, first)
        elif not all(one is None or one.reference for one in inputs):
            if node.op not in rewrites.PASSES or (node.op == "Merge" and None in inputs):
                raise _refused(body, node, first)
            node.attr["T"].type = first.dtype
        elif self._writes(node, inputs):
            raise _refused(body, node, first)

    def _writes(self, node: Message, inputs: HandleValues) -> bool:
        op = ops.definition(node.op, self.library)
        if op is None:
            return False
        flags = [arg.is_ref for arg in op.input_arg for _ in ops.ports(node, [arg], op)]
        return any(ref and one is not None for ref, one in zip(flags, inputs, strict=False))

    def _redirect(self, node: Message, call: Call, arguments: HandleValues) -> None:
        returned = arguments if call.loops else self._returned(call.targets[0], arguments)
        if call.loops:
            for name in call.targets[1:]:
                found = self._returned(name, arguments)
                if _types(found) != _types(arguments):
                    raise FreezeError(
                        "a loop changes which of its variables is a handle",
                        where=f"node {node.name} ({node.op})",
                        advice="Read the variable inside the loop instead of passing it around.",
                    )
        call.redirect(node, {name: self._clone(name, arguments) for name in call.targets})
        rewrites.retype_call(node, call, arguments, returned)


def _inputs(body: Body, node: Message, held: Mapping[str, HandleValue]) -> HandleValues:
    return tuple(held.get(body.tensor(text)) for text in node.input if not text.startswith("^"))


def _types(helds: HandleValues) -> tuple[int, ...]:
    return tuple(0 if one is None else one.dtype for one in helds)


def _refused(body: Body, node: Message, held: HandleValue) -> FreezeError:
    names = ", ".join(repr(name) for name in held.variables)
    return FreezeError(
        f"it needs {names} as a variable, not as a constant",
        where=body.place(node),
        advice="Freeze an output that does not depend on it: build the model for inference, without"
        " assignments on the way, or bake() the tensor that asks for them, or keep the variable"
        f" with keep_variables({names})",
    )
