"""Row 8: the stall of a training loop by a save in the background, and the time of 16 steps.

python benchmarks/background.py [--rounds 9] [--megabytes 512]

A step multiplies matrices and changes every variable, so that TensorFlow has to copy what a
snapshot shares. The loop saves once, at its beginning; its time ends when the save is over.
"""

from __future__ import annotations

import shutil
import statistics
import time

import harness
import models

STEPS = 16
NO_SAVE, NO_SAVE_IN_SESSION = "no save", "no save, session"
SAVER = "v1.train.Saver"
OURS = "tfpersist, background"
CONTENDERS = (
    NO_SAVE,
    NO_SAVE_IN_SESSION,
    OURS,
    "tfpersist",
    SAVER,
    "tf.train.Checkpoint.write",
    "tf.train.Checkpoint.write, async",
    "orbax, async",
)


def training(module):
    """Return a step that changes all variables."""
    import tensorflow as tf

    matrix = tf.random.normal((768, 768))

    @tf.function
    def step():
        for variable in module.weights:
            variable.assign_add(tf.fill(variable.shape, 1e-3))
        return tf.linalg.matmul(matrix, tf.linalg.matmul(matrix, matrix))

    return lambda: step().numpy()


def session_training(values):
    """Return the step of a session, the session and its Saver."""
    import tensorflow as tf

    v1 = tf.compat.v1
    session, saver = models.session(values)
    with session.graph.as_default():
        matrix = tf.random.normal((768, 768))
        changes = [v1.assign_add(v, tf.fill(v.shape, 1e-3)).op for v in v1.global_variables()]
        with tf.control_dependencies(changes):
            product = tf.linalg.matmul(matrix, tf.linalg.matmul(matrix, matrix))
    return lambda: session.run(product), session, saver


def contender(name, values, target):
    """Return a step, a function that begins a save, and one that waits for it."""
    import tensorflow as tf

    if name in (SAVER, NO_SAVE_IN_SESSION):
        step, session, saver = session_training(values)

        def save():
            if name == NO_SAVE_IN_SESSION:
                return
            with session.graph.as_default():
                saver.save(session, str(target / "model"))

        return step, save, lambda: None
    module = models.module(values)
    step = training(module)
    if name.startswith("tfpersist"):
        import tfpersist as tfp

        store = tfp.ModelStore(target, durable=False)
        if name == OURS:
            store = store.background()
        return step, lambda: store.save(module), store.close
    if name == "orbax, async":
        import orbax.checkpoint as ocp

        saver = ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())

        def save():
            tree = {str(n): variable.numpy() for n, variable in enumerate(module.weights)}
            saver.save(target / "model", tree)

        return step, save, saver.wait_until_finished
    if name.startswith("tf.train.Checkpoint.write"):
        checkpoint = tf.train.Checkpoint(module)
        asynchronous = name.endswith("async")
        options = tf.train.CheckpointOptions(experimental_enable_async_checkpoint=asynchronous)

        def save():
            checkpoint.write(str(target / "model"), options=options)

        return step, save, checkpoint.sync if asynchronous else lambda: None
    return step, lambda: None, lambda: None


def main():
    options = harness.arguments(megabytes=512)
    values = models.arrays(options.megabytes)
    with harness.folder(options.folder) as base:
        target = base / "new"

        def reset():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()

        reset()
        stalls = {name: [] for name in CONTENDERS}

        def loop(name, step, save, finish):
            step()
            start = time.perf_counter()
            save()
            stalls[name].append(time.perf_counter() - start)
            for _ in range(STEPS):
                step()
            finish()
            return time.perf_counter() - start

        if options.alone:
            parts = contender(options.alone, values, target)
            values = None
            parts[0]()
            harness.weigh(lambda: loop(options.alone, *parts))
            return
        weights = harness.memory(__file__, CONTENDERS, "--megabytes", options.megabytes)
        loops = {}
        for name in CONTENDERS:
            parts = contender(name, values, target)
            loops[name] = lambda name=name, parts=parts: loop(name, *parts)
        seconds = harness.alternate(loops, options.rounds, reset)
    saving = [name for name in CONTENDERS if not name.startswith(NO_SAVE)]
    calls = {name: stalls[name][-options.rounds :] for name in saving}
    harness.report(
        "background_stall",
        f"Stall of the loop by the call that saves {options.megabytes} MB",
        calls,
        against={},
        ours=OURS,
    )
    added = {}
    for name in saving:
        idle = statistics.median(seconds[NO_SAVE_IN_SESSION if name == SAVER else NO_SAVE])
        added[name] = [max(each - idle, 1e-6) for each in seconds[name]]
    harness.report(
        "background_total",
        f"Time that a save of {options.megabytes} MB adds to {STEPS} steps",
        added,
        against={"tf.train.Checkpoint.write, async": 2},
        megabytes=weights,
        ours=OURS,
    )


if __name__ == "__main__":
    main()
