"""A complete example with Keras 3: train, save, restore, freeze, load, predict.

    python examples/digits_keras.py [folder]

Three processes run one after the other. They share only the files in the folder:

    train     trains a small CNN on handwritten digits and saves it after every epoch
    freeze    builds the model again, restores the moving averages and freezes them
    predict   loads the frozen graph, without Keras

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

EPOCHS = 5


def digits():
    """Return scikit-learn's 1,797 digits as training set and test set, the last 360."""
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1).astype(np.float32) / 16
    return (images[:-360], labels[:-360]), (images[-360:], labels[-360:])


def accuracy(probabilities):
    """Return the share of the test set that is classified correctly."""
    _, (_, labels) = digits()
    return f"{np.mean(np.argmax(probabilities, axis=1) == labels):.4f}"


def compiled_model():
    """Build two convolutions with batch norm and a dense layer; Adam averages the weights."""
    import keras

    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="images"),
            keras.layers.Conv2D(16, 3, padding="same", use_bias=False),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, 3, padding="same", use_bias=False),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax", name="probabilities"),
        ]
    )
    adam = keras.optimizers.Adam(0.005, use_ema=True, ema_momentum=0.98)
    model.compile(adam, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    adam.build(model.trainable_variables)
    return model


def train(folder):
    """Train, and save a checkpoint of weights and optimizer after every epoch."""
    import keras

    keras.utils.set_random_seed(1)
    training_set, (test_images, _) = digits()
    model = compiled_model()
    store = tfp.ModelStore(folder / "checkpoints")
    for epoch in range(1, EPOCHS + 1):
        model.fit(*training_set, verbose=0)
        checkpoint = store.save(model, step=epoch)
        reached = accuracy(model.predict(test_images, verbose=0))
        print(f"epoch {epoch}: accuracy {reached}, saved {os.path.basename(checkpoint.prefix)}")


def freeze(folder):
    """Restore the averages of the newest checkpoint into a new model, and freeze it."""
    _, (test_images, _) = digits()
    model = compiled_model()
    store = tfp.ModelStore(folder / "checkpoints")
    store.averages(model.optimizer).restore(model)
    probabilities = model.predict(test_images, verbose=0)
    tfp.Freezer(model).write(folder / "digits.pb")
    print(f"averages restored: accuracy {accuracy(probabilities)}")


def predict(folder):
    """Load the frozen graph and classify the test set."""
    _, (test_images, _) = digits()
    model = tfp.FrozenModel.load(folder / "digits.pb")
    (images,), (probabilities,) = model.inputs, model.outputs
    print(
        f"frozen and loaded: accuracy {accuracy(model.run(probabilities, {images: test_images}))}"
    )


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
