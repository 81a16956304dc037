"""Rewrite the nodes that use a variable, for the constant that replaces it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import attrs

from tfpersist.errors import FreezeError
from tfpersist.formats import dtypes
from tfpersist.formats.schema import Message
from tfpersist.graph.constants.nodes import change_op
from tfpersist.graph.structure.bodies import Body
from tfpersist.graph.structure.calls import Call
from tfpersist.graph.structure.names import producer

_INT32, _BOOL = dtypes.BY_NAME["int32"].number, dtypes.BY_NAME["bool"].number


@attrs.frozen
class HandleValue:
    """The value that a node gets in place of a variable's handle or reference.

    Args:
        dtype: data type number of the value.
        shape: its shape; None where variables of different shapes can come here.
        variables: names of the variables whose value it can be.
        reference: whether the node got a reference; otherwise it got a resource handle.
    """

    dtype: int
    shape: tuple[int, ...] | None
    variables: tuple[str, ...]
    reference: bool = False

    def joined(self, other: HandleValue | None, where: str) -> HandleValue:
        """Return the value of a node that gets this value or another one.

        Args:
            other: the other value; None for this value alone.
            where: the node, for the error.

        Raises:
            FreezeError: they have different data types.
        """
        if other is None or other == self:
            return self
        if other.dtype != self.dtype:
            raise FreezeError(
                "this node can get variables of different data types",
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

# These ops pass a resource handle on; their attr T is its type.
PASSES_HANDLES = frozenset(
    {"Identity", "Enter", "Exit", "NextIteration", "Switch", "Merge", "StopGradient"}
)
# {op that passes a reference on: the op that passes a value on}
VALUE_OPS: Mapping[str, str] = MappingProxyType(
    {f"Ref{op}": op for op in ("Identity", "Enter", "Exit", "NextIteration", "Switch", "Merge")}
)


def retype_call(node: Message, call: Call, arguments: HandleValues, returned: HandleValues) -> None:
    """Write into the attrs of a call that it passes and returns values in place of handles.

    Args:
        node: the NodeDef of the call; it is changed in place.
        call: how it calls functions.
        arguments: the value of each argument of the functions; None where it is no variable.
        returned: the value of each result, likewise.
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


def _rewrite_read(body: Body, node: Message, value: HandleValue) -> None:
    _rename_output(body, node, "value", "output")
    change_op(node, "Identity")
    node.attr["T"].type = value.dtype
    if value.shape is not None:
        # An Identity does not declare a shape; where it is an output, the user can then see it.
        shape = node.attr["_output_shapes"].list.shape.add()
        shape.SetInParent()
        for extent in value.shape:
            shape.dim.add(size=extent)


def _rewrite_gather(body: Body, node: Message, value: HandleValue) -> None:
    batch_dims = node.attr["batch_dims"].i if "batch_dims" in node.attr else 0
    # In a loop of TensorFlow 1, a control input puts the new constant into the frame of the loop.
    has_frames = any(other.op == "Enter" for other in body.nodes.values())
    controls = [f"^{producer(node.input[1])}"] if has_frames else []
    axis = body.add(node.name, f"{node.name}/axis", "Const", controls)
    axis.attr["dtype"].type = _INT32
    axis.attr["value"].tensor.dtype = _INT32
    axis.attr["value"].tensor.tensor_shape.SetInParent()
    axis.attr["value"].tensor.int_val.append(batch_dims)
    change_op(node, "GatherV2", ("batch_dims", "Tindices"))
    node.attr["Tparams"].type = value.dtype
    node.attr["Taxis"].type = _INT32
    node.input.insert(2, body.first_output(axis.name, "output"))


def _rewrite_gather_nd(body: Body, node: Message, value: HandleValue) -> None:
    del body
    change_op(node, "GatherNd", ("Tindices",))
    node.attr["Tparams"].type = value.dtype


def _rewrite_shape(body: Body, node: Message, value: HandleValue) -> None:
    del body
    change_op(node, "Shape", ("out_type",))
    node.attr["T"].type = value.dtype


def _rewrite_is_initialized(body: Body, node: Message, value: HandleValue) -> None:
    """Turn a node into `rank == rank`.

    This is true; and like the node before, it depends on the variable, so it is in the same loop
    or branch.
    """
    rank = body.add(node.name, f"{node.name}/rank", "Rank", [node.input[0]])
    rank.attr["T"].type = value.dtype
    _rename_output(body, node, "is_initialized", "z")
    change_op(node, "Equal")
    node.attr["T"].type = _INT32
    node.input[:] = [*[body.first_output(rank.name, "output")] * 2, *node.input[1:]]


def set_true(node: Message) -> None:
    """Turn a node into the constant True; its control inputs stay."""
    change_op(node, "Const")
    _keep_controls(node)
    node.attr["dtype"].type = _BOOL
    node.attr["value"].tensor.dtype = _BOOL
    node.attr["value"].tensor.tensor_shape.SetInParent()
    node.attr["value"].tensor.bool_val.append(True)


def _remove(body: Body, node: Message, value: HandleValue) -> None:
    del body, value
    change_op(node, "NoOp")
    _keep_controls(node)


def _keep_controls(node: Message) -> None:
    node.input[:] = [text for text in node.input if text.startswith("^")]


def _rewrite_select(body: Body, node: Message, value: HandleValue) -> None:
    """Turn a RefSelect into a gather from its stacked choices."""
    if value.shape is None:
        raise FreezeError(
            "this node chooses between variables of different shapes",
            where=body.where(node),
            found=", ".join(value.variables),
            advice="Freeze an output behind one of them.",
        )
    index, *choices = node.input
    pack = body.add(node.name, f"{node.name}/choices", "Pack", choices)
    pack.attr["T"].type = value.dtype
    pack.attr["N"].i = len([text for text in choices if not text.startswith("^")])
    change_op(node, "ResourceGather")
    node.input[:] = [body.first_output(pack.name, "output"), index]
    node.attr["Tindices"].type = _INT32
    _rewrite_gather(body, node, value)


def _rename_output(body: Body, node: Message, old: str, new: str) -> None:
    if body.function is not None:
        body.renamed[f"{node.name}:{old}:0"] = f"{node.name}:{new}:0"


# How to rewrite a node whose first input is a handle or a reference, by its op.
REWRITES: Mapping[str, Rewrite] = MappingProxyType(
    {
        "ReadVariableOp": _rewrite_read,
        "ResourceGather": _rewrite_gather,
        "ResourceGatherNd": _rewrite_gather_nd,
        "VariableShape": _rewrite_shape,
        "VarIsInitializedOp": _rewrite_is_initialized,
        "IsVariableInitialized": _rewrite_is_initialized,
        "DisableCopyOnRead": _remove,
    }
)
REF_SELECT: Rewrite = _rewrite_select
