"""Run frozen files in a process of the runtime's own, by an interpreter that may be very old.

    python child.py opencv|openvino|onnx|tensorflow|tflite|tfjs jobs.json

A job is {"path", "names", "outputs"}: the names are of the operations that are fed with what is in
`path`.feeds.npz. It leaves `path`.results.npz, or what went wrong in `path`.error.txt; whatever
has left a mark is not begun again.
"""

import json
import os
import subprocess
import sys

import numpy as np


def opencv():
    import cv2

    def run(path, feeds, outputs):
        net = cv2.dnn.readNetFromTensorflow(path)
        for name, value in feeds.items():
            # OpenCV takes images channels first.
            net.setInput(value.transpose(0, 3, 1, 2).copy() if value.ndim == 4 else value, name)
        # A layer that only passes its input on is gone, and its name with it.
        (last,) = net.getUnconnectedOutLayersNames()
        result = net.forward(last)
        return [result.transpose(0, 2, 3, 1) if result.ndim == 4 else result]

    return run


def openvino():
    import openvino

    core = openvino.Core()
    # Otherwise some processors compute in bfloat16, and round activations where weights are int8.
    exact = {"EXECUTION_MODE_HINT": "ACCURACY"}

    def run(path, feeds, outputs):
        compiled = core.compile_model(core.read_model(path), "CPU", exact)
        results = compiled({tensor(name): value for name, value in feeds.items()})
        return [results[tensor(name)] for name in outputs]

    return run


def onnx():
    import onnxruntime
    import tensorflow as tf
    import tf2onnx

    def run(path, feeds, outputs):
        feeds = {tensor(name): value for name, value in feeds.items()}
        ends = [tensor(name) for name in outputs]
        model, _ = tf2onnx.convert.from_graph_def(
            read(tf, path), input_names=list(feeds), output_names=ends, opset=17
        )
        model = model.SerializeToString()
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        return session.run(None, feeds)

    return run


def tflite():
    import tensorflow as tf

    def run(path, feeds, outputs):
        shapes = {name: list(value.shape) for name, value in feeds.items()}
        outputs = [name[:-2] if name.endswith(":0") else name for name in outputs]
        converter = tf.compat.v1.lite.TFLiteConverter.from_frozen_graph(
            path, list(feeds), outputs, shapes
        )
        interpreter = tf.lite.Interpreter(model_content=converter.convert())
        interpreter.allocate_tensors()
        for each in interpreter.get_input_details():
            interpreter.set_tensor(each["index"], feeds[each["name"]])
        interpreter.invoke()
        return [interpreter.get_tensor(o["index"]) for o in interpreter.get_output_details()]

    return run


def tfjs():
    import tensorflowjs.converters.tf_saved_model_conversion_v2 as conversion

    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tfjs.mjs")
    command = [os.environ["TFPERSIST_NODE"], script, os.environ["TFPERSIST_NODE_MODULES"]]
    node = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )

    def run(path, feeds, outputs):
        names = ",".join(outputs)
        try:
            conversion.convert_tf_frozen_model(path, names, path + ".tfjs")
        except SystemExit:
            raise ValueError("the converter ended") from None
        # It has no other integers and floats.
        types = {"f": "float32", "i": "int32", "u": "int32", "b": "bool", "O": "string"}
        fed = {
            name: {
                "values": np.vectorize(text)(value).ravel().tolist() if value.size else [],
                "shape": list(value.shape),
                "dtype": types[value.dtype.kind],
            }
            for name, value in feeds.items()
        }
        job = {"model": path + ".tfjs", "feeds": fed, "outputs": outputs}
        node.stdin.write(json.dumps(job) + "\n")
        node.stdin.flush()
        answer = json.loads(node.stdout.readline())
        if "error" in answer:
            raise ValueError(answer["error"])
        return [array(**each) for each in answer["results"]]

    def array(values, shape, dtype):
        if dtype == "string":
            values = [each.encode("latin-1") for each in values]
        if dtype == "complex64":
            return np.array(values, "float32").view(dtype).reshape(shape)
        return np.array(values, "object" if dtype == "string" else dtype).reshape(shape)

    def text(value):
        return value.decode() if isinstance(value, bytes) else value

    return run


def tensorflow():
    import tensorflow as tf

    def run(path, feeds, outputs):
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(read(tf, path), name="")
        with v1(tf).Session(graph=graph) as session:
            if "tfpersist/init" in [op.name for op in graph.get_operations()]:
                session.run("tfpersist/init")
            values = {tensor(name): value for name, value in feeds.items()}
            return session.run([tensor(name) for name in outputs], values)

    return run


def read(tf, path):
    with open(path, "rb") as file:
        return v1(tf).GraphDef.FromString(file.read())


def v1(tf):
    return getattr(tf.compat, "v1", tf)


def tensor(name):
    return name if ":" in name else name + ":0"


def attempt(run, job):
    path = job["path"]
    if os.path.exists(path + ".mark"):
        return
    open(path + ".mark", "w").close()
    with np.load(path + ".feeds.npz", allow_pickle=True) as archive:
        feeds = {name: archive[str(number)] for number, name in enumerate(job["names"])}
    try:
        results = run(path, feeds, job["outputs"])
    except Exception as error:
        with open(path + ".error.txt", "w") as file:
            file.write(f"{type(error).__name__}: {error}")
    else:
        np.savez(path + ".results.npz", **{str(i): value for i, value in enumerate(results)})


def main(runtime, jobs):
    kinds = {"opencv": opencv, "openvino": openvino, "onnx": onnx, "tflite": tflite}
    run = {**kinds, "tensorflow": tensorflow, "tfjs": tfjs}[runtime]()
    for job in jobs:
        attempt(run, job)


if __name__ == "__main__":
    with open(sys.argv[2]) as listed:
        main(sys.argv[1], json.load(listed))
