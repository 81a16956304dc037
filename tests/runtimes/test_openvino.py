"""FrozenModel in OpenVINO: the numbers of TensorFlow, or a refusal that names the node."""

from __future__ import annotations

import copy
import doctest
import functools
import pathlib
import pickle
import subprocess
import sys
import threading

import models
import numpy as np
import pytest
import sybil
import tensorflow as tf
from sybil.parsers.markdown import PythonCodeBlockParser

import tfpersist as tfp
from tfpersist.errors import FeedError, NameNotFoundError, RunError, UnsupportedError
from tfpersist.formats import graphdef
from tfpersist.openvino import compiled

openvino = pytest.importorskip("openvino", reason="needs openvino")

# Of the largest element. The order of operations differs; half precision is computed in float32.
TOLERANCE = 1e-5
HALF = {"keras_layer-mixed": 1e-2}


def assert_close(result, expected, tolerance=TOLERANCE):
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    if expected.dtype.kind in "biuOc" or not expected.size:
        np.testing.assert_array_equal(result, expected)
        return
    result, expected = (array.astype(np.float64) for array in (result, expected))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance * scale)


def of_function(function, *specs):
    return tfp.Freezer(tf.function(function, input_signature=specs, autograph=False)).freeze()


def in_openvino(model):
    return tfp.FrozenModel(model.graph, engine="openvino")


@pytest.fixture(scope="module")
def net():
    """A model whose ends are of many kinds, in TensorFlow and in OpenVINO."""
    weight = tf.Variable(np.arange(12, dtype=np.float32).reshape(4, 3))

    def ends(x, flag):
        _, right = tf.split(x, 2, axis=1)
        return {
            "product": x @ weight,
            "passed": x,
            "right": right,
            "constant": tf.constant([1, 2]),
            "flag": tf.logical_not(flag),
            "short": tf.cast(x, tf.int8),
            "largest": tf.argmax(x, 1),
            "half": tf.cast(x, tf.float16),
            "brain": tf.cast(x, tf.bfloat16),
            "double": tf.cast(x, tf.float64),
            "total": tf.reduce_sum(x),
        }

    model = of_function(
        ends, tf.TensorSpec((None, 4), name="x"), tf.TensorSpec((), tf.bool, name="flag")
    )
    return model, in_openvino(model)


FEEDS = {"x": np.float32([[1, 2, 3, -4], [5, 6, 7, 8.5]]), "flag": True}


@pytest.mark.parametrize("form", models.FORMS)
@pytest.mark.parametrize("name", models.MODELS)
def test_a_file_computes_the_same_as_its_source(made, name, form, tmp_path):
    model = made(name)
    path = tmp_path / "model.pb"
    model.write(path, form)
    with tfp.FrozenModel.load(path, engine="openvino") as loaded:
        assert_close(loaded.run(model.output, model.feeds), model.expected)
        bound = loaded.bind(list(model.feeds), model.output)
        assert_close(bound(*model.feeds.values()), model.expected)
        if form == "golden":
            assert loaded.verify().ok


@pytest.fixture(scope="module")
def made():
    return functools.cache(lambda name: models.MODELS[name]())


def test_each_case_of_freezing_is_right_or_refused(cases, tmp_path):
    right = 0
    for name, case in cases.items():
        frozen = case.freezer().write(tmp_path / "case.pb")
        model = tfp.FrozenModel(frozen.graph, policy=tfp.Policy.trusted(), engine="openvino")
        try:
            results = model.run(case.outputs, case.feeds)
        except UnsupportedError:
            continue
        for result, expected in zip(results, case.expected, strict=True):
            assert_close(result, np.asarray(expected), HALF.get(name, TOLERANCE))
        right += 1
    assert right > 0.7 * len(cases)


def test_ends_of_every_kind_are_the_same(net):
    ours, theirs = net
    for batch in (FEEDS["x"], FEEDS["x"][:0], FEEDS["x"][:1]):
        feeds = {**FEEDS, "x": batch}
        names = [ref.name for ref in ours.outputs]
        expected = ours.run(names, feeds)
        results = theirs.run(names, feeds)
        for result, wanted in zip(results, expected, strict=True):
            assert_close(result, wanted)


def test_any_tensor_is_fetched_and_fed(net):
    ours, theirs = net
    for fetch, feeds in (
        ("matmul:0", FEEDS),
        ("split:1", FEEDS),
        ("split:1", {"split:1": FEEDS["x"][:, :2]}),
        ("matmul", {"matmul/ReadVariableOp": np.ones((4, 3), np.float32), "x": FEEDS["x"]}),
        ("flag", FEEDS),
    ):
        assert_close(theirs.run(fetch, feeds), ours.run(fetch, feeds))
    twice = theirs.run({"a": "matmul", 2: "matmul", "fed": "x"}, FEEDS)
    assert list(twice) == ["a", 2, "fed"]
    arrays = list(twice.values())
    pairs = [(a, b) for n, a in enumerate(arrays) for b in [FEEDS["x"], *arrays[:n]]]
    assert not any(np.may_share_memory(a, b) for a, b in pairs)
    np.testing.assert_array_equal(arrays[0], arrays[1])


def test_results_and_arguments_are_the_callers_own(net):
    _, theirs = net
    bound = theirs.bind(["x", "flag"], ["matmul:0", "Identity_7:0", "x"])
    batch = FEEDS["x"].copy()
    batch.flags.writeable = False
    first = bound(batch, True)
    kept = [array.copy() for array in first]
    bound(batch + 1, False)
    for array, wanted in zip(first, kept, strict=True):
        np.testing.assert_array_equal(array, wanted)
    for array in first:
        array[...] = 77
    again = bound(batch, True)
    for array, wanted in zip(again, kept, strict=True):
        np.testing.assert_array_equal(array, wanted)
    assert not any(np.may_share_memory(array, batch) for array in again)
    np.testing.assert_array_equal(batch, FEEDS["x"])


def test_values_that_do_not_fit_are_refused_by_the_same_errors(net):
    ours, theirs = net
    bad = [
        ("matmul", {"x": FEEDS["x"][0]}),
        ("matmul", {"x": FEEDS["x"].astype(int)}),
        ("matmul", {}),
        ("matmul", {"x": FEEDS["x"], "x:0": FEEDS["x"]}),
        ("matmul", [1]),
        ("matmull", FEEDS),
        ("split:2", FEEDS),
        ("matmul", {"y": FEEDS["x"]}),
    ]
    for fetch, feeds in bad:
        with pytest.raises((FeedError, NameNotFoundError)) as refusal:
            theirs.run(fetch, feeds)
        with pytest.raises(type(refusal.value)):
            ours.run(fetch, feeds)
    with pytest.raises(FeedError, match=r"x:0.*not fed"):
        theirs.bind("flag", "matmul")
    with pytest.raises(FeedError, match="named twice"):
        theirs.bind(["x", "x:0"], "matmul")
    with pytest.raises(FeedError, match="wrong number of values"):
        theirs.bind(["x"], "matmul")(1, 2)


def test_inputs_of_any_rank_are_compiled_for_the_ranks_that_come():
    model = of_function(lambda x: x * 2.0, tf.TensorSpec(None, name="x"))
    theirs = in_openvino(model)
    bound = theirs.bind()
    for value in (np.float32(3), np.ones(2, np.float32), np.ones((2, 1, 3), np.float32)):
        for result in (theirs.run(theirs.outputs[0], {"x": value}), bound(value)):
            assert_close(result, np.asarray(value * 2))


def test_threads_call_one_function(net):
    _, theirs = net
    bound = theirs.bind(["x"], ["matmul:0"])
    wrong = []
    barrier = threading.Barrier(4)

    def work(number):
        barrier.wait()
        for step in range(50):
            batch = np.full((number + 1, 4), number + step, np.float32)
            (found,) = bound(batch)
            if not np.array_equal(found, batch @ np.arange(12, dtype=np.float32).reshape(4, 3)):
                wrong.append((number, step))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_copies_and_pickles_keep_the_engine(net):
    _, theirs = net
    bound = theirs.bind("x", {"y": "matmul"})
    for again in (copy.copy(theirs), pickle.loads(pickle.dumps(theirs))):
        assert again.engine == "openvino"
        assert_close(again.run("matmul", FEEDS), theirs.run("matmul", FEEDS))
    assert_close(pickle.loads(pickle.dumps(bound))(FEEDS["x"])["y"], bound(FEEDS["x"])["y"])


def test_a_closed_model_runs_no_more(net):
    model = in_openvino(net[0])
    bound = model.bind("x", "matmul")
    bound(FEEDS["x"])
    parts = list(model._engine.executor._parts.values())
    assert all(part.model is not None for part in parts)
    model.close()
    # The bound function still has its part, which holds nothing any more.
    assert [(part.model, part.weights) for part in parts] == [(None, ())]
    with pytest.raises(RunError, match="closed"):
        bound(FEEDS["x"])
    with pytest.raises(RunError, match="closed"):
        model.run("matmul", FEEDS)


def test_what_needs_tensorflow_works_as_it_does_without_the_engine(net):
    ours, theirs = net
    assert_close(theirs.as_module("x", "matmul")(FEEDS["x"]).numpy(), ours.run("matmul", FEEDS))


def test_a_policy_is_checked_first():
    model = of_function(tf.io.read_file, tf.TensorSpec((), tf.string))
    careful = tfp.FrozenModel(model.graph, policy=tfp.Policy.default(), engine="openvino")
    with pytest.raises(tfp.UnsafeModelError, match="ReadFile"):
        careful.run(careful.outputs[0], {careful.inputs[0]: "secret"})


def test_weights_are_not_copied(tmp_path, monkeypatch):
    large = tf.constant(models.random(2048, 512))
    model = of_function(lambda x: x @ large, tf.TensorSpec((None, 2048), name="x"))
    model.write(tmp_path / "large.pb")
    shared = []
    make = openvino.op.Constant

    def noted(tensor, **options):
        constant = make(tensor, **options)
        shared.append(constant.data.ctypes.data == tensor.data.ctypes.data)
        return constant

    monkeypatch.setattr(openvino.op, "Constant", noted)
    x = models.random(2, 2048, seed=3)
    for mapped in (True, False):
        loaded = tfp.FrozenModel.load(tmp_path / "large.pb", engine="openvino", mapped=mapped)
        payload = next(iter(loaded.graph.payloads.values())).load()
        assert not payload.flags.writeable
        assert_close(loaded.run(loaded.outputs[0], {"x": x}), x @ large.numpy())
    assert shared == [True, False]


@pytest.mark.parametrize("form", ["float16", "int8"])
def test_compressed_weights_are_decoded(form):
    large = tf.constant(models.random(256, 64))
    net = tf.function(lambda x: x @ large, input_signature=[tf.TensorSpec((None, 256), name="x")])
    model = tfp.Freezer(net).weights(form).freeze()
    feeds = {"x": models.random(2, 256, seed=3)}
    output = model.outputs[0]
    assert_close(in_openvino(model).run(output, feeds), model.run(output, feeds))


WITHOUT = """
import sys
import numpy as np
import tfpersist as tfp
model = tfp.FrozenModel.load("net.pb", engine="openvino")
results = model.run([ref.name for ref in model.outputs], {"x": np.ones((2, 4), np.float32)})
bound = model.bind()
assert np.array_equal(bound(np.ones((2, 4), np.float32)), results[0])
print(model.verify())
model.summary(), model.close()
print(sorted({name.partition(".")[0] for name in sys.modules} & {"tensorflow", "keras"}))
"""


def test_a_process_that_serves_does_not_import_tensorflow(tmp_path):
    weight = tf.constant(models.random(4, 3))
    net = tf.function(lambda x: x @ weight, input_signature=[tf.TensorSpec((None, 4), name="x")])
    frozen = tfp.Freezer(net).parity({"x": np.ones((2, 4), np.float32)}, 1e-6)
    frozen.write(tmp_path / "net.pb")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "every byte of the file is as it was written" in done.stdout
    assert done.stdout.endswith("[]\n")


FORKED = """
import os, sys
import numpy as np
import tfpersist as tfp
model = tfp.FrozenModel.load("net.pb", engine="openvino")
bound = model.bind()
bound(np.ones((2, 4), np.float32))
for use in (lambda: bound(np.ones((2, 4), np.float32)), lambda: model.bind(),
            lambda: tfp.FrozenModel.load("net.pb", engine="openvino").bind()):
    if os.fork() == 0:
        try:
            use()
        except tfp.RunError as error:
            print("forked" in str(error), "OpenVINO" in str(error), flush=True)
        os._exit(0)
    os.wait()
"""


def test_a_forked_child_is_refused(tmp_path):
    of_function(lambda x: x * 2.0, tf.TensorSpec((None, 4), name="x")).write(tmp_path / "net.pb")
    done = subprocess.run(
        [sys.executable, "-c", FORKED], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True True\n" * 3


# Each computes something else in OpenVINO, or would: TensorFlow's result is asserted beside it.
INT = tf.TensorSpec((None,), tf.int32, name="x")
LONG = tf.TensorSpec((None,), tf.int64, name="x")
DIFFERENT = {
    "float64": (lambda x: x / 3.0, tf.TensorSpec((None,), tf.float64, name="x"), [1.0]),
    "int64 products": (lambda x: x * x, LONG, [1 << 22]),
    "int32 sums": (tf.reduce_sum, INT, [(1 << 24), 1]),
    "uint8 sums": (lambda x: x + x, tf.TensorSpec((None,), tf.uint8, name="x"), [200]),
    "large int64": (lambda x: x + 1, LONG, [1 << 40]),
    "large int32": (lambda x: tf.equal(x, (1 << 30) + 1), INT, [1 << 30]),
    "two updates of one place": (
        lambda x: tf.scatter_nd([[0], [0]], x, [3]),
        tf.TensorSpec((2,), name="x"),
        [1.0, 2.0],
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_openvino_computes_otherwise_is_refused(name, monkeypatch):
    function, spec, value = DIFFERENT[name]
    model = of_function(function, spec)
    feeds = {"x": np.array(value, spec.dtype.as_numpy_dtype)}
    expected = model.run(model.outputs[0], feeds)
    with pytest.raises(UnsupportedError, match="OpenVINO"):
        in_openvino(model).run(model.outputs[0], feeds)
    # The refusal has a reason: the numbers are really others.
    monkeypatch.setattr(compiled.differences, "refuse", lambda graph: None)
    monkeypatch.setattr(compiled.differences, "is_within", lambda *_: True)
    found = in_openvino(model).run(model.outputs[0], feeds)
    assert not np.array_equal(found, expected)


def test_a_ring_of_nodes_is_refused():
    ring = b"".join(
        b'node { name: "%s" op: "Neg" input: "%s" attr { key: "T" value { type: 1 } } }' % pair
        for pair in ((b"a", b"b"), (b"b", b"a"))
    )
    inside = b'library { function { signature { name: "f" } %s } }' % ring.replace(
        b"node {", b"node_def {"
    )
    constant = b"""node { name: "a" op: "Const" attr { key: "dtype" value { type: 1 } }
        attr { key: "value" value { tensor { dtype: 1 tensor_shape { } float_val: 1 } } } }"""
    for text in (ring, constant + inside):
        model = tfp.FrozenModel(graphdef.parse_text(text), engine="openvino")
        with pytest.raises(tfp.GraphError, match="needs its own result"):
            model.run("a")


def test_random_numbers_of_a_seed_are_those_of_tensorflow():
    model = of_function(lambda x: x + tf.random.uniform([9], seed=3), tf.TensorSpec((1,), name="x"))
    theirs = in_openvino(model)
    feeds = {"x": np.zeros(1, np.float32)}
    for _ in range(3):
        expected = model.run(model.outputs[0], feeds)
        np.testing.assert_array_equal(theirs.run(model.outputs[0], feeds), expected)


def test_an_operation_without_outputs_is_refused():
    graph = tf.Graph()
    with graph.as_default():
        tf.identity(tf.constant(1.0), name="y")
        tf.group(graph.get_tensor_by_name("y:0"), name="nothing")
    model = tfp.FrozenModel(graph.as_graph_def(), engine="openvino")
    with pytest.raises(UnsupportedError, match=r"node nothing \(NoOp\).*runs no operation"):
        model.run("nothing")
    assert model.run("y") == 1


def test_the_page_of_the_docs_is_right(tmp_path, monkeypatch):
    page = pathlib.Path(__file__).resolve().parents[2] / "docs/how-to/serve-without-tensorflow.md"
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    examples = list(
        sybil.Sybil(parsers=[PythonCodeBlockParser(doctest_optionflags=options)]).parse(page)
    )
    monkeypatch.chdir(tmp_path)
    for example in examples:
        example.evaluate()
    assert len(examples) > 5
