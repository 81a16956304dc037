"""Modules with variables and other state, for tests of object graphs."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import payload_of
from tfpersist.matching.sides.object_graph import OBJECT_GRAPH_KEY
from tfpersist.storage import open_storage
from tfpersist.tf.targets.adapt import adapt

v1 = tf.compat.v1


VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


class Note(tf.train.experimental.PythonState):
    def __init__(self, text):
        self.text = text

    def serialize(self):
        return self.text

    def deserialize(self, text):
        if text == b"refused":
            raise ValueError("not this one")
        self.text = text.decode()


class Net(tf.Module):
    """Variables, and other things that have state."""

    def __init__(self, value):
        super().__init__()
        self.note = Note(f"note {value}")
        self.w = tf.Variable([value, 2.0], name="w")
        self.layers = [tf.Variable(int(value)), {"a/b": tf.Variable(value)}]
        self.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
        self.table.insert(["a", str(value)], [1, int(value)])
        self.dense = tf.lookup.experimental.DenseHashTable(tf.int64, tf.float32, -1.0, 0, -2)
        self.dense.insert([int(value)], [value])
        self.random = tf.random.Generator.from_seed(int(value))
        self.open = tf.Variable(tf.zeros((int(value), 2)), shape=(None, 2))


def state_of(net):
    keys, values = net.table.export()
    return {
        "note": net.note.text,
        "w": net.w.numpy().tobytes(),
        "items": (net.layers[0].numpy(), net.layers[1]["a/b"].numpy()),
        "table": dict(zip(keys.numpy().tolist(), values.numpy().tolist(), strict=True)),
        "dense": [sorted(part.numpy().tolist()) for part in net.dense.export()],
        "random": net.random.state.numpy().tolist(),
        "open": net.open.numpy().shape,
    }


def trained(value):
    net = Net(value)
    optimizer = v1.train.AdamOptimizer(0.1)
    optimizer.minimize(lambda: tf.reduce_sum(net.w), var_list=[net.w])
    return net, optimizer


def write_unaligned(target, directory, name):
    """Return the files that the store writes, without the padding of tfpersist."""
    adapted = adapt(target)
    captured = adapted.capture(adapted.entries())
    graph = np.empty((), object)
    graph[()] = captured.object_graph
    items = [*captured.items, Item(OBJECT_GRAPH_KEY, payload_of(graph))]
    write_checkpoint(open_storage(directory), name, items, alignment=1)


def content(directory, name):
    return [
        (directory / f"{name}{suffix}").read_bytes()
        for suffix in (".index", ".data-00000-of-00001")
    ]


def module(**members):
    made = tf.Module()
    for name, member in members.items():
        setattr(made, name, member)
    return made
