"""Variables of a tf.distribute.MirroredStrategy: saved and restored as tf.train.Checkpoint does.

Each test is a process of its own, for the devices must be set before TensorFlow computes anything.
"""

from __future__ import annotations

TWO_DEVICES = """
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2

import tfpersist as tfp


def on_read(aggregation, value=0.0):
    return tf.Variable(
        value,
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=aggregation,
        name=aggregation.name.lower(),
    )


def replicas(variable):
    inner = variable if isinstance(variable, tf.Variable) else variable.value
    return [np.asarray(each.numpy()).tolist() for each in inner.values]


def module():
    made = tf.Module()
    kinds = tf.VariableAggregation
    with strategy.scope():
        made.w = tf.Variable([1.0, 2.0], name="w")
        made.large = tf.Variable(tf.zeros([80, 80]), name="large")
        made.half = tf.Variable(tf.ones([2], tf.bfloat16), name="half")
        made.text = tf.Variable("a text", name="text")
        made.sum = on_read(kinds.SUM)
        made.count = on_read(kinds.SUM, np.int64(0))
        made.mean = on_read(kinds.MEAN)
        made.first = on_read(kinds.ONLY_FIRST_REPLICA)
    return made


@tf.function
def train(made):
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    made.sum.assign_add(tf.cast(replica, tf.float32) + 1.0)
    made.count.assign_add(tf.cast(replica, tf.int64) + 2)
    made.mean.assign_add(tf.cast(replica, tf.float32) + 1.0)
    made.first.assign_add(tf.cast(replica, tf.float32) + 1.0)


def trained():
    made = module()
    made.w.assign([3.0, 4.0])
    made.large.assign(tf.random.stateless_normal([80, 80], (1, 2)))
    made.text.assign("another")
    strategy.run(train, (made,))
    return made


def held(made):
    return {name: replicas(each) for name, each in vars(made).items() if name[0] != "_"}
"""


def test_a_module_is_saved_byte_for_byte_as_by_tensorflow_and_restored_into_every_replica(fresh):
    fresh(
        TWO_DEVICES
        + """
from tfpersist.matching.sides.object_graph import OBJECT_GRAPH_KEY
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import payload_of
from tfpersist.storage import open_storage
from tfpersist.tf.targets.adapt import adapt

made = trained()
assert replicas(made.sum) == [1.0, 2.0] == replicas(made.first)
for target, checkpoint in [
    (made, tf.train.Checkpoint(made)),
    ({"net": made}, tf.train.Checkpoint(net=made)),
    (tf.train.Checkpoint(net=made), tf.train.Checkpoint(net=made)),
]:
    checkpoint.write("theirs")
    captured = adapt(target).capture(adapt(target).entries())
    graph = np.array(captured.object_graph, object)
    items = [*captured.items, Item(OBJECT_GRAPH_KEY, payload_of(graph))]
    write_checkpoint(open_storage("."), "ours", items, alignment=1)
    for suffix in (".index", ".data-00000-of-00001"):
        assert open("ours" + suffix, "rb").read() == open("theirs" + suffix, "rb").read(), suffix

store = tfp.ModelStore("run")
saved = store.save(made, step=1)
assert saved["sum/.ATTRIBUTES/VARIABLE_VALUE"] == 3.0
assert saved["mean/.ATTRIBUTES/VARIABLE_VALUE"] == 1.5

other, theirs = module(), module()
print(store.restore(other))
tf.train.Checkpoint(theirs).read("run/model.ckpt-1").assert_consumed()
assert held(other) == held(theirs)
assert held(other)["w"] == [[3.0, 4.0]] * 2 and held(other)["text"] == [b"another"] * 2
assert held(other)["sum"] == [1.5, 1.5] and held(other)["count"] == [2, 2]
# Each replica has memory of its own.
other.w.values[0].assign([9.0, 9.0])
assert replicas(other.w) == [[9.0, 9.0], [3.0, 4.0]]

# TensorFlow's file, and a program without a strategy.
tf.train.Checkpoint(made).write("tensorflow/model.ckpt-7")
third = module()
tfp.ModelStore("tensorflow").restore(third)
assert held(third) == held(theirs)
plain = tf.Module()
plain.w = tf.Variable([0.0, 0.0])
tfp.ModelStore("run").restore(plain)
assert plain.w.numpy().tolist() == [3.0, 4.0]
"""
    )


def test_a_save_in_the_background_and_in_the_scope_has_the_values_of_that_moment(fresh):
    fresh(
        TWO_DEVICES
        + """
made = trained()
before = {name: each.numpy() for name, each in vars(made).items() if name[0] != "_"}
assert before["sum"] == 3.0
with tfp.ModelStore("run").background() as store, strategy.scope():
    saved = store.save(made, step=1)
    for each in (made.w, made.large):
        each.assign(each * 2.0)
    for variable in (made.sum, made.mean, made.first):
        for replica in variable.values:
            replica.assign(100.0)
for name, value in before.items():
    assert np.array_equal(saved[name + "/.ATTRIBUTES/VARIABLE_VALUE"], value), name

# By name, too; and a restore in the scope.
named = {"w": made.w, "sum": made.sum}
with strategy.scope():
    tfp.ModelStore("named").save(named)
    made.w.assign([0.0, 0.0])
    tfp.ModelStore("named").restore(named)
    assert replicas(made.sum) == [100.0, 100.0] and replicas(made.w) == [[6.0, 8.0]] * 2
    tfp.ModelStore("run").restore(made)
assert replicas(made.w) == [[3.0, 4.0]] * 2 and replicas(made.sum) == [1.5, 1.5]

# What each replica has for itself has no one value.
made.none = None
with strategy.scope():
    made.none = on_read(tf.VariableAggregation.NONE)
for target in (made, {"none": made.none}):
    try:
        tfp.ModelStore("none").save(target)
    except tfp.SaveError as error:
        assert "aggregation=" in str(error) and "only()" in str(error), error
    else:
        raise AssertionError("saved")
tfp.ModelStore("none").only(["w"]).save(made)


def save_on_each():
    try:
        tfp.ModelStore("each").save(made)
    except tfp.TargetError as error:
        assert "strategy.run()" in str(error), error
    else:
        raise AssertionError("saved")


strategy.run(save_on_each)
"""
    )


def test_a_keras_model_continues_on_every_replica(fresh):
    fresh(
        TWO_DEVICES
        + """
import contextlib
import keras


def build():
    keras.utils.set_random_seed(1)
    with strategy.scope():
        model = keras.Sequential([
            keras.Input((4,)), keras.layers.Dense(8), keras.layers.BatchNormalization(),
            keras.layers.Dense(1),
        ])
        model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


x = np.random.default_rng(0).random((32, 4)).astype("float32")
y = x[:, :1] * 2


def fit(model):
    model.fit(x, y, batch_size=16, epochs=1, shuffle=False, verbose=0)


model = build()
fit(model)
tf.train.Checkpoint(model).write("theirs")
others = []
for scope in (contextlib.nullcontext, strategy.scope):
    store = tfp.ModelStore("in " + scope.__name__)
    with scope():
        ours = store.save(model, step=1)
    difference = ours.diff(tfp.Checkpoint("theirs"))
    assert not difference, difference

    other = build()
    with scope():
        store.restore(other)
    for mine, saved in zip(other.variables + other.optimizer.variables,
                           model.variables + model.optimizer.variables):
        parts = replicas(mine)
        assert parts == [parts[0]] * 2, mine.path
        assert parts[0] == saved.numpy().tolist(), mine.path
    others.append(other)
for each in (model, *others):
    fit(each)
for other in others:
    for mine, theirs in zip(other.weights, model.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
"""
    )


def test_a_session_whose_variables_have_replicas_is_refused(fresh):
    fresh(
        TWO_DEVICES
        + """
tf1 = tf.compat.v1


def build(scope):
    with tf.Graph().as_default() as graph:
        with scope(tf1.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
            tf1.get_variable("v", initializer=[1.0, 2.0])
            saver = tf1.train.Saver()
        session = tf1.Session(graph=graph)
        session.run(tf1.global_variables_initializer())
    return session, saver


session, saver = build(lambda strategy: strategy.scope())
with session.graph.as_default():
    saver.save(session, "run/model.ckpt", write_meta_graph=False)
for act in (tfp.ModelStore("other").save, tfp.ModelStore("run").restore):
    try:
        act(session)
    except tfp.TargetError as error:
        assert "'v:0' on 2 devices" in str(error) and "Saver" in str(error), error
    else:
        raise AssertionError("done")

import contextlib

plain, _ = build(lambda strategy: contextlib.nullcontext())
tfp.ModelStore("run").restore(plain)
assert plain.run(plain.graph.get_tensor_by_name("v/Read/ReadVariableOp:0")).tolist() == [1.0, 2.0]
"""
    )
