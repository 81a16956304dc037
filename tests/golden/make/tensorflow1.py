"""Checkpoints, .meta files and frozen graphs of four small models, by a release of TensorFlow 1.

Usage: python tensorflow1.py FOLDER

- plain: two dense layers, momentum.
- bntrain: a convolution and a fused batch normalization in training mode, with its gradient.
- shard2: variables on two devices, so that the saver writes three shards. One variable has a part
  on each device.
- model: a convolution, batch normalization, a variable in three parts, Adam, a moving average, a
  loop, and variables of other types and shapes.

Each release saves each model in both formats. Only the `.meta` files in METAS are kept: they are
the largest files, and they differ little from format to format. An npz file holds what the release
computed for an input, and the values of the variables under "var/<name>": golden.npz of the model,
<name>_golden.npz of the others. frozen_output.pb and frozen_loop.pb are of the model.
"""

import os

import numpy as np
import tensorflow as tf
import writing
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.python.framework import graph_util

METAS = {
    "0.12.1": {"plain_v1.ckpt", "shard2_v1.ckpt"},
    "1.4.1": {"plain_v1.ckpt", "bntrain_v2.ckpt", "shard2_v2.ckpt", "model_v2.ckpt-5"},
    "1.15.5": {"plain_v2.ckpt", "bntrain_v1.ckpt", "shard2_v1.ckpt", "model_v2.ckpt-5"},
}
EARLY = tf.__version__.startswith("0.")
# With one thread, the order of a sum is the same at every run.
CONFIG = tf.ConfigProto(
    device_count={"CPU": 2}, intra_op_parallelism_threads=1, inter_op_parallelism_threads=1
)


def weights(name, shape, seed, **options):
    """Make a variable with random values, the same at every run."""
    initializer = tf.truncated_normal_initializer(stddev=0.5, seed=seed)
    return tf.get_variable(name, shape, initializer=initializer, **options)


def constants(name, shape, value, **options):
    """Make a variable of one value."""
    return tf.get_variable(name, shape, initializer=tf.constant_initializer(value), **options)


def step_variable():
    """Make the global step."""
    return tf.Variable(np.int64(0), name="global_step", trainable=False)


def dense(x, scope, size, seed, **options):
    """Make a dense layer without an activation."""
    with tf.variable_scope(scope):
        w = weights("w", [int(x.get_shape()[1]), size], seed, **options)
        return tf.nn.xw_plus_b(x, tf.convert_to_tensor(w), constants("b", [size], 0.1))


def loss_of(output):
    """Return the loss of an output against the labels that are fed."""
    label = tf.placeholder(tf.float32, [None, int(output.get_shape()[1])], name="label")
    return tf.nn.l2_loss(output - label, name="loss")


def plain():
    x = tf.placeholder(tf.float32, [None, 4], name="input")
    hidden = tf.nn.relu(dense(x, "fc1", 3, seed=1))
    output = tf.nn.softmax(dense(hidden, "fc2", 2, seed=2), name="output")
    return tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss_of(output), step_variable())


def bntrain():
    x = tf.placeholder(tf.float32, [None, 3, 3, 1], name="input")
    with tf.variable_scope("conv"):
        x = tf.nn.conv2d(x, weights("w", [2, 2, 1, 2], 1), [1, 1, 1, 1], "SAME")
    with tf.variable_scope("bn"):
        gamma, beta = constants("gamma", [2], 1.5), constants("beta", [2], 0.25)
        x = tf.nn.fused_batch_norm(x, gamma, beta, is_training=True, name="fused")[0]
    flat = tf.reshape(tf.nn.relu(x), [-1, 18])
    output = tf.identity(dense(flat, "fc", 2, seed=2), name="output")
    return tf.train.GradientDescentOptimizer(0.1).minimize(loss_of(output), step_variable())


def shard2():
    x = tf.placeholder(tf.float32, [None, 4], name="input")
    with tf.device("/cpu:0"):
        hidden = tf.nn.relu(dense(x, "fc1", 3, seed=3))
    with tf.device(lambda op: "/cpu:1" if "part_1" in op.name else "/cpu:0"):
        parts = tf.fixed_size_partitioner(2)
        tf.identity(dense(hidden, "fc2", 2, seed=4, partitioner=parts), name="output")
    return tf.assign(step_variable(), 5, name="train")


def model():
    x = tf.placeholder(tf.float32, [None, 3, 3, 1], name="input")
    training = tf.placeholder_with_default(False, [], name="training")
    with tf.variable_scope("conv"):
        x = tf.nn.conv2d(x, weights("w", [2, 2, 1, 2], 1), [1, 1, 1, 1], "SAME")
    flat = tf.reshape(tf.nn.relu(normalized(x, training)), [-1, 18])
    logits = dense(flat, "fc", 3, seed=2, partitioner=tf.fixed_size_partitioner(3))
    logits = tf.identity(logits, name="logits")
    tf.nn.softmax(logits, name="output")
    condition, body = lambda i, _: i < 3, lambda i, y: (i + 1, tf.tanh(y) * 0.5 + logits)
    tf.identity(tf.while_loop(condition, body, [tf.constant(0), logits])[1], name="loop_out")
    with tf.variable_scope("misc"):
        for name, value in sorted(others().items()):
            tf.get_variable(name, initializer=tf.constant(value), trainable=False)
    step = step_variable()
    *parts, bias = [v for v in tf.trainable_variables() if "fc" in v.op.name]
    adam = tf.train.AdamOptimizer(0.1).minimize(loss_of(logits), step, var_list=parts)
    with tf.control_dependencies([adam]):
        return tf.train.ExponentialMovingAverage(0.9, step).apply([bias])


def normalized(x, training):
    """Normalize a batch: in training by its own moments, else by the moving ones."""
    with tf.variable_scope("bn"):
        gamma, beta = constants("gamma", [2], 1.5), constants("beta", [2], 0.25)
        mean = constants("moving_mean", [2], 0.5, trainable=False)
        variance = constants("moving_variance", [2], 2.0, trainable=False)
        moments = tf.nn.moments(x, [0, 1, 2])
        used = tf.cond(training, lambda: moments, lambda: (mean + 0.0, variance + 0.0))
        return tf.nn.batch_normalization(x, used[0], used[1], beta, gamma, 1e-3)


def others():
    """Return values of other types and shapes, by name."""
    values = {
        "empty": np.zeros((0, 2), np.float32),
        "flag": np.array([True, False, True]),
        "half": np.float16([1.5, -2]),
        "scalar": np.float64(-7.25),
        "small": np.array([-1, 2], np.int8),
    }
    if not EARLY:
        values["text"] = np.array([b"a", b"", b"\xff" * 200])
    return values


def named():
    """Return the variables by the name that they are saved under, with the parts in order.

    Without this, a saver takes the parts in the order of a set, which changes from run to run.
    """
    found = {}
    for variable in tf.global_variables():
        part = variable._save_slice_info
        if part is None:
            found[variable.op.name] = variable
        else:
            found.setdefault(part.full_name, []).append(variable)
    return found


def train(session, operation):
    """Run the training operation five times, on the same numbers at every run."""
    numbers = np.random.RandomState(7)
    for _ in range(5):
        feeds = {}
        for op in session.graph.get_operations():
            if op.type == "Placeholder":
                shape = op.outputs[0].get_shape().as_list()[1:]
                feeds[op.outputs[0]] = numbers.rand(4, *shape)
        session.run(operation, feeds)


def results_of(kind):
    return ["output", "loop_out"] if kind == "model" else ["output"]


def compute(session, kind):
    """Return an input, the results for it, and the values of the variables."""
    shape = session.graph.get_tensor_by_name("input:0").get_shape().as_list()[1:]
    values = {"input": np.random.RandomState(8).rand(3, *shape).astype(np.float32)}
    for name in results_of(kind):
        values[name] = session.run(name + ":0", {"input:0": values["input"]})
    for variable in tf.global_variables():
        values["var/" + variable.op.name] = session.run(variable)
    # A bytes array without objects is read without pickle.
    text = values.get("var/misc/text")
    if text is not None:
        values["var/misc/text"] = text.astype("S")
    return values


def make(folder, build, version, part=""):
    """Train a model, save it in one version of the format, and return its values."""
    kind = build.__name__
    name = f"{kind}_{version}{part}.ckpt" + "-5" * (kind == "model")
    prefix = os.path.join(folder, name)
    has_meta = name in METAS[tf.__version__]
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(1)
        operation = build()
        number = getattr(tf.train.SaverDef, version.upper())
        sharded = kind == "shard2" or bool(part)
        saver = tf.train.Saver(named(), sharded=sharded, write_version=number)
        with tf.Session(graph=graph, config=CONFIG) as session:
            session.run(tf.global_variables_initializer())
            train(session, operation)
            values = compute(session, kind)
            saved = saver.save(session, prefix, write_meta_graph=has_meta)
            if version == "v2":
                freeze(session, kind, folder)
        with tf.Session(graph=graph, config=CONFIG) as session:
            saver.restore(session, saved)
            writing.check_equal(compute(session, kind), values)
    if has_meta:
        writing.rewrite(prefix + ".meta", meta_graph_pb2.MetaGraphDef())
        with tf.Graph().as_default() as graph, tf.Session(graph=graph, config=CONFIG) as session:
            tf.train.import_meta_graph(prefix + ".meta").restore(session, saved)
            writing.check_equal(compute(session, kind), values)
    return values


def freeze(session, kind, folder):
    """Write a frozen graph for each result."""
    graph_def = session.graph.as_graph_def()
    for name in results_of(kind):
        frozen = graph_util.convert_variables_to_constants(session, graph_def, [name])
        file = {"model": "frozen_" + name.partition("_")[0]}.get(kind, kind + "_frozen")
        writing.write_message(os.path.join(folder, file + ".pb"), frozen)


def main():
    folder = writing.start(tf.__version__, *METAS)
    for build in (plain, bntrain, shard2, model):
        values = make(folder, build, "v1")
        writing.check_equal(make(folder, build, "v2"), values)
        if build is model:
            writing.check_equal(make(folder, build, "v2", "_sharded"), values)
        file = {model: "golden.npz"}.get(build, build.__name__ + "_golden.npz")
        writing.write_values(os.path.join(folder, file), values)
    if tf.__version__ == "1.4.1":
        text(folder)
    # The state of a training whose folder is gone, as after a move.
    latest = "/data/run/shard2_v2.ckpt"
    tf.train.update_checkpoint_state(folder, latest, [latest])


def text(folder):
    """Write a graph with variables, a loss and a saver as text."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 4], name="input")
        loss_of(tf.nn.softmax(dense(x, "fc", 2, seed=1), name="output"))
        tf.train.Saver()
        tf.train.write_graph(graph, folder, "graph.pbtxt")


if __name__ == "__main__":
    main()
