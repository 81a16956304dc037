"""What an op becomes when the variable that it used has become a constant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import attrs

from tfpersist.errors import FreezeError
from tfpersist.formats import dtypes
from tfpersist.formats.schema import Message
from tfpersist.graph.structure.bodies import Body
from tfpersist.graph.structure.calls import Call

_INT32, _BOOL = dtypes.BY_NAME["int32"].number, dtypes.BY_NAME["bool"].number


@attrs.frozen
class HandleValue:
    """The value that a node gets in place of a variable's handle or reference.

    Args:
        dtype: data type number of the value.
        shape: its shape; None where several variables of different shapes may flow here.
        variables: names of the variables whose value it may be.
        reference: whether it was a reference rather than a resource handle.
    """

    dtype: int
    shape: tuple[int, ...] | None
    variables: tuple[str, ...]
    reference: bool = False

    def joined(self, other: HandleValue | None, where: str) -> HandleValue:
        """Give what flows where either of two flows.

        Raises:
            FreezeError: they have different types.
        """
        if other is None or other == self:
            return self
        if other.dtype != self.dtype:
            raise FreezeError(
                "variables of different types meet here",
                where=where,
                found=f"{', '.join(self.variables)} and {', '.join(other.variables)}",
                advice="Freeze an output that does not choose between these variables.",
            )
        return attrs.evolve(
            self,
            shape=self.shape if self.shape == other.shape else None,
            variables=tuple(sorted({*self.variables, *other.variables})),
        )


HandleValues = tuple[HandleValue | None, ...]
Rewrite = Callable[[Body, Message, HandleValue], None]

# The attr that holds the type of what flows through, by op; None where it lists types.
PASSES: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(
        ("Identity", "Enter", "Exit", "NextIteration", "Switch", "Merge", "StopGradient"), "T"
    )
)
TWINS: Mapping[str, str] = MappingProxyType(
    {
        f"Ref{twin}": twin
        for twin in ("Identity", "Enter", "Exit", "NextIteration", "Switch", "Merge")
    }
)


def change_op(node: Message, op: str, keep: tuple[str, ...] = (), **renames: str) -> None:
    """Change the op of a node.

    Args:
        node: the NodeDef to change.
        op: its new op.
        keep: attrs that stay; all others go.
        renames: attrs that stay under a new name, `new="old"`.
    """
    attributes = {name: node.attr[name] for name in keep if name in node.attr}
    attributes |= {new: node.attr[old] for new, old in renames.items() if old in node.attr}
    copies = {
        name: type(value).FromString(value.SerializeToString())
        for name, value in attributes.items()
    }
    node.op = op
    node.ClearField("attr")
    for name, value in copies.items():
        node.attr[name].CopyFrom(value)


def retype_call(node: Message, call: Call, arguments: HandleValues, returned: HandleValues) -> None:
    """Write into the attrs of a call that it passes and returns values in place of handles.

    Args:
        node: the NodeDef of the call; it is changed.
        call: how it calls functions.
        arguments: what flows into the functions; None for what is no variable.
        returned: what flows out of them, likewise.
    """
    passed = arguments[call.captured :]
    for attr, values in {call.types: passed, call.returns: returned}.items():
        if attr is not None and attr in node.attr:
            types = node.attr[attr].list.type
            for index, value in enumerate(values[: len(types)]):
                if value is not None:
                    types[index] = value.dtype
    if "output_shapes" in node.attr:
        for shape, value in zip(node.attr["output_shapes"].list.shape, returned, strict=False):
            if value is not None:
                shape.Clear()
                shape.unknown_rank = value.shape is None
                for extent in value.shape or ():
                    shape.dim.add(size=extent)


def _read(body: Body, node: Message, held: HandleValue) -> None:
    _rename_output(body, node, "value", "output")
    change_op(node, "Identity")
    node.attr["T"].type = held.dtype
    if held.shape is not None:
        # What is read is of this shape, which an Identity does not say, should it be an output.
        shape = node.attr["_output_shapes"].list.shape.add()
        shape.SetInParent()
        for extent in held.shape:
            shape.dim.add(size=-1 if extent is None else extent)


def _gather(body: Body, node: Message, held: HandleValue) -> None:
    batch_dims = node.attr["batch_dims"].i if "batch_dims" in node.attr else 0
    # In a frame of a v1 loop a constant must be told in which frame it is.
    frames = any(other.op == "Enter" for other in body.nodes.values())
    indices = node.input[1].removeprefix("^").partition(":")[0]
    control = [f"^{indices}"] if frames else []
    axis = body.add(node.name, f"{node.name}/axis", "Const", control)
    axis.attr["dtype"].type = _INT32
    axis.attr["value"].tensor.dtype = _INT32
    axis.attr["value"].tensor.tensor_shape.SetInParent()
    axis.attr["value"].tensor.int_val.append(batch_dims)
    change_op(node, "GatherV2", ("batch_dims", "Tindices"))
    node.attr["Tparams"].type = held.dtype
    node.attr["Taxis"].type = _INT32
    inputs = list(node.input)
    inputs.insert(2, body.first(axis.name, "output"))
    node.ClearField("input")
    node.input.extend(inputs)


def _gather_nd(body: Body, node: Message, held: HandleValue) -> None:
    del body
    change_op(node, "GatherNd", ("Tindices",))
    node.attr["Tparams"].type = held.dtype


def _shape(body: Body, node: Message, held: HandleValue) -> None:
    del body
    change_op(node, "Shape", ("out_type",))
    node.attr["T"].type = held.dtype


def _true(body: Body, node: Message, held: HandleValue) -> None:
    # rank == rank is true, and is dead or in another loop frame where the variable was.
    rank = body.add(node.name, f"{node.name}/rank", "Rank", [node.input[0]])
    rank.attr["T"].type = held.dtype
    _rename_output(body, node, "is_initialized", "z")
    change_op(node, "Equal")
    node.attr["T"].type = _INT32
    ports = [body.first(rank.name, "output")] * 2
    inputs = [*ports, *node.input[1:]]
    node.ClearField("input")
    node.input.extend(inputs)


def constant_true(node: Message) -> None:
    """Make a node the constant True; its control inputs stay."""
    controls = [text for text in node.input if text.startswith("^")]
    change_op(node, "Const")
    node.ClearField("input")
    node.input.extend(controls)
    node.attr["dtype"].type = _BOOL
    node.attr["value"].tensor.dtype = _BOOL
    node.attr["value"].tensor.tensor_shape.SetInParent()
    node.attr["value"].tensor.bool_val.append(True)


def _nothing(body: Body, node: Message, held: HandleValue) -> None:
    del body, held
    change_op(node, "NoOp")
    controls = [text for text in node.input if text.startswith("^")]
    node.ClearField("input")
    node.input.extend(controls)


def _select(body: Body, node: Message, held: HandleValue) -> None:
    if held.shape is None:
        raise FreezeError(
            "it chooses between variables of different shapes",
            where=body.place(node),
            found=", ".join(held.variables),
            advice="Freeze an output behind one of them.",
        )
    choices = list(node.input[1:])
    pack = body.add(node.name, f"{node.name}/choices", "Pack", choices)
    pack.attr["T"].type = held.dtype
    pack.attr["N"].i = len([text for text in choices if not text.startswith("^")])
    change_op(node, "ResourceGather")
    index = node.input[0]
    node.ClearField("input")
    node.input.extend([body.first(pack.name, "output"), index])
    node.attr["Tindices"].type = _INT32
    _gather(body, node, held)


def _rename_output(body: Body, node: Message, old: str, new: str) -> None:
    if body.function is not None:
        body.renamed[f"{node.name}:{old}:0"] = f"{node.name}:{new}:0"


# What becomes of a node whose first input is a handle, or a reference.
REWRITES: Mapping[str, Rewrite] = MappingProxyType(
    {
        "ReadVariableOp": _read,
        "ResourceGather": _gather,
        "ResourceGatherNd": _gather_nd,
        "VariableShape": _shape,
        "VarIsInitializedOp": _true,
        "IsVariableInitialized": _true,
        "DisableCopyOnRead": _nothing,
    }
)
REF_SELECT: Rewrite = _select
