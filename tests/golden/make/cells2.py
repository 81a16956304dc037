"""Weights of the cuDNN layers of Keras 2, with TensorFlow 2.4.

Usage: python cells2.py FOLDER

CuDNNLSTM and CuDNNGRU need a GPU to run, but none to be made and saved. Keras itself moves their
weights into an LSTM and a GRU, from an h5 file, and these compute the outputs. cells/cells.npz
holds the input, as "x", and the outputs of each layer under its name: [batch, time, units].
"""

import os
import tempfile

import numpy as np
import tensorflow as tf
import writing

UNITS = 3
INPUT = np.random.RandomState(1).uniform(-1, 1, [2, 5, 4]).astype(np.float32)

OLD = tf.compat.v1.keras.layers
NEW = tf.keras.layers
LAYERS = {
    "cudnn_lstm": (OLD.CuDNNLSTM, NEW.LSTM),
    "cudnn_gru": (OLD.CuDNNGRU, NEW.GRU),
}


def model_of(layer):
    return tf.keras.Sequential([NEW.Input([None, INPUT.shape[2]]), layer])


def compute(name):
    """Save a layer, and return the outputs of the other that has its weights."""
    old, new = (model_of(kind(UNITS, return_sequences=True)) for kind in LAYERS[name])
    random = np.random.RandomState(2)
    old.set_weights([random.uniform(-1, 1, weight.shape) for weight in old.get_weights()])
    old.save_weights(os.path.join("cells", name, "model.ckpt"))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "weights.h5")
        old.save_weights(path)
        new.load_weights(path)
    return new(INPUT).numpy()


def main():
    os.chdir(writing.start(tf.__version__, "2.4.4"))
    tf.config.threading.set_inter_op_parallelism_threads(1)
    values = {name: compute(name) for name in LAYERS}
    writing.write_values("cells/cells.npz", dict(values, x=INPUT))


if __name__ == "__main__":
    main()
