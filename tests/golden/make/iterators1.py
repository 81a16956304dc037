"""The position of an iterator of tf.data, as a Saver writes it: a variant tensor.

Usage: python iterators1.py FOLDER

- iterator/model*: a checkpoint with one variable and an iterator over shuffled batches that has
  given four of ten.
- iterator.npz: the six batches that are left.
"""

import os

import numpy as np
import tensorflow as tf
import writing


def build():
    """Build a graph with an iterator among the saveable objects; return the iterator."""
    numbers = tf.data.Dataset.range(0, 40, 2)
    iterator = numbers.shuffle(5, seed=1).batch(2).make_initializable_iterator()
    saveable = tf.data.experimental.make_saveable_from_iterator(iterator)
    tf.add_to_collection(tf.GraphKeys.SAVEABLE_OBJECTS, saveable)
    tf.get_variable("v", initializer=1.0)
    return iterator


def main():
    os.chdir(writing.start(tf.__version__, "1.15.5"))
    os.makedirs("iterator")
    left = {}
    for is_new in (True, False):
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(1)
            iterator = build()
            batch, saver = iterator.get_next(), tf.train.Saver()
            session.run(iterator.initializer)
            if is_new:
                session.run(tf.global_variables_initializer())
                for _ in range(4):
                    session.run(batch)
                saver.save(session, "iterator/model", write_meta_graph=False, write_state=False)
            else:
                saver.restore(session, "iterator/model")
            left[is_new] = {"left": np.stack([session.run(batch) for _ in range(6)])}
    writing.check_equal(left[True], left[False])
    writing.write_values("iterator.npz", left[True])


if __name__ == "__main__":
    main()
