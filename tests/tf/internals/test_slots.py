"""Slot variables of TF1 optimizers are found, and created before the first step."""

from __future__ import annotations

import pytest
import tensorflow as tf

from tfpersist.errors import TargetError
from tfpersist.tf.internals.object_graph import live_graph
from tfpersist.tf.internals.slots import add_slots, create_slots

v1 = tf.compat.v1


def test_slots_follow_the_objects_that_edges_lead_to():
    variable = tf.Variable([1.0])
    optimizer = v1.train.MomentumOptimizer(0.1, 0.9)
    optimizer.apply_gradients([(tf.ones(1), variable)])
    objects, paths = [variable, optimizer], ["v", "opt"]
    numbers = {id(variable): 0, id(optimizer): 1}
    assert add_slots(objects, paths, numbers) == {1: [("momentum", 0, 2)]}
    assert objects[2] is optimizer.get_slot(variable, "momentum")
    assert paths[2] == "v/.OPTIMIZER_SLOT/opt/momentum"


def test_a_slot_that_is_also_an_attribute_is_refused():
    variable = tf.Variable([1.0])
    optimizer = v1.train.MomentumOptimizer(0.1, 0.9)
    optimizer.apply_gradients([(tf.ones(1), variable)])
    root = tf.train.Checkpoint(v=variable, opt=optimizer)
    root.mine = optimizer.get_slot(variable, "momentum")
    with pytest.raises(TargetError, match=r"slot 'momentum'.*alone hold"):
        live_graph(root)


def test_slots_are_created_for_given_variables_only():
    first, second = tf.Variable([1.0]), tf.Variable([2.0])
    optimizer = v1.train.AdamOptimizer()
    assert create_slots(optimizer, [first])
    assert optimizer.get_slot(first, "m") is not None
    assert optimizer.get_slot(second, "m") is None


def test_no_slots_are_created_for_other_objects_or_in_a_graph():
    assert not create_slots(tf.Module(), [tf.Variable(1.0)])
    with tf.Graph().as_default():
        assert not create_slots(v1.train.AdamOptimizer(), [])
