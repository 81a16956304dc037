"""Attributes of other callbacks that change are state; the others are settings of the program."""

from __future__ import annotations

import keras
import numpy as np

from tfpersist.tf.training.encoded import decode, encode
from tfpersist.tf.training.other_callbacks import OtherCallbacks


class Counting(keras.callbacks.Callback):
    def __init__(self, limit):
        super().__init__()
        self.limit, self.seen, self.rng = limit, {"batches": [0]}, np.random.default_rng(1)


def test_what_has_changed_is_captured_and_settings_are_not():
    one = Counting(5)
    others = OtherCallbacks([one])
    assert others.capture() == {("Counting", "", 0): {}}
    one.seen["batches"].append(7)
    one.rng.random()
    state = decode(encode(others.capture()))
    want = one.rng.random()
    two = Counting(6)
    OtherCallbacks([two]).restore(state)
    assert (two.limit, two.seen, two.rng.random()) == (6, {"batches": [0, 7]}, want)


def test_only_those_before_are_restored_where_asked():
    before, after = Counting(1), Counting(1)
    others = OtherCallbacks([before], [after])
    before.seen = after.seen = 3
    state = others.capture()
    before, after = Counting(1), Counting(1)
    OtherCallbacks([before], [after]).restore(state, after=False)
    assert before.seen == 3
    assert after.seen == {"batches": [0]}


def test_callbacks_that_came_or_went_are_named():
    one = Counting(1)
    others = OtherCallbacks([one])
    one.seen = 1
    state = others.capture()
    new = OtherCallbacks([keras.callbacks.TerminateOnNaN()])
    assert [(fact.where, fact.why) for fact in new.differences(state)] == [
        ("Counting", "the training has none now"),
        ("TerminateOnNaN", "the training had none at the save"),
    ]


def test_what_two_callbacks_monitor_tells_them_apart():
    def pair(*monitors):
        return {name: keras.callbacks.EarlyStopping(name) for name in monitors}

    old, new = pair("loss", "val_loss"), pair("val_loss", "loss")
    others = OtherCallbacks([*old.values()])
    old["loss"].wait, old["val_loss"].wait = 1, 2
    state = decode(encode(others.capture()))
    OtherCallbacks([*new.values()]).restore(state)
    assert (new["loss"].wait, new["val_loss"].wait) == (1, 2)
    one = OtherCallbacks([*pair("accuracy").values()])
    assert {fact.where for fact in one.differences(state)} == {
        "EarlyStopping of loss",
        "EarlyStopping of val_loss",
        "EarlyStopping of accuracy",
    }


def test_attributes_that_nobody_can_look_into_are_named():
    one = Counting(1)
    one.queue, one.function = object(), print
    others = OtherCallbacks([one])
    others.capture()
    facts = others.facts()
    assert [fact.where for fact in facts] == ["Counting", "Counting.queue"]


def test_early_stopping_has_all_its_state():
    one = keras.callbacks.EarlyStopping("loss", min_delta=1.0)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    others = OtherCallbacks([one])
    model.fit(np.ones((4, 1)), np.ones((4, 1)), verbose=0, callbacks=[one])
    state = decode(encode(others.capture()))
    two = keras.callbacks.EarlyStopping("loss", min_delta=1.0)
    OtherCallbacks([two]).restore(state)
    assert (two.best, two.min_delta, two.monitor_op) == (one.best, one.min_delta, one.monitor_op)
    assert two.monitor_op is not None
