"""A complete example in TensorFlow 1 style: train, save, restore, freeze, load, predict.

    python examples/digits.py [folder]

Three processes run one after the other. They share only the files in the folder:

    train     trains a small CNN on handwritten digits and saves it after every epoch
    freeze    restores the moving averages, without the code of `train`, and freezes them
    predict   loads the frozen graph

The last two classify the same test set, so their accuracy must be equal.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from sklearn.datasets import load_digits

import tfpersist as tfp

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

EPOCHS, BATCH = 5, 32


def digits():
    """Return scikit-learn's 1,797 digits as training set and test set, the last 360."""
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1).astype(np.float32) / 16
    return (images[:-360], labels[:-360]), (images[-360:], labels[-360:])


def accuracy(probabilities):
    """Return the share of the test set that is classified correctly."""
    _, (_, labels) = digits()
    return f"{np.mean(np.argmax(probabilities, axis=1) == labels):.4f}"


def network(images, training):
    """Build two convolutions with batch norm and a dense layer; return the logits."""
    import tensorflow as tf

    v1 = tf.compat.v1

    def convolution(name, inputs, channels):
        with v1.variable_scope(name):
            kernel = v1.get_variable("kernel", [3, 3, inputs.shape[-1], channels])
            beta = v1.get_variable("beta", initializer=tf.zeros(channels))
            gamma = v1.get_variable("gamma", initializer=tf.ones(channels))
            mean = v1.get_variable("mean", initializer=tf.zeros(channels), trainable=False)
            variance = v1.get_variable("variance", initializer=tf.ones(channels), trainable=False)
            outputs = tf.nn.conv2d(inputs, kernel, strides=1, padding="SAME")
            if training:
                batch_mean, batch_variance = tf.nn.moments(outputs, [0, 1, 2])
                for moving, batch in ((mean, batch_mean), (variance, batch_variance)):
                    update = moving.assign_sub(0.1 * (moving - batch))
                    v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, update)
                mean, variance = batch_mean, batch_variance
            outputs = tf.nn.batch_normalization(outputs, mean, variance, beta, gamma, 1e-3)
            return tf.nn.max_pool2d(tf.nn.relu(outputs), 2, 2, "SAME")

    with v1.variable_scope("cnn", reuse=v1.AUTO_REUSE):
        outputs = convolution("conv1", images, 16)
        outputs = convolution("conv2", outputs, 32)
        flat = tf.reshape(outputs, [-1, 2 * 2 * 32])
        weights = v1.get_variable("weights", [2 * 2 * 32, 10])
        bias = v1.get_variable("bias", initializer=tf.zeros(10))
        return tf.matmul(flat, weights) + bias


def train(folder):
    """Train, and save a checkpoint after every epoch."""
    import tensorflow as tf

    v1 = tf.compat.v1
    (train_images, train_labels), (test_images, _) = digits()

    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(1)
        images = v1.placeholder(tf.float32, [None, 8, 8, 1], name="images")
        labels = v1.placeholder(tf.int64, [None], name="labels")
        loss = v1.losses.sparse_softmax_cross_entropy(labels, network(images, training=True))
        probabilities = tf.nn.softmax(network(images, training=False), name="probabilities")

        updates = v1.get_collection(v1.GraphKeys.UPDATE_OPS)
        descend = v1.train.AdamOptimizer(0.005).minimize(loss)
        averages = tf.train.ExponentialMovingAverage(0.98)
        with tf.control_dependencies([descend, *updates]):
            step = averages.apply(v1.trainable_variables())
        session.run(v1.global_variables_initializer())

        store = tfp.ModelStore(folder / "checkpoints")
        shuffle = np.random.default_rng(1)
        for epoch in range(1, EPOCHS + 1):
            order = shuffle.permutation(len(train_images))
            for batch in np.split(order, range(BATCH, len(order), BATCH)):
                session.run(step, {images: train_images[batch], labels: train_labels[batch]})
            checkpoint = store.save(session, step=epoch)
            reached = accuracy(session.run(probabilities, {images: test_images}))
            print(f"epoch {epoch}: accuracy {reached}, saved {os.path.basename(checkpoint.prefix)}")


def freeze(folder):
    """Open the newest checkpoint from its .meta, with its averages, and freeze it."""
    _, (test_images, _) = digits()
    store = tfp.ModelStore(folder / "checkpoints")
    with store.averages("ExponentialMovingAverage").open_graph() as model:
        probabilities = model.run("probabilities", {"images": test_images})
        tfp.Freezer(model.session).outputs("probabilities").write(folder / "digits.pb")
    print(f"averages restored: accuracy {accuracy(probabilities)}")


def predict(folder):
    """Load the frozen graph and classify the test set."""
    _, (test_images, _) = digits()
    model = tfp.FrozenModel.load(folder / "digits.pb")
    probabilities = model.run("probabilities", {"images": test_images})
    print(f"frozen and loaded: accuracy {accuracy(probabilities)}")


def main(folder):
    """Run each phase in a new process; return 0 if the last two have equal accuracy."""
    last_words = []
    for phase in (train, freeze, predict):
        command = [sys.executable, __file__, str(folder), phase.__name__]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        print(done.stdout, end="", flush=True)
        last_words.append(done.stdout.split()[-1])
    return 0 if last_words[1] == last_words[2] else 1


if __name__ == "__main__":
    folder, phase = [*sys.argv[1:], None, None][:2]
    if phase:
        {"train": train, "freeze": freeze, "predict": predict}[phase](pathlib.Path(folder))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            sys.exit(main(pathlib.Path(folder or scratch)))
