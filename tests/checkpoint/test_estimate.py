"""Estimates of what a save could share, from a sample and the memory of the last save."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.checkpoint.estimate import SAMPLE, estimate
from tfpersist.checkpoint.save_memory import LastSave, SaveMemory
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.formats import crc32c
from tfpersist.formats.bundle_index_writer import Places, tensor_list
from tfpersist.formats.bundle_writer import Item, Items
from tfpersist.formats.tensors import payload_of
from tfpersist.storage import open_storage

COUNT = 1000


def items_of(values):
    return Items.of([Item(key, payload_of(value)) for key, value in sorted(values.items())])


def values_at(step, changing, count=COUNT):
    return {
        f"v{number:05}": np.full(16, number + (step if number in changing else 0), np.float32)
        for number in range(count)
    }


def last_save(values, files=1):
    """Return a save of these values into files of equal size, each one full."""
    items = items_of(values)
    tensors = tensor_list(items.names, items.specs, items.parts)
    numbers = np.arange(len(items))
    crcs = crc32c.all_masked(crc32c.of_each([load() for load in items.loads]))
    size = len(items) // files
    places = Places(numbers // size, numbers % size * 64, tensors.sizes, crcs)
    return LastSave(tensors, places, (64 * size,) * files)


def guess(last, values, turn=1):
    items = items_of(values)
    return estimate(last, items, tensor_list(items.names, items.specs, items.parts), turn)


def test_shares_of_what_is_unchanged_and_can_be_linked():
    last = last_save(values_at(0, ()), files=10)
    # Of the last file all has changed, of the first one 70 %, of the second one 30 %.
    changing = {*range(70), *range(100, 130), *range(900, 1000)}
    found = guess(last, values_at(1, changing))
    assert found.unchanged == pytest.approx(0.8, abs=0.08)
    assert found.linked == pytest.approx(0.77, abs=0.08)
    assert found.sharing_paid is None
    nothing = guess(last, values_at(1, range(COUNT)))
    assert (nothing.unchanged, nothing.linked) == (0, 0)
    everything = guess(last, values_at(0, ()))
    assert (everything.unchanged, everything.linked) == (1, 1)


@pytest.mark.parametrize(("changed", "paid"), [(0, True), (40, True), (160, False), (200, False)])
def test_sharing_has_paid_off_if_most_of_it_is_unchanged(changed, paid):
    last = attrs.evolve(last_save(values_at(0, ()), files=10), shared=[2, 3])
    found = guess(last, values_at(1, range(200, 200 + changed)))
    assert found.sharing_paid is paid


def test_nothing_is_known_of_others_or_of_few_or_large_tensors():
    values = values_at(0, ())
    last = last_save(values)
    assert guess(last, {**values, "w": np.zeros(3, np.float32)}) is None
    assert guess(last_save(values_at(0, (), SAMPLE)), values_at(0, (), SAMPLE)) is None
    large = {**values, "table": np.zeros(1 << 15, np.float32)}
    assert guess(last_save(large), large) is None


def random_step(step, count, values):
    """Change this many values, others each time."""
    chosen = np.random.default_rng(step).choice(sorted(values), count, replace=False)
    return {key: value + 1 if key in set(chosen) else value for key, value in values.items()}


def test_a_save_that_would_share_nothing_opens_no_earlier_file(tmp_path):
    storage, memory, opened = open_storage(tmp_path), SaveMemory(), []

    class Watched(type(storage)):
        def hold(self, name, *, alone=False):
            opened.append(name)
            return super().hold(name, alone=alone)

    watched = Watched(storage.directory)
    for step in (1, 2, 3):
        values = values_at(step, range(COUNT))
        write_checkpoint(
            watched, f"m-{step}", items_of(values), incremental=True, durable=False, memory=memory
        )
        checkpoint = Checkpoint(f"m-{step}", storage=storage)
        assert all((checkpoint[key] == value).all() for key, value in values.items())
        assert checkpoint.increment.shared == 0
    assert checkpoint.increment.reason == "too little is as it was"
    assert opened == []


@pytest.mark.parametrize("changing", [500, 600])
def test_most_saves_write_all_if_others_change_each_time(tmp_path, changing):
    storage, memory, files = open_storage(tmp_path), SaveMemory(), []
    values = values_at(0, ())
    for step in range(40):
        values = random_step(step, changing, values)
        write_checkpoint(
            storage, f"m-{step}", items_of(values), incremental=True, durable=False, memory=memory
        )
        checkpoint = Checkpoint(f"m-{step}", storage=storage)
        assert all((checkpoint[key] == value).all() for key, value in values.items())
        files.append(len(checkpoint._contents.shard_names))
    assert 2 <= sum(count > 1 for count in files) < 12
    # The same ones stay from now on: they are shared again, at the latest after fifteen saves.
    for step in range(40, 60):
        values = {k: v + 1 if k < "v00600" else v for k, v in values.items()}
        write_checkpoint(
            storage, f"m-{step}", items_of(values), incremental=True, durable=False, memory=memory
        )
    assert Checkpoint("m-59", storage=storage).increment.shared == 400 * 64
