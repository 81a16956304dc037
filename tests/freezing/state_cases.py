"""Graphs with state: assigned variables, tables, generators, iterators, queues."""

from __future__ import annotations

import contextlib
import pathlib
import tempfile

import numpy as np
import tensorflow as tf
from casebook import (
    KINDS,
    Case,
    case,
    graph_of,
    live,
    of_function,
    of_model,
    refused,
    session_of,
    variable,
    weights,
)
from tensorflow.compat import v1

WORDS = np.array([b"a", b"z", b"m"])


@case(*KINDS)
def assignment_on_the_path(kind):
    with graph_of() as graph:
        count = variable("count", weights(3), kind)
        with tf.control_dependencies([v1.assign_add(count, np.ones(3, np.float32))]):
            tf.identity(tf.ones(3) * 2.0, name="y")
    op = "AssignAddVariableOp" if kind == "resource" else "AssignAdd"
    return refused(graph, ["y"], rf"node \S+ \({op}\)", "'count'", r"keep_variables\('count'\)")


def batch_norm(kind, training):
    """Build batch normalization as in TensorFlow 1, with averages that training updates."""
    x = v1.placeholder(tf.float32, (4, 2, 2, 3), name="x")
    mean = variable("mean", np.zeros(3, np.float32), kind)
    variance = variable("variance", np.ones(3, np.float32), kind)
    scale, offset = (
        variable("scale", weights(3), kind),
        variable("offset", weights(3, seed=1), kind),
    )

    def learn():
        y, m, v = v1.nn.fused_batch_norm(x, scale, offset, is_training=True)
        updates = [v1.assign_sub(mean, 0.1 * (mean - m)), v1.assign_sub(variance, 0.1 * v)]
        with tf.control_dependencies(updates):
            return tf.identity(y)

    def infer():
        return v1.nn.fused_batch_norm(x, scale, offset, mean, variance, is_training=False)[0]

    y = learn() if training is True else v1.cond(training, learn, infer)
    tf.nn.relu(y, name="y")


@case(*KINDS)
def batch_norm_in_training_mode(kind):
    with graph_of() as graph:
        batch_norm(kind, True)
    feeds = {"x:0": weights(4, 2, 2, 3)}
    return refused(graph, ["y"], "Assign", r"'(mean|variance)'", "inference", feeds=feeds)


@case("v1-resource", "v1-ref", "v2-resource")
def batch_norm_with_a_tensor(variant):
    flow, kind = variant.split("-")
    with graph_of(flow) as graph:
        batch_norm(kind, v1.placeholder(tf.bool, (), name="is_training"))
    feeds = {"x:0": weights(4, 2, 2, 3), "is_training:0": np.array(False)}
    return refused(graph, ["y"], "Assign", "mean|variance", r"bake\(\)", feeds=feeds)


@case("v1-resource", "v1-ref", "v2-resource")
def batch_norm_baked(variant):
    flow, kind = variant.split("-")
    with graph_of(flow) as graph:
        batch_norm(kind, v1.placeholder(tf.bool, (), name="is_training"))
    return live(
        graph, ["y"], {"x:0": weights(4, 2, 2, 3)}, baked={"is_training:0": np.array(False)}
    )


@case()
def dropout_baked():
    with graph_of() as graph:
        x = v1.placeholder(tf.float32, (None, 3), name="x")
        keep = v1.placeholder(tf.float32, (), name="keep_prob")
        rate = tf.identity(1.0 - keep)
        noise = tf.floor(keep + tf.random.uniform(tf.shape(x)))
        tf.matmul(x / (1.0 - rate) * noise, variable("w", weights(3, 2)), name="y")
    return live(graph, ["y"], {"x:0": weights(2, 3)}, baked={"keep_prob:0": np.float32(1)})


@case("BatchNormalization", "Dropout")
def layer_in_training_mode(name):
    import keras

    layer = getattr(keras.layers, name)(**({"rate": 0.5} if name == "Dropout" else {}))
    layer.build((None, 3))

    @tf.function(input_signature=[tf.TensorSpec((4, 3), name="x")])
    def train(x):
        return layer(x, training=True)

    variables = "moving_mean|moving_variance" if name == "BatchNormalization" else "seed_generator"
    patterns = (r"node \S+ \(Assign\w+\)", variables, "inference")
    return of_function(train, weights(4, 3), refused=patterns, owner=layer)


@case()
def generator_of_random_numbers():
    generator = tf.random.Generator.from_seed(1)

    @tf.function(input_signature=[])
    def draw():
        return generator.normal((2,))

    patterns = (r"\(RngReadAndSkip\)", "variable", "without|depend")
    return of_function(draw, refused=patterns, owner=generator)


@case()
def stateful_recurrent_layer():
    import keras

    x = keras.Input(batch_shape=(2, 5, 3))
    model = keras.Model(x, keras.layers.LSTM(4, stateful=True)(x))
    patterns = (r"node \S+ \(AssignVariableOp\)", "lstm", "without assignments")
    return of_model(model, weights(2, 5, 3), refused=patterns)


@case("initializable", "reinitializable", "handle")
def iterator(variant):
    with graph_of() as graph:
        data = tf.data.Dataset.range(3)
        if variant == "initializable":
            made = v1.data.make_initializable_iterator(data)
        elif variant == "handle":
            handle = v1.placeholder(tf.string, (), name="handle")
            made = v1.data.Iterator.from_string_handle(handle, tf.int64, ())
        else:
            made = v1.data.Iterator.from_structure(tf.int64, ())
        value = made.get_next()
        tf.add(tf.cast(value, tf.float32), variable("v", np.float32(2)), name="y")
    op = "IteratorFromStringHandleV2" if variant == "handle" else "IteratorV2"
    return refused(graph, ["y"], rf"node \S+ \({op}\)", "Feed the data", "placeholder")


@case("queue", "batch")
def input_queue(variant):
    with graph_of() as graph:
        if variant == "queue":
            value = tf.queue.FIFOQueue(3, tf.float32, ()).dequeue()
        else:
            value = v1.train.batch([tf.constant(1.0)], 2)
        tf.add(value, variable("v", np.float32(2)), name="y")
    return refused(graph, ["y"], r"node \S+ \(\w*Queue\w*\)", "Feed the data", "placeholder")


@case("py_func", "numpy_function")
def python_code(variant):
    with graph_of() as graph:
        call = getattr(v1, variant)
        value = call(lambda x: x + 1, [variable("v", weights(2))], tf.float32)
        tf.identity(value, name="y")
    return refused(graph, ["y"], r"node \S+ \(PyFunc\)", "Python function", "TensorFlow ops")


@case(*KINDS)
def uninitialized(kind):
    with graph_of() as graph:
        tf.identity(variable("late", weights(2), kind), name="y")
    return refused(graph, ["y"], "variable late", "no value", "initializer or restore", init=False)


@case(*KINDS)
def kept_variable(kind):
    with graph_of() as graph:
        w, count = variable("w", weights(3), kind), variable("count", weights(3, seed=1), kind)
        tf.add(w * 2.0, count, name="y")
    return live(graph, ["y"], steps=lambda f: f.keep_variables("count"), kept=("count",))


def words_file(suffix):
    path = pathlib.Path(tempfile.mkdtemp()) / f"words{suffix}.txt"
    path.write_text("x\nz\nw\n")
    return str(path)


def table_of(variant):
    """Make a table; an initializer fills it, if it is a static one."""
    if variant == "StaticHashTable":
        pairs = tf.lookup.KeyValueTensorInitializer(["a", "b"], np.int64([10, 20]))
        return tf.lookup.StaticHashTable(pairs, -1)
    if variant == "StaticVocabularyTable":
        lines = tf.lookup.TextFileInitializer(
            words_file(variant),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        )
        return tf.lookup.StaticVocabularyTable(lines, 2)
    if variant == "DenseHashTable":
        return tf.lookup.experimental.DenseHashTable(tf.string, tf.int64, -1, "", "?")
    return tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)


TABLES = ("StaticHashTable", "StaticVocabularyTable", "MutableHashTable", "DenseHashTable")


@case(*TABLES)
def table_in_a_session(variant):
    with graph_of() as graph:
        table = table_of(variant)
        asked = v1.placeholder(tf.string, (None,), name="asked")
        tf.identity(table.lookup(asked), name="y")
        if not variant.startswith("Static"):
            insert = table.insert(tf.constant(["m"]), tf.constant([7], tf.int64))
    session = session_of(graph)
    if not variant.startswith("Static"):
        session.run(insert)
    feeds = {"asked:0": WORDS}
    return Case(session, ["y:0"], feeds, session.run(["y:0"], feeds), session=session)


@case("session", "function")
def table_of_vectors(where):
    with contextlib.nullcontext() if where == "function" else graph_of() as graph:
        table = tf.lookup.experimental.MutableHashTable(tf.string, tf.float32, [0.0, 0.0])
        insert = table.insert(["m"], [[1.0, 2.0]])
        if graph is not None:
            asked = v1.placeholder(tf.string, (None,), name="asked")
            tf.identity(table.lookup(asked), name="y")
    if graph is None:
        signature = [tf.TensorSpec((None,), tf.string, name="asked")]
        return of_function(tf.function(table.lookup, signature), WORDS, owner=table)
    session, feeds = session_of(graph), {"asked:0": WORDS}
    session.run(insert)
    return Case(session, ["y:0"], feeds, session.run(["y:0"], feeds), session=session)


@case(*TABLES)
def table_in_a_function(variant):
    table = table_of(variant)
    if not variant.startswith("Static"):
        table.insert(tf.constant(["m"]), tf.constant([7], tf.int64))

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="asked")])
    def look_up(asked):
        return table.lookup(asked)

    return of_function(look_up, WORDS, owner=table)


@case("StringLookup", "IntegerLookup", "TextVectorization")
def layer_that_looks_words_up(name):
    import keras

    if name == "IntegerLookup":
        x, asked = keras.Input((2,), dtype="int64", name="x"), np.int64([[7, 1], [9, 7]])
        layer = keras.layers.IntegerLookup(vocabulary=[7, 9])
    elif name == "StringLookup":
        x, asked = keras.Input((2,), dtype="string", name="x"), np.array([[b"a", b"?"]])
        layer = keras.layers.StringLookup(vocabulary=["a", "b"])
    else:
        x, asked = keras.Input((1,), dtype="string", name="x"), np.array([[b"a b"], [b"b c a"]])
        layer = keras.layers.TextVectorization(vocabulary=["a", "b"], output_sequence_length=3)
    return of_model(keras.Model(x, layer(x)), asked)


def exported(graph, signatures):
    """Write a SavedModel of TensorFlow 1."""
    folder = pathlib.Path(tempfile.mkdtemp()) / "saved"
    session = session_of(graph)
    builder = v1.saved_model.Builder(str(folder))
    with graph.as_default():
        described = {
            key: v1.saved_model.predict_signature_def({"x": given}, {"y": result})
            for key, (given, result) in signatures.items()
        }
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=described)
        builder.save(as_text=False)
    return str(folder), session


def of_saved_model(folder, outputs, feeds, expected, signature="serving_default"):
    """Return the case of a SavedModel; TensorFlow's v1 freezer gets a session that loaded it."""
    loaded = tf.saved_model.load(folder)
    graph = tf.Graph()
    session = v1.Session(graph=graph)
    with graph.as_default():
        v1.saved_model.load(session, ["serve"], folder)
    return Case(
        folder,
        outputs,
        feeds,
        expected,
        session=session,
        function=loaded.signatures[signature],
        steps=lambda freezer: freezer.signature(signature),
        owner=loaded,
    )


@case(*KINDS)
def saved_model_of_tensorflow_1(kind):
    with graph_of() as graph:
        x = v1.placeholder(tf.float32, (None, 3), name="x")
        y = tf.matmul(x, variable("w", weights(3, 2), kind), name="y")
    folder, session = exported(graph, {"serving_default": (x, y)})
    feeds = {"x:0": weights(2, 3)}
    return of_saved_model(folder, ["y:0"], feeds, [session.run("y:0", feeds)])


@case("first", "second")
def saved_model_with_several_signatures(chosen):
    with graph_of() as graph:
        x = v1.placeholder(tf.float32, (None, 3), name="x")
        y = tf.matmul(x, variable("w", weights(3, 2)), name="y")
        z = tf.matmul(x, variable("v", weights(3, 2, seed=1)), name="z")
    folder, session = exported(graph, {"first": (x, y), "second": (x, z)})
    feeds, output = {"x:0": weights(2, 3)}, {"first": "y:0", "second": "z:0"}[chosen]
    return of_saved_model(folder, [output], feeds, [session.run(output, feeds)], chosen)


@case("from the file", "from a session")
def saved_model_of_tensorflow_2(variant):
    class Net(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(weights(5, 2))

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.int32, name="ids")])
        def rows(self, ids):
            return {"rows": tf.gather(self.w, ids)}

    folder = str(pathlib.Path(tempfile.mkdtemp()) / "saved")
    net, ids = Net(), np.int32([4, 0])
    tf.saved_model.save(net, folder, signatures=net.rows)
    expected = [net.rows(tf.constant(ids))["rows"].numpy()]
    output = "StatefulPartitionedCall:0"
    feeds = {"serving_default_ids:0": ids}
    made = of_saved_model(folder, [output], feeds, expected)
    made.owner = made.owner, net
    if variant == "from a session":
        made.source, made.function, made.steps = made.session, None, lambda freezer: freezer
    return made
