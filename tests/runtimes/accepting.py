"""Ask a runtime which ops of TensorFlow it has a converter for, by its own answers.

    python accepting.py openvino|onnx folder

The folder holds a graph of one node for each op, `Op.pb`, from tools/make_runtime_table.py. Printed
are the version, then the names of the ops that are known. What such a node lacks beside, such as
constants or other types, is another matter.
"""

import os
import pathlib
import sys

# These are converted as wholes, loops, branches and calls, so no op of them is asked for alone.
WHOLES = {
    "openvino": {"Enter", "Exit", "NextIteration", "Switch", "TensorArrayV3"},
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


if __name__ == "__main__":
    accepts, version = {"openvino": openvino, "onnx": onnx}[sys.argv[1]]()
    print(version)
    for each in sorted(pathlib.Path(sys.argv[2]).glob("*.pb")):
        if each.stem in WHOLES[sys.argv[1]] or accepts(os.fspath(each), each.stem):
            print(each.stem)
