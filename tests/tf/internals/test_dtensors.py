"""Variables that DTensor lays out over virtual devices; each test is a process of its own."""

from __future__ import annotations

FOUR_DEVICES = """
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.experimental import dtensor

import tfpersist as tfp

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)
mesh = dtensor.create_mesh([("x", 2), ("y", 2)], devices=[f"CPU:{i}" for i in range(4)])
NUMBERS = np.arange(16, dtype=np.float32).reshape(4, 4)


def laid_out(value, *axes):
    replicated = dtensor.Layout.replicated(mesh, len(axes))
    value = dtensor.copy_to_mesh(np.float32(value), replicated)
    return dtensor.DVariable(dtensor.relayout(value, dtensor.Layout([*axes], mesh)))


def make(factor):
    one = dtensor.UNSHARDED
    return {
        "a_plain": tf.Variable(3.0 * factor),
        "both": laid_out(NUMBERS * factor, "x", "y"),
        "columns": laid_out(NUMBERS * factor, one, "y"),
        "copies": laid_out(np.float32([1, 2]) * factor, one),
        "z_plain": tf.Variable(4.0 * factor),
    }


def held(variables):
    values = {}
    for name, variable in variables.items():
        value = variable.read_value()
        if isinstance(variable, dtensor.DVariable):
            value = dtensor.relayout(value, dtensor.Layout.replicated(mesh, value.shape.rank))
        values[name] = value.numpy().tolist()
    return values


WANTED = {"a_plain": 3.0, "both": NUMBERS.tolist(), "columns": NUMBERS.tolist(),
          "copies": [1.0, 2.0], "z_plain": 4.0}
old = make(1)
"""


def test_a_layout_is_saved_as_one_tensor_and_kept_by_a_restore(fresh):
    fresh(
        FOUR_DEVICES
        + """
for kind, name in ((lambda d: tf.train.Checkpoint(**d), "objects"), (dict, "names")):
    saved = tfp.ModelStore(name).save(kind(old), 1)
    new = make(0)
    tfp.ModelStore(name).restore(kind(new))
    assert held(new) == WANTED
    for key, variable in new.items():
        if isinstance(variable, dtensor.DVariable):
            assert dtensor.fetch_layout(variable.read_value()) == old[key].layout

# Without DTensor, and by TensorFlow in both directions.
plain = {key: tf.Variable(tf.zeros_like(value)) for key, value in WANTED.items()}
tfp.ModelStore("objects").restore(tf.train.Checkpoint(**plain))
assert {key: variable.numpy().tolist() for key, variable in plain.items()} == WANTED
reader = tf.train.load_checkpoint("objects/model.ckpt-1")
assert reader.get_tensor("both/.ATTRIBUTES/VARIABLE_VALUE").tolist() == NUMBERS.tolist()
tf.train.Checkpoint(**old).write("theirs/model.ckpt-1")
new = make(0)
tfp.ModelStore("theirs").restore(tf.train.Checkpoint(**new))
assert held(new) == WANTED
"""
    )


def test_nothing_is_assigned_if_one_layout_cannot_take_its_value(fresh):
    fresh(
        FOUR_DEVICES
        + """
from tfpersist.tf.internals import dtensors

tfp.ModelStore("names").save(old, 1)
tfp.ModelStore("objects").save(tf.train.Checkpoint(**old), 1)
own = dtensors.laid_out


def fails(variable, value):
    if variable is new["copies"]:
        raise tf.errors.ResourceExhaustedError(None, None, "no memory")
    return own(variable, value)


dtensors.laid_out = fails
for kind, name in ((lambda d: tf.train.Checkpoint(**d), "objects"), (dict, "names")):
    new = make(0)
    before = held(new)
    with pytest.raises(tf.errors.ResourceExhaustedError):
        tfp.ModelStore(name).restore(kind(new))
    assert held(new) == before
"""
    )


def test_a_mesh_over_several_processes_is_refused(fresh):
    fresh(
        """
import os
os.environ["DTENSOR_NUM_CLIENTS"] = "2"
os.environ["DTENSOR_CLIENT_ID"] = "0"
os.environ["DTENSOR_JOBS"] = "localhost:1,localhost:2"
"""
        + FOUR_DEVICES.partition("mesh =")[0]
        + """
assert dtensor.num_clients() == 2
# A mesh over two processes needs both; its variables are of this type.
variable = object.__new__(dtensor.DVariable)
from tfpersist.tf.internals import replicas

with pytest.raises(tfp.TargetError, match="2 processes"):
    replicas.refuse_unknown(variable, "v")
"""
    )
