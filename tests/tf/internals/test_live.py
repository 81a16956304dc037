"""A remembered object graph is not used after a change of the objects."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.tf.internals import live
from tfpersist.tf.internals.object_graph import live_graph

KEY = "/.ATTRIBUTES/VARIABLE_VALUE"


class Net(tf.Module):
    def __init__(self):
        super().__init__()
        self.first = tf.Variable([1.0, 2.0])
        self.rest = [tf.Variable(3.0), tf.Variable(4.0)]


def add(net):
    net.more = tf.Variable(5.0)


def append(net):
    net.rest.append(tf.Variable(5.0))


def remove(net):
    del net.rest


def replace(net):
    net.first = tf.Variable([7.0, 8.0])


def reshape(net):
    net.first = tf.Variable([[7.0, 8.0, 9.0]])


def retype(net):
    net.first = tf.Variable([7, 8])


def rename(net):
    net.second = net.first
    del net.first


def share(net):
    net.again = net.rest[1]


def swap(net):
    net.other = net.rest[0]
    net.rest = [net.first, net.other]


def grow_below(net):
    net.below = Net()


def table(net):
    net.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)


def add_to_a_variable(net):
    net.first._track_trackable(tf.Variable(5.0), "child")


CHANGES = [
    add,
    add_to_a_variable,
    append,
    remove,
    replace,
    reshape,
    retype,
    rename,
    share,
    swap,
    grow_below,
    table,
]


def saved(location, target):
    return {
        key: value.tolist()
        for key, value in tfp.ModelStore(location, durable=False).save(target).items()
        if key != "_CHECKPOINTABLE_OBJECT_GRAPH"
    }


def expected(path, target):
    tf.train.Checkpoint(target).write(str(path / "theirs"))
    reader = tf.train.load_checkpoint(str(path / "theirs"))
    return {
        key: reader.get_tensor(key).tolist()
        for key in reader.get_variable_to_shape_map()
        if key != "_CHECKPOINTABLE_OBJECT_GRAPH"
    }


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_between_two_saves_is_saved(tmp_path, change):
    net = Net()
    saved(tmp_path, net)
    saved(tmp_path, net)
    change(net)
    found = saved(tmp_path, net)
    assert found == expected(tmp_path, net)
    # The bytes of the object graph as well, and once more from what is remembered now.
    theirs = tf.train.load_checkpoint(str(tmp_path / "theirs"))
    ours = tfp.ModelStore(tmp_path).save(net)
    key = "_CHECKPOINTABLE_OBJECT_GRAPH"
    assert ours[key].item() == theirs.get_tensor(key)


def test_values_are_those_of_the_save(tmp_path):
    net = Net()
    saved(tmp_path, net)
    net.first.assign([5.0, 6.0])
    net.rest[1].assign_add(1.0)
    assert saved(tmp_path, net) == expected(tmp_path, net)


def test_a_walk_that_finds_nothing_new_is_remembered():
    net = Net()
    first, again = live_graph(net), live_graph(net)
    assert again.graph is first.graph
    assert again.encoded is first.encoded
    assert [a is b for a, b in zip(again.objects, first.objects, strict=True)] == [True] * 5
    add(net)
    assert live_graph(net).graph is not first.graph


def test_slot_variables_are_seen(tmp_path):
    variable = tf.Variable([1.0, 2.0])
    optimizer = tf.compat.v1.train.MomentumOptimizer(0.1, 0.9)
    root = tf.train.Checkpoint(variable=variable, optimizer=optimizer)
    saved(tmp_path, root)
    optimizer.apply_gradients([(tf.ones(2), variable)])
    key = f"variable/.OPTIMIZER_SLOT/optimizer/momentum{KEY}"
    assert saved(tmp_path, root)[key] == [1.0, 1.0]
    other = tf.Variable([3.0])
    root.other = other
    optimizer.apply_gradients([(tf.ones(1), other)])
    found = saved(tmp_path, root)
    assert found[f"other/.OPTIMIZER_SLOT/optimizer/momentum{KEY}"] == [1.0]


def test_a_dict_of_trackables_is_walked_again(tmp_path):
    net = Net()
    target = {"net": net, "step": tf.Variable(1)}
    saved(tmp_path, target)
    target["step"] = tf.Variable(2)
    assert saved(tmp_path, target)[f"step{KEY}"] == 2
    append(net)
    assert saved(tmp_path, target)[f"net/rest/2{KEY}"] == 5.0


def test_a_changed_target_restores_what_it_has_now(tmp_path):
    net = Net()
    store = tfp.ModelStore(tmp_path)
    store.save(net)
    store.restore(net)
    replace(net)
    store.restore(net)
    assert net.first.numpy().tolist() == [1.0, 2.0]
    reshape(net)
    with pytest.raises(tfp.errors.RestoreError, match="first"):
        store.restore(net)
    assert net.first.numpy().tolist() == [[7.0, 8.0, 9.0]]


def test_restored_values_belong_to_the_variable(tmp_path):
    net = Net()
    net.large = tf.Variable(np.arange(100_000, dtype=np.float32))
    store = tfp.ModelStore(tmp_path)
    checkpoint = store.save(net)
    net.large.assign(tf.zeros(100_000))
    store.restore(net)
    net.first.assign_add([1.0, 1.0])
    net.large.assign_add(tf.ones(100_000))
    assert net.rest[0].numpy() == 3.0
    assert checkpoint.verify().ok
    store.restore(net)
    assert net.first.numpy().tolist() == [1.0, 2.0]
    assert net.large.numpy().tolist() == list(range(100_000))


def test_no_object_is_kept_alive():
    net = Net()
    live_graph(net)
    assert live.recall(net) is not None
    watch = weakref.ref(net.first)
    del net
    gc.collect()
    assert watch() is None


def test_few_targets_are_remembered():
    nets = [Net() for _ in range(20)]
    for net in nets:
        live_graph(net)
    assert live.recall(nets[0]) is None
    assert live.recall(nets[-1]) is not None
