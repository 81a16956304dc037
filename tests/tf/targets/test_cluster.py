"""Targets of several workers; `tests/whole/test_workers.py` has real clusters of them."""

import numpy as np
import tensorflow as tf

from tfpersist.tf.targets.adapt import adapt
from tfpersist.tf.targets.cluster import all_reading, refuse_alone, replicated, workers_of


def test_what_one_process_holds_is_of_no_workers():
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        mirrored = tf.Variable(1.0)
    module = tf.Module()
    module.v = mirrored
    for target in (module, {"v": mirrored, "a": np.zeros(2)}, {"v": tf.Variable(1.0)}):
        adapted = adapt(target)
        assert workers_of(adapted) is None
        assert replicated(adapted.entries()) == frozenset()
        refuse_alone(target)
    with all_reading():
        assert adapt(module).capture(adapt(module).entries()).items[0].payload.load() == 1.0
