"""Restores that skip or slice: a new head, another optimizer, a dry run; for every target."""

from __future__ import annotations

import json

import attrs
import keras
import numpy as np
import pytest
import tensorflow as tf
from tf_keras.src.layers.rnn import legacy_cells

import tfpersist as tfp
from tfpersist.checkpoint.directory import Directory
from tfpersist.errors import RestoreError, SelectionError
from tfpersist.matching.plans.fit import Tolerance
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


def test_a_checkpoint_that_is_skipped_is_logged(tmp_path, caplog):
    store = tfp.ModelStore(tmp_path)
    store.save(SAVED, step=1)
    store.save(SAVED, step=2)
    data = tmp_path / "model.ckpt-2.data-00000-of-00001"
    data.write_bytes(b"\xff" + data.read_bytes()[1:])
    with caplog.at_level("WARNING", logger="tfpersist"):
        report = store.restore(Arrays({"body": [2], "head": [2, 3]}).target)
    [record] = caplog.records
    assert record.name == "tfpersist"
    assert str(report.skipped[0]) in record.getMessage()


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
    assert [float(value) for _, array in result.values.whole for value in array] == [2]


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
    assert [float(value) for _, array in result.values.whole for value in array] == [1]


@pytest.mark.parametrize("dry_run", [False, True])
def test_leftovers_of_a_dead_process_are_deleted_first(tmp_path, dry_run):
    store = tfp.ModelStore(tmp_path)
    store.save({"v": np.float32([1])}, 1)
    left = tmp_path / ".tfpersist-0123456789abcdef.0.tmp"
    left.write_bytes(b"cut off")
    store.restore({"v": np.zeros(1, np.float32)}, dry_run=dry_run)
    assert left.exists() is dry_run


def chain(*names):
    x = inputs = keras.Input((3,))
    for name in names:
        x = keras.layers.Dense(3, name=name)(x)
    model = keras.Model(inputs, x)
    model.compile(keras.optimizers.Adam(), "mse")
    return model


@pytest.fixture
def unnamed(tmp_path):
    """Return a store with a trained model of two layers without names, and the model."""
    model = chain(None, None)
    model.fit(np.eye(3), np.ones((3, 3)), epochs=2, verbose=0)
    store = tfp.ModelStore(tmp_path)
    store.save(model)
    return store, model


def test_a_plan_decides_one_tensor_and_evidence_the_others(unnamed):
    store, saved = unnamed
    model = chain(None, None, None)
    plan = store.restore(model, dry_run=True).plan
    first, last = model.layers[1].kernel.path, model.layers[3].kernel.path
    assert plan[first].key is None
    assert len(plan[first].alternatives) == 2
    plan = plan.take(first, "_operations/1/_kernel").take(last, "_operations/2/_kernel")
    plan = plan.keep(*(weight.path for weight in model.layers[2].weights))
    report = store.restore(model, plan=plan, missing="skip")
    assert len(report.restored) == 14
    for mine, theirs in ((1, 1), (3, 2)):
        for one, other in zip(
            model.layers[mine].weights, saved.layers[theirs].weights, strict=True
        ):
            np.testing.assert_array_equal(one, other)
    assert int(model.optimizer.iterations) == 2
    slots = {slot.path.split("/")[-1]: slot.numpy() for slot in model.optimizer.variables}
    name = model.layers[3].kernel.path.replace("/", "_")
    np.testing.assert_array_equal(slots[f"{name}_momentum"], saved.optimizer.variables[6])


def test_a_plan_holds_in_a_process_with_other_automatic_names(unnamed):
    store, saved = unnamed
    text = store.restore(chain(None, None), dry_run=True).plan.to_json()
    for _ in range(3):
        chain(None)
    model = chain(None, None)
    report = store.restore(model, plan=tfp.Plan.from_json(text))
    assert len(report.restored) == 14
    for one, other in zip(model.weights, saved.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_plan_gives_one_tensor_to_two_variables_and_turns_another(tmp_path):
    store = tfp.ModelStore(tmp_path)
    store.save({"embedding": np.float32([[1, 2], [3, 4]]), "step": np.int64(3)})
    tied = {"in": np.zeros((2, 2), np.float32), "out": np.zeros((2, 2), np.float32)}
    turned = tfp.Recipe(("embedding",), (tfp.recipe_steps.Transpose((1, 0)),))
    plan = tfp.Plan((tfp.Pair("in", "embedding"), tfp.Pair("out", recipe=turned)))
    report = store.restore(tied, plan=plan)
    np.testing.assert_array_equal(tied["in"], [[1, 2], [3, 4]])
    np.testing.assert_array_equal(tied["out"], [[1, 3], [2, 4]])
    assert report.unexpected == ("step",)
    assert report.plan["out"].recipe == turned
    rows = {row["variable"]: row for row in json.loads(report.to_json())["rows"]}
    assert rows["out"]["recipe"]["from"] == ["embedding"]


def test_a_plan_that_does_not_fit_assigns_nothing(tmp_path):
    store = tfp.ModelStore(tmp_path)
    store.save({"w": np.ones((2, 3), np.float32)})
    model = {"w": np.zeros((2, 3), np.float32), "v": np.zeros((3, 2), np.float32)}
    for pair in (tfp.Pair("v", "w"), tfp.Pair("v", "x")):
        with pytest.raises(RestoreError):
            store.restore(model, plan=tfp.Plan((pair,)))
    turned = tfp.Recipe(("w",), (tfp.recipe_steps.Transpose((2, 1, 0)),))
    with pytest.raises(SelectionError, match="step 1, transpose"):
        store.restore(model, plan=tfp.Plan((tfp.Pair("v", recipe=turned),)))
    assert not model["w"].any()
    assert not model["v"].any()


@pytest.mark.parametrize(
    "step",
    [lambda s: s.rename({"w": "v"}), lambda s: s.averages("avg"), lambda s: s.only({"w": "v"})],
)
def test_a_plan_and_another_step_that_says_keys(tmp_path, step):
    store = tfp.ModelStore(tmp_path)
    store.save({"w": np.ones(2)})
    with pytest.raises(SelectionError, match="take"):
        step(store).restore({"v": np.zeros(2)}, plan=tfp.Plan((tfp.Pair("v", "w"),)))


def test_a_plan_for_some_variables(tmp_path):
    store = tfp.ModelStore(tmp_path)
    store.save({"w": np.ones(2)})
    model = {"v": np.zeros(2), "u": np.zeros(2)}
    plan = tfp.Plan((tfp.Pair("v", "w"), tfp.Pair("u", "w")))
    report = store.only(["v"]).restore(model, plan=plan)
    assert (report.restored, report.unselected) == (("v",), ("u",))
    assert not model["u"].any()


def test_a_plan_of_another_type(tmp_path):
    with pytest.raises(tfp.ArgumentError, match=r"Plan\.from_json"):
        tfp.ModelStore(tmp_path).restore({"v": np.zeros(2)}, plan={"v": "w"})


def test_a_cast_is_opt_in_and_says_what_it_loses(tmp_path):
    store = tfp.ModelStore(tmp_path)
    store.save({"w": np.float64([0.1, 1e6]), "b": np.float32([0.5]), "n": np.int64(3)})
    model = {"w": np.zeros(2, np.float16), "b": np.zeros(1, np.float16), "n": np.int64([0])[0:0]}
    model["n"] = np.zeros((), np.int64)
    with pytest.raises(tfp.RestoreError, match="2 mismatched"):
        store.restore(model)
    report = store.restore(model, cast=True)
    assert model["w"].tolist() == [np.float16(0.1), np.inf]
    assert (model["b"].tolist(), model["n"]) == ([0.5], 3)
    losses = {loss.variable: loss for loss in report.losses}
    assert losses.keys() == {"w", "b"}
    assert (losses["w"].found, losses["w"].wanted, losses["w"].overflows) == (
        "float64",
        "float16",
        1,
    )
    assert losses["b"].is_exact
    assert "cast w: float64 to float16: largest error 2.44e-05" in str(report)
    assert report.as_dict()["losses"][0]["overflows"] == 1


def test_a_cast_is_planned_too(tmp_path):
    store = tfp.ModelStore(tmp_path)
    store.save({"w": np.float32([1, 2])})
    model = {"w": np.zeros(2)}
    plan = store.restore(model, cast=True, dry_run=True).plan
    assert str(plan["w"]).startswith("w <- w: cast(dtype=float64)")
    assert model["w"].tolist() == [0, 0]
    store.restore(model, plan=plan)
    assert model["w"].tolist() == [1, 2]


def test_layers_without_names_are_cast(tmp_path):
    def chain(dtype):
        layers = [keras.layers.Dense(3, dtype=dtype), keras.layers.Dense(3, dtype=dtype)]
        return keras.Sequential([keras.Input((3,), dtype=dtype), *layers])

    saved, model = chain("float32"), chain("bfloat16")
    tfp.ModelStore(tmp_path).save(saved)
    report = tfp.ModelStore(tmp_path).restore(model, cast=True)
    assert len(report.restored) == 4
    for mine, theirs in zip(model.weights, saved.weights, strict=True):
        np.testing.assert_array_equal(
            np.asarray(mine.numpy(), np.float32), theirs.numpy().astype(mine.numpy().dtype)
        )
    assert all(0 <= loss.relative <= 2**-8 for loss in report.losses)


def test_the_rows_of_an_embedding_follow_its_vocabulary(tmp_path):
    def model_of(size):
        embedding = keras.layers.Embedding(size, 2, name="words")
        return keras.Sequential([keras.Input((1,)), embedding])

    old, new = model_of(3), model_of(5)
    store = tfp.ModelStore(tmp_path)
    store.save(old)
    table, kept = (model.layers[0].embeddings.numpy().copy() for model in (old, new))
    rows = (["cat", "dog", "the"], ["the", "a", "cat", "fish"])
    with pytest.raises(tfp.RestoreError):
        store.restore(new)
    report = store.restore(new, rows={new.layers[0].embeddings.path: rows})
    assert report.remapped == (new.layers[0].embeddings.path,)
    np.testing.assert_array_equal(
        new.layers[0].embeddings.numpy(), [table[2], kept[1], table[0], kept[3], kept[4]]
    )
    assert "2 rows remapped" in str(report.rows)
    store.restore(new, rows=[(new.layers[0].embeddings, {1: 4})])
    np.testing.assert_array_equal(new.layers[0].embeddings.numpy()[4], table[1])


def test_a_session_takes_the_cell_of_a_keras_model(tmp_path):
    model = keras.Sequential([keras.Input((None, 4)), keras.layers.LSTM(3)])
    tfp.ModelStore(tmp_path).save(model)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        kernel, bias = (
            tf.compat.v1.get_variable(f"rnn/basic_lstm_cell/{name}", shape)
            for name, shape in (("kernel", [7, 12]), ("bias", [12]))
        )
        store = tfp.ModelStore(tmp_path)
        report = store.restore(session, plan=store.restore(session, dry_run=True).plan)
        assert report.restored == ("rnn/basic_lstm_cell/kernel", "rnn/basic_lstm_cell/bias")
        values = session.run([kernel, bias])
    weights = [weight.numpy() for weight in model.weights]
    gates = [np.split(value, 4, -1) for value in (*values, np.concatenate(weights[:2]), weights[2])]
    for mine, theirs in (gates[0::2], gates[1::2]):
        np.testing.assert_array_equal(mine[0], theirs[0])
        np.testing.assert_array_equal(mine[1], theirs[2])
        np.testing.assert_array_equal(mine[3], theirs[3])
    # The cell adds 1.0 to the bias of its forget gate, and Keras initializes that bias with 1.0.
    np.testing.assert_array_equal(gates[1][2], np.zeros(3))


def test_a_planned_recipe_is_cast_too(tmp_path):
    random = np.random.default_rng(0)
    shapes = {"kernel": (7, 12), "bias": (12,)}
    cell = {f"rnn/lstm_cell/{n}": random.normal(size=shape) for n, shape in shapes.items()}
    store = tfp.ModelStore(tmp_path)
    store.save(cell)
    model = keras.Sequential([keras.Input((None, 4)), keras.layers.LSTM(3)])
    plan = store.restore(model, cast=True, dry_run=True).plan
    with pytest.raises(tfp.RestoreError, match="3 mismatched"):
        store.restore(model, plan=plan)
    report = store.restore(model, plan=plan, cast=True)
    assert [loss.found for loss in report.losses] == ["float64"] * 3
    np.testing.assert_array_equal(
        model.weights[0].numpy()[:, :3], np.float32(cell["rnn/lstm_cell/kernel"][:4, :3])
    )


def test_the_graph_beside_a_checkpoint_tells_the_forget_bias(tmp_path):
    v1, x = tf.compat.v1, np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    with tf.Graph().as_default(), v1.Session() as session:
        cell = legacy_cells.BasicLSTMCell(3, forget_bias=-2.0)
        outputs, _ = v1.nn.static_rnn(cell, tf.unstack(tf.constant(x), axis=1), dtype=tf.float32)
        session.run(v1.global_variables_initializer())
        expected = session.run(outputs[-1])
        v1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    model = keras.Sequential([keras.Input((5, 4)), keras.layers.LSTM(3)])
    store = tfp.ModelStore(tmp_path)
    store.restore(model, plan=store.restore(model, dry_run=True).plan)
    # In float32, and added in another order.
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(x)), expected, rtol=0, atol=1e-6)


def test_unexpected_tensors_are_an_error_on_request(tmp_path):
    store = tfp.ModelStore(tmp_path)
    store.save({"w": np.float32([1, 2]), "old": np.float32([3])})
    model = {"w": np.zeros(2, np.float32)}
    with pytest.raises(RestoreError, match="does not fit") as caught:
        store.restore(model, unexpected="error")
    assert caught.value.report.unexpected == ("old",)
    assert model["w"].tolist() == [0, 0]
    assert store.restore(model).unexpected == ("old",)
    state = tf.train.Checkpoint(v=tf.Variable(1.0))
    path = tf.train.CheckpointManager(state, str(tmp_path / "theirs"), 1).save()
    plain = tf.Module()
    plain.v = tf.Variable(0.0)
    assert tfp.ModelStore(tmp_path / "theirs").restore(plain, unexpected="error").fits
    assert (float(plain.v), path.endswith("-1")) == (1.0, True)
