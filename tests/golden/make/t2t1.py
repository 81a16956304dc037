"""A small transformer with the names of tensor2tensor, with TensorFlow 1.15.

Usage: python t2t1.py FOLDER

It computes what tensor2tensor does without dropout, after the embeddings. The checkpoint is
t2t/model.ckpt, without a graph. t2t.npz holds the inputs of both sides, "x" and "y", and what the
encoder and the decoder make of them, "encoded" and "decoded".
"""

import os

import numpy as np
import tensorflow as tf
import writing

HIDDEN, HEADS, INNER, LAYERS = 8, 2, 12, 2


def norm(x):
    with tf.variable_scope("layer_prepostprocess/layer_norm"):
        scale = tf.get_variable("layer_norm_scale", [HIDDEN])
        bias = tf.get_variable("layer_norm_bias", [HIDDEN])
        mean, variance = tf.nn.moments(x, [-1], keep_dims=True)
        return (x - mean) * tf.rsqrt(variance + 1e-6) * scale + bias


def heads(x, name):
    x = tf.layers.dense(x, HIDDEN, use_bias=False, name=name)
    shape = [int(x.shape[0]), int(x.shape[1]), HEADS, HIDDEN // HEADS]
    return tf.transpose(tf.reshape(x, shape), [0, 2, 1, 3])


def attention(x, scope, memory=None, mask=0.0):
    with tf.variable_scope(scope):
        inner = norm(x)
        with tf.variable_scope("multihead_attention"):
            given = inner if memory is None else memory
            query, key, value = heads(inner, "q"), heads(given, "k"), heads(given, "v")
            scores = tf.matmul(query * (HIDDEN // HEADS) ** -0.5, key, transpose_b=True) + mask
            context = tf.transpose(tf.matmul(tf.nn.softmax(scores), value), [0, 2, 1, 3])
            context = tf.reshape(context, x.shape)
            return x + tf.layers.dense(context, HIDDEN, use_bias=False, name="output_transform")


def feedforward(x):
    with tf.variable_scope("ffn"):
        inner = tf.layers.dense(norm(x), INNER, tf.nn.relu, name="conv1")
        return x + tf.layers.dense(inner, HIDDEN, name="conv2")


def side(scope, x, memory=None):
    mask = -1e9 * (1 - np.tril(np.ones([x.shape[1], x.shape[1]], np.float32)))
    with tf.variable_scope(scope):
        for number in range(LAYERS):
            with tf.variable_scope("layer_" + str(number)):
                x = attention(x, "self_attention", mask=0.0 if memory is None else mask)
                if memory is not None:
                    x = attention(x, "encdec_attention", memory)
                x = feedforward(x)
        return norm(x)


def main():
    os.chdir(writing.start(tf.__version__, "1.15.5"))
    x = np.sin(np.arange(80)).reshape([2, 5, HIDDEN]).astype(np.float32)
    y = np.cos(np.arange(64)).reshape([2, 4, HIDDEN]).astype(np.float32)
    with tf.variable_scope("transformer"):
        with tf.variable_scope("symbol_modality_9_8/shared"):
            tf.get_variable("weights_0", [9, HIDDEN])
        with tf.variable_scope("body"):
            encoded = side("encoder", tf.constant(x))
            decoded = side("decoder", tf.constant(y), encoded)
    random = np.random.RandomState(2)
    with tf.Session() as session:
        for variable in tf.global_variables():
            value = random.uniform(-1, 1, variable.shape.as_list())
            variable.load(value.astype(np.float32), session)
        found = session.run([encoded, decoded])
        os.makedirs("t2t")
        prefix = os.path.join("t2t", "model.ckpt")
        saver = tf.train.Saver()
        saver.save(session, prefix, write_meta_graph=False, write_state=False)
        session.run(tf.global_variables_initializer())
        saver.restore(session, prefix)
        np.testing.assert_array_equal(session.run(decoded), found[1])
    values = {"x": x, "y": y, "encoded": found[0], "decoded": found[1]}
    writing.write_values(os.path.join("t2t", "t2t.npz"), values)


if __name__ == "__main__":
    main()
