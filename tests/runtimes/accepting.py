"""Ask a runtime which ops of TensorFlow it has a converter for, by its own answers.

    python accepting.py openvino|onnx|opencv folder

The folder holds a graph of one node for each op, `Op.pb`, from tools/make_runtime_table.py. Printed
are the version, then the names of the ops that are known. What such a node lacks beside, such as
constants or other types, is another matter.
"""

import os
import pathlib
import sys

import numpy as np

# These are converted as wholes, loops, branches and calls, so no op of them is asked for alone.
WHOLES = {
    "openvino": {"Enter", "Exit", "NextIteration", "Switch", "TensorArrayV3"},
    # OpenCV takes these away before it looks at the others.
    "opencv": {"Const", "Identity", "NoOp", "Placeholder"},
    "onnx": {
        *("Enter", "Exit", "LoopCond", "Merge", "NextIteration", "Switch"),
        *("PartitionedCall", "StatefulPartitionedCall", "Assert"),
        *("TensorArrayGatherV3", "TensorArrayReadV3", "TensorArrayScatterV3", "TensorArrayV3"),
        "TensorArrayWriteV3",
    },
}


def openvino():
    import openvino
    from openvino.frontend import FrontEndManager

    manager = FrontEndManager()

    def accepts(path, op):
        frontend = manager.load_by_framework("tf")
        try:
            frontend.convert(frontend.load(path))
        except Exception as error:
            return "No conversion rule found" not in str(error)
        return True

    return accepts, openvino.__version__


def onnx():
    import tf2onnx.tfonnx

    assert tf2onnx.tfonnx
    known = set()
    for number, handlers in enumerate(tf2onnx.handler.tf_op.get_opsets()[""]):
        if number <= tf2onnx.constants.PREFERRED_OPSET:
            known |= set(handlers)
    return (lambda path, op: op in known), tf2onnx.__version__


def opencv():
    import cv2
    import tensorflow

    # Once for all processes.
    assert tensorflow

    def accepts(path, op):
        """Return whether OpenCV's importer has code for an op, or a layer of its name computes it.

        OpenCV takes an op that its importer does not know for a layer of its own with that name,
        and computes something else where the two differ. Some ops end the process.
        """
        process = os.fork()
        if process == 0:
            # OpenCV prints too.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            known = False
            try:
                known = _is_computed(cv2, path)
            finally:
                os._exit(0 if known else 1)
        return os.waitpid(process, 0)[1] == 0

    return accepts, cv2.__version__


def _is_computed(cv2, path):
    values = [np.random.default_rng(n).uniform(0.1, 0.9, (1, 4, 4, 3)) for n in range(4)]
    values = [value.astype(np.float32) for value in values]
    try:
        net = cv2.dnn.readNetFromTensorflow(path)
        for number in range(_count_inputs(path)):
            net.setInput(values[number].transpose(0, 3, 1, 2).copy(), f"i{number}")
        found = net.forward()
    except Exception as error:
        return "tf_importer.cpp" in str(error) and "Input layer not found" not in str(error)
    return _agrees(path, values, found.transpose(0, 2, 3, 1) if found.ndim == 4 else found)


def _count_inputs(path):
    return pathlib.Path(path).read_bytes().count(b"Placeholder")


def _agrees(path, values, found):
    """Return whether TensorFlow computes the same, or wants inputs of other shapes or types."""
    import tensorflow as tf

    v1 = tf.compat.v1
    proto = v1.GraphDef.FromString(pathlib.Path(path).read_bytes())
    with tf.Graph().as_default() as graph:
        try:
            tf.import_graph_def(proto, name="")
        except ValueError as error:
            return "Attr" not in str(error)
        feeds = {f"i{number}:0": values[number] for number in range(_count_inputs(path))}
        with v1.Session(graph=graph) as session:
            try:
                expected = session.run("n:0", feeds)
            except tf.errors.InvalidArgumentError:
                return True
    same = found.shape == expected.shape
    return same and np.allclose(found, expected, atol=1e-4, equal_nan=True)


if __name__ == "__main__":
    kinds = {"openvino": openvino, "onnx": onnx, "opencv": opencv}
    accepts, version = kinds[sys.argv[1]]()
    print(version, flush=True)
    for each in sorted(pathlib.Path(sys.argv[2]).glob("*.pb")):
        if each.stem in WHOLES[sys.argv[1]] or accepts(os.fspath(each), each.stem):
            print(each.stem, flush=True)
