"""Make graph/runtimes/runtimes.txt: the ops of TensorFlow that other runtimes have converters for.

In an environment with tfpersist:
    python tools/make_runtime_table.py probes FOLDER
In an environment of each runtime:
    python tests/runtimes/accepting.py openvino FOLDER > openvino.txt
    python tests/runtimes/accepting.py onnx FOLDER > onnx.txt
    python tests/runtimes/accepting.py opencv FOLDER > opencv.txt
For TensorFlow Lite and TensorFlow.js, graphs are run: in an environment with TensorFlow
    python tests/runtimes/instances.py FOLDER Abs Acos ... (all ops that any runtime knows)
    python tests/runtimes/agreeing.py tflite FOLDER > tflite.txt
    python tests/runtimes/agreeing.py tfjs FOLDER > tfjs.txt
With tfpersist again:
    python tools/make_runtime_table.py merge openvino.txt onnx.txt ... > runtimes.txt
"""

import pathlib
import sys

from tfpersist.formats import dtypes, schema
from tfpersist.graph.runtimes.default_attrs import settle_defaults
from tfpersist.graph.structure import ops

_FLOAT = dtypes.BY_NAME["float32"].number


def write_probes(folder):  # noqa: ANN001, ANN201
    """Write a graph `Op.pb` for each op, with inputs and attrs of the simplest types and values."""
    for name, op in ops.table().items():
        if name.isidentifier() and not name.startswith("_"):
            (folder / f"{name}.pb").write_bytes(_probe(op).SerializeToString())


def _probe(op):  # noqa: ANN001, ANN202
    graph = schema.GraphDef()
    names = []
    for number, arg in enumerate(op.input_arg):
        source = graph.node.add(name=f"i{number}", op="Placeholder")
        source.attr["dtype"].type = arg.type or _FLOAT
        for size in (1, 4, 4, 3):
            source.attr["shape"].shape.dim.add(size=size)
        names.append(source.name)
    node = graph.node.add(name="n", op=op.name, input=names)
    for attr in op.attr:
        if attr.HasField("default_value"):
            continue
        value = node.attr[attr.name]
        value.SetInParent()
        match attr.type:
            case "type":
                value.type = _FLOAT
            case "list(type)":
                value.list.type.append(_FLOAT)
            case "int":
                value.i = max(1, attr.minimum)
            case "float":
                value.f = 1
            case "bool":
                value.b = False
            case "string":
                value.s = b""
            case "shape":
                value.shape.SetInParent()
    settle_defaults(node)
    return graph


def merged(paths):  # noqa: ANN001, ANN201
    """Yield the lines of runtimes.txt; the first line of each list is a version."""
    for path in map(pathlib.Path, paths):
        yield "[" + path.stem + "]"
        yield from path.read_text().splitlines()[1:]


if __name__ == "__main__":
    if sys.argv[1] == "probes":
        write_probes(pathlib.Path(sys.argv[2]))
    else:
        print("\n".join(merged(sys.argv[2:])))
