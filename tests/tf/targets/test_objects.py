"""Trackables: byte for byte what tf.train.Checkpoint writes, and back bit for bit."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from object_modules import VALUE, Net, content, module, state_of, trained, write_unaligned
from tensorflow.python.ops.resource_variable_ops import UninitializedVariable

import tfpersist as tfp
from tfpersist.errors import (
    RestoreError,
    SaveError,
    SelectionError,
    TargetError,
)
from tfpersist.formats import dtypes
from tfpersist.matching.sides.object_graph import OBJECT_GRAPH_KEY

v1 = tf.compat.v1


# No kernel of TensorFlow assigns a variable of these.
_NO_VARIABLES = {
    *("variant", "resource", "qint16", "quint16"),
    *("float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e5m2fnuz"),
}


def test_index_and_data_are_those_of_tensorflow_byte_for_byte(tmp_path):
    net, optimizer = trained(3.0)
    counted = tf.train.Checkpoint(net=net)
    counted.save(str(tmp_path / "counted"))
    cases = {
        "module": (net, tf.train.Checkpoint(net)),
        "checkpoint": (counted, counted),
        "dict": ({"net": net, "opt": optimizer}, tf.train.Checkpoint(net=net, opt=optimizer)),
    }
    for name, (target, checkpoint) in cases.items():
        checkpoint.write(str(tmp_path / f"{name}-theirs"))
        write_unaligned(target, tmp_path, f"{name}-ours")
        assert content(tmp_path, f"{name}-ours") == content(tmp_path, f"{name}-theirs"), name


def test_tensorflow_reads_all_of_it(tmp_path):
    net, optimizer = trained(3.0)
    store = tfp.ModelStore(tmp_path)
    prefix = store.save({"net": net, "opt": optimizer}, step=7).prefix
    assert tf.train.latest_checkpoint(str(tmp_path)) == prefix
    value = tf.train.load_checkpoint(prefix).get_tensor(f"net/w{VALUE}")
    assert value.tobytes() == net.w.numpy().tobytes()
    for restore, check in (("read", "assert_consumed"), ("restore", "assert_nontrivial_match")):
        other, other_optimizer = trained(5.0)
        status = getattr(tf.train.Checkpoint(net=other, opt=other_optimizer), restore)(prefix)
        getattr(status, check)()
        assert state_of(other) == state_of(net)
    assert store.save(net, step=8).prefix == tf.train.latest_checkpoint(str(tmp_path))


def test_object_checkpoints_of_tensorflow_are_restored_completely(tmp_path):
    net, optimizer = trained(3.0)
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(net=net, opt=optimizer), str(tmp_path), max_to_keep=2
    )
    manager.save()
    other, other_optimizer = trained(5.0)
    report = tfp.ModelStore(tmp_path).restore({"net": other, "opt": other_optimizer})
    assert state_of(other) == state_of(net)
    assert report.unexpected == (f"save_counter{VALUE}",)
    for slot in ("m", "v"):
        np.testing.assert_array_equal(
            other_optimizer.get_slot(other.w, slot), optimizer.get_slot(net.w, slot)
        )


def test_an_optimizer_of_tf1_makes_the_slots_that_the_checkpoint_has(tmp_path):
    net, optimizer = trained(3.0)
    tf.train.Checkpoint(net=net, opt=optimizer).write(str(tmp_path / "model.ckpt"))
    other, fresh = Net(5.0), v1.train.AdamOptimizer(0.1)
    report = tfp.ModelStore(tmp_path).restore({"net": other, "opt": fresh})
    assert not report.unexpected
    for slot in ("m", "v"):
        np.testing.assert_array_equal(
            fresh.get_slot(other.w, slot), optimizer.get_slot(net.w, slot)
        )
    assert report.slots[f"net/w/.OPTIMIZER_SLOT/opt/{slot}"] == slot


def test_a_part_of_what_was_saved_is_restored_alone(tmp_path):
    net, optimizer = trained(3.0)
    tf.train.Checkpoint(net=net, opt=optimizer, step=tf.Variable(4)).write(str(tmp_path / "ckpt"))
    store = tfp.ModelStore(tmp_path)
    for target, other in (
        (tf.train.Checkpoint(net=(first := Net(5.0))), first),
        ((second := Net(6.0)), second),
    ):
        report = store.restore(target)
        assert state_of(other) == state_of(net)
        assert f"step{VALUE}" in report.unexpected


def test_every_dtype_comes_back_bit_for_bit(tmp_path):
    theirs, ours = tf.Module(), tf.Module()
    random = np.random.default_rng(1)
    for name, dtype in dtypes.BY_NAME.items():
        try:
            number = tf.dtypes.as_dtype(dtype.number)
        except TypeError:
            continue  # newer than this TensorFlow
        if name in _NO_VARIABLES:
            continue
        if name == "string":
            array = np.array([b"a", b"", b"\xff\0bc", b"x" * 300], object)
        elif name == "bool":
            array = np.array([True, False, True, True])
        elif dtype.numpy.itemsize == 1 and dtype.numpy.kind == "V" and "int" in name:
            array = np.array([1, 0, 1, 1], np.int8).astype(dtype.numpy)
        elif name.startswith("float4"):
            array = np.array([1, 0, 2, 1], np.float32).astype(dtype.numpy)
        else:
            array = np.frombuffer(random.bytes(4 * dtype.numpy.itemsize), dtype.numpy)
        parts = {"v": array.reshape(2, 2), "s": array[:1].reshape(()), "e": array[:0].reshape(0, 3)}
        for shape, part in parts.items():
            for holder, values in ((theirs, part), (ours, np.zeros_like(part))):
                if name == "string":
                    flat = [value or b"" for value in values.reshape(-1).tolist()]
                    tensor = tf.constant(flat, number, shape=part.shape)
                elif name.startswith("q"):
                    tensor = tf.bitcast(tf.constant(values), number)
                else:
                    tensor = tf.constant(values, number)
                setattr(holder, f"{name}_{shape}", tf.Variable(tensor))
    assert len(theirs.variables) >= 3 * 20
    tf.train.Checkpoint(theirs).write(str(tmp_path / "theirs"))
    tfp.ModelStore(tmp_path, name="theirs").restore(ours)
    for name, target in (("ours", theirs), ("again", ours)):
        write_unaligned(target, tmp_path, name)
        assert content(tmp_path, name) == content(tmp_path, "theirs")


def test_the_payload_of_a_nan_survives():
    bits = np.array([0x7FC00001, 0xFFC12345, 0x7F800001, 0x00000001, 0x80000000], np.uint32)
    half = np.array([0x7F81, 0xFFC1], np.uint16).view(ml_dtypes.bfloat16)
    net = module(a=tf.Variable(bits.view(np.float32)), b=tf.Variable(half))
    store = tfp.ModelStore("memory://test/nan")
    store.save(net)
    other = module(a=tf.Variable(tf.zeros(5)), b=tf.Variable(tf.zeros(2, tf.bfloat16)))
    store.restore(other)
    assert other.a.numpy().tobytes() == bits.tobytes()
    assert other.b.numpy().tobytes() == half.tobytes()


def test_nothing_is_assigned_unless_everything_fits():
    store = tfp.ModelStore("memory://test/fit")
    store.save(module(a=tf.Variable([1.0]), b=tf.Variable([2.0]), c=tf.Variable([3.0])))
    other = module(a=tf.Variable([7.0]), b=tf.Variable([7.0, 8.0]), d=tf.Variable([9.0]))
    with pytest.raises(RestoreError) as caught:
        store.restore(other)
    assert caught.value.report.missing == ("d",)
    (row,) = [row for row in caught.value.report.rows if row.outcome == "mismatched"]
    assert (row.variable, row.expected, row.found) == ("b", "float32[2]", "float32[1]")
    assert other.a.numpy() == 7.0


def test_a_variable_of_another_dtype_does_not_fit():
    store = tfp.ModelStore("memory://test/dtype")
    store.save(module(a=tf.Variable([1.0])))
    with pytest.raises(RestoreError, match="int32"):
        store.restore(module(a=tf.Variable([1])))


def test_a_variable_of_an_open_shape_takes_any_extent():
    store = tfp.ModelStore("memory://test/open")
    store.save(module(a=tf.Variable(tf.ones((3, 2)))))
    other = module(a=tf.Variable(tf.zeros((1, 2)), shape=(None, 2)))
    store.restore(other)
    assert other.a.numpy().tolist() == [[1, 1]] * 3


def test_a_counter_of_saves_that_the_checkpoint_has_not_keeps_its_value(tmp_path):
    checkpoint = tf.train.Checkpoint(w=tf.Variable(1.0))
    store = tfp.ModelStore(tmp_path / "ours")
    store.save(checkpoint)
    checkpoint.save(str(tmp_path / "theirs"))
    checkpoint.w.assign(2.0)
    store.restore(checkpoint)
    assert checkpoint.w.numpy() == 1.0
    assert int(checkpoint.save_counter) == 1


def test_one_saved_variable_is_restored_into_two_variables():
    store = tfp.ModelStore("memory://test/heirs")
    shared = tf.Variable([1.0])
    store.save(module(a=shared, b=shared))
    other = module(a=tf.Variable([0.0]), b=tf.Variable([0.0]))
    store.restore(other)
    assert other.a.numpy() == other.b.numpy() == 1.0


def test_a_renamed_variable_is_found_again_through_the_object_graph(tmp_path):
    net = module(net=module(w=tf.Variable([1.0]), b=tf.Variable([2.0])))
    store = tfp.ModelStore(tmp_path)
    saved = store.rename({"other/w": "net/w"}).save(net)
    assert set(saved) == {f"other/w{VALUE}", f"net/b{VALUE}", OBJECT_GRAPH_KEY}
    net.net.w.assign([9.0])
    tf.train.Checkpoint(net).read(saved.prefix).assert_consumed()
    assert net.net.w.numpy() == 1.0
    net.net.w.assign([9.0])
    store.restore(net)
    assert net.net.w.numpy() == 1.0


def test_a_variable_without_a_value_is_named_at_a_save_and_filled_by_a_restore():
    store = tfp.ModelStore("memory://test/empty")
    store.save(module(a=tf.Variable([1.0, 2.0]), b=tf.Variable(3.0)))
    other = module(a=UninitializedVariable(shape=(2,), dtype=tf.float32), b=tf.Variable(0.0))
    with pytest.raises(SaveError, match=r"1 variable has no value yet: a\b"):
        store.save(other)
    store.restore(other)
    assert other.a.numpy().tolist() == [1, 2]


def test_modules_that_make_their_variables_later_are_refused():
    store = tfp.ModelStore("memory://test/later")
    store.save(module(a=tf.Variable(1.0)))
    with pytest.raises(RestoreError, match=r"no variables yet.*Call it once"):
        store.restore(module(b=3))


def test_a_restore_inside_of_a_function_is_refused():
    net = module(a=tf.Variable(1.0))
    store = tfp.ModelStore("memory://test/function")
    store.save(net)
    with pytest.raises(TargetError, match=r"tf\.function"):
        tf.function(lambda: store.restore(net), autograph=False)()


def test_a_name_based_checkpoint_is_restored_into_modules_by_name(tmp_path):
    graph = tf.Graph()
    with graph.as_default(), v1.Session() as session:
        for name in ("net/dense/kernel", "net/dense_1/kernel"):
            v1.get_variable(name, [2, 2], initializer=v1.random_normal_initializer())
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(tmp_path / "model.ckpt"), write_meta_graph=False)
        wanted = session.run(v1.global_variables())
    net = module(
        dense=module(kernel=tf.Variable(tf.zeros((2, 2)), name="kernel")),
        dense_1=module(kernel=tf.Variable(tf.zeros((2, 2)), name="kernel")),
    )
    store = tfp.ModelStore(tmp_path)
    store.restore(net)
    np.testing.assert_array_equal([net.dense.kernel, net.dense_1.kernel], wanted)
    renamed = module(other=tf.Variable(tf.zeros((2, 2)), name="renamed"))
    with pytest.raises(RestoreError) as caught:
        store.restore(renamed)
    assert caught.value.report.missing == ("other",)
    assert not renamed.other.numpy().any()


@pytest.mark.parametrize("resource", [True, False], ids=["resource", "ref"])
def test_trackables_of_a_tf1_graph_use_the_default_session_and_add_no_op(tmp_path, resource):
    graph = tf.Graph()
    with graph.as_default(), v1.Session() as session:
        a = v1.get_variable("a", initializer=[1.0, 2.0], use_resource=resource)
        b = v1.get_variable("b", initializer=3, use_resource=resource)
        optimizer = v1.train.MomentumOptimizer(0.1, 0.9)
        train = optimizer.minimize(tf.reduce_sum(a))
        checkpoint = tf.train.Checkpoint(a=a, b=b, optimizer=optimizer)
        initialize = v1.global_variables_initializer()
        session.run(initialize)
        session.run(train)
        wanted = session.run([a, b, optimizer.get_slot(a, "momentum")])
        version = graph.version
        write_unaligned(checkpoint, tmp_path, "ours")
        session.run(initialize)
        tfp.ModelStore(tmp_path, name="ours").restore(checkpoint)
        assert graph.version == version
        found = session.run([a, b, optimizer.get_slot(a, "momentum")])
        np.testing.assert_array_equal(np.hstack(found), np.hstack(wanted))
        checkpoint.write(str(tmp_path / "theirs"))
    assert content(tmp_path, "ours") == content(tmp_path, "theirs")
    with pytest.raises(TargetError, match=r"session\.as_default"):
        tfp.ModelStore(tmp_path).save(checkpoint)


class Averaged(tf.Module):
    def __init__(self):
        super().__init__()
        self.w = tf.Variable([1.0, 2.0], name="w")
        self.b = tf.Variable([1.0], name="b")
        self.ema = tf.train.ExponentialMovingAverage(0.5)
        self.ema.apply([self.w])
        self.shadows = [self.ema.average(self.w)]


def test_moving_averages_go_into_the_variables_themselves():
    net = Averaged()
    net.w.assign([5.0, 6.0])
    net.ema.apply([net.w])
    store = tfp.ModelStore("memory://test/averages")
    store.save(net)
    fresh = Averaged()
    report = store.averages(fresh.ema).restore(fresh)
    assert fresh.w.numpy().tolist() == net.shadows[0].numpy().tolist() == [3.0, 4.0]
    assert report.averaged == ("w",)
    for averages in (tf.train.ExponentialMovingAverage(0.5), "ExponentialMovingAverage"):
        bare = module(
            w=tf.Variable([0.0, 0.0], name="w"),
            b=tf.Variable([0.0], name="b"),
        )
        report = store.averages(averages).restore(bare)
        assert bare.w.numpy().tolist() == [3.0, 4.0]
        assert bare.b.numpy().tolist() == [1.0]
        assert report.averaged == ("w",)
    with pytest.raises(SelectionError, match="averages"):
        store.averages(object()).restore(fresh)


class Node(tf.Module):
    pass


def grown(keys, specs):
    """Modules with the attributes that the keys of a checkpoint name."""
    root = Node()
    for key in keys:
        *steps, last = key.removesuffix(VALUE).split("/")
        place = root
        for step, following in zip(steps, [*steps[1:], last], strict=True):
            if isinstance(place, list):
                place.extend(Node() for _ in range(int(step) + 1 - len(place)))
                place = place[int(step)]
                continue
            if not hasattr(place, step):
                setattr(place, step, [] if following.isdecimal() else Node())
            place = getattr(place, step)
        spec = specs[key]
        setattr(place, last, tf.Variable(tf.zeros(spec.shape, spec.dtype)))
    return root


def test_modules_of_sonnet_come_back(old_files):
    checkpoints = sorted(old_files.rglob("sonnet/*/*.index"))
    assert len(checkpoints) >= 7
    for index in checkpoints:
        saved = tfp.Checkpoint(index)
        keys = [key for key in saved if key.startswith("module/")]
        root = grown(keys, saved.specs)
        report = tfp.ModelStore(index.parent).restore({"module": root.module})
        assert report.unexpected == (f"save_counter{VALUE}",)
        reader = tf.train.load_checkpoint(str(index)[: -len(".index")])
        wanted = sorted(reader.get_tensor(key).tobytes() for key in keys)
        assert sorted(v.numpy().tobytes() for v in root.variables) == wanted


def test_a_manager_goes_on_counting_after_a_restore(tmp_path):
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(v=tf.Variable(1.0)), str(tmp_path), 5)
    manager.save(), manager.save()
    second = tf.train.Checkpoint(v=tf.Variable(0.0))
    tfp.ModelStore(tmp_path, name="ckpt").restore(second)
    path = tf.train.CheckpointManager(second, str(tmp_path), 5).save()
    assert path.endswith("ckpt-3")
