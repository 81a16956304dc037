"""The cost of `store.callback()` in a `fit` that saves once in 50 steps.

python benchmarks/resume_cost.py [--rounds 9] [--windows 24]

The model is the CNN of examples/digits_keras.py with dropout, in batches of 32. A `fit` saves after
each 100th step. Its windows of 50 steps begin with a save, or with none; the cost is how much
longer the former take. A second `fit` compares each save with one of the model alone, into a store
like it, at the same step. Each time is measured twice: on the clock, and as processor time of the
whole process, which says more on a machine that does other work too.
"""

from __future__ import annotations

import itertools
import random
import statistics
import time

import harness

STEPS, BATCH = 50, 32
OURS, BACKUP = "tfpersist, background", "BackupAndRestore"
STORES = {
    OURS: {"durable": True},
    "tfpersist, not synced": {"durable": False},
    "tfpersist": {"durable": True},
}


def cnn():
    """Build the model."""
    import keras

    layers = keras.layers
    model = keras.Sequential([keras.Input((8, 8, 1))])
    for filters in (16, 32):
        model.add(layers.Conv2D(filters, 3, padding="same", use_bias=False))
        model.add(layers.BatchNormalization(momentum=0.9))
        model.add(layers.ReLU())
        model.add(layers.MaxPooling2D())
    model.add(layers.Flatten())
    model.add(layers.Dropout(0.2))
    model.add(layers.Dense(10, activation="softmax"))
    adam = keras.optimizers.Adam(0.005, use_ema=True, ema_momentum=0.98)
    model.compile(adam, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train(callbacks, epochs):
    """Train for some epochs of 50 steps."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    generator, rows = np.random.default_rng(0), STEPS * BATCH
    x, y = generator.random((rows, 8, 8, 1), np.float32), generator.integers(0, 10, rows)
    cnn().fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=callbacks)


def now():
    """Return the time on the clock, and the processor time of this process."""
    return time.perf_counter(), time.process_time()


def store_of(name, folder):
    """Make a store."""
    import tfpersist as tfp

    store = tfp.ModelStore(folder, **STORES[name])
    return store.background() if name == OURS else store


def cost(name, folder, windows):
    """Return by which share of its time a window that begins with a save takes longer.

    Returns:
        The shares of the time on the clock, and of processor time.
    """
    import keras

    if name == BACKUP:
        saves = keras.callbacks.BackupAndRestore(str(folder), save_freq=2 * STEPS)
    else:
        saves = store_of(name, folder).callback(2 * STEPS)
    times = []

    class Watch(keras.callbacks.Callback):
        """Comes first: a window begins before the save."""

        done = 0

        def on_train_batch_end(self, batch, logs=None):
            self.done += 1
            if self.done % STEPS == 0:
                times.append(now())

    train([Watch(), saves], windows + 2)
    shares = []
    for clock in zip(*times, strict=True):
        lengths = [end - begin for begin, end in itertools.pairwise(clock[1:])]
        shares.append(statistics.median(lengths[::2]) / statistics.median(lengths[1::2]) - 1)
    return shares


def pairs(name, folder, windows):
    """Return by how much a save takes longer than one of the model alone, for each pair.

    Returns:
        The ratios of the times on the clock, and of processor times.
    """
    import keras

    alone = store_of(name, folder / "alone")
    ours = store_of(name, folder / "ours").callback(STEPS)
    ratios = [], []
    save = ours.on_train_batch_end

    class Both(keras.callbacks.Callback):
        done = 0

        def on_train_batch_end(self, batch, logs=None):
            self.done += 1
            if self.done % STEPS:
                save(batch, logs)
                return
            metrics = {"epoch": 0, "batch": batch, **logs}
            works = [
                lambda: save(batch, logs),
                lambda: alone.save(self.model, self.done, metrics=metrics),
            ]
            took = [None, None]
            for number in random.sample((0, 1), 2):
                start = now()
                works[number]()
                took[number] = [end - begin for begin, end in zip(start, now(), strict=True)]
            for kept, mine, other in zip(ratios, *took, strict=True):
                kept.append(mine / other)

    ours.on_train_batch_end = lambda *given, **named: None
    train([Both(), ours], windows + 2)
    return [each[2:] for each in ratios]


def main():
    options = harness.arguments(windows=24)
    costs = {name: ([], []) for name in (*STORES, BACKUP)}
    ratios = {name: ([], []) for name in STORES}
    for number in range(-1, options.rounds):
        for name in random.sample(list(costs), len(costs)):
            with harness.folder(options.folder) as folder:
                found = cost(name, folder / "cost", options.windows)
                both = pairs(name, folder, options.windows) if name in STORES else None
            if number < 0:  # the first round warms up
                continue
            for kept, one in zip(costs[name], found, strict=True):
                kept.append(one)
            if both:
                for kept, several in zip(ratios[name], both, strict=True):
                    kept.extend(several)
    print("\n| contender | cost | the same of processor time | a save, by one of the model alone |")
    print("|---|---|---|---|")
    for name, shares in costs.items():
        clock, processor = (f"{statistics.median(each):.1%}" for each in shares)
        pair = [f"{statistics.median(each):.2f}" for each in ratios.get(name, ())]
        print(f"| {name} | {clock} | {processor} | {', '.join(pair)} |")
    harness.save("resume_cost", {"ours": OURS, "costs": costs, "ratios": ratios})


if __name__ == "__main__":
    main()
