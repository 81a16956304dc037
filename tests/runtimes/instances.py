"""Graphs of one op that TensorFlow runs, found by trying: some of each op that a runtime knows.

    python instances.py folder Op ...

For each op the folder gets `Op.0.pb`, `Op.1.pb` ... with the feeds and what TensorFlow computes.
Floats are fed; other inputs are constants, as axes, shapes and paddings mostly are.
"""

import inspect
import os
import pathlib
import random
import signal
import sys

import numpy as np

MOST = 4
TRIES = 3000
SECONDS = 8
DTYPES = ("float16", "bfloat16", "float64", "int8", "uint8", "int16", "int32", "int64", "complex64")
SHAPES = ((), (3,), (2, 3), (3, 3), (2, 3, 3), (1, 4, 4, 3), (1, 3, 4, 4, 2), (3, 3, 3, 2), (6,))
NUMBERS = (0, 1, 2, 3, [0], [1], [0, 1], [1, 0], [1, 2], [2, 1], [2, 3], [3, 3], [0, 0], [1, 1])
NUMBERS += ([2, 2], [0, 2, 1], [0, 0, 0, 0], [1, 4, 4, 3], [1, 2, 2, 1], [8, 8], [[0, 1], [1, 1]])
NUMBERS += ([[0, 0], [1, 1], [1, 1], [0, 0]], [[1, 1], [0, 2]], [[1, 1]], [[0], [2]], [-1], -1)
LISTS = ([1, 1, 1, 1], [1, 2, 2, 1], [1, 1, 1, 1, 1], [1, 2, 2, 2, 1], [1], [0], [])


def draw(rng, definition):
    """Return the inputs and attrs of a node, of which most fit together by chance only."""
    types, attrs = {}, {}
    for attr in definition.attr:
        if attr.type == "type":
            allowed = list(attr.allowed_values.list.type)
            default = attr.default_value.type
            types[attr.name] = 1 if attr.name in ("T", "dtype") or not default else default
            if allowed and types[attr.name] not in allowed:
                types[attr.name] = 3 if 3 in allowed else allowed[0]
            attrs[attr.name] = types[attr.name]
    for attr in definition.attr:
        value = drawn_attr(rng, attr)
        if attr.type != "type" and value is not None:
            attrs[attr.name] = value
    inputs = []
    for arg in definition.input_arg:
        number = arg.type or types.get(arg.type_attr, 0)
        count = attrs[arg.number_attr] if arg.number_attr else 1
        if arg.type_list_attr or not number:
            return None
        shape = rng.choice(SHAPES)
        inputs.append([drawn_value(rng, number, shape) for _ in range(count)])
        if any(value is None for value in inputs[-1]):
            return None
        if not arg.number_attr:
            (inputs[-1],) = inputs[-1]
    return inputs, attrs


def drawn_attr(rng, attr):
    has_default = attr.HasField("default_value")
    if attr.type == "bool":
        return attr.default_value.b if has_default and rng.random() < 0.7 else rng.random() < 0.5
    if has_default:
        return None
    if attr.type == "string":
        return rng.choice(list(attr.allowed_values.list.s) or [b""]).decode()
    simple = {
        "int": max(2, attr.minimum),
        "float": 0.5,
        "list(int)": rng.choice(LISTS),
        "shape": (),
    }
    return simple.get(attr.type)


def drawn_value(rng, number, shape):
    import tensorflow as tf

    dtype = tf.as_dtype(number)
    draws = np.random.default_rng(rng.getrandbits(32))
    if dtype.is_floating or dtype.is_complex:
        low = rng.choice([0.1, -0.9])
        return draws.uniform(low, 0.9, shape).astype(dtype.as_numpy_dtype)
    if dtype == tf.bool:
        return draws.uniform(size=shape) < 0.5
    if dtype.is_integer:
        return np.array(rng.choice(NUMBERS)).astype(dtype.as_numpy_dtype)
    return None


def square(tf):
    """Return functions of a 3 x 3 matrix: ops whose inputs fit together too rarely by chance."""
    ops, four = tf.raw_ops, lambda x: tf.reshape(tf.tile(x, [4, 4]), [1, 4, 12, 3])

    def volume(x):
        return tf.reshape(tf.tile(x, [6, 4]), [1, 6, 6, 3, 2])

    kernel = np.random.default_rng(0).normal(size=(2, 2, 2, 3)).astype(np.float32)
    cube = np.random.default_rng(0).normal(size=(2, 2, 2, 2, 3)).astype(np.float32)
    some = np.float32([0.5, 1.5, 1.0])
    norm = {"scale": some, "offset": some, "mean": some, "variance": some, "is_training": False}
    return {
        "Conv2D": lambda x: tf.nn.conv2d(four(x), kernel.transpose(0, 1, 3, 2), 2, "SAME"),
        "Conv2DBackpropInput": lambda x: tf.nn.conv2d_transpose(four(x), kernel, [1, 8, 24, 2], 2),
        "Conv3D": lambda x: tf.nn.conv3d(volume(x), cube, [1] * 5, "SAME"),
        "Conv3DBackpropInputV2": lambda x: tf.nn.conv3d_transpose(
            volume(x), cube.transpose(0, 1, 2, 4, 3), [1, 12, 12, 6, 3], 2
        ),
        "CropAndResize": lambda x: tf.image.crop_and_resize(
            four(x), [[0.1, 0.2, 0.7, 0.9]], [0], [3, 3]
        ),
        "Cumsum": lambda x: tf.cumsum(x, 1, exclusive=True),
        "DepthToSpace": lambda x: tf.nn.depth_to_space(tf.tile(four(x), [1, 1, 1, 4]), 2),
        "DynamicPartition": lambda x: tf.dynamic_partition(x, [0, 1, 0], 2),
        "DynamicStitch": lambda x: tf.dynamic_stitch([[0, 2], [1]], [x[:2], x[2:]]),
        "Einsum": lambda x: tf.einsum("ij,jk->ik", x, x),
        "FusedBatchNorm": lambda x: ops.FusedBatchNorm(x=four(x), **norm)[0],
        "FusedBatchNormV2": lambda x: ops.FusedBatchNormV2(x=four(x), **norm)[0],
        "FusedBatchNormV3": lambda x: ops.FusedBatchNormV3(x=four(x), **norm)[0],
        "IdentityN": lambda x: tf.raw_ops.IdentityN(input=[x, x + 1.0]),
        "LinSpace": lambda x: tf.linspace(x[0, 0], x[0, 1], 4),
        "NonMaxSuppressionV3": lambda x: tf.image.non_max_suppression(
            tf.concat([x[:, :2], x[:, :2] + 1.0], 1), x[:, 2], 2
        ),
        "Range": lambda x: tf.range(x[0, 0], 3.0, 0.5),
        "ScatterNd": lambda x: tf.scatter_nd([[1], [3], [0]], x, [5, 3]),
        "Split": lambda x: tf.split(x, 3, 1),
        "SplitV": lambda x: tf.split(x, [1, 2], 1),
        "TensorScatterUpdate": lambda x: tf.tensor_scatter_nd_update(x, [[1]], x[:1]),
        "Transpose": lambda x: tf.transpose(four(x), [0, 3, 1, 2]),
        "Where": lambda x: tf.where(x > 0.0),
    }


def graph_of(tf, name, build, given):
    """Return the graph, the feeds, the outputs and what they are.

    Args:
        build: returns the results of tensors.
        given: the inputs, or lists of them.
    """
    v1 = tf.compat.v1
    feeds = {}
    flat = [v for each in given for v in (each if isinstance(each, list) else [each])]
    # Floats are fed if there are any, else the first input is.
    fed = [v for v in flat if v.dtype.kind in "fcV"] or flat[:1]

    def placed(value):
        if not any(value is each for each in fed):
            return tf.constant(value)
        label = f"x{len(feeds)}"
        feeds[label] = value
        return v1.placeholder(value.dtype, value.shape, name=label)

    with tf.Graph().as_default() as graph:
        results = build(
            *([placed(v) for v in e] if isinstance(e, list) else placed(e) for e in given)
        )
        results = list(results) if isinstance(results, (list, tuple)) else [results]
        outputs = [tf.identity(each, name=f"y{at}").op.name for at, each in enumerate(results)]
        if name not in {node.op for node in graph.as_graph_def().node}:
            raise ValueError(name)
        with v1.Session(graph=graph) as session:
            values = {f"{label}:0": value for label, value in feeds.items()}
            expected = session.run([f"{each}:0" for each in outputs], values)
    return graph.as_graph_def(), feeds, outputs, expected


def candidates(tf, name):
    """Yield pairs of a function and its inputs."""
    from tensorflow.python.framework import op_def_registry

    made = square(tf).get(name)
    if made is not None:
        draws = np.random.default_rng(0)
        for low in (-0.9, 0.1):
            yield made, [draws.uniform(low, 0.9, (3, 3)).astype(np.float32)]
    definition = op_def_registry.get(name)
    if definition is None or made is not None:
        return
    op = getattr(tf.raw_ops, name)
    # Some inputs have another name in Python.
    names = list(inspect.signature(op).parameters)[: len(definition.input_arg)]
    inferred = {arg.type_attr for arg in definition.input_arg}
    inferred |= {arg.number_attr for arg in definition.input_arg}
    rng = random.Random(name)
    forms = set()
    for _ in range(TRIES):
        drawn = draw(rng, definition)
        if drawn is None:
            continue
        inputs, attrs = drawn
        form = str([np.shape(each) for each in inputs]) + str(attrs)
        if form not in forms:
            forms.add(form)
            attrs = {key: value for key, value in attrs.items() if key not in inferred}
            yield lambda *xs: op(**dict(zip(names, xs, strict=True)), **attrs), inputs  # noqa: B023


def find(tf, name, folder):
    found = 0
    for build, given in candidates(tf, name):
        if not write(tf, folder / f"{name}.{found}.pb", build, given):
            continue
        for dtype in DTYPES if found == 0 else ():
            cast = [retyped(value, tf.as_dtype(dtype).as_numpy_dtype) for value in given]
            write(tf, folder / f"{name}.{dtype}.pb", build, cast)
        found += 1
        if found == MOST:
            return


def retyped(value, dtype):
    """Return floats in another type, as numbers that integers and lookups have too."""
    if isinstance(value, list):
        return [retyped(each, dtype) for each in value]
    return np.ceil(np.abs(value) * 4).astype(dtype) if value.dtype.kind == "f" else value


def write(tf, path, build, given):
    """Write the graph, feeds and results of an op; return whether it runs."""
    try:
        graph, feeds, outputs, expected = graph_of(tf, path.name.partition(".")[0], build, given)
    except Exception:
        # They do not fit together, or TensorFlow has no kernel for this type.
        return False
    if not feeds or not all(each.size for each in expected):
        return False
    np.savez(f"{path}.given.npz", **feeds)
    np.savez(f"{path}.expected.npz", **dict(zip(outputs, expected, strict=True)))
    path.write_bytes(graph.SerializeToString())
    return True


def main(folder, names):
    import tensorflow as tf

    for name in names:
        process = os.fork()
        if process == 0:
            signal.alarm(SECONDS)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            try:
                find(tf, name, folder)
            finally:
                os._exit(0)
        os.waitpid(process, 0)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2:])
