"""Write the attrs that a reader needs, and leave out those that an old one does not know.

TensorFlow fills in the default of an attr that a node does not have. Other readers have defaults of
their own: OpenCV computes other numbers without the `epsilon` of a batch norm or the masks of a
StridedSlice. And an old release of TensorFlow refuses a node with an attr that it does not know,
even if the value is the default.

So a node has every attr that its op had when it came, and of later ones only those with another
value than the default. An op that is newer than all releases in `releases.txt` has no default.
"""

from __future__ import annotations

from tfpersist.formats import schema
from tfpersist.formats.schema import Message
from tfpersist.graph.runtimes import op_lists
from tfpersist.graph.structure import ops

# Nobody takes an absent text or shape for another one.
_ABSENT = (schema.AttrValue(s=b""), schema.AttrValue(shape={"unknown_rank": True}))


def settle_defaults(node: Message) -> None:
    """Add the attrs that a node should have, and remove those that it need not have.

    Args:
        node: a NodeDef of the caller's own; it is changed.

    Example:
        >>> node = schema.NodeDef(name="m", op="MatMul")
        >>> node.attr["grad_a"].b = False
        >>> node.attr["transpose_a"].b = True
        >>> settle_defaults(node)
        >>> sorted(node.attr)
        ['transpose_a', 'transpose_b']
    """
    defaults = ops.defaults(node.op)
    later = op_lists.added_attrs(node.op)
    for name, default in defaults.items():
        if later is not None and name not in later:
            if name not in node.attr and default not in _ABSENT:
                node.attr[name].CopyFrom(default)
        elif name in node.attr and node.attr[name] == default:
            del node.attr[name]
