"""Make graphs and write them, for the tests of this folder."""

import numpy as np

from tfpersist.formats import schema
from tfpersist.formats.graphdef_writer import join, size


class Memory:
    """A sink that holds its caller to what was reserved."""

    def __init__(self):
        self.data = bytearray()
        self.reserved = None

    def reserve(self, size):
        assert self.reserved is None
        self.reserved = size

    def write(self, data):
        assert self.reserved is not None
        self.data += data


def joined(graph):
    sink = Memory()
    join(graph, sink)
    assert len(sink.data) == sink.reserved == size(graph)
    return bytes(sink.data)


def const(name, array, **facts):
    node = schema.NodeDef(name=name, op="Const", **facts)
    node.attr["dtype"].type = 1
    tensor = node.attr["value"].tensor
    tensor.dtype = 1
    for extent in array.shape:
        tensor.tensor_shape.dim.add(size=extent)
    tensor.tensor_content = array.tobytes()
    return node


def graph_def(*nodes):
    return schema.GraphDef(node=nodes, versions={"producer": 1395})


def without_padding(data):
    proto = schema.GraphDef.FromString(data)
    proto.DiscardUnknownFields()
    if not proto.versions.ByteSize():
        # Padding makes an empty message where there was none, which says the same.
        proto.ClearField("versions")
    return proto


BIG = np.arange(1000, dtype=np.float32).reshape(10, 100)
PLAIN = graph_def(
    schema.NodeDef(name="x", op="Placeholder"),
    const("w", BIG, device="/cpu:0"),
    schema.NodeDef(name="y", op="MatMul", input=["x", "w"]),
    const("b", np.float32([1, 2])),
    const("k", BIG + 1, input=["^x"]),
)
