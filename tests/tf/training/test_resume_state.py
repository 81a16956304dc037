"""The state of a training in a checkpoint: TensorFlow's own form, and what refuses it."""

from __future__ import annotations

import pytest
import tensorflow as tf

import tfpersist as tfp
from tfpersist.errors import RestoreError, SaveError
from tfpersist.matching.plans.resume import Fact, Resume
from tfpersist.tf.training import resume_state


def checkpoint(value, found):
    state = resume_state.resume_state(lambda: {"value": value}, found.append)
    return tf.train.Checkpoint(v=tf.Variable(1.0), resume=state)


def test_tensorflow_and_tfpersist_read_each_others(tmp_path):
    found = []
    store = tfp.ModelStore(tmp_path)
    saved = store.save(checkpoint((1, 2), found), 1)
    tf.train.Checkpoint.read(checkpoint(0, found), saved.prefix).assert_consumed()
    path = checkpoint((3, 4), found).write(str(tmp_path / "theirs-2"))
    tfp.ModelStore(tmp_path, name="theirs").restore(checkpoint(0, found))
    assert found == [{"value": (1, 2)}, {"value": (3, 4)}]
    assert set(tfp.Checkpoint(path)) == {*saved}


def test_a_checkpoint_may_lack_it(tmp_path):
    store, found = tfp.ModelStore(tmp_path), []
    store.save(tf.train.Checkpoint(v=tf.Variable(5.0)), 1)
    target = checkpoint(0, found)
    store.restore(target)
    assert (float(target.v), found) == (5.0, [])


def test_another_version_is_refused():
    resume_state.require_version({"version": 1})
    for state in ({"version": 2}, {}, [1]):
        with pytest.raises(RestoreError, match="expected a state of version 1, got"):
            resume_state.require_version(state)


def test_what_is_not_covered_is_an_error_only_where_asked():
    resume = Resume((Fact("not covered", "counters"), Fact("covered", "seeds")))
    assert resume_state.checked(resume, strict=False) is resume
    with pytest.raises(SaveError, match=r"to the bit:\n  not covered  counters"):
        resume_state.checked(resume, strict=True)


def test_the_environment_has_what_bits_depend_on():
    found = resume_state.environment()
    assert found["tensorflow"] == tf.__version__
    assert {"keras", "numpy", "threads inside ops", "op determinism", "devices"} <= found.keys()
    saved = Resume((Fact("covered", "seeds"),), {**found, "numpy": "0"})
    changed = resume_state.resumed(saved, was_found=True).changed
    assert changed == (f"numpy was 0 and is {found['numpy']}",)
