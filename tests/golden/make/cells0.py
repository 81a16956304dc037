"""Checkpoints of recurrent cells, with TensorFlow 0.12, which named their weights otherwise.

Usage: python cells0.py FOLDER

Each model is one network without anything else, in cells/<name>/model.ckpt, without a graph.
cells/cells.npz holds the input of all, as "x", and the outputs of each network under its name.
"""

import os

import numpy as np
import tensorflow as tf
import writing
from tensorflow.python.ops import rnn_cell

UNITS = 3
INPUT = np.random.RandomState(1).uniform(-1, 1, [2, 5, 4]).astype(np.float32)


def dynamic(make):
    return lambda x: tf.nn.dynamic_rnn(make(), x, dtype=tf.float32)[0]


def bidirectional(make):
    def network(x):
        outputs, _ = tf.nn.bidirectional_dynamic_rnn(make(), make(), x, [5, 5], dtype=tf.float32)
        return tf.concat(2, outputs)

    return network


def stacked(make):
    return dynamic(lambda: rnn_cell.MultiRNNCell([make(), make()]))


NETWORKS = {
    "basic_lstm": dynamic(lambda: rnn_cell.BasicLSTMCell(UNITS)),
    "lstm": dynamic(lambda: rnn_cell.LSTMCell(UNITS)),
    "lstm_stacked": stacked(lambda: rnn_cell.BasicLSTMCell(UNITS)),
    "lstm_bidirectional": bidirectional(lambda: rnn_cell.LSTMCell(UNITS)),
    "gru": dynamic(lambda: rnn_cell.GRUCell(UNITS)),
}


def compute(name):
    """Make a network, give its variables values, save them, and return the outputs."""
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [2, 5, INPUT.shape[2]])
        outputs = NETWORKS[name](x)
        random = np.random.RandomState(2)
        for variable in tf.global_variables():
            value = random.uniform(-1, 1, variable.get_shape().as_list())
            session.run(tf.assign(variable, value.astype(np.float32)))
        expected = session.run(outputs, {x: INPUT})
        prefix = os.path.join("cells", name, "model.ckpt")
        os.makedirs(os.path.dirname(prefix), exist_ok=True)
        saver = tf.train.Saver()
        saver.save(session, prefix, write_meta_graph=False)
        os.remove(os.path.join(os.path.dirname(prefix), "checkpoint"))
        session.run(tf.global_variables_initializer())
        saver.restore(session, prefix)
        np.testing.assert_array_equal(session.run(outputs, {x: INPUT}), expected)
        return expected


def main():
    os.chdir(writing.start(tf.__version__, "0.12.1"))
    values = {name: compute(name) for name in sorted(NETWORKS)}
    writing.write_values("cells/cells.npz", dict(values, x=INPUT))


if __name__ == "__main__":
    main()
