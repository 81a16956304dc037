"""Follow handles of variables through a graph and its functions, and rewrite the nodes they reach.

A handle or reference can pass through Identity, Switch, loops and function calls before it is read.
For each body (the main graph or a function) there are two steps: find the tensors that are handles,
then rewrite each node that gets one. A function is copied for each combination of data types that
its arguments get in place of handles.
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
from tfpersist.graph.structure.names import producer


@attrs.define(eq=False)
class Specializer:
    """Rewrites bodies for constants in place of variables.

    Args:
        library: FunctionDefs by name; copies of functions are added to it.
        variables: {name of a variable's node in the main graph: its value}.
    """

    library: dict[str, Message]
    variables: Mapping[str, HandleValue]
    _results: dict[tuple[str, tuple[int, ...]], HandleValues] = attrs.field(factory=dict)
    _copies: dict[tuple[str, tuple[int, ...]], str] = attrs.field(factory=dict)

    def rewrite_main(self, nodes: dict[str, Message]) -> list[Message]:
        """Rewrite the main graph.

        Args:
            nodes: all NodeDefs by name, variables included; they are changed in place.

        Returns:
            The nodes, and the new nodes that the rewrites need.

        Raises:
            FreezeError: a node uses a variable in a way that a constant does not allow.
        """
        body = Body(nodes, self.library)
        handles = {f"{name}:0": value for name, value in self.variables.items()}
        self._rewrite(body, self._find_handles(body, handles))
        return body.finished()

    def _find_handles(self, body: Body, handles: dict[str, HandleValue]) -> dict[str, HandleValue]:
        """Find all tensors of a body that are handles or references.

        Args:
            body: the body.
            handles: {tensor: value} of the handles that are known; the others are added.
        """
        consumers = body.consumers()
        pending = deque(dict.fromkeys(name for t in handles for name in consumers.get(t, ())))
        while pending:
            node = body.nodes[pending.popleft()]
            values = self._output_values(body, node, _input_values(body, node, handles))
            for tensor, value in zip(body.outputs(node), values, strict=False):
                if value is not None:
                    joined = value.joined(handles.get(tensor), body.where(node))
                    if joined != handles.get(tensor):
                        handles[tensor] = joined
                        pending.extend(consumers.get(tensor, ()))
        return handles

    def _output_values(
        self, body: Body, node: Message, inputs: HandleValues
    ) -> Sequence[HandleValue | None]:
        """Return the value of each output of a node that is a handle, given those of its inputs."""
        if not any(inputs):
            return ()
        call = call_of(node, self.library)
        if call is not None:
            return self._call_results(body, node, call, call.arguments(inputs))
        if node.op == "IdentityN":
            return inputs
        passes = node.op in rewrites.VALUE_OPS or (
            node.op in rewrites.PASSES_HANDLES
            and any(value is not None and not value.reference for value in inputs)
        )
        if not passes:
            return ()
        joined = None
        for value in inputs:
            joined = joined if value is None else value.joined(joined, body.where(node))
        return (joined, joined) if node.op.endswith("Switch") else (joined,)

    def _call_results(
        self, body: Body, node: Message, call: Call, arguments: HandleValues
    ) -> HandleValues:
        if call.loops:
            return arguments
        results = [self._function_results(name, arguments) for name in call.targets]
        for other in results[1:]:
            if _dtypes(other) != _dtypes(results[0]):
                raise FreezeError(
                    "one branch returns a variable and another branch does not",
                    where=body.where(node),
                    advice="Return the variable's value from both branches.",
                )
        return results[0] if results else ()

    def _function_results(self, name: str, arguments: HandleValues) -> HandleValues:
        """Return the value of each result of a function that is a handle."""
        key = name, _dtypes(arguments)
        if key not in self._results:
            # Assume that a function returns no handle from a call of itself.
            self._results[key] = ()
            body, handles = self._open(name, arguments)
            handles = self._find_handles(body, handles)
            function = self.library[name]
            self._results[key] = tuple(
                handles.get(function.ret.get(output.name, ""))
                for output in function.signature.output_arg
            )
        return self._results[key]

    def _open(self, name: str, arguments: HandleValues) -> tuple[Body, dict[str, HandleValue]]:
        """Return a copy of a function's body, and the values of the arguments that are handles."""
        function = self.library[name]
        signature = function.signature
        if any(arg.number_attr or arg.type_list_attr for arg in signature.input_arg):
            raise FreezeError(
                "a variable is passed to a function with a variable number of arguments",
                where=f"function {name}",
                found=", ".join(value.variables[0] for value in arguments if value),
                advice="Pass the variable's value instead.",
            )
        nodes = {}
        for node in function.node_def:
            nodes[node.name] = schema.NodeDef()
            nodes[node.name].CopyFrom(node)
        names = tuple(arg.name for arg in signature.input_arg)
        handles = {
            argument: value
            for argument, value in zip(names, arguments, strict=False)
            if value is not None
        }
        return Body(nodes, self.library, name, names), handles

    def _specialize(self, name: str, arguments: HandleValues) -> str:
        """Return the name of a function that takes values where function `name` takes handles."""
        if not any(arguments):
            return name
        key = name, _dtypes(arguments)
        if key in self._copies:
            return self._copies[key]
        results = self._function_results(name, arguments)
        copy = schema.FunctionDef()
        copy.CopyFrom(self.library[name])
        copy.signature.name = functions.unused(f"{name}_frozen", self.library)
        self._copies[key] = copy.signature.name
        self.library[copy.signature.name] = copy
        for index in _retype(copy.signature.input_arg, arguments):
            copy.arg_attr.pop(index, None)
            copy.resource_arg_unique_id.pop(index, None)
        _retype(copy.signature.output_arg, results)
        body, handles = self._open(name, arguments)
        self._rewrite(body, self._find_handles(body, handles))
        copy.ClearField("node_def")
        copy.node_def.extend(body.finished())
        for output, tensor in list(copy.ret.items()):
            copy.ret[output] = body.renamed.get(tensor, tensor)
        return self._copies[key]

    def _rewrite(self, body: Body, handles: dict[str, HandleValue]) -> None:
        """Rewrite the nodes of a body that get handles."""
        consumers = body.consumers()
        reached = {name for tensor in handles for name in consumers.get(tensor, ())}
        for name in [name for name in body.nodes if name in reached]:
            node = body.nodes[name]
            inputs = _input_values(body, node, handles)
            if any(inputs):
                self._rewrite_node(body, node, inputs)

    def _rewrite_node(self, body: Body, node: Message, inputs: HandleValues) -> None:
        first = next(value for value in inputs if value is not None)
        call = call_of(node, self.library)
        if call is not None:
            self._rewrite_call(node, call, call.arguments(inputs))
        elif node.op == "IdentityN":
            for index, value in enumerate(inputs):
                if value is not None:
                    node.attr["T"].list.type[index] = value.dtype
        elif node.op in rewrites.VALUE_OPS:
            node.op = rewrites.VALUE_OPS[node.op]
        elif node.op == "RefSelect":
            rewrites.REF_SELECT(body, node, first)
        elif node.op in rewrites.REWRITES and inputs[0] is not None:
            if self._asks_if_initialized(body, node):
                rewrites.set_true(node)
            else:
                rewrites.REWRITES[node.op](body, node, first)
        elif not all(value is None or value.reference for value in inputs):
            if node.op not in rewrites.PASSES_HANDLES or (node.op == "Merge" and None in inputs):
                raise _refusal(body, node, first)
            node.attr["T"].type = first.dtype
        elif self._writes_reference(node, inputs):
            raise _refusal(body, node, first)

    def _asks_if_initialized(self, body: Body, node: Message) -> bool:
        """Return whether a node of the main graph asks if one of the variables is initialized."""
        if node.op not in ("VarIsInitializedOp", "IsVariableInitialized"):
            return False
        source = producer(node.input[0])
        return body.function is None and source in body.nodes and source in self.variables

    def _writes_reference(self, node: Message, inputs: HandleValues) -> bool:
        op = ops.definition(node.op, self.library)
        if op is None:
            return False
        is_ref = [arg.is_ref for arg in op.input_arg for _ in ops.ports(node, [arg], op)]
        return any(ref and value is not None for ref, value in zip(is_ref, inputs, strict=False))

    def _rewrite_call(self, node: Message, call: Call, arguments: HandleValues) -> None:
        if call.loops:
            results = arguments
            for name in call.targets[1:]:
                if _dtypes(self._function_results(name, arguments)) != _dtypes(arguments):
                    raise FreezeError(
                        "the body of this loop returns a variable at another position than it"
                        " takes it",
                        where=f"node {node.name} ({node.op})",
                        advice="Read the variable inside the loop instead of passing it around.",
                    )
        else:
            results = self._function_results(call.targets[0], arguments)
        call.redirect(node, {name: self._specialize(name, arguments) for name in call.targets})
        rewrites.retype_call(node, call, arguments, results)


def _retype(args: Sequence[Message], values: HandleValues) -> list[int]:
    """Set the data types of arguments or results to those of values; return which changed."""
    changed = []
    for index, (arg, value) in enumerate(zip(args, values, strict=False)):
        if value is not None:
            arg.type = value.dtype
            arg.ClearField("type_attr")
            arg.ClearField("handle_data")
            changed.append(index)
    return changed


def _input_values(body: Body, node: Message, handles: Mapping[str, HandleValue]) -> HandleValues:
    return tuple(
        handles.get(body.full_name(text)) for text in node.input if not text.startswith("^")
    )


def _dtypes(values: HandleValues) -> tuple[int, ...]:
    return tuple(0 if value is None else value.dtype for value in values)


def _refusal(body: Body, node: Message, value: HandleValue) -> FreezeError:
    names = ", ".join(repr(name) for name in value.variables)
    return FreezeError(
        f"this node needs {names} as a variable, not as a constant",
        where=body.where(node),
        advice="Freeze an output that does not depend on this node: build the model for inference,"
        " without assignments. Or bake() the tensor that switches training on. Or keep the variable"
        f" with keep_variables({names})",
    )
