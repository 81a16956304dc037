"""Change the op of a node, in place."""

from __future__ import annotations

from tfpersist.formats import dtypes, tensor_proto
from tfpersist.formats.graphdef import with_payload
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import Payload


def change_op(node: Message, op: str, keep: tuple[str, ...] = (), **renames: str) -> None:
    """Change the op of a node; its inputs stay.

    Args:
        node: the NodeDef; it is changed in place.
        op: its new op.
        keep: the attrs that stay; all others are removed.
        renames: the attrs that stay under a new name, `new="old"`.

    Example:
        >>> from tfpersist.formats import schema
        >>> node = schema.NodeDef(name="v", op="ReadVariableOp", input=["handle"])
        >>> node.attr["dtype"].type = 1
        >>> change_op(node, "Identity", T="dtype")
        >>> node.op, node.attr["T"].type, sorted(node.attr)
        ('Identity', 1, ['T'])
    """
    kept = {name: node.attr[name] for name in keep if name in node.attr}
    kept |= {new: node.attr[old] for new, old in renames.items() if old in node.attr}
    copies = {
        name: type(value).FromString(value.SerializeToString()) for name, value in kept.items()
    }
    node.op = op
    node.ClearField("attr")
    for name, value in copies.items():
        node.attr[name].CopyFrom(value)


def set_constant(node: Message, payload: Payload, payloads: dict[str, Payload]) -> None:
    """Turn a node into a Const; its inputs stay.

    Args:
        node: the NodeDef; it is changed in place.
        payload: the elements. Strings, and tensors without elements, go into the node.
        payloads: the payloads of the graph; all other tensors are added to them.
    """
    node.ClearField("attr")
    if payload.spec.nbytes:
        with_payload(node, payload.spec)
        payloads[node.name] = payload
        return
    node.op = "Const"
    node.attr["dtype"].type = dtypes.BY_NAME[payload.spec.dtype].number
    proto = tensor_proto.from_array(payload.load(), payload.spec.dtype)
    node.attr["value"].tensor.CopyFrom(proto)
