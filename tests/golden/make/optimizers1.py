"""Trainings with the optimizers of TensorFlow 1.15, and where they are two steps later.

Usage: python optimizers1.py FOLDER

The network is a recurrent cell, or a mean for Ftrl, and a dense layer. Each checkpoint is
optimizers/<name>/model.ckpt, after three steps. optimizers.npz holds the kernel of the dense layer
after two more under the name of the optimizer. The data is that of `data()`.
"""

import os

import numpy as np
import tensorflow as tf
import writing

OPTIMIZERS = {
    "adam": lambda: tf.train.AdamOptimizer(0.01, epsilon=1e-7),
    "rmsprop": lambda: tf.train.RMSPropOptimizer(0.01, momentum=0.5, epsilon=1e-7),
    "adagrad": lambda: tf.train.AdagradOptimizer(0.01),
    "adadelta": lambda: tf.train.AdadeltaOptimizer(0.5, epsilon=1e-7),
    "ftrl": lambda: tf.train.FtrlOptimizer(0.1),
    "momentum": lambda: tf.train.MomentumOptimizer(0.01, 0.9),
}


def data():
    x = np.sin(np.arange(60)).reshape([4, 5, 3]).astype(np.float32)
    return x, np.cos(np.arange(4)).reshape([4, 1]).astype(np.float32)


def compute(name, make):
    x, y = map(tf.constant, data())
    features = tf.reduce_mean(x, 1)
    if name != "ftrl":
        cell = tf.nn.rnn_cell.BasicLSTMCell(4)
        features = tf.nn.dynamic_rnn(cell, x, dtype=tf.float32)[0][:, -1]
    loss = tf.reduce_mean(tf.square(tf.layers.dense(features, 1, name="head") - y))
    train = make().minimize(loss, tf.train.get_or_create_global_step())
    kernel = next(one for one in tf.trainable_variables() if one.op.name == "head/kernel")
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        random = np.random.RandomState(3)
        for variable in tf.trainable_variables():
            variable.load(random.uniform(-1, 1, variable.shape.as_list()), session)
        for _ in range(3):
            session.run(train)
        folder = os.path.join("optimizers", name)
        os.makedirs(folder, exist_ok=True)
        saver = tf.train.Saver()
        prefix = os.path.join(folder, "model.ckpt")
        saver.save(session, prefix, write_meta_graph=False, write_state=False)
        for _ in range(2):
            session.run(train)
        found = session.run(kernel)
        saver.restore(session, prefix)
        for _ in range(2):
            session.run(train)
        np.testing.assert_array_equal(session.run(kernel), found)
        return found


def main():
    os.chdir(writing.start(tf.__version__, "1.15.5"))
    values = {}
    for name, make in OPTIMIZERS.items():
        with tf.Graph().as_default():
            values[name] = compute(name, make)
    writing.write_values(os.path.join("optimizers", "optimizers.npz"), values)


if __name__ == "__main__":
    main()
