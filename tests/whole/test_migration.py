"""Each row of the table in "Migrate to Keras 3" holds, with no more help than it says."""

from __future__ import annotations

import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import tfpersist as tfp

REPOSITORY = pathlib.Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "how-to" / "migrate-to-keras-3.md"
X = np.sin(np.arange(32)).reshape(8, 4).astype(np.float32)
Y = np.cos(np.arange(8)).reshape(8, 1).astype(np.float32)

# Rows that golden files of old releases prove, by the test that does.
GOLDEN = "tests/golden"
ELSEWHERE = {
    "TF1 LSTM": f"{GOLDEN}/test_cells.py::test_the_outputs_are_those_of_the_release",
    "BERT": f"{GOLDEN}/test_transformers.py::test_the_outputs_are_those_of_the_release",
    "Transformers of tensor2tensor": f"{GOLDEN}/test_transformers.py"
    "::test_a_transformer_of_tensor2tensor_goes_into_layers_without_names",
    "MobileNet": f"{GOLDEN}/test_slim_nets.py::test_the_logits_are_those_of_the_release",
    "a training of TensorFlow 1": f"{GOLDEN}/test_optimizers.py::test_a_training_goes_on",
}


def net(library, *names):
    layers = library.layers
    first, *others = names or ("first", "last")
    dense = [layers.Dense(4, "tanh", name=first), *(layers.Dense(1, name=name) for name in others)]
    model = library.Sequential([layers.Input((4,)), *dense])
    model.compile(library.optimizers.Adam(0.05), "mse", run_eagerly=True)
    return model


def trained(library):
    model = net(library)
    model.fit(X, Y, epochs=3, batch_size=8, verbose=0)
    return model


def as_trained(path, old, help_needed):
    """Restore with no help, and compare what both compute, also after more training."""
    assert help_needed.partition(";")[0] == "none"
    new = net(keras)
    tfp.ModelStore(path).restore(new)
    np.testing.assert_allclose(new(X), old(X), rtol=0, atol=1e-6)
    assert int(new.optimizer.iterations) == 3
    for model in (old, new):
        model.train_on_batch(X, Y)
    np.testing.assert_allclose(new(X), old(X), rtol=0, atol=1e-5)


def save_weights(folder, help_needed):
    old = trained(tf_keras)
    old.save_weights(folder / "run" / "ckpt")
    as_trained(folder / "run", old, help_needed)


def saved_model(folder, help_needed):
    old = trained(tf_keras)
    old.save(folder / "sm", save_format="tf")
    as_trained(folder / "sm", old, help_needed)


def h5(folder, help_needed):
    old = trained(tf_keras)
    old.save(folder / "old.h5")
    as_trained(folder / "old.h5", old, help_needed)


def keras_file(folder, help_needed):
    for library in (keras, tf_keras):
        old = trained(library)
        old.save(folder / "old.keras")
        as_trained(folder / "old.keras", old, help_needed)


def weights_h5(folder, help_needed):
    old = trained(keras)
    old.save_weights(folder / "old.weights.h5")
    as_trained(folder / "old.weights.h5", old, help_needed)


def checkpoint(folder, help_needed):
    old = trained(tf_keras)
    tf.train.Checkpoint(net=old, opt=old.optimizer).save(str(folder / "run" / "ckpt"))
    as_trained(folder / "run", old, help_needed)


def export(folder, help_needed):
    assert help_needed == "none"
    old, new = trained(keras), net(keras)
    old.export(folder / "sm", verbose=False)
    tfp.ModelStore(folder / "sm").restore(new)
    np.testing.assert_array_equal(new(X), old(X))


def earlier(folder, help_needed):
    assert help_needed == 'none, or `missing="skip"` for new layers'
    old, new = trained(keras), net(keras, "first", "new")
    store = tfp.ModelStore(folder)
    store.save(old)
    store.restore(net(keras))
    store.restore(new, missing="skip")
    np.testing.assert_array_equal(new.layers[0].kernel, old.layers[0].kernel)


def by_names(folder, *layers):
    """Save layers as a session of TensorFlow 1 does; return their kernels."""
    random, kernels = np.random.default_rng(0), []
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for layer, (kernel, bias), size in layers:
            kernels.append(random.normal(size=(4, size)).astype(np.float32))
            tf.compat.v1.get_variable(f"{layer}/{kernel}", initializer=kernels[-1])
            tf.compat.v1.get_variable(f"{layer}/{bias}", initializer=np.zeros(size, np.float32))
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver()
        saver.save(session, str(folder / "model.ckpt"), write_meta_graph=False)
    return kernels


def has_kernels(model, kernels):
    for layer, kernel in zip(model.layers, kernels, strict=True):
        np.testing.assert_array_equal(layer.kernel, kernel)


def estimator(folder, help_needed):
    assert help_needed == "none"
    names = "kernel", "bias"
    kernels = by_names(folder, ("dense", names, 4), ("dense_1", names, 1))
    model = net(keras, None, None)
    tfp.ModelStore(folder).restore(model)
    has_kernels(model, kernels)


def slim(folder, help_needed):
    assert help_needed == "none"
    names = "weights", "biases"
    kernels = by_names(folder, ("net/first", names, 4), ("net/last", names, 1))
    model = net(keras)
    tfp.ModelStore(folder).restore(model)
    has_kernels(model, kernels)


def changed_names(folder, help_needed):
    assert help_needed == "one line"
    names = "weights", "biases"
    kernels = by_names(folder, ("net/stem", names, 4), ("net/logits", names, 1))
    store, model = tfp.ModelStore(folder), net(keras)
    store.rename(store.restore(model, dry_run=True).suggestion).restore(model)
    has_kernels(model, kernels)


def float_type(folder, help_needed):
    assert help_needed == "one word"
    store, target = tfp.ModelStore(folder), {"w": np.zeros(2, np.float16)}
    store.save({"w": np.float32([0.5, 2])})
    store.restore(target, cast=True)
    assert target["w"].tolist() == [0.5, 2]


def vocabulary(folder, help_needed):
    assert help_needed == "the two lists of words"
    store, target = tfp.ModelStore(folder), {"table": np.zeros((2, 1), np.float32)}
    store.save({"table": np.float32([[1], [2]])})
    store.restore(target, rows={"table": (["cat", "dog"], ["dog", "cow"])})
    assert target["table"].ravel().tolist() == [2, 0]


HERE = {
    '`model.save_weights("run/ckpt")`': save_weights,
    '`model.save("sm"': saved_model,
    '`model.save("old.h5")`': h5,
    '`model.save("old.keras")`': keras_file,
    '`model.save_weights("old.weights.h5")`': weights_h5,
    "`tf.train.Checkpoint": checkpoint,
    '`model.export("sm")`': export,
    "a checkpoint of an earlier version": earlier,
    "Estimator": estimator,
    "TF-Slim": slim,
    "names that changed": changed_names,
    "another float type": float_type,
    "another vocabulary": vocabulary,
}


def rows():
    """Return {first cell: last cell} of the table."""
    text = PAGE.read_text("utf-8").partition("|---|---|---|\n")[2].partition("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return {row[0]: row[2] for row in cells}


@pytest.mark.parametrize("start", HERE)
def test_a_row_of_the_table_holds(start, tmp_path):
    (help_needed,) = [help_needed for what, help_needed in rows().items() if what.startswith(start)]
    assert help_needed, "the row does not say how much help is needed"
    HERE[start](tmp_path, help_needed)


def test_each_row_of_the_table_has_a_test():
    starts = {**HERE, **ELSEWHERE}
    found = {what: [start for start in starts if what.startswith(start)] for what in rows()}
    assert {what: len(one) for what, one in found.items()} == dict.fromkeys(rows(), 1)
    assert {start for one in found.values() for start in one} == starts.keys()


@pytest.mark.parametrize("where", ELSEWHERE.values())
def test_the_other_tests_are_there(where):
    path, _, name = where.partition("::")
    assert re.search(rf"^def {name}\(", (REPOSITORY / path).read_text("utf-8"), re.MULTILINE)
