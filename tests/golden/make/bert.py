"""A tiny BERT with the names of its published checkpoints, saved in training.

Usage: python bert.py FOLDER

The graph reads its inputs from an iterator over files. Its data set uses MapAndBatchDatasetV2, an
op that later releases no longer have. Attributes with default values are left out of the graph.
Dropout is on, so that results differ from run to run: bert.npz holds the variables only.
"""

import os

import numpy as np
import tensorflow as tf
import writing
from tensorflow.core.protobuf import meta_graph_pb2

BATCH, LENGTH, WORDS, HIDDEN, HEADS = 2, 4, 6, 4, 2


def variable(name, *shape):
    """Make a variable whose values differ."""
    values = np.linspace(-1, 1, int(np.prod(shape))).reshape(shape).astype(np.float32)
    return tf.get_variable(name, initializer=values)


def inputs():
    """Return the tensors that an iterator reads, by name."""
    features = {
        "input_ids": tf.FixedLenFeature([LENGTH], tf.int64),
        "input_mask": tf.FixedLenFeature([LENGTH], tf.int64),
        "segment_ids": tf.FixedLenFeature([LENGTH], tf.int64),
    }

    def decode(record):
        parsed = tf.parse_single_example(record, features)
        return {name: tf.to_int32(value) for name, value in parsed.items()}

    files = tf.data.Dataset.from_tensor_slices(["examples.tfrecord"]).repeat()
    read = tf.data.experimental.parallel_interleave(tf.data.TFRecordDataset, cycle_length=1)
    batches = files.apply(read).apply(
        tf.data.experimental.map_and_batch(decode, BATCH, drop_remainder=True)
    )
    iterator = batches.make_initializable_iterator()
    tf.add_to_collection(tf.GraphKeys.TABLE_INITIALIZERS, iterator.initializer)
    return iterator.get_next()


def dense(x, name, size, activation=None):
    """Apply a dense layer to the rows of a matrix."""
    initializer = tf.truncated_normal_initializer(stddev=0.5, seed=1)
    return tf.layers.dense(x, size, activation, name=name, kernel_initializer=initializer)


def layer_norm(x):
    with tf.variable_scope("LayerNorm"):
        beta, gamma = variable("beta", HIDDEN), variable("gamma", HIDDEN)
    mean, variance = tf.nn.moments(x, [-1], keep_dims=True)
    return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-12)


def embeddings(ids, segments):
    with tf.variable_scope("embeddings"):
        words = tf.gather(variable("word_embeddings", WORDS, HIDDEN), ids)
        kinds = tf.gather(variable("token_type_embeddings", 2, HIDDEN), segments)
        places = variable("position_embeddings", LENGTH, HIDDEN)
        x = layer_norm(tf.reshape(words + kinds + places, [-1, HIDDEN]))
        return tf.nn.dropout(x, 0.9, seed=5)


def attention(x, mask):
    with tf.variable_scope("self"):
        query, key, value = (split(dense(x, name, HIDDEN)) for name in ("query", "key", "value"))
        scores = tf.matmul(query, key, transpose_b=True) / np.sqrt(HIDDEN // HEADS)
        scores += (1.0 - tf.to_float(mask[:, None, None, :])) * -10000.0
        context = tf.transpose(tf.matmul(tf.nn.softmax(scores), value), [0, 2, 1, 3])
    with tf.variable_scope("output"):
        joined = tf.reshape(context, [-1, HIDDEN])
        return layer_norm(x + tf.nn.dropout(dense(joined, "dense", HIDDEN), 0.9, seed=6))


def split(x):
    return tf.transpose(tf.reshape(x, [-1, LENGTH, HEADS, HIDDEN // HEADS]), [0, 2, 1, 3])


def encoder(x, mask):
    with tf.variable_scope("encoder/layer_0/attention"):
        return attention(x, mask)


def build():
    features = inputs()
    with tf.variable_scope("bert"):
        x = embeddings(features["input_ids"], features["segment_ids"])
        x = encoder(x, features["input_mask"])
        with tf.variable_scope("pooler"):
            first = tf.reshape(x, [-1, LENGTH, HIDDEN])[:, 0]
            pooled = dense(first, "dense", HIDDEN, tf.tanh)
        with tf.variable_scope("embeddings", reuse=True):
            words = tf.get_variable("word_embeddings")
    with tf.variable_scope("cls/predictions"):
        scores = tf.matmul(x, words, transpose_b=True)
        tf.nn.log_softmax(scores + variable("output_bias", WORDS))
    with tf.variable_scope("cls/seq_relationship"):
        scores = tf.matmul(pooled, variable("output_weights", 2, HIDDEN), transpose_b=True)
        tf.nn.log_softmax(scores + variable("output_bias", 2))
    # The optimizer of the published code names its slots like this.
    for of in tf.trainable_variables()[:2]:
        for slot in ("adam_m", "adam_v"):
            name = f"{of.op.name}/{slot}"
            tf.get_variable(name, initializer=tf.zeros(of.shape), trainable=False)
    tf.train.get_or_create_global_step()


def main():
    os.chdir(writing.start(tf.__version__, "1.12.3"))
    os.makedirs("bert", exist_ok=True)
    prefix = "bert/bert_model.ckpt"
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
        build()
        variables = {v.op.name: v for v in tf.global_variables()}
        session.run(tf.global_variables_initializer())
        values = {"var/" + name: session.run(v) for name, v in variables.items()}
        tf.train.Saver(variables).save(session, prefix, strip_default_attrs=True)
    writing.write_values("bert.npz", values)
    writing.rewrite(prefix + ".meta", meta_graph_pb2.MetaGraphDef())
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
        tf.train.import_meta_graph(prefix + ".meta").restore(session, prefix)
        given = np.ones([BATCH, LENGTH], np.int32)
        feeds = {f"IteratorGetNext:{number}": given for number in range(3)}
        assert np.isfinite(session.run("bert/pooler/dense/Tanh:0", feeds)).all()


if __name__ == "__main__":
    main()
