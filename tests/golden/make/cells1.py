"""Checkpoints of recurrent cells, with TensorFlow 1.15.

Usage: python cells1.py FOLDER

Each model is one network without anything else. Its checkpoint is cells/<name>/model.ckpt, without
a graph. cells/cells.npz holds the input of all, as "x", and the outputs of each network under its
name: of all steps, [batch, time, units], of "conv_lstm" [batch, time, 4, units].

CudnnLSTM and CudnnGRU need a GPU to run. They save what the compatible cells save, under the same
names: those of a MultiRNNCell.
"""

import os

import numpy as np
import tensorflow as tf
import writing
from tensorflow.contrib import cudnn_rnn
from tensorflow.contrib import rnn as contrib
from tensorflow.nn import rnn_cell

UNITS = 3
INPUT = np.random.RandomState(1).uniform(-1, 1, [2, 5, 4]).astype(np.float32)


def dynamic(make):
    return lambda x: tf.nn.dynamic_rnn(make(), x, dtype=tf.float32)[0]


def stacked(make):
    return dynamic(lambda: rnn_cell.MultiRNNCell([make(), make()]))


def bidirectional(make):
    def network(x):
        outputs, _ = tf.nn.bidirectional_dynamic_rnn(make(), make(), x, dtype=tf.float32)
        return tf.concat(outputs, 2)

    return network


def scoped(x):
    with tf.variable_scope("encoder"):
        return dynamic(lambda: rnn_cell.LSTMCell(UNITS))(x)


def fused(x):
    outputs, _ = contrib.LSTMBlockFusedCell(UNITS)(tf.transpose(x, [1, 0, 2]), dtype=tf.float32)
    return tf.transpose(outputs, [1, 0, 2])


def convolutional(x):
    """Take the input for rows of four pixels."""
    cell = contrib.Conv1DLSTMCell(
        input_shape=[INPUT.shape[2], 1], output_channels=2, kernel_shape=[3]
    )
    return tf.nn.dynamic_rnn(cell, x[..., None], dtype=tf.float32)[0]


NETWORKS = {
    "conv_lstm": convolutional,
    "basic_lstm": dynamic(lambda: rnn_cell.BasicLSTMCell(UNITS)),
    "lstm": scoped,
    "lstm_block": dynamic(lambda: contrib.LSTMBlockCell(UNITS)),
    "lstm_fused": fused,
    "lstm_stacked": stacked(lambda: rnn_cell.LSTMCell(UNITS)),
    "lstm_bidirectional": bidirectional(lambda: rnn_cell.BasicLSTMCell(UNITS)),
    "lstm_peepholes": dynamic(lambda: rnn_cell.LSTMCell(UNITS, use_peepholes=True)),
    "lstm_projection": dynamic(lambda: rnn_cell.LSTMCell(UNITS, num_proj=2)),
    "lstm_cudnn": stacked(lambda: cudnn_rnn.CudnnCompatibleLSTMCell(UNITS)),
    "gru": dynamic(lambda: rnn_cell.GRUCell(UNITS)),
    "gru_block": dynamic(lambda: contrib.GRUBlockCellV2(UNITS)),
    "gru_block_old": dynamic(lambda: contrib.GRUBlockCell(UNITS)),
    "gru_bidirectional": bidirectional(lambda: rnn_cell.GRUCell(UNITS)),
    "gru_cudnn": stacked(lambda: cudnn_rnn.CudnnCompatibleGRUCell(UNITS)),
}


def compute(name):
    """Make a network, give its variables values, save them, and return the outputs."""
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, INPUT.shape)
        outputs = NETWORKS[name](x)
        session.run(tf.global_variables_initializer())
        random = np.random.RandomState(2)
        for variable in tf.global_variables():
            value = random.uniform(-1, 1, variable.shape.as_list())
            variable.load(value.astype(np.float32), session)
        expected = session.run(outputs, {x: INPUT})
        saver = tf.train.Saver()
        prefix = os.path.join("cells", name, "model.ckpt")
        os.makedirs(os.path.dirname(prefix), exist_ok=True)
        saver.save(session, prefix, write_meta_graph=False, write_state=False)
        session.run(tf.global_variables_initializer())
        saver.restore(session, prefix)
        np.testing.assert_array_equal(session.run(outputs, {x: INPUT}), expected)
        return expected


def main():
    os.chdir(writing.start(tf.__version__, "1.15.5"))
    os.makedirs("cells", exist_ok=True)
    values = {name: compute(name) for name in NETWORKS}
    writing.write_values("cells/cells.npz", dict(values, x=INPUT))


if __name__ == "__main__":
    main()
