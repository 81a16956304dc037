"""Small models in the forms in which projects published theirs with TensorFlow 1.

Usage: python published.py FOLDER

- regression/: a linear regression as a checkpoint with its .meta, as a frozen graph and as a
  SavedModel. Its values are in regression.npz.
- embedding/: a checkpoint with its .meta and one variable.
- slim/: a convolution with batch normalization and a dense layer of tf.contrib.slim. Its values
  are in slim.npz.
- gru_frozen.pb, lstm_frozen.pb: recurrent networks with a placeholder for dropout. Their values
  are in gru.npz and lstm.npz.
"""

import os
import shutil

import numpy as np
import tensorflow as tf
import writing
from tensorflow.contrib import rnn, slim
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow.python.framework import graph_util

# With one thread, the order of a sum is the same at every run.
CONFIG = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)


def random(seed):
    return tf.truncated_normal_initializer(stddev=0.5, seed=seed)


def line(x):
    """Build a line with two variables."""
    weight, bias = (tf.Variable(1.0, name=name) for name in ("weight", "bias"))
    return tf.add(x * weight, bias, name="pred")


def regression(session):
    x, y = (tf.placeholder(tf.float32, name=name) for name in "XY")
    cost = tf.reduce_sum(tf.pow(line(x) - y, 2)) / (2 * 4)
    train = tf.train.GradientDescentOptimizer(0.01).minimize(cost)
    session.run(tf.global_variables_initializer())
    for _ in range(50):
        session.run(train, {x: [1, 2, 3, 4], y: [3, 5, 7, 9]})
    save(session, "regression/checkpoint/model")
    freeze(session, "regression/frozen.pb", "pred")
    values = compute(session, {"X": np.float32([1, 2, 3])}, "pred")
    with tf.Graph().as_default() as graph, tf.Session(graph=graph, config=CONFIG) as other:
        export(other)
        writing.check_equal(compute(other, {"X": values["X"]}, "pred"), values)
    return values


def export(session):
    """Load the checkpoint into a graph without training, and write a SavedModel."""
    x = tf.placeholder(tf.float32, name="X")
    pred = line(x)
    tf.train.Saver().restore(session, "regression/checkpoint/model")
    builder = tf.saved_model.builder.SavedModelBuilder("regression/saved_model")
    signature = tf.saved_model.signature_def_utils.predict_signature_def({"X": x}, {"pred": pred})
    tags = [tf.saved_model.tag_constants.SERVING]
    builder.add_meta_graph_and_variables(session, tags, {"serving_default": signature})
    builder.save()
    writing.rewrite("regression/saved_model/saved_model.pb", saved_model_pb2.SavedModel())


def embedding(session):
    table = tf.get_variable("my_embedding", [3, 2], initializer=random(1))
    session.run(tf.global_variables_initializer())
    save(session, "embedding/embedding.ckpt")
    return {"var/my_embedding": session.run(table)}


def slim_model(session):
    x = tf.placeholder(tf.float32, [None, 4, 4, 1], name="input")
    normalizer = {"normalizer_fn": slim.batch_norm, "normalizer_params": {"is_training": False}}
    options = {"weights_initializer": random(1)}
    hidden = slim.conv2d(x, 2, [3, 3], stride=2, scope="conv1", **dict(options, **normalizer))
    flat = slim.flatten(hidden)
    logits = slim.fully_connected(flat, 3, activation_fn=None, scope="logits", **options)
    tf.nn.softmax(logits, name="predictions")
    session.run(tf.global_variables_initializer())
    for number, variable in enumerate(tf.global_variables()):
        if variable.op.name.startswith("conv1/BatchNorm"):
            variable.load(np.float32([0.5, 1.5]) + number, session)
    save(session, "slim/model.ckpt")
    shape = x.get_shape().as_list()[1:]
    given = np.random.RandomState(3).rand(2, *shape).astype(np.float32)
    values = compute(session, {"input": given}, "predictions")
    for variable in tf.global_variables():
        values["var/" + variable.op.name] = session.run(variable)
    return values


def recurrent(session, kind):
    x = tf.placeholder(tf.float32, [None, 6], name="X")
    keep = tf.placeholder(tf.float32, name="keep_prob")
    cell = rnn.GRUCell(2) if kind == "gru" else rnn.BasicLSTMCell(2)
    steps = tf.unstack(tf.reshape(x, [-1, 3, 2]), axis=1)
    with tf.variable_scope("net", initializer=random(2)):
        last = rnn.static_rnn(cell, steps, dtype=tf.float32)[0][-1]
        logits = tf.matmul(tf.nn.dropout(last, keep), tf.get_variable("out", [2, 2]))
    tf.nn.softmax(logits, name="output")
    session.run(tf.global_variables_initializer())
    freeze(session, kind + "_frozen.pb", "output")
    given = np.random.RandomState(4).rand(2, 6).astype(np.float32)
    return compute(session, {"X": given, "keep_prob": np.float32(1)}, "output")


def compute(session, feeds, output):
    """Return the feeds and the result for them."""
    values = {name + ":0": value for name, value in feeds.items()}
    return dict(feeds, **{output: session.run(output + ":0", values)})


def save(session, prefix):
    """Save the variables and the graph, then load them and compare."""
    os.makedirs(os.path.dirname(prefix))
    variables = {v.op.name: v for v in tf.global_variables()}
    tf.train.Saver(variables).save(session, prefix)
    writing.rewrite(prefix + ".meta", meta_graph_pb2.MetaGraphDef())
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as other:
        tf.train.import_meta_graph(prefix + ".meta").restore(other, prefix)
        for name, variable in variables.items():
            assert (other.run(name + ":0") == session.run(variable)).all(), name


def freeze(session, path, output):
    graph_def = session.graph.as_graph_def()
    frozen = graph_util.convert_variables_to_constants(session, graph_def, [output])
    writing.write_message(path, frozen)


def main():
    os.chdir(writing.start(tf.__version__, "1.4.1"))
    makers = {
        "regression": regression,
        "embedding": embedding,
        "slim": slim_model,
        "gru": lambda session: recurrent(session, "gru"),
        "lstm": lambda session: recurrent(session, "lstm"),
    }
    for name, make in sorted(makers.items()):
        shutil.rmtree(name, ignore_errors=True)
        with tf.Graph().as_default() as graph, tf.Session(graph=graph, config=CONFIG) as session:
            writing.write_values(name + ".npz", make(session))


if __name__ == "__main__":
    main()
