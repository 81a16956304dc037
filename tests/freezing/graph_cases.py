"""Graphs of TensorFlow 1 in a session that compute the same frozen and live."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from casebook import (
    FLOWS,
    KINDS,
    Case,
    case,
    graph_of,
    live,
    session_of,
    variable,
    weights,
)
from tensorflow.compat import v1


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
        tf.identity(v1.global_variables()[0], name="empty_")
    return live(graph, ["shape", "number_", "empty_"])


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
def gather_in_cond_without_lowering():
    """An optimized or compiled graph calls its branches itself."""
    with graph_of("v2") as graph:
        flag = v1.placeholder(tf.bool, (), name="flag")
        a, b = variable("a", weights(5, 2)), variable("b", weights(5, 2, seed=1))
        y = v1.cond(flag, lambda: tf.gather(a, [1, 2]), lambda: tf.gather(b, [1, 2]) + a[0])
        tf.identity(y, name="y")
        for op in graph.get_operations():
            if op.type in ("If", "StatelessIf"):
                op._set_attr("_lower_using_switch_merge", v1.AttrValue(b=False))
    return live(graph, ["y"], {"flag:0": np.array(False)})


@case()
def handle_without_a_read():
    """The value of the variable is read through another handle only."""
    with graph_of() as graph:
        v = variable("v", weights(4, 2))
        other = tf.raw_ops.VarHandleOp(
            dtype=tf.float32, shape=(4, 2), shared_name="v", name="other"
        )
        tf.raw_ops.ReadVariableOp(resource=other, dtype=tf.float32, name="y")
        del v
    return live(graph, ["y"])


@case(*KINDS)
def scalar_string(kind):
    with graph_of() as graph:
        tf.strings.join([variable("text", b"hello", kind), tf.constant(b"!")], name="y")
    return live(graph, ["y"])


@case()
def first_op_called_variable():
    """Op `Variable` of TensorFlow 0.x: newer releases run it, but do not make it."""
    with graph_of() as graph:
        tf.multiply(variable("v", weights(3), "ref"), 2.0, name="y")
        initializer = v1.global_variables_initializer().name
    definition = graph.as_graph_def()
    for node in definition.node:
        if node.op == "VariableV2":
            node.op = "Variable"
    with graph_of() as graph:
        v1.import_graph_def(definition, name="")
    session = session_of(graph)
    session.run(initializer)
    return Case(session, ["y:0"], {}, [session.run("y:0")], session=session)


@case()
def already_frozen():
    with graph_of() as graph:
        x = v1.placeholder(tf.float32, (None, 3), name="x")
        tf.matmul(x, tf.constant(weights(3, 200)), name="y")
    x = weights(2, 3)
    made = live(graph, ["y"], {"x:0": x})
    made.source = graph.as_graph_def()
    return made
