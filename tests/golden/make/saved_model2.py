"""A SavedModel that TensorFlow writes and does not load.

Usage: python saved_model2.py FOLDER

- slots/: a module that holds a v1 optimizer with slots. `tf.saved_model.load` fails in `add_slot`,
  in this release and in 2.21. The list of ops is left out, because it is large.
- slots.npz: an input and the output.
"""

import os
import shutil

import numpy as np
import tensorflow as tf
import writing
from tensorflow.core.protobuf import saved_model_pb2


def with_slots():
    """Return a module whose v1 optimizer made one step."""
    module = tf.Module()
    module.scale = tf.Variable([1.0, 2.0], name="scale")
    module.optimizer = tf.compat.v1.train.MomentumOptimizer(0.5, 0.9)
    module.optimizer.apply_gradients([(tf.constant([1.0, -1.0]), module.scale)])
    spec = [tf.TensorSpec((None, 2), tf.float32, name="x")]
    module.call = tf.function(lambda x: {"y": x * module.scale}, spec, autograph=False)
    return module


def main():
    os.chdir(writing.start(tf.__version__, "2.4.4"))
    shutil.rmtree("slots", ignore_errors=True)
    module = with_slots()
    x = np.float32([[1, 2], [3, 4]])
    values = {"x": x, "y": module.call(x)["y"].numpy()}
    tf.saved_model.save(module, "slots", signatures=module.call)
    saved = saved_model_pb2.SavedModel()
    writing.rewrite("slots/saved_model.pb", saved)
    saved.meta_graphs[0].meta_info_def.ClearField("stripped_op_list")
    writing.write_message("slots/saved_model.pb", saved)
    writing.write_values("slots.npz", values)


if __name__ == "__main__":
    main()
