"""The hook of TF1's monitored sessions: when it saves, and how a training goes on."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.errors import SaveError, TargetError

v1 = tf.compat.v1


@pytest.fixture(params=["", "background"])
def store(request, tmp_path):
    made = tfp.ModelStore(tmp_path)
    return made.background(in_flight=2) if request.param else made


@pytest.fixture(params=[True, False], ids=["resource", "ref"])
def resource(request):
    return request.param


def build(resource=True):
    """Build a graph that trains a line; return the operation of one step."""
    with v1.variable_scope("", use_resource=resource):
        step = v1.train.get_or_create_global_step()
        w = v1.get_variable("w", [3], initializer=v1.zeros_initializer(), use_resource=resource)
        loss = tf.reduce_sum((w - [1.0, 2.0, 3.0]) ** 2)
        return v1.train.AdamOptimizer(0.1).minimize(loss, step)


def train(store, steps, resource=True, fail_at=None, **options):
    """Train up to this many steps in all; return how many were run."""
    with tf.Graph().as_default() as graph:
        operation = build(resource)
        hook = store.hook(**options)
        ran = 0
        scaffold = v1.train.Scaffold(ready_op=tf.constant([], tf.string))
        with v1.train.MonitoredTrainingSession(
            scaffold=scaffold, hooks=[hook, v1.train.StopAtStepHook(last_step=steps)]
        ) as session:
            operations = len(graph.get_operations())
            while not session.should_stop():
                session.run(operation)
                ran += 1
                if ran == fail_at:
                    raise ZeroDivisionError
            assert len(graph.get_operations()) == operations
        return ran


def test_the_position_of_an_iterator_is_restored(store):
    def run(steps):
        with tf.Graph().as_default():
            data = v1.data.make_initializable_iterator(tf.data.Dataset.range(99).shuffle(9, seed=1))
            saveable = tf.data.experimental.make_saveable_from_iterator(data)
            v1.add_to_collection(v1.GraphKeys.SAVEABLE_OBJECTS, saveable)
            v1.add_to_collection(v1.GraphKeys.TABLE_INITIALIZERS, data.initializer)
            element, operation = data.get_next(), build()
            hooks = [store.hook(every_steps=2), v1.train.StopAtStepHook(last_step=steps)]
            seen = []
            with v1.train.MonitoredTrainingSession(hooks=hooks) as session:
                while not session.should_stop():
                    seen.append(int(session.run([element, operation])[0]))
            return seen

    first = run(4)
    seen = first + run(8)
    assert len(set(seen)) == 8


def test_steps_are_counted_and_the_last_is_saved(store, resource):
    assert train(store, 7, resource, every_steps=3) == 7
    found = store.checkpoints()
    assert [each.step for each in found] == [3, 6, 7]
    assert [int(each["global_step"]) for each in found] == [3, 6, 7]
    assert all(each.verify().ok for each in found)


def test_the_last_is_not_saved_twice(store):
    train(store, 6, every_steps=3)
    assert [each.step for each in store.checkpoints()] == [3, 6]


def test_an_interrupted_training_ends_as_one_that_was_not(store, resource, tmp_path):
    whole = tfp.ModelStore(tmp_path / "whole")
    train(whole, 10, resource)
    with pytest.raises(ZeroDivisionError):
        train(store, 10, resource, fail_at=7, every_steps=4)
    assert [each.step for each in store.checkpoints()] == [4]
    assert train(store, 10, resource, every_steps=4) == 6
    assert [each.step for each in store.checkpoints()] == [4, 8, 10]
    one, other = whole.latest(), store.latest()
    assert set(one) == set(other)
    assert all(np.array_equal(one[key], other[key]) for key in one)


def test_without_resume_training_starts_from_the_beginning(store):
    train(store, 3)
    assert train(store, 5, resume=False) == 5


def test_seconds_are_counted(store):
    train(store, 4, every_secs=1e-6)
    assert [each.step for each in store.checkpoints()] == [1, 2, 3, 4]
    assert train(store, 6) == 2
    assert [each.step for each in store.checkpoints()] == [1, 2, 3, 4, 6]


def test_steps_or_seconds_whichever_comes_first(store):
    train(store, 4, every_steps=2, every_secs=1e6)
    assert [each.step for each in store.checkpoints()] == [2, 4]


def test_a_session_that_has_come_further_is_left_as_it_is(store, tmp_path):
    train(store, 3)
    with tf.Graph().as_default():
        operation = build()
        with v1.train.MonitoredTrainingSession(
            checkpoint_dir=str(tmp_path / "theirs"), save_summaries_steps=None
        ) as session:
            for _ in range(5):
                session.run(operation)
    with tf.Graph().as_default():
        operation = build()
        with v1.train.MonitoredTrainingSession(
            checkpoint_dir=str(tmp_path / "theirs"),
            save_summaries_steps=None,
            hooks=[store.hook()],
        ) as session:
            session.run(operation)
    assert store.latest().step == 6


def test_a_recreated_session_is_restored(store):
    with tf.Graph().as_default():
        operation = build()
        seen = []

        class Abort(v1.train.SessionRunHook):
            def before_run(self, context):
                seen.append(int(context.session.run(v1.train.get_global_step())))
                if len(seen) == 4:
                    raise tf.errors.AbortedError(None, None, "the worker is gone")

        hooks = [store.hook(every_steps=2), Abort(), v1.train.StopAtStepHook(last_step=6)]
        with v1.train.MonitoredTrainingSession(hooks=hooks) as session:
            while not session.should_stop():
                session.run(operation)
    assert seen == [0, 1, 2, 3, 2, 3, 4, 5]
    assert [each.step for each in store.checkpoints()] == [2, 4, 6]


def test_a_graph_that_counts_no_steps_is_refused(store):
    with tf.Graph().as_default():
        v1.get_variable("v", [2])
        with (
            pytest.raises(TargetError, match="does not count its steps"),
            v1.train.MonitoredTrainingSession(hooks=[store.hook()]),
        ):
            pass


@pytest.mark.parametrize("by", [3, 10, 25])
def test_a_step_that_grows_by_more_than_one_is_saved_when_it_is_due(store, by):
    with tf.Graph().as_default():
        count = v1.assign_add(v1.train.get_or_create_global_step(), by)
        with v1.train.MonitoredTrainingSession(hooks=[store.hook(every_steps=10)]) as session:
            for _ in range(8):
                session.run(count)
    expected = {3: [12, 24], 10: range(10, 90, 10), 25: range(25, 225, 25)}[by]
    assert [each.step for each in store.checkpoints()] == list(expected)


def test_a_time_may_be_a_text(store):
    assert store.hook(every_secs="1h30m").every_secs == 5400


@pytest.mark.parametrize(
    "options",
    [
        {"every_steps": 0},
        {"every_steps": "5"},
        {"every_steps": 2.5},
        {"every_steps": True},
        {"every_secs": -1},
        {"every_secs": "soon"},
        {"every_secs": [1]},
    ],
)
def test_wrong_arguments_are_refused(store, options):
    (name,) = options
    with pytest.raises(SaveError, match=f"`{name}` must say how often.*expected .*, got "):
        store.hook(**options)


def test_an_error_of_a_background_save_ends_the_training(tmp_path):
    store = tfp.ModelStore(tmp_path, name="bad/name").background()
    with pytest.raises(SaveError, match="cannot have this name"):
        train(store, 5, every_steps=2, resume=False)


def test_a_step_that_is_saved_is_not_saved_again_when_time_has_passed(tmp_path):
    saved = []

    class Recording(tfp.ModelStore):
        def save(self, target, step=None, metrics=None):
            saved.append(step)
            return super().save(target, step, metrics)

    hook = Recording(tmp_path).hook(every_secs=1e-9)
    with tf.Graph().as_default():
        operation = build()
        look = tf.constant(1)
        scaffold = v1.train.Scaffold(ready_op=tf.constant([], tf.string))
        with v1.train.MonitoredTrainingSession(scaffold=scaffold, hooks=[hook]) as session:
            for _ in range(3):
                session.run(operation)
                session.run([look, look])
    assert saved == sorted(set(saved))
    assert saved[-1] == 3
