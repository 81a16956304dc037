"""Objects that save themselves by saveable objects are what TensorFlow saves and restores."""

from __future__ import annotations

import pytest
import tensorflow as tf
from tensorflow.python.training.saver import BaseSaverBuilder

import tfpersist as tfp
from tfpersist.errors import UnsupportedError


class Saveable(BaseSaverBuilder.SaveableObject):
    def __init__(self, owner, name, slice_spec=""):
        self.owner = owner
        parts = {"-one": tf.constant(owner.value), "-list": tf.constant([owner.value])}
        specs = [
            BaseSaverBuilder.SaveSpec(tensor, slice_spec, name + part)
            for part, tensor in parts.items()
        ]
        super().__init__(owner, specs, name)

    def restore(self, restored_tensors, restored_shapes):
        self.owner.value = float(restored_tensors[1][0])


class Owner(tf.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def _gather_saveables_for_checkpoint(self):
        return {"state": lambda name: Saveable(self, name)}


class Named(Owner):
    """Its saveable object has another name than the one that it is given."""

    def _gather_saveables_for_checkpoint(self):
        return {"state": lambda name: Saveable(self, "other")}


class Part(Owner):
    """It saves the part of a tensor."""

    def _gather_saveables_for_checkpoint(self):
        return {"state": lambda name: Saveable(self, name, "9 0,1")}


class Wrapper(Owner):
    """Its state is a variable of another object."""

    def __init__(self, value):
        super().__init__(value)
        self._made = tf.Variable(value)

    def _gather_saveables_for_checkpoint(self):
        return {"VARIABLE_VALUE": self._made}


def holder(kind, value):
    made = tf.Module()
    made.inner = kind(value)
    return made


def test_tensors_and_keys_are_those_of_tensorflow(tmp_path):
    saved = tfp.ModelStore(tmp_path).save(old := holder(Owner, 3.0))
    assert [key for key in saved if key.startswith("inner")] == [
        "inner/.ATTRIBUTES/state-list",
        "inner/.ATTRIBUTES/state-one",
    ]
    tf.train.Checkpoint(old).write(str(tmp_path / "theirs"))
    assert not saved.diff(tmp_path / "theirs")
    for name in ("model.ckpt", "theirs"):
        new = holder(Owner, 0.0)
        assert tfp.ModelStore(tmp_path, name=name).restore(new).fits
        assert new.inner.value == 3.0
    theirs = holder(Owner, 0.0)
    tf.train.Checkpoint(theirs).read(saved.prefix).assert_consumed()
    assert theirs.inner.value == 3.0


def test_a_variable_may_stand_for_a_saveable_object(tmp_path):
    saved = tfp.ModelStore(tmp_path).save(old := holder(Wrapper, 3.0))
    tf.train.Checkpoint(old).write(str(tmp_path / "theirs"))
    assert not saved.diff(tmp_path / "theirs")
    new = holder(Wrapper, 0.0)
    assert tfp.ModelStore(tmp_path).restore(new).fits
    assert float(new.inner._made) == 3.0


@pytest.mark.parametrize("kind", [Named, Part])
def test_names_and_parts_without_a_key_are_refused(kind):
    with pytest.raises(UnsupportedError, match=rf"inner: a {kind.__name__} saves .*no key"):
        tfp.ModelStore("memory://test/gathered").save(holder(kind, 1.0))
