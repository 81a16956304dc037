"""A background checkpoint holds what the variables had at the call, whatever training does to them.

Every update runs, often, between the call and the first byte that is written.
"""

from __future__ import annotations

import contextlib
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.formats.bundle_writer import Items

v1 = tf.compat.v1
ROWS, COLUMNS = 300, 64
INDICES = [[1], [5], [7]]


class Slow:
    """A storage whose writes wait for a gate, and then let training go on between any two."""

    def __init__(self, storage, gate):
        self.storage, self.gate = storage, gate

    def __getattr__(self, name):
        return getattr(self.storage, name)

    @contextlib.contextmanager
    def publish(self, **options):
        self.gate.wait()
        with self.storage.publish(**options) as publication:
            yield SlowPublication(publication)


class SlowPublication:
    def __init__(self, publication):
        self.publication = publication

    def __getattr__(self, name):
        return getattr(self.publication, name)

    def create(self, name):
        return SlowSink(self.publication.create(name))


class SlowSink:
    def __init__(self, sink):
        self.sink = sink

    def __getattr__(self, name):
        return getattr(self.sink, name)

    def write(self, data):
        data = memoryview(data).cast("B")
        for start in range(0, len(data), 16 << 10):
            threading.Event().wait(0.0005)
            self.sink.write(data[start : start + (16 << 10)])


def hammered(store, save, update, values):
    """Save in the background while `update` runs; return the values before, after, and saved."""
    gate = threading.Event()
    store = store.background()
    vars(store)["_opened"] = Slow(store._opened, gate)
    before = [value.copy() for value in values()]
    checkpoint = save(store)
    for _ in range(3):
        update()
    gate.set()
    while not checkpoint.done:
        update()
    after = values()
    assert checkpoint.verify().ok
    return before, after, checkpoint


def variable(dtype=np.float32):
    return tf.Variable(np.random.default_rng(1).random((ROWS, COLUMNS)).astype(dtype) + 2)


def slices(value):
    return tf.IndexedSlices(tf.fill((3, COLUMNS), value), tf.constant([1, 5, 7]))


DENSE = {
    "assign": lambda v, m: v.assign(v * 1.5),
    "assign_add": lambda v, m: v.assign_add(tf.ones_like(v)),
    "assign_sub": lambda v, m: v.assign_sub(tf.ones_like(v)),
    "scatter_add": lambda v, m: v.scatter_add(slices(1.0)),
    "scatter_sub": lambda v, m: v.scatter_sub(slices(1.0)),
    "scatter_mul": lambda v, m: v.scatter_mul(slices(2.0)),
    "scatter_div": lambda v, m: v.scatter_div(slices(2.0)),
    "scatter_min": lambda v, m: v.scatter_min(slices(-1.0)),
    "scatter_max": lambda v, m: v.scatter_max(slices(9.0)),
    "scatter_update": lambda v, m: v.scatter_update(slices(9.0)),
    "scatter_nd_add": lambda v, m: v.scatter_nd_add(INDICES, tf.ones((3, COLUMNS))),
    "scatter_nd_update": lambda v, m: v.scatter_nd_update(INDICES, tf.ones((3, COLUMNS))),
    "strided_assign": lambda v, m: v[3:9].assign(tf.zeros((6, COLUMNS))),
    "momentum": lambda v, m: tf.raw_ops.ResourceApplyMomentum(
        var=v.handle, accum=m.handle, lr=0.1, grad=tf.ones_like(v), momentum=0.9
    ),
    "keras_momentum": lambda v, m: tf.raw_ops.ResourceApplyKerasMomentum(
        var=v.handle, accum=m.handle, lr=0.1, grad=tf.ones_like(v), momentum=0.9, use_locking=True
    ),
    "sparse_momentum": lambda v, m: tf.raw_ops.ResourceSparseApplyMomentum(
        var=v.handle,
        accum=m.handle,
        lr=0.1,
        grad=tf.ones((3, COLUMNS)),
        indices=[1, 5, 7],
        momentum=0.9,
    ),
    "sparse_adagrad": lambda v, m: tf.raw_ops.ResourceSparseApplyAdagradV2(
        var=v.handle,
        accum=m.handle,
        lr=0.1,
        epsilon=1e-7,
        grad=tf.ones((3, COLUMNS)),
        indices=[1, 5, 7],
    ),
}


@pytest.mark.parametrize("how", ["eager", "function", "xla"])
@pytest.mark.parametrize("name", DENSE)
def test_updates_of_variables(tmp_path, name, how):
    if how == "xla" and name.startswith("sparse_"):
        pytest.skip("XLA has no such op")
    first, second = variable(), variable()

    def update():
        DENSE[name](first, second)

    if how != "eager":
        update = tf.function(update, jit_compile=how == "xla")
    # Scatter updates change how a variable is read ever after, so both states are saved.
    for step in range(2):
        before, after, checkpoint = hammered(
            tfp.ModelStore(tmp_path),
            lambda store, step=step: store.save({"v": first, "m": second}, step=step),
            update,
            lambda: [first.numpy(), second.numpy()],
        )
        if step == 0:
            assert not np.array_equal(before[0], after[0])
        assert np.array_equal(checkpoint["v"], before[0])
        assert np.array_equal(checkpoint["m"], before[1])


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1),
    "momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "adam": lambda: keras.optimizers.Adam(0.1),
    "adam with averages": lambda: keras.optimizers.Adam(0.1, use_ema=True),
    "adagrad": lambda: keras.optimizers.Adagrad(0.1),
}


@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_steps_of_keras(tmp_path, name, xla):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Embedding(50, 32),
            keras.layers.Flatten(),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(1),
        ]
    )
    model.compile(OPTIMIZERS[name](), "mse", jit_compile=xla)
    x = np.random.default_rng(2).integers(0, 50, (8, 4))
    model.train_on_batch(x, np.ones((8, 1)))
    held = [*model.variables, *model.optimizer.variables]
    before, after, checkpoint = hammered(
        tfp.ModelStore(tmp_path),
        lambda store: store.save(model),
        lambda: model.train_on_batch(x, np.zeros((8, 1))),
        lambda: [np.asarray(each) for each in held],
    )
    changed = sum(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert changed >= len(model.trainable_variables)
    tfp.ModelStore(tmp_path).restore(model)
    for each, value in zip(held, before, strict=True):
        assert np.array_equal(np.asarray(each), value), each.path
    assert checkpoint.done


GRAPH = {
    "assign": lambda v: v1.assign(v, tf.random.uniform((ROWS, COLUMNS))),
    "assign_add": lambda v: v1.assign_add(v, tf.ones((ROWS, COLUMNS))),
    "scatter_add": lambda v: v1.scatter_add(v, [1, 5, 7], tf.ones((3, COLUMNS))),
    "scatter_update": lambda v: v1.scatter_update(v, [1, 5, 7], tf.random.normal((3, COLUMNS))),
    "momentum": lambda v: v1.train.MomentumOptimizer(0.01, 0.9).minimize(tf.reduce_sum(v**2)),
    "adam": lambda v: v1.train.AdamOptimizer(0.01).minimize(tf.reduce_sum(v**2)),
    "sparse adam": lambda v: v1.train.AdamOptimizer(0.01).minimize(
        tf.reduce_sum(tf.gather(v, [1, 5, 7]) ** 2)
    ),
}


@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("name", GRAPH)
def test_training_steps_of_a_session(tmp_path, name, resource):
    with tf.Graph().as_default(), v1.Session() as session:
        start = np.random.default_rng(3).random((ROWS, COLUMNS), np.float32)
        held = v1.get_variable("v", initializer=start, use_resource=resource)
        train = GRAPH[name](held)
        session.run(v1.global_variables_initializer())
        session.run(getattr(train, "op", train))
        every = v1.global_variables()
        before, after, checkpoint = hammered(
            tfp.ModelStore(tmp_path),
            lambda store: store.save(session),
            lambda: session.run(getattr(train, "op", train)),
            lambda: session.run(every),
        )
        assert not np.array_equal(before[0], after[0])
        for each, value in zip(every, before, strict=True):
            assert np.array_equal(checkpoint[each.op.name], value), each.name


@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
def test_every_save_of_a_session_holds_one_step(tmp_path, resource):
    """All elements of the variable are alike between two steps, and so they are in the file."""
    with tf.Graph().as_default(), v1.Session() as session:
        held = v1.get_variable("v", initializer=np.zeros(1 << 18, "f"), use_resource=resource)
        session.run(v1.global_variables_initializer())
        train = v1.assign_add(held, tf.ones(1 << 18)).op
        with tfp.ModelStore(tmp_path).background() as store:
            saved = []
            for step in range(30):
                session.run(train)
                saved.append(store.save(session, step=step))
                session.run(train)
        for step, checkpoint in enumerate(saved):
            assert (checkpoint["v"] == 2 * step + 1).all()


def test_shared_memory_is_not_copied(tmp_path):
    """The snapshot of a resource variable is its own memory until it is changed."""
    held = variable()
    store = tfp.ModelStore(tmp_path).background()
    gate = threading.Event()
    vars(store)["_opened"] = Slow(store._opened, gate)
    address = np.asarray(memoryview(held.read_value())).ctypes.data
    store.save({"v": held})
    job = store._worker._jobs[0]
    cells = [cell.cell_contents for cell in job.work.__closure__]
    (items,) = (each for each in cells if isinstance(each, Items))
    seen = [item.payload.load().ctypes.data for item in items]
    gate.set()
    store.close()
    assert seen == [address]
