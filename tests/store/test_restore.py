"""Restores that skip or slice: a new head, another optimizer, a dry run; for every target."""

from __future__ import annotations

import attrs
import keras
import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.checkpoint.directory import Directory
from tfpersist.errors import RestoreError, SelectionError
from tfpersist.matching.fit import Tolerance
from tfpersist.store.restore import load

v1 = tf.compat.v1
SAVED = {"body": np.float32([1, 2]), "head": np.float32([[1, 2, 3], [4, 5, 6]])}


class Arrays:
    """Arrays by name."""

    def __init__(self, shapes):
        self.target = {name: np.full(shape, 9, np.float32) for name, shape in shapes.items()}

    def values(self):
        return self.target


class Objects:
    """A tf.Module."""

    def __init__(self, shapes):
        self.target = tf.Module()
        for name, shape in shapes.items():
            setattr(self.target, name, tf.Variable(tf.fill(shape, 9.0)))
        self.names = list(shapes)

    def values(self):
        return {name: getattr(self.target, name).numpy() for name in self.names}


class Layers:
    """A Keras model."""

    def __init__(self, shapes):
        self.target = keras.Model()
        for name, shape in shapes.items():
            weight = self.target.add_weight(shape=shape, name=name, initializer="ones")
            setattr(self.target, name, weight)
            weight.assign(tf.fill(shape, 9.0))
        self.names = list(shapes)

    def values(self):
        return {name: getattr(self.target, name).numpy() for name in self.names}


class Session:
    """A session of TensorFlow 1."""

    resource = True

    def __init__(self, shapes, initialize=True):
        with tf.Graph().as_default() as graph:
            self.variables = {
                name: v1.get_variable(
                    name, initializer=np.full(shape, 9, np.float32), use_resource=self.resource
                )
                for name, shape in shapes.items()
            }
            self.target = v1.Session(graph=graph)
            if initialize:
                self.target.run(v1.global_variables_initializer())
            graph.finalize()

    def values(self):
        return self.target.run(self.variables)


class RefSession(Session):
    """The same with variables that are no resources."""

    resource = False


KINDS = [Arrays, Objects, Layers, Session, RefSession]


@pytest.fixture
def store():
    store = tfp.ModelStore("memory://tolerance")
    store.save(SAVED)
    return store


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_head_keeps_its_value(store, kind):
    model = kind({"body": [2], "head": [2, 5], "more": [1]})
    with pytest.raises(RestoreError, match="nothing was assigned"):
        store.restore(model.target, mismatched="skip")
    with pytest.raises(RestoreError, match="nothing was assigned"):
        store.restore(model.target, missing="skip")
    assert {each.flat[0] for each in model.values().values()} == {9}
    report = store.restore(model.target, missing="skip", mismatched="skip")
    assert report.fits
    assert {row.variable: (row.outcome, row.expected, row.found) for row in report.rows} == {
        named(model, "body"): ("restored", "float32[2]", ""),
        named(model, "head"): ("kept", "float32[2,5]", "float32[2,3]"),
        named(model, "more"): ("kept", "float32[1]", ""),
    }
    assert model.values()["body"].tolist() == [1, 2]
    assert set(model.values()["head"].flat) == {9}
    assert model.values()["more"].tolist() == [9]


def named(model, name):
    return getattr(getattr(model.target, name, None), "path", name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_head_takes_what_lies_in_both_shapes(store, kind):
    model = kind({"body": [2], "head": [3, 2]})
    report = store.restore(model.target, mismatched="slice")
    assert report.sliced == (named(model, "head"),)
    assert set(report.restored) == {named(model, "body"), named(model, "head")}
    assert model.values()["head"].tolist() == [[1, 2], [4, 5], [9, 9]]
    assert model.values()["body"].tolist() == [1, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_a_dry_run_assigns_nothing(store, kind):
    model = kind({"body": [2], "head": [3, 2]})
    strict = store.restore(model.target, dry_run=True)
    assert not strict.fits
    assert strict.mismatched == (named(model, "head"),)
    slicing = store.restore(model.target, mismatched="slice", dry_run=True)
    assert slicing.fits
    assert slicing.restored == ()
    assert "2 variables that would fit, 1 of them in part" in str(slicing)
    assert {each.flat[0] for each in model.values().values()} == {9}


@pytest.mark.parametrize("kind", KINDS)
def test_another_rank_cannot_be_sliced(store, kind):
    model = kind({"body": [2], "head": [6]})
    with pytest.raises(RestoreError, match="1 mismatched"):
        store.restore(model.target, mismatched="slice")
    assert {each.flat[0] for each in model.values().values()} == {9}


@pytest.mark.parametrize("kind", [Session, RefSession])
def test_a_slice_needs_a_value_that_the_rest_can_keep(store, kind):
    model = kind({"body": [2], "head": [3, 2]}, initialize=False)
    with pytest.raises(RestoreError, match=r"keeps the rest.*1 variable has no value yet: head"):
        store.restore(model.target, mismatched="slice")
    with pytest.raises(tf.errors.FailedPreconditionError):
        model.values()
    store.restore(model.target, mismatched="skip")
    assert model.target.run(model.variables["body"]).tolist() == [1, 2]


@pytest.mark.parametrize("resource", [True, False])
def test_each_part_of_a_partitioned_variable_takes_its_slice(resource):
    store = tfp.ModelStore("memory://tolerance/parts")
    store.save({"w": np.arange(10, dtype=np.float32).reshape(5, 2)})
    with tf.Graph().as_default(), v1.Session() as session:
        with v1.variable_scope("", partitioner=v1.fixed_size_partitioner(4), use_resource=resource):
            w = v1.get_variable("w", [8, 1], initializer=v1.ones_initializer())
        whole = tf.concat(list(w), 0)
        session.run(v1.global_variables_initializer())
        report = store.restore(session, mismatched="slice")
        assert session.run(whole).ravel().tolist() == [0, 2, 4, 6, 8, 1, 1, 1]
    assert len(report.sliced) == 4


def test_nothing_is_tolerated_if_no_variable_fits(store):
    for model in ({"hed": np.zeros(2, np.float32)}, {"head": np.zeros(2, np.float32)}):
        with pytest.raises(RestoreError, match="nothing was assigned"):
            store.restore(model, missing="skip", mismatched="skip")


def test_another_optimizer_keeps_its_initial_slots_and_is_listed():
    store = tfp.ModelStore("memory://tolerance/optimizer")

    def session(optimizer):
        with tf.Graph().as_default() as graph:
            w = v1.get_variable("w", initializer=np.float32([1, 2]))
            optimizer().minimize(tf.reduce_sum(w * w))
            session = v1.Session(graph=graph)
            session.run(v1.global_variables_initializer())
        return session

    store.save(session(lambda: v1.train.GradientDescentOptimizer(0.1)))
    target = session(v1.train.AdamOptimizer)
    report = store.restore(target, missing="skip")
    assert report.restored == ("w",)
    assert set(report.kept) == {"w/Adam", "w/Adam_1", "beta1_power", "beta2_power"}
    assert set(report.slots) == set(report.kept)


def test_a_dry_run_renames_nothing(tmp_path):
    store = tfp.ModelStore(tmp_path)
    store.save(SAVED, step=1)
    store.save(SAVED, step=2)
    data = tmp_path / "model.ckpt-2.data-00000-of-00001"
    data.write_bytes(b"\xff" + data.read_bytes()[1:])
    before = sorted(tmp_path.iterdir())
    model = Arrays({"body": [2], "head": [2, 3]}).target
    report = store.restore(model, dry_run=True)
    assert report.checkpoint.endswith("model.ckpt-1")
    assert [each.checkpoint.endswith("model.ckpt-2") for each in report.skipped] == [True]
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("options", [{"missing": "slice"}, {"mismatched": "ignore"}])
def test_unknown_arguments_of_a_restore_are_refused(store, options):
    with pytest.raises(SelectionError, match=r"has an unknown value; expected 'error' or 'skip'"):
        store.restore(Arrays({"body": [2]}).target, **options)


# --- what others do meanwhile --------------------------------------------------------------------


class Probe:
    """A target of arrays that calls `meanwhile` while it is being paired with a checkpoint."""

    def __init__(self, arrays, meanwhile):
        from tfpersist.tf.targets.adapt import adapt

        self.adapted = adapt(arrays)
        self.meanwhile = meanwhile

    def entries(self):
        return self.adapted.entries()

    def entries_for(self, saved):
        self.meanwhile()
        return self.adapted.entries_for(saved)

    def averages_of(self, averages, entries):
        return self.adapted.averages_of(averages, entries)


def loaded(store, target):
    source = store._source
    return load(Directory.look(source.storage), source, target, Tolerance())


def test_a_checkpoint_is_not_pruned_during_its_restore(tmp_path):
    store = tfp.ModelStore(tmp_path)
    for step in (1, 2):
        store.save({"v": np.float32([step])}, step)
    pruned = []

    def meanwhile():
        other = tfp.ModelStore(tmp_path)
        other.save({"v": np.float32([3])}, 3)
        pruned.append(other.prune(keep=tfp.Keep(last=1)))

    result = loaded(store, Probe({"v": np.zeros(1, np.float32)}, meanwhile))
    assert result.checkpoint.step == 2
    assert pruned[0].dropped == ("model.ckpt-1",)
    assert [c.step for c in store.checkpoints()] == [2, 3]
    assert [float(value) for _, array in result.values for value in array] == [2]


def test_a_new_look_lists_only_the_checkpoints_that_it_skips(tmp_path):
    store = tfp.ModelStore(tmp_path)
    for step in (1, 2, 3):
        store.save({"v": np.float32([step])}, step)
    with open(tmp_path / "model.ckpt-3.data-00000-of-00001", "r+b") as file:
        file.truncate(1)

    class Pruning:
        """A storage in which model.ckpt-2 is pruned as soon as somebody wants to hold it."""

        def __init__(self, storage):
            self.storage = storage

        def __getattr__(self, name):
            return getattr(self.storage, name)

        def hold(self, name, *, alone=False):
            if name == "model.ckpt-2.index":
                self.storage.remove(sorted(n for n in self.storage.names() if "ckpt-2." in n))
            return self.storage.hold(name, alone=alone)

    source = attrs.evolve(store._source, storage=Pruning(store._source.storage))
    target = Probe({"v": np.zeros(1, np.float32)}, lambda: None)
    result = load(Directory.look(source.storage), source, target, Tolerance())
    assert result.checkpoint.step == 1
    assert [skipped.prefix for skipped in result.skipped] == ["model.ckpt-3"]


def test_a_checkpoint_completed_after_the_look_does_not_count_as_damaged(tmp_path):
    store = tfp.ModelStore(tmp_path)
    store.save({"v": np.float32([1])}, 1)
    data = tmp_path / "model.ckpt-1.data-00000-of-00001"
    content = data.read_bytes()
    data.unlink()
    look = Directory.look(store._source.storage)
    data.write_bytes(content)
    target = Probe({"v": np.zeros(1, np.float32)}, lambda: None)
    result = load(look, store._source, target, Tolerance())
    assert result.skipped == ()
    assert [float(value) for _, array in result.values for value in array] == [1]


@pytest.mark.parametrize("dry_run", [False, True])
def test_leftovers_of_a_dead_process_are_deleted_first(tmp_path, dry_run):
    store = tfp.ModelStore(tmp_path)
    store.save({"v": np.float32([1])}, 1)
    left = tmp_path / ".tfpersist-0123456789abcdef.0.tmp"
    left.write_bytes(b"cut off")
    store.restore({"v": np.zeros(1, np.float32)}, dry_run=dry_run)
    assert left.exists() is dry_run
