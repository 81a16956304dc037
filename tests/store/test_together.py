"""Agreement of the workers of a strategy; `tests/whole/test_workers.py` has real clusters."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tfpersist as tfp
from tfpersist.formats.bundle_writer import Item, Items
from tfpersist.formats.tensors import payload_of
from tfpersist.store.together import agreed, agreed_on, fingerprints, shares

ALL = frozenset("abcd")


def items(**values):
    return Items.of(Item(key, payload_of(np.asarray(value))) for key, value in values.items())


class Room:
    """Threads that meet as the workers of a cluster do."""

    def __init__(self, of):
        self.barrier, self.texts = threading.Barrier(of), [""] * of

    def worker(self, number):
        return Guest(self, number)


class Guest:
    def __init__(self, room, number):
        self.room, self.number, self.of = room, number, len(room.texts)

    def meet(self, text):
        self.pass_by(text)
        return list(self.room.texts)

    def pass_by(self, text):
        self.room.texts[self.number] = text
        self.room.barrier.wait(60)


def on_all(call, of=2):
    """Call a function on each worker; return what it returned, or its error."""
    room = Room(of)

    def run(number):
        try:
            return call(room.worker(number))
        except Exception as error:
            return error

    with ThreadPoolExecutor(of) as threads:
        return list(threads.map(run, range(of)))


def test_large_tensors_are_divided_and_what_one_has_stays_with_the_chief():
    tensors = items(a=np.zeros(100), own=np.zeros(300), b=np.zeros(80), c=np.zeros(90), d=0.0)
    assert shares(tensors, ALL, 1) == [[0, 1, 2, 3, 4]]
    first, second, third = shares(tensors, ALL, 3)
    assert (first, second, third) == ([1], [0, 4], [2, 3]) or first == [1]
    assert sorted([*first, *second, *third]) == [0, 1, 2, 3, 4]
    sizes = [sum(tensors.specs[n].nbytes for n in share) for share in (second, third)]
    assert max(sizes) < 1500


def test_small_replicas_are_compared_and_nothing_else():
    tensors = items(a=np.arange(3), b=np.zeros(10_000), own=1.0, c=np.array(b"text", object))
    seen = fingerprints(tensors, ALL)
    assert list(seen) == ["a"]
    assert seen != fingerprints(items(a=np.arange(1, 4)), ALL)


def test_all_get_one_token_if_they_agree():
    first = on_all(lambda worker: agreed(worker, {"call": "save", "checkpoint": "m-1"}))
    again = on_all(lambda worker: agreed(worker, {"call": "save", "checkpoint": "m-1"}))
    assert first[0] == first[1] != again[0] == again[1]


def test_all_get_an_error_if_they_do_not():
    errors = on_all(lambda w: agreed(w, {"call": "save", "checkpoint": f"m-{w.number}"}))
    for error in errors:
        assert isinstance(error, tfp.TargetError)
        assert "worker 0: m-0; worker 1: m-1" in str(error)


def test_a_save_and_a_restore_do_not_meet(tmp_path):
    checkpoint = tfp.ModelStore(tmp_path).save({"v": np.zeros(2)})

    def call(worker):
        if worker.number:
            return agreed(worker, {"call": "save", "checkpoint": "m-1"})
        return agreed_on(worker, lambda: "values", lambda values: checkpoint)

    errors = on_all(call)
    assert all(isinstance(error, tfp.TargetError) for error in errors)
    assert "worker 1 saves" in str(errors[0])


def test_workers_restore_one_checkpoint_or_none(tmp_path):
    store = tfp.ModelStore(tmp_path)
    saved = [store.save({"v": np.full(2, step)}, step) for step in range(2)]

    def restore(*chosen):
        return on_all(lambda w: agreed_on(w, lambda: w.number, lambda at: saved[chosen[at]]))

    assert restore(1, 1) == [0, 1]
    for error in restore(0, 1):
        assert isinstance(error, tfp.RestoreError)
        assert f"worker 1: {saved[1].prefix}" in str(error)


def test_a_worker_that_cannot_restore_keeps_the_others_from_it(tmp_path):
    checkpoint = tfp.ModelStore(tmp_path).save({"v": np.zeros(2)})

    def load(worker):
        if worker.number:
            raise tfp.CorruptionError("it is damaged", file="a file")
        return "values"

    others, own = on_all(lambda w: agreed_on(w, lambda: load(w), lambda values: checkpoint))
    assert isinstance(own, tfp.CorruptionError)
    assert isinstance(others, tfp.RestoreError)
    assert "worker 1 cannot restore" in str(others)
    assert "it is damaged" in str(others)


def test_what_is_said_is_json():
    texts = []

    class Alone:
        def meet(self, text):
            texts.append(text)
            return [text]

    token = agreed(Alone(), {"call": "save"})
    assert json.loads(texts[0]) == {"call": "save", "token": token}


@pytest.mark.parametrize("of", [1, 2, 5])
def test_every_tensor_has_one_owner(of):
    tensors = items(**{f"v{n}": np.zeros(n * n) for n in range(20)})
    owned = shares(tensors, frozenset(tensors.names), of)
    assert sorted(n for share in owned for n in share) == list(range(20))
    sizes = [sum(tensors.specs[n].nbytes for n in share) for share in owned]
    assert max(sizes) - min(sizes) <= 8 * 19 * 19
