"""Workers of a strategy; `tests/whole/test_workers.py` has real clusters of them."""

import tensorflow as tf

from tfpersist.tf.internals.workers import are_possible, workers_of


def test_a_process_of_no_cluster_has_no_workers():
    assert not are_possible()
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        mirrored = tf.Variable(1.0)
    assert workers_of([mirrored, tf.Variable(1.0), "a text", None]) is None
