"""A small BERT and a small ALBERT with the names of their published checkpoints, TensorFlow 1.15.

Usage: python transformers1.py FOLDER

Their checkpoints are transformers/<name>/model.ckpt, without a graph. transformers.npz holds the
inputs of both, "ids" and "segments", and for each its "<name>/sequence" and "<name>/pooled".
"""

import os

import numpy as np
import tensorflow as tf
import writing

WORDS, LENGTH, HIDDEN, HEADS, INNER, EMBEDDED, LAYERS = 9, 5, 8, 2, 12, 6, 2
RANDOM = np.random.RandomState(1)
IDS = RANDOM.randint(0, WORDS, [2, LENGTH]).astype(np.int32)
SEGMENTS = RANDOM.randint(0, 2, [2, LENGTH]).astype(np.int32)


def dense(x, size, name, activation=None):
    return tf.layers.dense(x, size, activation, name=name)


def layer_norm(x):
    return tf.contrib.layers.layer_norm(x, begin_norm_axis=-1, begin_params_axis=-1)


def gelu(x):
    return 0.5 * x * (1.0 + tf.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * tf.pow(x, 3))))


def embeddings(size):
    with tf.variable_scope("embeddings"):
        words = tf.get_variable("word_embeddings", [WORDS, size])
        kinds = tf.get_variable("token_type_embeddings", [2, size])
        places = tf.get_variable("position_embeddings", [LENGTH, size])
        ids, segments = tf.gather(words, IDS), tf.gather(kinds, SEGMENTS)
        return layer_norm(ids + segments + places)


def attention(x, scope):
    with tf.variable_scope(scope):
        with tf.variable_scope("self"):
            query, key, value = (split(dense(x, HIDDEN, n)) for n in ("query", "key", "value"))
            scores = tf.matmul(query, key, transpose_b=True) / np.sqrt(HIDDEN // HEADS)
            context = tf.transpose(tf.matmul(tf.nn.softmax(scores), value), [0, 2, 1, 3])
        with tf.variable_scope("output"):
            return dense(tf.reshape(context, [2, LENGTH, HIDDEN]), HIDDEN, "dense")


def split(x):
    return tf.transpose(tf.reshape(x, [2, LENGTH, HEADS, HIDDEN // HEADS]), [0, 2, 1, 3])


def bert_layer(x):
    attended = attention(x, "attention")
    with tf.variable_scope("attention/output"):
        x = layer_norm(attended + x)
    with tf.variable_scope("intermediate"):
        inner = dense(x, INNER, "dense", gelu)
    with tf.variable_scope("output"):
        return layer_norm(dense(inner, HIDDEN, "dense") + x)


def bert():
    x = embeddings(HIDDEN)
    for number in range(LAYERS):
        with tf.variable_scope("encoder/layer_" + str(number)):
            x = bert_layer(x)
    return x


def albert():
    x = embeddings(EMBEDDED)
    with tf.variable_scope("encoder"):
        x = dense(x, HIDDEN, "embedding_hidden_mapping_in")
        for _ in range(LAYERS):
            with tf.variable_scope("transformer/group_0/inner_group_0", reuse=tf.AUTO_REUSE):
                x = layer_norm(attention(x, "attention_1") + x)
                with tf.variable_scope("ffn_1/intermediate"):
                    inner = dense(x, INNER, "dense", gelu)
                    with tf.variable_scope("output"):
                        inner = dense(inner, HIDDEN, "dense")
                x = layer_norm(inner + x)
    return x


def compute(name, make):
    """Make a network, give its variables values, save them, and return the outputs."""
    with tf.Graph().as_default(), tf.Session() as session:
        with tf.variable_scope("bert"):
            sequence = make()
            with tf.variable_scope("pooler"):
                pooled = dense(sequence[:, 0], HIDDEN, "dense", tf.tanh)
        with tf.variable_scope("cls/predictions"):
            tf.get_variable("output_bias", [WORDS])
        random = np.random.RandomState(2)
        session.run(tf.global_variables_initializer())
        for variable in tf.global_variables():
            value = random.uniform(-1, 1, variable.shape.as_list())
            variable.load(value.astype(np.float32), session)
        outputs = session.run([sequence, pooled])
        prefix = os.path.join("transformers", name, "model.ckpt")
        os.makedirs(os.path.dirname(prefix), exist_ok=True)
        saver = tf.train.Saver()
        saver.save(session, prefix, write_meta_graph=False, write_state=False)
        session.run(tf.global_variables_initializer())
        saver.restore(session, prefix)
        np.testing.assert_array_equal(session.run(sequence), outputs[0])
        return {name + "/sequence": outputs[0], name + "/pooled": outputs[1]}


def main():
    os.chdir(writing.start(tf.__version__, "1.15.5"))
    values = dict(compute("bert", bert), **compute("albert", albert))
    path = os.path.join("transformers", "transformers.npz")
    writing.write_values(path, dict(values, ids=IDS, segments=SEGMENTS))


if __name__ == "__main__":
    main()
