"""A model that half an input plus two, in the export format before SavedModels.

Usage: python session_bundle.py FOLDER

The checkpoint is a V1 shard. The variables are `Variable` ops, as TensorFlow wrote them before 1.0.
"""

import os
import shutil

import numpy as np
import tensorflow as tf
import writing
from tensorflow.contrib.session_bundle import exporter, session_bundle
from tensorflow.core.protobuf import meta_graph_pb2


def build():
    a = tf.Variable(np.float32(0.5), name="a")
    b = tf.Variable(np.float32(2), name="b")
    text = tf.placeholder(tf.string, name="tf_example")
    feature = tf.FixedLenFeature([1], tf.float32)
    x = tf.identity(tf.parse_example(text, {"x": feature})["x"], name="x")
    return text, x, tf.add(a * x, b, name="y")


def main():
    os.chdir(writing.start(tf.__version__, "0.12.1"))
    shutil.rmtree("session_bundle", ignore_errors=True)
    with tf.Graph().as_default() as graph, tf.Session() as session:
        text, x, y = build()
        session.run(tf.global_variables_initializer())
        saver = tf.train.Saver(
            [v for _, v in sorted((v.op.name, v) for v in tf.global_variables())],
            sharded=True,
            write_version=tf.train.SaverDef.V1,
        )
        export = exporter.Exporter(saver)
        export.init(
            graph.as_graph_def(),
            named_graph_signatures={
                "inputs": exporter.generic_signature({"x": x}),
                "outputs": exporter.generic_signature({"y": y}),
            },
            default_graph_signature=exporter.regression_signature(text, y),
        )
        export.export("session_bundle", tf.constant(123), session)
    path = "session_bundle/00000123"
    # It names a temporary folder.
    os.remove(path + "/checkpoint")
    writing.rewrite(path + "/export.meta", meta_graph_pb2.MetaGraphDef())
    session, _ = session_bundle.load_session_bundle_from_path(path)
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(6)
    assert session.run("y:0", {"tf_example:0": [example.SerializeToString()]}) == [[5.0]]


if __name__ == "__main__":
    main()
