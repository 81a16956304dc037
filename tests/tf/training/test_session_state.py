"""The description of a session that a hook saves."""

from __future__ import annotations

import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.errors import SaveError
from tfpersist.matching.plans.resume import Fact, Resume
from tfpersist.tf.training.session_state import SessionState

v1 = tf.compat.v1


def noted(*, saves_data, random, strict=False):
    with tf.Graph().as_default(), v1.Session() as session:
        v1.get_variable("v", (2,), initializer=v1.random_normal_initializer())
        if random:
            tf.random.normal((), seed=1, name="noise")
        state = SessionState(session, saves_data, strict)
        assert state.as_target() is state.subject is session
        return state.noted()


def test_data_and_random_ops_are_named():
    assert noted(saves_data=True, random=False).not_covered == ()
    assert "hook()" in noted(saves_data=False, random=False).not_covered[0].advice
    (fact,) = noted(saves_data=True, random=True).not_covered
    assert fact.where == "RandomStandardNormal noise/RandomStandardNormal"
    with pytest.raises(SaveError, match="random ops of the graph"):
        noted(saves_data=True, random=True, strict=True)


def test_data_with_state_of_their_own_are_named():
    with tf.Graph().as_default(), v1.Session() as session:
        resume = SessionState(session, True, False, "RandomStandardNormal").noted()
    assert [fact.where for fact in resume.not_covered] == ["the iterator in data="]
    assert "RandomStandardNormal is stateful" in resume.not_covered[0].why


def test_a_restore_says_what_was_noted():
    state = SessionState(None, True, False)
    saved = Resume((Fact("covered", "data"),))
    assert state.resumed(saved).facts == saved.facts
    assert state.resumed(None).not_covered


def test_a_hook_with_data_goes_on_where_it_was(tmp_path):
    store = tfp.ModelStore(tmp_path)

    def run(steps):
        with tf.Graph().as_default():
            data = tf.data.Dataset.range(99).shuffle(9, seed=1).repeat()
            iterator = v1.data.make_initializable_iterator(data)
            element = iterator.get_next()
            train = v1.assign_add(v1.train.get_or_create_global_step(), 1)
            hook = store.hook(every_steps=2, data=iterator)
            start = tf.group(v1.global_variables_initializer(), iterator.initializer)
            scaffold = v1.train.Scaffold(init_op=start)
            stop = v1.train.StopAtStepHook(last_step=steps)
            seen = []
            with v1.train.MonitoredTrainingSession(
                scaffold=scaffold, hooks=[hook, stop]
            ) as session:
                while not session.should_stop():
                    seen.append(int(session.run([element, train])[0]))
            return seen, hook

    first, _ = run(4)
    second, hook = run(8)
    assert hook.report.resume.covered[0].where == "the iterator in data="
    assert store.latest().resume.not_covered == ()
    for path in tmp_path.iterdir():
        path.unlink()
    assert first + second == run(8)[0]
    with pytest.raises(SaveError, match="`data` must be an iterator of the graph"):
        store.hook(data=[1])
