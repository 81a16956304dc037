"""Each case of freezing: a plain TensorFlow in a fresh process computes what the live model does.

With TensorFlow's graph optimizers off on both sides, both run the same ops in the same order: equal
means bit by bit. With them on, the frozen graph is folded and fused, and floats may differ in the
last digits. All cases are frozen in this process and judged in one other.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys

import attrs
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compat import v1

from tfpersist.freezer import Freezer

JUDGE = """
import json, sys
import numpy as np
import tensorflow as tf
from tensorflow.compat import v1

config = v1.ConfigProto()
plain = v1.ConfigProto()
plain.graph_options.rewrite_options.disable_meta_optimizer = True
plain.graph_options.optimizer_options.opt_level = -1
for name, (path, outputs, feeds) in json.load(open(sys.argv[1])).items():
    try:
        graph_def = v1.GraphDef.FromString(open(path, "rb").read())
        with tf.Graph().as_default() as graph:
            v1.import_graph_def(graph_def, name="")
        loaded = np.load(feeds, allow_pickle=True)
        feeds = {key.replace("|", "/"): loaded[key] for key in loaded}
        results = []
        for how in (plain, config):
            with v1.Session(graph=graph, config=how) as session:
                results += session.run(outputs, feeds)
        np.save(path + ".npy", np.array([*results, None], object), allow_pickle=True)
    except Exception as error:
        open(path + ".error", "w").write(f"{type(error).__name__}: {error}")
"""


@attrs.define
class Case:
    """What a case builds: a source to freeze, what to ask for, and what the live model says."""

    source: object
    outputs: list[str]
    feeds: dict[str, np.ndarray]
    expected: list[np.ndarray]
    owner: object = None


CASES = {}


def case(*variants):
    def register(build):
        if not variants:
            CASES[build.__name__] = build
        for variant in variants:
            CASES[f"{build.__name__}-{variant}"] = lambda build=build, variant=variant: build(
                variant
            )
        return build

    return register


def live(graph, outputs, feeds=None, init=True):
    """Run the live graph and give the case; the session stays open for the freezer."""
    config = v1.ConfigProto(allow_soft_placement=True)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = -1
    session = v1.Session(graph=graph, config=config)
    if init:
        with graph.as_default():
            session.run(v1.global_variables_initializer())
    graph.finalize()
    names = [name if ":" in name else f"{name}:0" for name in outputs]
    return Case(session, names, feeds or {}, session.run(names, feeds or {}))


def of_function(function, *arrays):
    concrete = function.get_concrete_function()
    results = tf.nest.flatten(function(*map(tf.constant, arrays)))
    captured = len(concrete.captured_inputs)
    inputs = concrete.inputs[: len(concrete.inputs) - captured]
    feeds = {tensor.name: array for tensor, array in zip(inputs, arrays, strict=True)}
    names = [tensor.name for tensor in concrete.outputs]
    return Case(function, names, feeds, [result.numpy() for result in results])


def of_model(model, *arrays, outputs=None):
    from tfpersist.tf.lower import lower

    results = tf.nest.flatten(tf.function(model)(list(arrays) if len(arrays) > 1 else arrays[0]))
    lowered = lower(model)
    feeds = dict(zip(lowered.inputs, arrays, strict=True))
    return Case(model, list(outputs or lowered.outputs), feeds, [r.numpy() for r in results])


@contextlib.contextmanager
def graph_of(control_flow="v2"):
    (v1.enable_control_flow_v2 if control_flow == "v2" else v1.disable_control_flow_v2)()
    try:
        with tf.Graph().as_default() as graph:
            yield graph
    finally:
        v1.enable_control_flow_v2()


def weights(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def variable(name, value, kind="resource"):
    return v1.get_variable(name, initializer=tf.constant(value), use_resource=kind == "resource")


KINDS = ("resource", "ref")
FLOWS = ("v1", "v2")


@case(*KINDS)
def add(kind):
    with graph_of() as graph:
        v = variable("v1", weights(4), kind), variable("v2", weights(4, seed=1), kind)
        tf.add(*v, name="add")
    return live(graph, ["add"])


@case(*KINDS)
def dense(kind):
    with graph_of() as graph:
        x = v1.placeholder(tf.float32, (None, 40), name="x")
        w = variable("net/w", weights(40, 30), kind)
        tf.nn.relu(x @ w + variable("net/b", weights(30), kind), name="y")
    return live(graph, ["y"], {"x:0": weights(5, 40)})


@case(*KINDS)
def conv_bn(kind):
    with graph_of() as graph:
        x = v1.placeholder(tf.float32, (None, 8, 8, 3), name="x")
        y = tf.nn.conv2d(x, variable("k", weights(3, 3, 3, 4), kind), 1, "SAME")
        stats = [variable(f"s{i}", np.abs(weights(4, seed=i)) + 1, kind) for i in range(4)]
        y, _, _ = v1.nn.fused_batch_norm(y, *stats, is_training=False)
        tf.nn.max_pool2d(y, 2, 2, "VALID", name="y")
    return live(graph, ["y"], {"x:0": weights(2, 8, 8, 3)})


@case(*KINDS)
def embedding(kind):
    with graph_of() as graph:
        ids = v1.placeholder(tf.int64, (None,), name="ids")
        table = variable("table", weights(10, 3), kind)
        tf.nn.embedding_lookup(table, ids, name="rows")
        tf.gather_nd(table, ids[:, None], name="nd")
        tf.gather(table, ids, axis=0, name="plain")
    return live(graph, ["rows", "nd", "plain"], {"ids:0": np.int64([3, 9, 0])})


@case()
def gather_with_batch_dims():
    with graph_of() as graph:
        v = variable("v", weights(3, 5, 2))
        tf.raw_ops.ResourceGather(
            resource=v.handle,
            indices=tf.constant([[0, 4], [1, 1], [2, 3]]),
            dtype=tf.float32,
            batch_dims=1,
            name="y",
        )
    return live(graph, ["y"])


@case()
def axis_is_taken():
    with graph_of() as graph:
        v = variable("v", weights(6, 2))
        v1.placeholder_with_default(np.float32([7]), (1,), name="look/axis")
        taken = graph.get_tensor_by_name("look/axis:0")
        y = tf.raw_ops.ResourceGather(
            resource=v.handle, indices=tf.constant([1, 2]), dtype=tf.float32, name="look"
        )
        tf.add(y, taken, name="y")
    return live(graph, ["y", "look/axis"])


@case("v1-resource", "v1-ref", "v2-resource", "v2-ref")
def cond(variant):
    flow, kind = variant.split("-")
    with graph_of(flow) as graph:
        flag = v1.placeholder(tf.bool, (), name="flag")
        a, b = variable("a", weights(5, 2), kind), variable("b", weights(5, 2, seed=1), kind)
        y = v1.cond(flag, lambda: tf.gather(a, [1, 2]) * 2.0, lambda: tf.gather(b, [1, 2]) + a[0])
        tf.identity(y, name="y")
    return live(graph, ["y"], {"flag:0": np.array(False)})


@case("v1-resource", "v1-ref", "v2-resource", "v2-ref")
def loop(variant):
    flow, kind = variant.split("-")
    with graph_of(flow) as graph:
        n = v1.placeholder(tf.int32, (), name="n")
        w, e = variable("w", weights(3, 3), kind), variable("e", weights(9, 3), kind)
        _, y = v1.while_loop(
            lambda i, h: i < n,
            lambda i, h: (i + 1, tf.tanh(h @ w + tf.gather(e, [i]))),
            [0, tf.ones((1, 3))],
        )
        tf.identity(y, name="y")
    return live(graph, ["y"], {"n:0": np.int32(4)})


@case(*FLOWS)
def nested_loops(flow):
    with graph_of(flow) as graph:
        w = variable("w", weights(3, 3))

        def inner(j, h):
            return j + 1, v1.cond(h[0, 0] > 0, lambda: h @ w, lambda: h - tf.gather(w, [j]))

        def outer(i, h):
            return i + 1, v1.while_loop(lambda j, h: j < 2, inner, [0, h])[1]

        _, y = v1.while_loop(lambda i, h: i < 3, outer, [0, tf.ones((1, 3))])
        tf.identity(y, name="y")
    return live(graph, ["y"])


@case(*FLOWS)
def mapped(flow):
    with graph_of(flow) as graph:
        x = v1.placeholder(tf.float32, (None, 3), name="x")
        w = variable("w", weights(3, 2))
        tf.identity(tf.map_fn(lambda row: tf.linalg.matvec(w, row, transpose_a=True), x), name="y")
    return live(graph, ["y"], {"x:0": weights(4, 3)})


@case(*FLOWS)
def case_of_three(flow):
    with graph_of(flow) as graph:
        at = v1.placeholder(tf.int32, (), name="at")
        vs = [variable(f"v{i}", weights(2, seed=i)) for i in range(3)]
        y = tf.switch_case(at, [lambda v=v: v * 2.0 for v in vs])
        tf.identity(y, name="y")
    return live(graph, ["y"], {"at:0": np.int32(1)})


@case(*KINDS)
def partitioned(kind):
    with graph_of() as graph:
        x = v1.placeholder(tf.int32, (None,), name="x")
        whole = v1.get_variable(
            "parts",
            (10, 3),
            initializer=v1.random_normal_initializer(seed=1),
            partitioner=v1.fixed_size_partitioner(3),
            use_resource=kind == "resource",
        )
        v1.nn.embedding_lookup(whole, x, partition_strategy="div", name="rows")
        tf.identity(tf.convert_to_tensor(whole), name="all")
    return live(graph, ["rows", "all"], {"x:0": np.int32([0, 9, 4])})


@case()
def ports():
    with graph_of() as graph:
        v = variable("v", weights(6, 2))
        tf.split(v, 3, name="split")
        tf.nn.moments(v, [0])
    return live(graph, ["split:1", "split:2", "split:0"])


DTYPES = [
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "int64", "uint32", "uint64"),
    *("half", "bfloat16", "float64", "complex64", "complex128", "string"),
    *("float8_e5m2", "float8_e4m3fn", "int4", "uint4", "qint8", "quint8", "qint32"),
]


NO_REFERENCES = ("float8", "int4", "uint4")


@case(
    *(
        f"{dtype}-{kind}"
        for dtype in DTYPES
        for kind in KINDS
        if kind == "resource" or not dtype.startswith(NO_REFERENCES)
    )
)
def dtypes(variant):
    name, kind = variant.split("-")
    dtype = tf.dtypes.as_dtype(name)
    if name == "string":
        value = tf.constant([[b"a", b""], [b"\xff\x00long", b"d" * 300]])
    elif name.startswith(("q", "float8", "int4", "uint4")):
        value = np.full((2, 2), 1).astype(dtype.as_numpy_dtype)
    else:
        value = tf.cast(tf.constant([[0, 1], [2, 3]]), dtype)
    if isinstance(value, tf.Tensor):
        value = value.numpy()
    with graph_of() as graph:
        v = v1.get_variable(
            "v", initializer=tf.constant(value, dtype), use_resource=kind == "resource"
        )
        tf.identity(v, name="y")
    return live(graph, ["y"])


@case(*KINDS)
def zero_size_and_scalars(kind):
    with graph_of() as graph:
        variable("empty", np.zeros((0, 3), np.float32), kind)
        tf.shape(variable("e2", np.zeros((2, 0), np.int32), kind), name="shape")
        tf.identity(variable("number", np.float64(2.5), kind), name="number_")
        tf.identity(variable("text", b"hello", kind), name="text_")
        tf.identity(v1.global_variables()[0], name="empty_")
    return live(graph, ["shape", "number_", "text_", "empty_"])


@case(*KINDS)
def is_initialized(kind):
    with graph_of("v1") as graph:
        v = variable("v", weights(2), kind)
        known = v1.is_variable_initialized(v)
        tf.identity(known, name="known")
        flag = v1.placeholder(tf.bool, (), name="flag")
        there = v1.cond(flag, lambda: v1.is_variable_initialized(v), lambda: tf.constant(False))
        tf.identity(there, name="there")
        v1.cond(known, lambda: v + 1.0, lambda: v - 1.0, name="chosen")
        tf.identity(graph.get_tensor_by_name("chosen/Merge:0"), name="y")
    return live(graph, ["known", "there", "y"], {"flag:0": np.array(False)})


@case()
def variable_shape():
    with graph_of() as graph:
        v = variable("v", weights(2, 5))
        tf.raw_ops.VariableShape(input=v.handle, name="shape")
        tf.raw_ops.VariableShape(input=v.handle, out_type=tf.int64, name="shape64")
    return live(graph, ["shape", "shape64"])


@case()
def reference_ops():
    with graph_of("v1") as graph:
        a, b = variable("a", weights(2), "ref"), variable("b", weights(2, seed=1), "ref")
        refs = a.op.outputs[0], b.op.outputs[0]
        flag = v1.placeholder(tf.bool, (), name="flag")
        off, on = tf.raw_ops.RefSwitch(data=refs[0], pred=flag)
        merged = tf.raw_ops.RefMerge(inputs=[off, on])
        tf.identity(merged.output, name="merged")
        again = tf.raw_ops.RefIdentity(input=refs[1])
        tf.raw_ops.RefSelect(index=tf.constant(1), inputs=[*refs], name="selected")
        entered = tf.raw_ops.RefEnter(data=again, frame_name="f", is_constant=True)
        tf.raw_ops.RefExit(data=entered, name="left")
    return live(graph, ["merged", "selected", "left"], {"flag:0": np.array(True)})


@case()
def handles_without_a_read_and_shared_names():
    with graph_of() as graph:
        v = variable("v", weights(4, 2))
        other = tf.raw_ops.VarHandleOp(
            dtype=tf.float32, shape=(4, 2), shared_name="v", name="other"
        )
        third = tf.raw_ops.VarHandleOp(
            dtype=tf.float32, shape=(4, 2), shared_name="v", name="third"
        )
        y = tf.raw_ops.ReadVariableOp(resource=other, dtype=tf.float32)
        z = tf.raw_ops.ResourceGather(resource=third, indices=[1], dtype=tf.float32)
        tf.add(y + v, z, name="y")
        tf.identity(z, name="z")
    return live(graph, ["y", "z"])


@case(*KINDS)
def function_in_a_graph(kind):
    with graph_of() as graph:
        w = variable("w", weights(3, 3), kind)

        @tf.function
        def inner(x):
            return x @ w if kind == "resource" else x * 2.0

        @tf.function
        def outer(x):
            return inner(x) + tf.gather(w, [1])

        tf.identity(outer(tf.ones((2, 3))) + w[:2], name="y")
    return live(graph, ["y"])


@case()
def legacy_function():
    from tensorflow.python.framework import function

    with graph_of() as graph:
        w = variable("w", weights(3))

        @function.Defun(tf.float32, tf.float32)
        def scaled(x, y):
            return x * y

        tf.identity(scaled(w, tf.constant(2.0)), name="y")
    return live(graph, ["y"])


@case()
def one_shot_iterator():
    with graph_of() as graph:
        data = tf.data.Dataset.range(5).batch(5)
        value = v1.data.make_one_shot_iterator(data).get_next()
        tf.add(tf.cast(value, tf.float32), variable("v", np.float32(2)), name="y")
    return live(graph, ["y"])


@case()
def sparse():
    with graph_of() as graph:
        w = variable("w", weights(4, 2))
        x = tf.SparseTensor([[0, 1], [2, 3]], [1.0, 2.0], [3, 4])
        tf.identity(tf.sparse.sparse_dense_matmul(x, w), name="y")
    return live(graph, ["y"])


@case()
def shared_over_scopes():
    with graph_of() as graph:
        for reuse in (False, True):
            with v1.variable_scope("net", reuse=reuse):
                w = v1.get_variable("w", initializer=tf.constant(weights(3)), use_resource=True)
                tf.square(w, name=f"y{int(reuse)}")
        names = [op.name for op in graph.get_operations() if op.type == "Square"]
    return live(graph, names)


@case()
def control_edges_and_devices():
    with graph_of() as graph:
        v = variable("v", weights(3))
        check = v1.debugging.assert_positive(tf.square(v) + 1.0)
        with tf.control_dependencies([check]), tf.device("/device:GPU:3"):
            y = tf.identity(v, name="far")
        with v1.colocate_with(v.op), v1.colocate_with(y.op, ignore_existing=True):
            tf.square(y, name="y")
    return live(graph, ["y"])


@case()
def function_plain():
    w, b = tf.Variable(weights(3, 4), name="w"), tf.Variable(weights(4), name="w")
    scale = tf.constant(weights(4, seed=9))

    @tf.function(input_signature=[tf.TensorSpec((None, 3), name="batch")])
    def predict(batch):
        return tf.nn.relu(batch @ w + b) * scale, tf.reduce_sum(batch)

    return of_function(predict, weights(2, 3))


@case()
def function_gathers():
    w = tf.Variable(weights(5, 4, 3))

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int32)])
    def predict(ids):
        nd = tf.gather_nd(w, ids[:, None])
        return tf.gather(w, ids), nd, tf.gather(w, ids[:2, None] * 0 + [[1], [2]], axis=1)

    return of_function(predict, np.int32([0, 4, 2]))


@case()
def function_control_flow():
    a, b = tf.Variable(weights(4, 3)), tf.Variable(weights(4, 3, seed=1))

    @tf.function
    def row(i):
        return tf.gather(a, [i])

    @tf.function(input_signature=[tf.TensorSpec((), tf.int32)])
    def predict(n):
        h = tf.zeros((1, 3))
        for i in tf.range(n):
            if tf.equal(i % 2, 0):
                h += row(i) * tf.gather(b, [i])
            else:
                h = tf.sin(h) + b[i]
        outputs = tf.TensorArray(tf.float32, n, element_shape=(1, 3))
        for i in tf.range(n):
            outputs = outputs.write(i, h * tf.cast(i, tf.float32) + row(i))
        chosen = tf.switch_case(n % 3, [lambda: a * 1.0, lambda: b * 2.0, lambda: a + b])
        return h, outputs.stack(), chosen

    return of_function(predict, np.int32(4))


@case()
def function_dataset_reduce():
    w = tf.Variable(weights(3))

    @tf.function(input_signature=[tf.TensorSpec((None, 3))])
    def predict(batch):
        data = tf.data.Dataset.from_tensor_slices(batch).map(lambda row: row * w)
        return data.reduce(tf.zeros(3), lambda state, row: state + row * w)

    return of_function(predict, weights(4, 3))


@case()
def function_map_fn_and_strings():
    words = tf.Variable([b"a", b"bb", b"ccc"])
    w = tf.Variable(weights(3, 3))

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int32)])
    def predict(ids):
        looked = tf.strings.length(tf.gather(words, ids))
        return tf.map_fn(lambda i: w[i] * 2.0, ids, fn_output_signature=tf.float32), looked

    return of_function(predict, np.int32([2, 0]))


@case()
def function_of_module():
    class Net(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(weights(3, 2), name="kernel")

        @tf.function(input_signature=[tf.TensorSpec((None, 3), name="x")])
        def __call__(self, x):
            return {"b": x @ self.w, "a": tf.shape(self.w)}

    net = Net()
    concrete = net.__call__.get_concrete_function()
    x = weights(2, 3)
    results = net(tf.constant(x))
    names = [tensor.name for tensor in concrete.outputs]
    return Case(net.__call__, names, {"x:0": x}, [results["a"].numpy(), results["b"].numpy()], net)


@case()
def function_ragged():
    w = tf.Variable(weights(5, 2))

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int64)])
    def predict(lengths):
        ragged = tf.RaggedTensor.from_row_lengths(tf.range(5), lengths)
        return tf.reduce_sum(tf.gather(w, ragged), axis=1)

    return of_function(predict, np.int64([2, 0, 3]))


@case()
def keras_dense():
    import keras

    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, "relu"), keras.layers.Dense(2, name="result")]
    )
    return of_model(model, weights(2, 4), outputs=["result:0"])


@case()
def keras_convnet():
    import keras

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.DepthwiseConv2D(3),
            layers.Dropout(0.5),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, "softmax"),
        ]
    )
    return of_model(model, weights(2, 8, 8, 3))


@case("LSTM", "GRU", "bidirectional", "attention", "mixed", "quantised", "several")
def keras_(variant):
    import keras

    layers = keras.layers
    ids = keras.Input((6,), dtype="int32", name="ids")
    x = layers.Embedding(20, 8, mask_zero=variant == "bidirectional")(ids)
    if variant in ("LSTM", "GRU"):
        y = getattr(layers, variant)(5)(x)
    elif variant == "bidirectional":
        y = layers.Bidirectional(layers.LSTM(4))(x)
    elif variant == "attention":
        y = layers.MultiHeadAttention(2, 4)(x, x)
    elif variant == "mixed":
        y = layers.Dense(3, dtype="mixed_bfloat16")(x)
    elif variant == "quantised":
        dense = layers.Dense(3)
        y = dense(x)
        dense.quantize("int8")
    else:
        other = keras.Input((3,), name="other")
        pooled = layers.GlobalMaxPooling1D()(x)
        y = layers.Concatenate()([pooled, other])
        model = keras.Model([ids, other], [y, pooled])
        return of_model(model, np.int32([[1, 2, 3, 0, 0, 0]]), weights(1, 3))
    return of_model(keras.Model(ids, y), np.int32([[1, 2, 3, 0, 0, 0], [4, 5, 6, 7, 8, 9]]))


@case()
def keras_conditional_layers():
    import keras

    class Gated(keras.layers.Layer):
        def build(self, shape):
            self.a = self.add_weight(shape=(shape[-1],), initializer="ones")
            self.b = self.add_weight(shape=(shape[-1],), initializer="ones", trainable=False)

        def call(self, x):
            return tf.cond(tf.reduce_sum(x) > 0, lambda: x * self.a, lambda: x - self.b)

    inputs = keras.Input((3,), name="x")
    return of_model(keras.Model(inputs, Gated()(inputs)), weights(2, 3))


@case()
def module_with_while_and_nested_calls():
    class Cell(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(weights(3, 3))

        @tf.function
        def __call__(self, h):
            return tf.tanh(h @ self.w)

    cells = [Cell(), Cell()]

    @tf.function(input_signature=[tf.TensorSpec((2, 3), name="x")])
    def run(x):
        def step(i, h):
            return i + 1, tf.cond(i % 2 < 1, lambda: cells[0](h), lambda: cells[1](h) + h)

        return tf.while_loop(lambda i, h: i < 5, step, (0, x))[1]

    return of_function(run, weights(2, 3))


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """Freeze every case, let a fresh process compute, and give (case, results or error) by name."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    folder = tmp_path_factory.mktemp("cases")
    built, jobs, verdicts = {}, {}, {}
    for number, (name, build) in enumerate(CASES.items()):
        path = folder / f"{number}.pb"
        try:
            built[name] = build()
            frozen = Freezer(built[name].source).outputs(*built[name].outputs)
            frozen.write(path, durable=False)
            verdicts[name] = path
            feeds = {key.replace("/", "|"): value for key, value in built[name].feeds.items()}
            np.savez(f"{path}.npz", **feeds)
            jobs[name] = [str(path), built[name].outputs, f"{path}.npz"]
        except Exception as error:
            verdicts[name] = error
    (folder / "jobs.json").write_text(json.dumps(jobs))
    done = subprocess.run(
        [sys.executable, "-c", JUDGE, str(folder / "jobs.json")],
        cwd=folder,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return built, verdicts


@pytest.mark.parametrize("name", list(CASES))
def test_frozen_equals_live_in_a_fresh_process(judged, name):
    built, verdicts = judged
    path = verdicts[name]
    if not isinstance(path, pathlib.Path):
        raise path
    failure = pathlib.Path(f"{path}.error")
    assert not failure.exists(), failure.read_text()
    *results, _ = np.load(f"{path}.npy", allow_pickle=True)
    expected = built[name].expected
    assert len(results) == 2 * len(expected)
    for result, value in zip(results, [*expected, *expected], strict=True):
        assert np.asarray(result).dtype == np.asarray(value).dtype
    for result, value in zip(results[: len(expected)], expected, strict=True):
        np.testing.assert_array_equal(np.asarray(result), np.asarray(value))
    for result, value in zip(results[len(expected) :], expected, strict=True):
        if np.asarray(value).dtype.kind == "f":
            np.testing.assert_allclose(result, value, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(np.asarray(result), np.asarray(value))
