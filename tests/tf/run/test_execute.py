"""The executor, on a graph in this process."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import tensorflow as tf

from tfpersist.errors import FeedError, NameNotFoundError, RunError
from tfpersist.tf.run.execute import Executor

v1 = tf.compat.v1


def aligned(size: int) -> np.ndarray:
    """An array at a multiple of 64 bytes, which TensorFlow uses in place."""
    room = np.zeros(size * 4 + 64, np.uint8)
    start = -room.ctypes.data % 64
    return room[start : start + size * 4].view(np.float32)


@pytest.fixture(scope="module")
def executor():
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [None, 2], name="Net/feed")
        y = tf.identity(x, name="same")
        tf.multiply(x, 2.0, name="Net/double")
        v1.placeholder_with_default(tf.constant([1.0]), [1], name="default")
        tf.identity(graph.get_tensor_by_name("default:0"), name="from_default")
        tf.constant([1.0, 2.0], name="constant")
        tf.split(y, 2, axis=1, name="halves")
        text = v1.placeholder(tf.string, name="text")
        tf.strings.join([text, "!"], name="joined")
        tf.matmul(x, x, name="square")
        with tf.control_dependencies([x]):
            tf.constant(7, name="after_feed")
        variable = v1.get_variable("variable", [4, 2], use_resource=True)
        assign = v1.assign(variable, x)
        tf.group(assign, name="assign")
        v1.get_variable("never", [2], use_resource=True).value()
        tf.identity(variable.value(), name="variable_value")
        quantized = v1.placeholder(tf.quint8, [None], name="quantized")
        tf.quantization.dequantize(quantized, 0.0, 255.0, name="dequantized")
        which = v1.placeholder(tf.bool, [], name="which")
        tf.identity(v1.cond(which, lambda: x + 1.0, lambda: x - 1.0), name="either")
    graph.finalize()
    with v1.Session(graph=graph) as session:
        yield Executor(graph, session)


BATCH = np.float32([[1, 2], [3, 4]])


def test_results_have_the_structure_of_the_fetches(executor):
    feeds = {"Net/feed:0": BATCH}
    np.testing.assert_array_equal(executor.run("Net/double:0", feeds), BATCH * 2)
    several = executor.run(["Net/double", "same:0"], feeds)
    assert isinstance(several, list)
    np.testing.assert_array_equal(several[0], BATCH * 2)
    assert isinstance(executor.run(("same",), feeds), list)
    named = executor.run({"twice": "Net/double:0", "once": "same"}, feeds)
    assert list(named) == ["twice", "once"]
    np.testing.assert_array_equal(named["once"], BATCH)
    assert executor.run([], {}) == []


def test_a_name_without_an_index_means_the_first_output(executor):
    halves = executor.run(["halves", "halves:0", "halves:1"], {"Net/feed": BATCH})
    np.testing.assert_array_equal(halves[0], BATCH[:, :1])
    np.testing.assert_array_equal(halves[1], BATCH[:, :1])
    np.testing.assert_array_equal(halves[2], BATCH[:, 1:])


def test_an_operation_without_output_runs_and_returns_none(executor):
    assert executor.run("assign", {"Net/feed": np.ones((4, 2))}) is None
    np.testing.assert_array_equal(executor.run("variable_value"), np.ones((4, 2)))


def test_a_tensor_of_the_graph_is_a_name_too(executor):
    tensor = executor.tensor("Net/double:0")
    assert tensor is executor.graph.get_tensor_by_name("Net/double:0")
    np.testing.assert_array_equal(
        executor.run(tensor, {executor.tensor("Net/feed"): BATCH}), BATCH * 2
    )
    with tf.Graph().as_default():
        foreign = tf.constant(1.0, name="constant")
    with pytest.raises(NameNotFoundError, match="belongs to another graph"):
        executor.run(foreign)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Net/dubble:0", "'Net/double:0'"),
        ("Net/dubble", "'Net/double'"),
        ("halves:2", "halves:0 to halves:1"),
        ("same:x", "expected same:0"),
        ("same:", "expected same:0"),
        ("^same", "control dependency"),
        ("assign:0", "since it has no outputs"),
        ("", "no tensor ''"),
        (3, "not the name of a tensor; expected a str such as 'add:0', or a TensorRef, got 3"),
    ],
)
def test_a_wrong_name_lists_similar_names(executor, name, says):
    with pytest.raises(NameNotFoundError) as caught:
        executor.run(name)
    assert says in str(caught.value)


def test_tensor_refuses_an_operation_without_output(executor):
    with pytest.raises(NameNotFoundError, match="has no output"):
        executor.tensor("assign")


def test_a_resource_is_not_fetched(executor):
    with pytest.raises(RunError, match="a resource has no value outside of TensorFlow"):
        executor.run("variable")


def test_a_feed_that_does_not_fit_is_refused(executor):
    with pytest.raises(FeedError) as caught:
        executor.run("same", {"Net/feed": [1.0, 2.0]})
    assert str(caught.value) == (
        "Net/feed:0: the feed has the wrong shape; expected float32[?,2], got float64[2]."
    )
    with pytest.raises(FeedError, match=r"expected float32\[\?,2\], got int64\[1,2\]"):
        executor.run("same", {"Net/feed": np.array([[1, 2]])})
    with pytest.raises(FeedError, match="fed twice"):
        executor.run("same", {"Net/feed": BATCH, "Net/feed:0": BATCH})
    with pytest.raises(FeedError, match="cannot be fed"):
        executor.run("same", {"assign": BATCH})
    with pytest.raises(FeedError, match="cannot be fed"):
        executor.run("same", {"variable": [1.0]})
    with pytest.raises(NameNotFoundError, match="Did you mean 'Net/feed:0'"):
        executor.run("same", {"Net/fed:0": BATCH})
    with pytest.raises(NameNotFoundError, match="There are 'Net/feed', 'quantized'"):
        executor.run("same", {"qqqqqq": BATCH})


def test_a_missing_feed_is_found_by_walking_the_graph(executor):
    with pytest.raises(FeedError) as caught:
        executor.run(["Net/double", "joined"])
    assert str(caught.value) == (
        "Net/feed:0, text:0: the fetches need all these placeholders, and they are not fed;"
        " expected float32[?,2], string[...]. Pass feeds={'Net/feed:0': ...}."
    )
    with pytest.raises(FeedError, match="which:0"):
        executor.run("either", {"Net/feed": BATCH})
    with pytest.raises(FeedError, match="Net/feed:0"):
        executor.run("assign")
    with pytest.raises(FeedError, match="Net/feed:0"):
        executor.run("after_feed")
    assert executor.run("after_feed", {"Net/feed": BATCH}) == 7


def test_a_default_and_a_fed_inner_tensor_need_no_feed(executor):
    assert executor.run("from_default") == [1.0]
    assert executor.run("from_default", {"default": [5.0]}) == [5.0]
    np.testing.assert_array_equal(executor.run("halves:1", {"same": BATCH}), BATCH[:, 1:])
    np.testing.assert_array_equal(executor.run("constant", {"constant": [8.0, 9.0]}), [8, 9])
    np.testing.assert_array_equal(executor.run("constant"), [1, 2])


def test_strings_go_in_and_come_out_as_bytes(executor):
    scalar = executor.run("joined", {"text": "grün"})
    assert scalar.shape == ()
    assert scalar.item() == "grün!".encode()
    many = executor.run("joined", {"text": [b"a\0", "b"]})
    assert many.dtype == object
    assert many.tolist() == [b"a\0!", b"b!"]


def test_quantized_types_are_the_integers_they_are_stored_as(executor):
    fed = np.uint8([3, 4])
    np.testing.assert_array_equal(executor.run("dequantized", {"quantized": fed}), [3, 4])
    back = executor.run("quantized", {"quantized": fed})
    assert back.dtype == np.uint8
    assert back.tolist() == [3, 4]


@pytest.mark.parametrize("fetch", ["same", "Net/feed", "constant", "variable_value"])
def test_results_are_the_callers_own(executor, fetch):
    batch = aligned(8).reshape(4, 2)
    batch[:] = 3
    executor.run("assign", {"Net/feed": batch})
    first = executor.run(fetch, {"Net/feed": batch})
    expected = first.copy()
    twins = executor.run([fetch, fetch], {"Net/feed": batch})
    assert not np.shares_memory(first, batch)
    assert not np.shares_memory(first, twins[0])
    assert not np.shares_memory(twins[0], twins[1])
    for result in (first, *twins):
        assert result.flags.writeable
        result[...] = -1
    assert (batch == 3).all()
    np.testing.assert_array_equal(executor.run(fetch, {"Net/feed": batch}), expected)


def test_a_variable_does_not_adopt_the_memory_of_a_feed(executor):
    batch = aligned(8).reshape(4, 2)
    batch[:] = 7
    executor.run("assign", {"Net/feed": batch})
    batch[:] = 9
    np.testing.assert_array_equal(executor.run("variable_value"), np.full((4, 2), 7))


def test_a_failure_of_tensorflow_names_the_node_in_one_line(executor):
    with pytest.raises(RunError) as caught:
        executor.run("square", {"Net/feed": np.ones((3, 2))})
    assert str(caught.value) == (
        "square (MatMul): Matrix size-incompatible: In[0]: [3,2], In[1]: [3,2]."
    )
    assert isinstance(caught.value.__cause__, tf.errors.InvalidArgumentError)
    with pytest.raises(RunError) as caught:
        executor.run("never/Read/ReadVariableOp")
    assert str(caught.value) == (
        "never/Read/ReadVariableOp (ReadVariableOp): Could not find variable never. "
        "Variables and tables get their values before the first run: restore or freeze them."
    )


def test_threads_share_an_executor(executor):
    wrong = []

    def work(number: int) -> None:
        for step in range(20):
            batch = np.full((number + 1, 2), step, np.float32)
            if (executor.run("Net/double", {"Net/feed": batch}) != batch * 2).any():
                wrong.append((number, step))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_closed_executor_raises_an_error():
    graph = tf.Graph()
    with graph.as_default():
        tf.constant(1, name="one")
    executor = Executor(graph, v1.Session(graph=graph))
    assert executor.run("one") == 1
    executor.close()
    with pytest.raises(RunError, match=r"Session.* closed"):
        executor.run("one")


def test_the_graph_and_the_default_graph_stay_as_they_are(executor):
    assert executor.graph.finalized
    with tf.Graph().as_default() as current:
        executor.run("Net/double", {"Net/feed": BATCH})
        assert current.get_operations() == []


def test_needs_of_a_fetch_are_computed_again_after_a_change_of_the_graph():
    graph = tf.Graph()
    with graph.as_default():
        y = tf.identity(tf.constant(3), name="y")
        with v1.Session(graph=graph) as session:
            executor = Executor(graph, session)
            assert executor.run("y") == 3
            late = v1.placeholder(tf.int32, [], name="late")
            y.op._add_control_input(late.op)
            with pytest.raises(FeedError, match="late:0"):
                executor.run("y")
            assert executor.run("y", {"late": 1}) == 3
