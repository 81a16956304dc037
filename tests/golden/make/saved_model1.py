"""A SavedModel of TensorFlow 1 with several signatures, an asset and a table.

Usage: python saved_model1.py FOLDER

The variables are ref variables in 1.4.1 and resource variables in 1.15.5.

The model computes y = x / 2 + 2, y2 = x / 2 + 3 and y3 = x2 / 2 + 3, and looks words up.
"""

import os
import shutil

import numpy as np
import tensorflow as tf
import writing
from tensorflow.core.protobuf import saved_model_pb2

RESOURCE = tf.__version__ == "1.15.5"
WORDS = ["one", "two", "three"]
TAGS = [tf.saved_model.tag_constants.SERVING]


def build(vocabulary):
    """Build the graph, and return its tensors by name."""
    a, b, c = (
        tf.get_variable(name, initializer=tf.constant(value), use_resource=RESOURCE)
        for name, value in (("a", 0.5), ("b", 2.0), ("c", 3.0))
    )
    text = tf.placeholder(tf.string, name="tf_example")
    features = {
        "x": tf.FixedLenFeature([1], tf.float32),
        "x2": tf.FixedLenFeature([1], tf.float32, default_value=[0.0]),
    }
    parsed = tf.parse_example(text, features)
    x, x2 = (tf.identity(parsed[name], name=name) for name in ("x", "x2"))
    file = tf.constant(vocabulary, name="vocabulary")
    tf.add_to_collection(tf.GraphKeys.ASSET_FILEPATHS, file)
    table = tf.contrib.lookup.index_table_from_file(file, num_oov_buckets=1)
    word = tf.placeholder(tf.string, [None], name="word")
    return {
        "tf_example": text, "x": x, "x2": x2, "word": word,
        "y": tf.add(a * x, b, name="y"),
        "y2": tf.add(a * x, c, name="y2"),
        "y3": tf.add(a * x2, c, name="y3"),
        "index": tf.identity(table.lookup(word), name="index"),
    }  # fmt: skip


def signatures(tensors):
    """Return the signatures by name."""
    kinds = tf.saved_model.signature_constants
    described = {
        "serving_default": (kinds.PREDICT_METHOD_NAME, {"x": "x"}, {"y": "y"}),
        "look_up": (kinds.PREDICT_METHOD_NAME, {"word": "word"}, {"index": "index"}),
        "regress_x2_to_y3": (kinds.REGRESS_METHOD_NAME, {"inputs": "x2"}, {"outputs": "y3"}),
        "regress_x_to_y": (kinds.REGRESS_METHOD_NAME, {"inputs": "tf_example"}, {"outputs": "y"}),
        "classify_x_to_y": (kinds.CLASSIFY_METHOD_NAME, {"inputs": "tf_example"}, {"scores": "y"}),
    }
    build_info = tf.saved_model.utils.build_tensor_info
    return {
        name: tf.saved_model.signature_def_utils.build_signature_def(
            {key: build_info(tensors[tensor]) for key, tensor in inputs.items()},
            {key: build_info(tensors[tensor]) for key, tensor in outputs.items()},
            method,
        )
        for name, (method, inputs, outputs) in described.items()
    }


def main():
    os.chdir(writing.start(tf.__version__, "1.4.1", "1.15.5"))
    shutil.rmtree("saved_model", ignore_errors=True)
    with open("words.txt", "w") as file:
        file.write("\n".join(WORDS) + "\n")
    with tf.Graph().as_default(), tf.Session() as session:
        tensors = build("words.txt")
        session.run([tf.global_variables_initializer(), tf.tables_initializer()])
        builder = tf.saved_model.builder.SavedModelBuilder("saved_model")
        builder.add_meta_graph_and_variables(
            session,
            TAGS,
            signature_def_map=signatures(tensors),
            assets_collection=tf.get_collection(tf.GraphKeys.ASSET_FILEPATHS),
            legacy_init_op=tf.tables_initializer(),
        )
        builder.save()
    os.remove("words.txt")
    writing.rewrite("saved_model/saved_model.pb", saved_model_pb2.SavedModel())
    with tf.Graph().as_default(), tf.Session() as session:
        tf.saved_model.loader.load(session, TAGS, "saved_model")
        given = np.float32([[1], [2]])
        assert session.run("y:0", {"x:0": given}).tolist() == [[2.5], [3]]
        assert session.run("index:0", {"word:0": ["three", "one", "?"]}).tolist() == [2, 0, 3]


if __name__ == "__main__":
    main()
