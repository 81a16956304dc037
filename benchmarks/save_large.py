"""Rows 1 and 2: save 0.5 GB in 48 tensors to a new prefix, without and with fsync for all.

python benchmarks/save_large.py [--rounds 9] [--megabytes 512]
"""

from __future__ import annotations

import os
import shutil

import harness
import models

CONTENDERS = (
    "tfpersist",
    "tfpersist, session",
    "v1.train.Saver",
    "tf.train.Checkpoint.write",
    "safetensors",
    "orbax",
    "Keras .weights.h5",
)


def contender(name, values, target, durable):
    """Build the model that a contender saves; return a function that saves it to `target`."""
    if name.startswith("tfpersist"):
        import tfpersist as tfp

        session = name.endswith("session")
        model = models.session(values)[0] if session else models.module(values)
        store = tfp.ModelStore(target, durable=durable)
        return lambda: store.save(model)
    save = others(name, values, target)

    def synced():
        save()
        sync(target)

    return synced if durable else save


def others(name, values, target):
    """Return a function that saves the model, for each contender but tfpersist."""
    import tensorflow as tf

    if name == "v1.train.Saver":
        session, saver = models.session(values)

        def save():
            with session.graph.as_default():
                saver.save(session, str(target / "model"))

    elif name == "tf.train.Checkpoint.write":
        checkpoint = tf.train.Checkpoint(models.module(values))

        def save():
            checkpoint.write(str(target / "model"))

    elif name == "safetensors":
        from safetensors.numpy import save_file

        module = models.module(values)

        def save():
            import numpy as np

            views = {
                str(number): np.asarray(memoryview(variable.read_value()))
                for number, variable in enumerate(module.weights)
            }
            save_file(views, target / "model.safetensors")

    elif name == "orbax":
        import orbax.checkpoint as ocp

        module = models.module(values)
        saver = ocp.PyTreeCheckpointer()

        def save():
            tree = {str(n): variable.numpy() for n, variable in enumerate(module.weights)}
            saver.save(target / "model", tree)

    else:
        model = models.keras_model(values)

        def save():
            model.save_weights(target / "model.weights.h5")

    return save


def sync(path):
    """Sync every file and directory below a path."""
    for base, _, files in os.walk(path):
        for name in (*(os.path.join(base, name) for name in files), base):
            descriptor = os.open(name, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


def main():
    options = harness.arguments(megabytes=512)
    values = models.arrays(options.megabytes)
    with harness.folder(options.folder) as base:
        target = base / "new"

        def reset():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()

        if options.alone:
            save = contender(options.alone, values, target, False)
            values = None
            reset()
            harness.weigh(save)
            return
        weights = harness.memory(__file__, CONTENDERS, "--megabytes", options.megabytes)
        for durable, wanted in (
            (False, {"v1.train.Saver": 2.5, "safetensors": 1.2}),
            (True, {"v1.train.Saver": 1.7}),
        ):
            saves = {name: contender(name, values, target, durable) for name in CONTENDERS}
            seconds = harness.alternate(saves, options.rounds, reset)
            del saves
            harness.report(
                "save_large_synced" if durable else "save_large",
                f"Save {options.megabytes} MB in 48 tensors to a new prefix"
                + (", all synced" if durable else ""),
                seconds,
                against=wanted,
                megabytes=weights,
            )


if __name__ == "__main__":
    main()
