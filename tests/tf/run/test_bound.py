"""Bound functions: what they take, what they give, and whose memory it is."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.errors import FeedError, NameNotFoundError, RunError
from tfpersist.formats import graphdef
from tfpersist.tf.run import bound as bound_in_tensorflow

v1 = tf.compat.v1

# Each op may give memory of its input, of a constant or of another output.
ALIASING = {
    "identity": tf.identity,
    "stop_gradient": tf.stop_gradient,
    "reshape": lambda x: tf.reshape(x, [-1]),
    "squeeze": lambda x: tf.squeeze(x[None], 0),
    "expand_dims": lambda x: tf.expand_dims(x, 0),
    "slice": lambda x: tf.slice(x, [0, 0], [1, 16]),
    "strided": lambda x: x[:2],
    "split": lambda x: tf.split(x, 2)[0],
    "unstack": lambda x: tf.unstack(x, num=4)[0],
    "bitcast": lambda x: tf.bitcast(x, tf.int32),
    "cast": lambda x: tf.raw_ops.Cast(x=x, DstT=tf.float32),
    "transpose": lambda x: tf.transpose(x, [0, 1]),
    "pad": lambda x: tf.pad(x, [[0, 0], [0, 0]]),
    "tile": lambda x: tf.tile(x, [1, 1]),
    "concat": lambda x: tf.concat([x, tf.zeros([0, 16])], 0),
    "broadcast": lambda x: tf.broadcast_to(x, [4, 16]),
    "reverse": lambda x: tf.reverse(x, []),
    "sum_of_nothing": lambda x: tf.reduce_sum(x, axis=[]),
    "plus_zero": lambda x: x + tf.zeros([4, 16]),
    "minus_zero": lambda x: x - tf.zeros([4, 16]),
    "times_one": lambda x: x * tf.ones([4, 16]),
    "by_one": lambda x: x / tf.ones([4, 16]),
    "bias_of_zero": lambda x: tf.nn.bias_add(x, tf.zeros([16])),
    "power_of_one": lambda x: x ** tf.ones([4, 16]),
    "snapshot": lambda x: tf.raw_ops.Snapshot(input=x),
    "checked": lambda x: tf.debugging.check_numerics(x, "bad"),
    "ensured": lambda x: tf.ensure_shape(x, [4, 16]),
    "branch": lambda x: v1.cond(tf.constant(True), lambda: x, lambda: x * 2.0),
    "loop": lambda x: v1.while_loop(lambda i, _: i < 1, lambda i, y: (i + 1, y), (0, x))[1],
    "resized": lambda x: tf.image.resize(x[None, :, :, None], [4, 16])[0, :, :, 0],
    "softmax": tf.nn.softmax,
    "product": lambda x: tf.matmul(x, np.eye(16, dtype=np.float32)),
    "product_of_zeros": lambda x: tf.nn.softmax(tf.matmul(x, np.zeros((16, 16), np.float32))),
    "relu": tf.nn.relu,
    "relu_of_relu": lambda x: tf.nn.relu(tf.nn.relu(x)),
}
X = np.abs(np.random.default_rng(0).standard_normal((4, 16))).astype(np.float32) + 1


def aligned(array: np.ndarray) -> np.ndarray:
    room = np.zeros(array.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def frozen(graph) -> tfp.FrozenModel:
    return tfp.FrozenModel(graphdef.split(graph.as_graph_def().SerializeToString()))


@pytest.fixture(scope="module")
def model():
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [4, 16], name="x")
        weights = tf.constant(X, name="weights")
        for name, op in ALIASING.items():
            tf.group(op(x), op(weights), name=f"both/{name}")
            tf.identity(op(x), name=f"far/{name}")
            with tf.name_scope(name):
                given = op(x), op(weights)
            for where, tensor in zip(("feed", "weights"), given, strict=True):
                # The very output of the op, whatever it is called.
                graph.add_to_collection(f"{name}/{where}", tensor.name)
        batch = v1.placeholder(tf.float32, [None, 3], name="batch")
        tf.nn.softmax(tf.matmul(batch, tf.ones([3, 3])), name="probabilities")
        tf.identity(graph.get_tensor_by_name("probabilities:0"), name="again")
        tf.strings.join([v1.placeholder(tf.string, [], name="text"), "!"], name="joined")
        tf.add(batch, v1.placeholder(tf.float32, [], name="scalar"), name="added")
        tf.reduce_sum(batch, name="total")
        tf.bitwise.invert(v1.placeholder(tf.uint8, [None], name="bytes"), name="inverted")
        tf.identity(v1.placeholder(tf.bfloat16, [2], name="brain"), name="brain_out")
        quantized = v1.placeholder(tf.quint8, [None], name="quantized")
        tf.identity(quantized, name="quantized_out")
        tf.no_op(name="nothing")
    loaded = frozen(graph)
    names = {key: graph.get_collection(key)[0] for key in graph.get_all_collection_keys()}
    with loaded:
        yield loaded, names


@pytest.fixture(params=["direct", "public"])
def both(request, monkeypatch):
    """Both ways to call: TensorFlow's fastest, and what is left where a TensorFlow has it not."""
    if request.param == "public":
        monkeypatch.setattr(bound_in_tensorflow, "direct_callable", lambda *_: None)
    return request.param


@pytest.mark.parametrize("name", ALIASING)
def test_results_are_the_callers_own(model, name, both):
    loaded, names = model
    from_feed, from_weights = names[f"{name}/feed"], names[f"{name}/weights"]
    outputs = [from_feed, from_weights, from_feed, f"far/{name}", "weights"]
    batch = aligned(X)
    expected = loaded.run(outputs, {"x": X})
    net = loaded.bind("x:0", outputs)
    earlier = []
    for _ in range(4):
        results = net(batch)
        for result, wanted in zip(results, expected, strict=True):
            np.testing.assert_array_equal(result, wanted)
            assert not any(np.may_share_memory(result, other) for other in (batch, *earlier))
            result[...] = 77
            earlier.append(result)
        np.testing.assert_array_equal(batch, X)


def test_outputs_have_the_requested_structure(model, both):
    loaded, _ = model
    batch = np.float32([[1, 2, 3]])
    one = loaded.bind("batch", "total")
    assert one(batch) == 6
    assert one(batch).shape == ()
    several = loaded.bind(["batch", loaded["scalar:0"]], ("added", loaded["total"]))
    total = several(batch, 1.0)
    assert isinstance(total, tuple)
    np.testing.assert_array_equal(total[0], batch + 1)
    assert isinstance(loaded.bind("batch", ["total"])(batch), tuple)
    np.testing.assert_array_equal(loaded.bind((), "weights")(), X)
    assert repr(several) == "<Bound batch:0, scalar:0 -> added:0, total:0>"


def test_outputs_are_called_as_in_a_dict(model, both):
    loaded, _ = model
    batch = np.float32([[1, 2, 3]])
    net = loaded.bind("batch", {"sum": "total", 7: loaded["probabilities:0"]})
    for call in (net, pickle.loads(pickle.dumps(net))):
        found = call(batch)
        assert list(found) == ["sum", 7]
        assert found["sum"] == 6
        assert found[7].shape == (1, 3)
    assert loaded.as_module("batch", {"sum": "total"})(batch)["sum"] == 6
    with pytest.raises(FeedError, match=r"inputs are names.*got a dict of 'batch'"):
        loaded.bind({"batch": batch}, "total")


def test_a_fed_tensor_can_be_fetched(model, both):
    loaded, _ = model
    batch = aligned(np.float32([[1, 2, 3]]))
    for outputs in ("batch", ["total", "batch", "batch"]):
        found = loaded.bind("batch", outputs)(batch)
        arrays = found if isinstance(outputs, list) else (found,)
        np.testing.assert_array_equal(arrays[-1], batch)
        for number, array in enumerate(arrays):
            others = [batch, *arrays[:number]]
            assert not any(np.may_share_memory(array, other) for other in others)
    assert loaded.bind("text", ["text", "joined"])("a") == (b"a", b"a!")


def test_every_data_type_can_be_fed_and_fetched(model, both):
    loaded, _ = model
    joined = loaded.bind("text", "joined")("naïve")
    assert joined.item() == "naïve!".encode()
    assert loaded.bind("text", "joined")(b"a\0").item() == b"a\0!"
    assert loaded.bind("bytes", "inverted")([1, 255]).tolist() == [254, 0]
    brain = loaded.bind("brain", "brain_out")([1.5, 2.0])
    assert (brain.dtype.name, brain.astype(float).tolist()) == ("bfloat16", [1.5, 2.0])
    quantized = loaded.bind("quantized", "quantized_out")(np.uint8([1, 2]))
    assert (quantized.dtype.name, quantized.tolist()) == ("uint8", [1, 2])


def test_values_that_differ_in_form_are_put_right(model, both):
    loaded, _ = model
    total = loaded.bind("batch", "total")
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    for value in (
        *(rows, rows.astype(">f4"), rows.astype(np.float64), rows.tolist()),
        *(np.asfortranarray(rows), np.repeat(rows, 2, axis=0)[::2], rows.view(np.recarray)),
    ):
        assert total(value) == rows.sum()
    assert total(rows[:0]) == 0


def test_values_that_do_not_fit_are_refused(model, both):
    loaded, _ = model
    net = loaded.bind(["batch", "scalar"], "added")
    rows = np.ones((2, 3), np.float32)
    for bad in (rows[0], rows[None], np.ones((2, 4), np.float32), rows.astype(int), "text", None):
        with pytest.raises(FeedError, match=r"^batch:0: "):
            net(bad, 1.0)
    with pytest.raises(FeedError, match="wrong number of values; expected 2: batch:0, scalar:0"):
        net(rows)
    with pytest.raises(FeedError, match=r"batch:0: .* not fed"):
        loaded.bind("scalar", "added")
    with pytest.raises(FeedError, match="named twice"):
        loaded.bind(["batch", "batch:0"], "added")
    with pytest.raises(NameNotFoundError, match="scalar"):
        loaded.bind("scala", "added")
    with pytest.raises(NameNotFoundError, match="has no output 0"):
        loaded.bind((), "nothing")


def test_errors_of_tensorflow_become_tfpersist_errors(both):
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, name="x")
        tf.debugging.check_numerics(x, "not a number", name="checked")
    with frozen(graph) as loaded:
        checked = loaded.bind()
        assert checked(1.0) == 1
        with pytest.raises(RunError, match="checked"):
            checked(np.nan)
    with pytest.raises(RunError, match="closed"):
        checked(1.0)


def test_a_feed_that_a_variable_keeps_is_copied(both):
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [64], name="x")
        variable = v1.get_variable("v", [64], use_resource=True)
        with tf.control_dependencies([v1.assign(variable, x)]):
            tf.identity(variable.read_value(), name="kept")
    with frozen(graph) as loaded:
        value = aligned(np.ones(64, np.float32))
        loaded.bind("x", "kept")(value)
        value[...] = 5
        assert loaded.run("v/Read/ReadVariableOp").max() == 1


@pytest.mark.parametrize("inside", [None, "call", "nested", "branch"])
def test_a_feed_that_an_op_writes_into_is_copied(both, inside):
    def write(x):
        return tf.raw_ops.InplaceAdd(x=x, i=[0], v=tf.ones([1, 16]))

    function = tf.function(write, autograph=False)
    within = {
        None: write,
        "call": function,
        "nested": tf.function(lambda x: function(x) * 2.0, autograph=False),
        "branch": lambda x: tf.cond(x[0, 0] < 9, lambda: function(x), lambda: x),
    }[inside]
    graph = tf.Graph()
    with graph.as_default():
        tf.identity(within(v1.placeholder(tf.float32, [4, 16], name="x")), name="y")
    with frozen(graph) as loaded:
        batch = aligned(np.zeros((4, 16), np.float32))
        assert loaded.run("y", {"x": batch})[0].min() > 0
        assert loaded.bind("x", "y")(batch)[0].min() > 0
        assert not batch.any()


def test_threads_call_one_function(model, both):
    loaded, _ = model
    net = loaded.bind("batch", ["probabilities", "again"])
    wrong = []
    barrier = threading.Barrier(4)

    def work(number: int) -> None:
        barrier.wait()
        for step in range(50):
            batch = np.float32([[number, step, 1]] * (number + 1))
            first, second = net(batch)
            if first.shape != batch.shape or (first != second).any() or abs(first - 1 / 3).any():
                wrong.extend([] if np.allclose(first, 1 / 3) else [(number, step)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_function_is_pickled_with_its_model(model):
    loaded, _ = model
    net = pickle.loads(pickle.dumps(loaded.bind(["batch"], "total")))
    assert net(np.ones((2, 3), np.float32)) == 6
    several = pickle.loads(pickle.dumps(loaded.bind("batch", ["total"])))
    assert several([[1.0, 2.0, 3.0]]) == (6,)


def test_strings_that_are_passed_on_are_the_callers_own(model):
    loaded, _ = model
    net = loaded.bind("text", ["text", "joined"])
    fed = np.array(b"a", object)
    passed, joined = net(fed)
    passed[()] = b"changed"
    assert fed[()] == b"a"
    assert joined == b"a!"
