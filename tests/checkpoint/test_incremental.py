"""Incremental saves: every checkpoint is whole and right, whatever becomes of the others."""

from __future__ import annotations

import itertools
import os
import pathlib
import subprocess
import sys
import tempfile
import textwrap
import uuid

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from killing import killing_directory

import tfpersist as tfp
from tfpersist.checkpoint import incremental, rows
from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.checkpoint.files import Listing
from tfpersist.checkpoint.incremental import LEAST_IN_USE, MOST_SHARDS
from tfpersist.checkpoint.save_memory import SaveMemory
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.errors import SaveError
from tfpersist.formats import crc32c, sstable
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.sstable_writer import encode_table
from tfpersist.formats.tensors import Payload, Slice, payload_of, spec_of
from tfpersist.storage import open_storage
from tfpersist.storage.staged import StagedStorage

BIG = 50_000


def arrays(step, size=BIG):
    return {
        "frozen/w": np.arange(float(size)),
        "frozen/b": np.full(7, 7, np.int16),
        "head": np.full(40, float(step)),
        "step": np.int64(step),
    }


def items(values):
    return [Item(key, payload_of(np.asarray(value))) for key, value in sorted(values.items())]


def save(storage, prefix, values, **options):
    write_checkpoint(storage, prefix, items(values), incremental=True, durable=False, **options)
    return Checkpoint(prefix, storage=storage)


def assert_holds(checkpoint, values):
    report = checkpoint.verify()
    assert report.ok, str(report)
    assert checkpoint.keys() == values.keys()
    for key, value in values.items():
        assert checkpoint[key].dtype == np.asarray(value).dtype
        assert checkpoint[key].tolist() == np.asarray(value).tolist()


# --- what is written -----------------------------------------------------------------------------


def test_only_what_changed_is_written(tmp_path):
    store = tfp.ModelStore(tmp_path, incremental=True)
    full = store.save(arrays(1), 1)
    assert full.increment.reason == "there is no earlier checkpoint"
    assert full.increment.written > 8 * BIG
    for step in (2, 3, 4):
        checkpoint = store.save(arrays(step), step)
        assert_holds(checkpoint, arrays(step))
        assert checkpoint.increment.written < 1000
        assert checkpoint.increment.shared == 8 * BIG + 14
        assert checkpoint.increment.base == f"model.ckpt-{step - 1}"
        assert checkpoint.increment.reason == ""
    shared = {f"model.ckpt-{step}.data-00000-of-00002" for step in (2, 3, 4)}
    inodes = {(tmp_path / name).stat().st_ino for name in shared}
    assert inodes == {(tmp_path / "model.ckpt-1.data-00000-of-00001").stat().st_ino}
    assert tfp.ModelStore(tmp_path).save(arrays(5), 5).increment is None
    assert_holds(tfp.Checkpoint(tmp_path), arrays(5))


@pytest.mark.parametrize("where", ["disk", "memory"])
@pytest.mark.parametrize("removed", [*itertools.permutations((1, 2, 3), 2)])
def test_removing_any_leaves_the_others_whole(tmp_path, where, removed):
    location = tmp_path if where == "disk" else f"memory://{uuid.uuid4()}"
    store = tfp.ModelStore(location, incremental=True, durable=False)
    for step in (1, 2, 3):
        store.save(arrays(step, 99), step)
    (left,) = {1, 2, 3} - {*removed}
    for step in removed:
        store.prune(keep=tfp.Keep(where=lambda facts, gone=step: facts.step != gone))
        storage = open_storage(location)
        storage.remove(Listing(storage.names()).belonging(f"model.ckpt-{step}"))
        for checkpoint in store.checkpoints():
            assert_holds(checkpoint, arrays(checkpoint.step, 99))
    assert [checkpoint.step for checkpoint in store.checkpoints()] == [left]


def test_retention_and_increments_together(tmp_path):
    keep = tfp.Keep(last=2)
    store = tfp.ModelStore(tmp_path, incremental=True, keep=keep, durable=False)
    for step in range(6):
        store.save(arrays(step), step)
    assert [checkpoint.step for checkpoint in store.checkpoints()] == [4, 5]
    for checkpoint in store.checkpoints():
        assert_holds(checkpoint, arrays(checkpoint.step))
    assert len(os.listdir(tmp_path)) == 1 + 2 * 4


def test_one_name_again_and_again(tmp_path):
    store = tfp.ModelStore(tmp_path, incremental=True, durable=False)
    for step in (1, 1, 2, 2, 3):
        checkpoint = store.save(arrays(step))
        assert_holds(checkpoint, arrays(step))
        names = set(os.listdir(tmp_path)) - {"checkpoint"}
        assert names == set(checkpoint._located.files.all)
    assert checkpoint.increment.shared == 8 * BIG + 14


def test_nothing_changed(tmp_path):
    storage = open_storage(tmp_path)
    values = arrays(1)
    save(storage, "m-1", values)
    for prefix in ("m-2", "m-2", "m-3"):
        checkpoint = save(storage, prefix, values)
        assert_holds(checkpoint, values)
        assert checkpoint.increment.written == 0
    inodes = {path.stat().st_ino for path in tmp_path.iterdir() if ".data-" in path.name}
    assert len(inodes) == 1
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_equal_checksums_do_not_prove_equal_bytes(tmp_path):
    seen = {}
    for number in range(1_000_000):
        data = np.int64(number * 0x9E3779B97F4A7C15 & 0x7FFFFFFFFFFFFFFF).tobytes()
        other = seen.setdefault(google_crc32c.value(data), data)
        if other != data:
            break
    assert google_crc32c.value(other) == google_crc32c.value(data)
    assert other != data
    storage = open_storage(tmp_path)
    frozen = np.arange(1000.0)
    for step, value in enumerate((other, data)):
        values = {"frozen": frozen, "v": np.frombuffer(value, np.int64)}
        values["text"] = np.array([value], object)
        assert_holds(save(storage, f"m-{step}", values), values)
    assert Checkpoint("m-1", storage=storage).increment.shared == 8000


@pytest.mark.parametrize("kind", ["nan", "zero", "last", "shape", "dtype"])
def test_the_smallest_change_is_a_change(tmp_path, kind):
    storage = open_storage(tmp_path)
    old = np.zeros(BIG + 3, np.float32)
    new = old.copy()
    if kind == "nan":
        old[5] = np.uint32(0x7FC00000).view(np.float32)
        new[5] = np.uint32(0x7FC00001).view(np.float32)
    elif kind == "zero":
        new[7] = -0.0
    elif kind == "last":
        new[-1:].view(np.uint8)[-1] = 1
    elif kind == "shape":
        new = new.reshape(1, -1)
    else:
        new = new.view(np.int32)
    save(storage, "m-1", {"v": old, "w": np.arange(float(BIG))})
    checkpoint = save(storage, "m-2", {"v": new, "w": np.arange(float(BIG))})
    assert checkpoint.increment.shared == 8 * BIG
    assert checkpoint["v"].tobytes() == new.tobytes()
    assert checkpoint["v"].shape == new.shape
    assert checkpoint["v"].dtype == new.dtype


def test_strings_views_and_orders(tmp_path):
    storage = open_storage(tmp_path)
    grid = np.arange(600.0).reshape(20, 30)
    values = {
        "s": np.array([b"one", b"zwei", b""], object),
        "none": np.array([b"same"] * 5, object),
        "t": np.asfortranarray(grid),
        "every other": grid[::2],
        "swapped": grid.astype(">f8"),
        "truth": np.array([True, False]),
        "empty": np.zeros((0, 3)),
    }
    first = save(storage, "m-1", values)
    expected = {key: first[key] for key in values}
    second = save(storage, "m-2", {**values, "s": np.array([b"one", b"zwei", b"!"], object)})
    assert second.verify().ok
    assert second["s"].tolist() == [b"one", b"zwei", b"!"]
    for key in values.keys() - {"s"}:
        assert second[key].tolist() == expected[key].tolist()
    assert 4800 < second.increment.shared < 20_000


def parts(step):
    whole = np.arange(40.0).reshape(10, 4)
    for start, length in ((0, 6), (6, 4)):
        part = Slice("v", (10, 4), (start, 0), (length, 4))
        rows = whole[start : start + length] + (step if start else 0)
        yield Item("v", payload_of(rows), part)


@pytest.mark.parametrize("change", [0, 1])
def test_partitioned_variables_are_shared_or_written_as_one(tmp_path, change):
    storage = open_storage(tmp_path)
    for step in (0, 1):
        each = [*parts(step * change), *items({"w": np.arange(300.0)})]
        write_checkpoint(storage, f"m-{step}", each, incremental=True)
    checkpoint = Checkpoint("m-1", storage=storage)
    assert checkpoint.verify().ok
    expected = np.arange(40.0).reshape(10, 4)
    expected[6:] += change
    assert (checkpoint["v"] == expected).all()
    assert checkpoint.increment.shared == (2400 if change else 2720)
    other = [Item("v", payload_of(np.arange(40.0).reshape(10, 4))), *items({"w": np.zeros(2)})]
    write_checkpoint(storage, "m-2", other, incremental=True)
    assert (Checkpoint("m-2", storage=storage)["v"] == np.arange(40.0).reshape(10, 4)).all()


def test_an_incremental_save_refuses_the_same_values(tmp_path):
    storage = open_storage(tmp_path)
    save(storage, "m-1", arrays(1))
    before = set(os.listdir(tmp_path))
    twice = [*items(arrays(1)), Item("head", payload_of(np.zeros(3)))]
    with pytest.raises(SaveError, match="two tensors have one name"):
        write_checkpoint(storage, "m-2", twice, incremental=True)
    assert set(os.listdir(tmp_path)) == before


# --- rows of tables ------------------------------------------------------------------------------


@pytest.fixture
def small_tables(monkeypatch):
    """Tables from 64 KiB on are cut, into slices of 1 KiB on average."""
    monkeypatch.setattr(incremental, "LEAST_TABLE", 1 << 16)
    monkeypatch.setattr(rows, "_LEAST_PIECE", 1 << 10)


def table_of(seed=0):
    return np.random.default_rng(seed).normal(size=(3000, 8)).astype(np.float32)


def own_bytes(path, prefix):
    """The number of bytes of the files of a checkpoint that no other one has."""
    files = [file for file in path.iterdir() if file.name.startswith(f"{prefix}.")]
    return sum(file.stat().st_size for file in files if file.stat().st_nlink == 1)


def test_only_the_rows_that_changed_are_written(tmp_path, small_tables):
    table, storage = table_of(), open_storage(tmp_path)
    save(storage, "m-1", {"t": table, "step": np.int64(1)})
    table[100:110] += 1
    checkpoint = save(storage, "m-2", {"t": table, "step": np.int64(2)})
    assert_holds(checkpoint, {"t": table, "step": np.int64(2)})
    assert checkpoint.increment.shared == table.nbytes - table[100:110].nbytes
    assert own_bytes(tmp_path, "m-2") < 0.1 * table.nbytes
    assert [(part.start[0], part.length[0]) for part in slices_of(checkpoint)] == [
        (0, 100),
        (100, 10),
        (110, 2890),
    ]
    # The next save finds them again, and a store of another process too.
    table[499] += 1
    checkpoint = save(storage, "m-3", {"t": table, "step": np.int64(3)}, memory=SaveMemory())
    assert_holds(checkpoint, {"t": table, "step": np.int64(3)})
    assert checkpoint.increment.shared == table.nbytes - table[499].nbytes
    for name in Listing(storage.names()).belonging("m-1"):
        os.unlink(tmp_path / name)
    assert_holds(Checkpoint("m-3", storage=storage), {"t": table, "step": np.int64(3)})


def assert_mostly_in_use(checkpoint):
    """Each data file is used at least by half, and there are not many."""
    contents = checkpoint._contents
    assert len(contents.shard_names) <= MOST_SHARDS
    used = dict.fromkeys(range(len(contents.shard_names)), 0)
    for entry in (*contents.index.entries.values(), *contents.index.parts.values()):
        used[entry.shard] += entry.size
    for number, size in used.items():
        assert size >= LEAST_IN_USE * len(contents.shard(number)[0])


def slices_of(checkpoint):
    return checkpoint._contents.index.entries["t"].slices


def test_a_table_in_slices_that_did_not_change_is_not_written(tmp_path, small_tables):
    table, storage, memory = table_of(), open_storage(tmp_path), SaveMemory()
    for step in range(5):
        table[3] = min(step, 1)
        checkpoint = save(storage, f"m-{step}", {"t": table}, memory=memory)
    assert_holds(checkpoint, {"t": table})
    assert (checkpoint.increment.written, checkpoint.increment.shared) == (0, table.nbytes)


def test_unchanged_slices_that_are_written_again_get_a_file_of_their_own(tmp_path, small_tables):
    values, storage = {"t": table_of(), "w": np.zeros(30_000)}, open_storage(tmp_path)
    for step in range(3):
        if step < 2:
            values["t"][9] += 1
        else:
            values["w"] += 1
        checkpoint = save(storage, f"m-{step}", values)
    assert_holds(checkpoint, values)
    entries = checkpoint._contents.index.entries
    assert not entries["t"].slices
    assert entries["t"].shard != entries["w"].shard


def test_a_file_that_one_table_leaves_may_not_be_worth_it_for_another(tmp_path, small_tables):
    values, storage = {"t": table_of(), "u": table_of(1)}, open_storage(tmp_path)
    save(storage, "m-0", values)
    values["t"][:1400] += 1
    values["w"] = np.zeros(20_000)
    save(storage, "m-1", values)
    # Now too little of the second file is in use, so too little of the table is left in the first.
    values["w"] = values["w"] + 1
    values["t"][1400:1700] += 1
    values["u"][:1000] += 1
    checkpoint = save(storage, "m-2", values)
    assert_holds(checkpoint, values)
    assert_mostly_in_use(checkpoint)
    assert checkpoint.increment.shared == 0


@pytest.mark.parametrize("other", ["shape", "type", "order"])
def test_a_table_of_another_form_is_written_in_one_piece(tmp_path, small_tables, other):
    table, storage = table_of(), open_storage(tmp_path)
    for step in (1, 2):
        table[step] += 1
        save(storage, f"m-{step}", {"t": table})
    changed = {
        "shape": table.reshape(1500, 16),
        "type": table.view(np.int32),
        "order": np.asfortranarray(table),
    }[other]
    changed[7] = 5
    checkpoint = save(storage, "m-3", {"t": changed})
    assert_holds(checkpoint, {"t": changed})
    assert (checkpoint.increment.shared > 0) is (other == "order")


def test_scattered_rows_are_written_with_all_others_and_then_not_looked_for(
    tmp_path, small_tables, monkeypatch
):
    monkeypatch.setattr(rows, "_MOST_PIECES", 20)
    looked = []
    find = incremental.find
    monkeypatch.setattr(incremental, "find", lambda *those: looked.append(1) or find(*those))
    table, storage, memory = table_of(), open_storage(tmp_path), SaveMemory()
    tries = []
    for step in range(9):
        table[step::5] += 1
        looked.clear()
        checkpoint = save(storage, f"m-{step}", {"t": table}, memory=memory)
        assert_holds(checkpoint, {"t": table})
        assert not slices_of(checkpoint)
        tries.append(len(looked))
    assert tries == [0, 1, 0, 1, 0, 0, 0, 1, 0]


def test_damaged_rows_are_not_handed_on(tmp_path, small_tables):
    table, storage = table_of(), open_storage(tmp_path)
    for step in (1, 2):
        table[step] += 1
        save(storage, f"m-{step}", {"t": table})
    path = tmp_path / "m-1.data-00000-of-00001"
    content = bytearray(path.read_bytes())
    content[table[0].nbytes * 300 + 5] ^= 1
    path.write_bytes(content)
    assert not Checkpoint("m-2", storage=storage).verify().ok
    table[9] += 1
    assert_holds(save(storage, "m-3", {"t": table}), {"t": table})


edits = st.lists(
    st.tuples(
        st.integers(0, 2999), st.integers(1, 1500), st.sampled_from([1, 1, 2, 9]), st.integers(0, 3)
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=25)
@given(edits, st.booleans())
def test_tables_of_any_history_read_as_what_was_saved(history, forgets):
    import tensorflow as tf

    table, other, memory = table_of(), table_of(1), SaveMemory()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(incremental, "LEAST_TABLE", 1 << 16)
        patched.setattr(rows, "_LEAST_PIECE", 1 << 10)
        storage = open_storage(folder)
        for start, count, apart, slot in history:
            values = {"t": table, "u": other}
            values["tu"[slot % 2]][start : start + count : apart] += 1
            memory = SaveMemory() if forgets else memory
            checkpoint = save(storage, f"m-{slot}", values, memory=memory)
            assert_holds(checkpoint, values)
            assert_mostly_in_use(checkpoint)
            assert len(slices_of(checkpoint)) <= table.nbytes >> 10
        reader = tf.train.load_checkpoint(f"{folder}/m-{slot}")
        assert np.array_equal(reader.get_tensor("t"), table)


# --- the bound -----------------------------------------------------------------------------------


def test_shared_files_are_mostly_in_use_and_few(tmp_path):
    storage = open_storage(tmp_path)
    values = {f"v{number:02}": np.full(500, 0.0) for number in range(60)}
    rewritten = 0
    for step in range(1, 90):
        values[f"v{step % 60:02}"] = np.full(500, float(step))
        checkpoint = save(storage, f"m-{step % 3}", values)
        assert_holds(checkpoint, values)
        assert_mostly_in_use(checkpoint)
        rewritten += checkpoint.increment.written
    assert rewritten < 0.3 * 89 * 60 * 4000


changes = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3), max_size=6),
        st.integers(0, 4),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


def value(key, number):
    rng = np.random.default_rng(ord(key))
    base = rng.normal(size=1 + 40 * (ord(key) - ord("a")))
    base[: number + 1] += number
    if key == "f":
        return np.array([b"x" * number, str(number).encode()], object)
    return base.astype(np.float32) if key in "ac" else base


@given(changes)
def test_any_history_reads_as_what_was_saved(history):
    storage = open_storage(f"memory://{uuid.uuid4()}")
    expected = {}
    for change, slot, remove in history:
        prefix = f"m-{slot}"
        if remove and prefix in expected:
            storage.remove(Listing(storage.names()).belonging(prefix))
            del expected[prefix]
        else:
            values = {key: value(key, number) for key, number in change.items()}
            save(storage, prefix, values)
            expected[prefix] = values
        for name, values in expected.items():
            assert_holds(Checkpoint(name, storage=storage), values)
    storage.remove(storage.names())


@pytest.mark.parametrize("frozen", [0.1, 0.3, 0.49])
def test_a_frozen_part_of_any_size_is_shared_from_the_third_save_on(tmp_path, frozen):
    storage = open_storage(tmp_path)
    size = int(frozen * BIG)
    values = {"frozen": np.arange(float(size)), "trained": np.zeros(BIG - size)}
    written = []
    for step in range(1, 6):
        values["trained"] = values["trained"] + 1
        checkpoint = save(storage, f"m-{step}", values)
        assert_holds(checkpoint, values)
        assert checkpoint.verify().ok
        written.append((checkpoint.increment.written, checkpoint.increment.shared))
    assert [shared for _, shared in written[:2]] == [0, 0]
    assert {shared for _, shared in written[2:]} == {8 * size}
    assert all(new < 8 * BIG - 8 * size + 200 for new, _ in written[2:])


def test_a_save_that_shares_nothing_yet_is_verified_in_all_its_files(tmp_path):
    storage = open_storage(tmp_path)
    for step in (1, 2):
        values = {"frozen": np.arange(30.0), "trained": np.full(71, float(step))}
        checkpoint = save(storage, f"m-{step}", values)
    assert len(checkpoint._contents.shard_names) == 2
    assert checkpoint.verify().ok
    for name in ("m-2.data-00000-of-00002", "m-2.data-00001-of-00002"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[:-1] + b"x")
        assert not checkpoint.verify().ok
        (tmp_path / name).write_bytes(content)


# --- many small tensors --------------------------------------------------------------------------


def counted(values, loads):
    """Return items that count how often each is loaded."""

    def item(key, value):
        def load():
            loads[key] = loads.get(key, 0) + 1
            return value

        return Item(key, Payload(spec_of(value), load))

    return [item(key, value) for key, value in sorted(values.items())]


def small(count, step=0, size=200):
    return {f"v{number:05}": np.full(size, number + step / 8) for number in range(count)}


def save_often(storage, steps, values_at):
    """Save several steps with what a store remembers; return the last checkpoint."""
    memory = SaveMemory()
    for step in range(steps):
        checkpoint = save(storage, f"m-{step}", values_at(step), memory=memory)
        assert_holds(checkpoint, values_at(step))
    return checkpoint


def test_if_all_changed_only_a_sample_is_compared(tmp_path):
    storage, loads = open_storage(tmp_path), {}
    save(storage, "m-1", small(1000))
    changed = counted(small(1000, step=1), loads)
    write_checkpoint(storage, "m-2", changed, incremental=True, durable=False)
    assert_holds(Checkpoint("m-2", storage=storage), small(1000, step=1))
    assert {*loads.values()} == {1, 2}
    assert 80 < sum(count - 1 for count in loads.values()) <= 128


def test_shared_memory_is_remembered_of_whole_tensors_alone(tmp_path):
    """The parts of a variable have one name, so only one of them could be remembered."""
    storage, memory = open_storage(tmp_path), SaveMemory()
    values = np.arange(float(1 << 15)).reshape(2, -1)
    values.flags.writeable = False
    halves = [Slice("p", values.shape, (row, 0), (1, values.shape[1])) for row in (0, 1)]
    tensors = [Item("p", payload_of(values[half.start[0] :][:1]), half) for half in halves]
    tensors.append(Item("w", payload_of(values[:])))
    for step in (1, 2):
        write_checkpoint(
            storage, f"m-{step}", tensors, incremental=True, durable=False, memory=memory
        )
    last = memory.find(crc32c.of(storage.read("m-2.index")))
    assert last.memory.keys() == {"w"}


def test_if_nothing_changed_each_tensor_is_loaded_once(tmp_path):
    storage, loads = open_storage(tmp_path), {}
    save(storage, "m-1", small(1000))
    write_checkpoint(storage, "m-2", counted(small(1000), loads), incremental=True, durable=False)
    assert_holds(Checkpoint("m-2", storage=storage), small(1000))
    assert {*loads.values()} == {1}


def test_few_tensors_are_all_compared(tmp_path):
    storage, loads = open_storage(tmp_path), {}
    save(storage, "m-1", small(128))
    changed = counted(small(128, step=1), loads)
    write_checkpoint(storage, "m-2", changed, incremental=True, durable=False)
    assert {*loads.values()} == {2}


def test_each_save_draws_another_sample(tmp_path):
    storage, memory, samples = open_storage(tmp_path), SaveMemory(), []
    for step in range(4):
        loads = {}
        changed = counted(small(1000, step), loads)
        write_checkpoint(
            storage, f"m-{step}", changed, incremental=True, durable=False, memory=memory
        )
        samples.append(frozenset(key for key, count in loads.items() if count > 1))
    assert samples[0] == frozenset()
    assert len({*samples}) == 4


@pytest.mark.parametrize("still", [0.1, 0.5, 0.9, 1.0])
def test_unchanged_tensors_among_many_small_ones_are_shared(tmp_path, still):
    """Those that stay are spread, or all at the end."""
    for spread in (True, False):
        storage = open_storage(tmp_path / str(spread))
        kept = round(1000 * still)

        def values_at(step, kept=kept, spread=spread):
            first, changing = small(1000), small(1000, step)
            keys = sorted(first)
            stays = set(keys[:: 1000 // kept][:kept] if spread else keys[1000 - kept :])
            return {key: first[key] if key in stays else changing[key] for key in keys}

        checkpoint = save_often(storage, 4, values_at)
        assert checkpoint.increment.shared == 1600 * kept
        assert checkpoint.increment.written == 1600 * (1000 - kept)


def test_a_large_tensor_is_compared_though_all_small_ones_changed(tmp_path):
    table = {"table": np.arange(100_000.0)}
    storage = open_storage(tmp_path)
    checkpoint = save_often(storage, 2, lambda step: {**table, **small(300, step)})
    assert checkpoint.increment.shared == table["table"].nbytes


def test_the_sample_is_drawn_by_bytes(tmp_path):
    """A few tensors hold most of the bytes; thousands of others change."""
    still = {f"still/{number}": np.full(7000, float(number)) for number in range(3)}
    storage = open_storage(tmp_path)
    checkpoint = save_often(storage, 3, lambda step: {**still, **small(2000, step, size=2)})
    assert checkpoint.increment.shared == 3 * 56_000


def test_one_small_tensor_that_differs_in_one_bit_is_written(tmp_path):
    storage = open_storage(tmp_path)
    for number in range(0, 600, 67):
        values = small(600)
        save(storage, "m-1", values)
        values[f"v{number:05}"].view(np.uint8)[-1] ^= 1
        checkpoint = save(storage, "m-2", values)
        assert_holds(checkpoint, values)
        assert checkpoint.increment.written == 1600


def test_damage_to_one_of_many_small_tensors_is_not_handed_on(tmp_path):
    storage, memory = open_storage(tmp_path), SaveMemory()
    save(storage, "m-1", small(600), memory=memory)
    with open(tmp_path / "m-1.data-00000-of-00001", "r+b") as file:
        file.seek(1600 * 300 + 5)
        file.write(b"!!")
    checkpoint = save(storage, "m-2", small(600), memory=memory)
    assert_holds(checkpoint, small(600))
    assert checkpoint.increment.written == 1600
    assert checkpoint.increment.shared == 1600 * 599


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.sampled_from([0.0, 0.01, 0.3, 0.9, 1.0]))
def test_many_small_tensors_of_any_history_read_as_what_was_saved(seed, steps, changing):
    generator = np.random.default_rng(seed)
    storage, memory = open_storage(f"memory://{uuid.uuid4()}"), SaveMemory()
    values = small(150, size=3)
    for step in range(steps):
        for key in sorted(values):
            if generator.random() < changing:
                shape = generator.integers(0, 5)
                values[key] = generator.integers(0, 2, shape).astype(np.float32)
        save(storage, f"m-{step}", values, memory=memory)
    checkpoint = Checkpoint(f"m-{steps - 1}", storage=storage)
    for key, value in values.items():
        assert checkpoint[key].tolist() == value.tolist()
    storage.remove(storage.names())


# --- what stands in the way ----------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["cut", "flipped", "missing", "index", "longer"])
def test_an_earlier_checkpoint_that_is_damaged(tmp_path, harm):
    storage = open_storage(tmp_path)
    save(storage, "m-1", arrays(1))
    data, index = tmp_path / "m-1.data-00000-of-00001", tmp_path / "m-1.index"
    content = bytearray(data.read_bytes())
    if harm == "cut":
        data.write_bytes(content[: len(content) // 2])
    elif harm == "longer":
        data.write_bytes(bytes(content) + b"more")
    elif harm == "flipped":
        content[100] ^= 1
        data.write_bytes(content)
    elif harm == "missing":
        data.unlink()
    else:
        index.write_bytes(index.read_bytes()[:-9])
    checkpoint = save(storage, "m-2", arrays(2))
    assert_holds(checkpoint, arrays(2))
    if harm == "longer":
        assert checkpoint.increment.shared
    elif harm == "flipped":
        # The small tensor in the damaged file is intact, but not worth the file.
        assert checkpoint.increment.shared == 0
        assert checkpoint.increment.reason == "too little is as it was"
    else:
        assert checkpoint.increment.shared == 0
        assert checkpoint.increment.reason


@pytest.mark.parametrize("key", ["text", "small", "large"])
def test_a_wrong_checksum_in_the_index_is_not_handed_on(tmp_path, key):
    values = {"large": np.arange(9000.0), "rest": np.ones(12_000), "small": np.arange(3)}
    values["text"] = np.array([b"one", b"two"], object)
    storage = open_storage(tmp_path)
    save(storage, "m-1", values)
    path = tmp_path / "m-1.index"
    table = sstable.read_table(memoryview(path.read_bytes()), "x")
    rows = {name: bytes(value) for name, value, _ in table}
    rows[key.encode()] = rows[key.encode()][:-1] + bytes([rows[key.encode()][-1] ^ 1])
    path.write_bytes(encode_table(sorted(rows.items())).content)
    checkpoint = save(storage, "m-2", values)
    assert_holds(checkpoint, values)
    assert checkpoint.increment.shared > 70_000


def test_damage_to_a_shared_file_is_noticed_in_all_that_share_it(tmp_path):
    storage = open_storage(tmp_path)
    for step in (1, 2):
        save(storage, f"m-{step}", arrays(step))
    path = tmp_path / "m-2.data-00000-of-00002"
    content = path.read_bytes()
    with open(path, "r+b") as file:
        file.write(b"\xff" * 20)
    assert not Checkpoint("m-1", storage=storage).verify().ok
    assert not Checkpoint("m-2", storage=storage).verify().ok
    path.write_bytes(content + b"x")
    flaws = Checkpoint("m-2", storage=storage).verify().flaws
    assert any("bytes, as saved, got" in flaw.problem for flaw in flaws)


@pytest.mark.parametrize("dated_back", [False, True])
def test_damage_to_a_shared_file_is_not_handed_on(tmp_path, dated_back):
    """TensorFlow's memory is not compared again where nobody can have written to it."""
    import tensorflow as tf

    frozen, head = tf.Variable(tf.range(50_000.0)), tf.Variable(tf.zeros(10))
    store = tfp.ModelStore(tmp_path, incremental=True)
    for step in range(2, 5):
        head.assign_add(tf.ones(10))
        checkpoint = store.save({"frozen": frozen, "head": head}, step)
    assert checkpoint.increment.shared >= frozen.numpy().nbytes
    (path,) = (each for each in tmp_path.glob("model.ckpt-4.data*") if each.stat().st_size > 9999)
    status = path.stat()
    with open(path, "r+b") as file:
        file.seek(400)
        file.write(b"\xff\xff")
    if dated_back:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    for step in range(5, 14):
        head.assign_add(tf.ones(10))
        checkpoint = store.save({"frozen": frozen, "head": head}, step)
        if not dated_back:
            assert checkpoint.verify().ok
    assert checkpoint.verify().ok
    assert checkpoint.increment.shared >= frozen.numpy().nbytes


def test_without_the_sidecar_old_bytes_get_a_hint(tmp_path):
    storage = open_storage(tmp_path)
    for step in (1, 2):
        save(storage, f"m-{step}", arrays(step))
    storage.remove(["m-2.tfpersist.json"])
    flaws = Checkpoint("m-2", storage=storage).verify().flaws
    assert flaws
    assert all("; an incremental save may leave such bytes" in flaw.problem for flaw in flaws)
    assert Checkpoint("m-2", storage=storage)["head"][0] == 2
    assert_holds(save(storage, "m-3", arrays(3)), arrays(3))


# --- kills ---------------------------------------------------------------------------------------


KillingDirectory = killing_directory(
    "make", "stage", "rename", "unlink", "sync", "lock", "names", "hold", "link", "read"
)


@pytest.mark.parametrize("prefix", ["m-1", "m-2"])
def test_killed_at_each_step(tmp_path, prefix):
    """The newest is whole and one of the two that were saved; m-1 is replaced, or m-2 added."""
    newest = []
    for at in itertools.count():
        path = tmp_path / str(at)
        save(open_storage(path), "m-1", arrays(1, 999))
        child = os.fork()
        if child == 0:
            try:
                write_checkpoint(
                    StagedStorage(KillingDirectory(str(path), at)),
                    prefix,
                    items(arrays(2, 999)),
                    incremental=True,
                )
            finally:
                os._exit(0)
        died = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        checkpoint = Checkpoint(path)
        step = int(checkpoint["step"])
        assert_holds(checkpoint, arrays(step, 999))
        assert checkpoint.name == (prefix if step == 2 else "m-1")
        if prefix == "m-2":
            assert_holds(Checkpoint(path / "m-1"), arrays(1, 999))
        newest.append(step)
        assert_holds(save(open_storage(path), "m-3", arrays(3, 999)), arrays(3, 999))
        assert not [name for name in os.listdir(path) if name.startswith(".tfpersist")]
        if not died:
            break
    assert newest == sorted(newest)
    assert newest.count(1) > 10
    assert newest.count(2) > 5


def test_killed_at_any_time_while_saving_and_pruning_in_a_loop(tmp_path):
    code = """
        import sys
        import numpy as np
        import tfpersist as tfp
        from tfpersist.checkpoint import incremental, rows
        keep = tfp.Keep(last=2, best=("even", "max"))
        store = tfp.ModelStore(sys.argv[1], keep=keep, incremental=True, durable=False)
        frozen = np.arange(50_000.0)
        incremental.LEAST_TABLE, rows._LEAST_PIECE = 1 << 16, 1 << 10
        for step in range(int(sys.argv[2]), 1_000_000):
            head, table = np.full(40, float(step)), np.arange(16000.0).reshape(2000, 8)
            table[step % 2000] = step
            values = {"frozen/w": frozen, "head": head, "table": table}
            store.save(values, step, {"even": -(step % 2)})
            print(step, flush=True)
    """
    done = 0
    for round_ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(tmp_path), str(done + 1)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2 + round_):
            done = int(child.stdout.readline())
        child.kill()
        rest = child.stdout.read().split()
        child.wait()
        done = int(rest[-1]) if rest else done
        store = tfp.ModelStore(tmp_path)
        newest = store.latest()
        assert newest.step in (done, done + 1)
        for checkpoint in store.checkpoints():
            table = np.arange(16000.0).reshape(2000, 8)
            table[checkpoint.step % 2000] = checkpoint.step
            head = np.full(40, checkpoint.step)
            expected = {"frozen/w": np.arange(50_000.0), "head": head, "table": table}
            assert checkpoint.verify().ok
            assert all((checkpoint[key] == value).all() for key, value in expected.items())
        assert len(store.checkpoints()) <= 5
        done = newest.step
    store = tfp.ModelStore(tmp_path, keep=tfp.Keep(last=1))
    store.prune()
    (left,) = store.checkpoints()
    others = {name for name in os.listdir(tmp_path) if not name.startswith(f"{left.name}.")}
    assert others <= {"checkpoint"}
    assert len(os.listdir(tmp_path)) <= 3 + MOST_SHARDS


def test_a_rival_that_cleans_up_leaves_staged_links_alone(tmp_path):
    """A writer locks its staged files, even if one is another checkpoint's file, too."""
    storage, rival = open_storage(tmp_path), open_storage(tmp_path)
    save(storage, "m-1", arrays(1))
    hold = storage.hold("m-1.data-00000-of-00001")
    with storage.publish() as publication:
        publication.link(hold, "linked")
        save(rival, "m-2", arrays(2))
        rival.recover()
        publication.create("last").write(b"1")
    hold.release()
    assert storage.size("linked") == storage.size("m-1.data-00000-of-00001")


# --- TensorFlow ----------------------------------------------------------------------------------


def test_tensorflow_reads_incremental_saves_and_its_files_are_shared(fresh, tmp_path):
    out = fresh(
        """
        import sys
        import numpy as np
        import tensorflow as tf
        import tfpersist as tfp

        class Net(tf.Module):
            def __init__(self):
                self.frozen = tf.Variable(tf.random.normal([500, 40]), trainable=False)
                self.head = tf.Variable(tf.zeros([40]))
                self.step = tf.Variable(0, dtype=tf.int64)

        net = Net()
        tf.train.Checkpoint(net).write(sys.argv[1] + "/model.ckpt-0")
        store = tfp.ModelStore(sys.argv[1], incremental=True, keep=tfp.Keep(last=2))
        for step in range(1, 5):
            net.head.assign_add(tf.ones([40]))
            net.step.assign(step)
            saved = store.save(net, step)
            assert saved.increment.shared >= 80000, saved.increment
            other = Net()
            tf.train.Checkpoint(other).read(saved.prefix).assert_consumed()
            assert (other.frozen.numpy() == net.frozen.numpy()).all()
            assert (other.head.numpy() == step).all() and int(other.step) == step
            reader = tf.train.load_checkpoint(saved.prefix)
            assert set(reader.get_variable_to_shape_map()) == set(saved)
        assert tf.train.latest_checkpoint(sys.argv[1]) == saved.prefix
        state = tf.train.get_checkpoint_state(sys.argv[1])
        assert len(state.all_model_checkpoint_paths) == 2
        assert [tf.train.load_checkpoint(path).get_tensor("step/.ATTRIBUTES/VARIABLE_VALUE")
                for path in state.all_model_checkpoint_paths] == [3, 4]

        # What was found unchanged is remembered by its memory; whatever changes it is noticed.
        changes = [
            lambda v: v.assign(tf.ones([500, 40])),
            lambda v: v.assign_add(tf.ones([500, 40])),
            lambda v: v.scatter_update(tf.IndexedSlices(tf.zeros([1, 40]), tf.constant([7]))),
            lambda v: v[3].assign(tf.fill([40], 9.0)),
            lambda v: tf.raw_ops.ResourceApplyGradientDescent(
                var=v.handle, alpha=0.1, delta=tf.ones([500, 40])),
            lambda v: tf.raw_ops.ResourceApplyMomentum(
                var=v.handle, accum=tf.Variable(tf.zeros([500, 40])).handle, lr=0.1,
                grad=tf.ones([500, 40]), momentum=0.9),
        ]
        big = tf.Module()
        big.changing, big.still = tf.Variable(tf.zeros([500, 40])), tf.Variable(tf.ones([9999, 9]))
        big.tensors = [tf.Variable(tf.random.normal([300, 99]))]
        other = tfp.ModelStore(sys.argv[1] + "/big", incremental=True, durable=False)
        for change in changes:
            for _ in range(3):
                saved = other.save(big)
            assert saved.increment.written == 0, saved.increment
            held = other._save_memory.find(saved._sidecar.index_crc32c).memory
            assert len(held) == 3 - (big.changing.numpy().nbytes < 65536), held.keys()
            for variable in (big.changing, big.tensors[0]):
                if variable is big.changing:
                    change(variable)
                else:
                    variable.assign_add(tf.ones([300, 99]))
            saved = other.only(["*"]).save(big)
            (key,) = [key for key in saved if key.startswith("changing")]
            assert (saved[key] == big.changing.numpy()).all()
            (key,) = [key for key in saved if key.startswith("tensors")]
            assert (saved[key] == big.tensors[0].numpy()).all()
            assert saved.verify().ok

        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            shards = tf.compat.v1.fixed_size_partitioner(3)
            frozen = tf.compat.v1.get_variable("frozen", [30, 500], partitioner=shards)
            head = tf.compat.v1.get_variable("head", [9], initializer=tf.zeros_initializer())
            step = head.assign_add(tf.ones([9]))
            session.run(tf.compat.v1.global_variables_initializer())
            one = tfp.ModelStore(sys.argv[1] + "/v1", incremental=True)
            for number in range(3):
                session.run(step)
                saved = one.save(session, number)
            assert saved.increment.shared == 60000, saved.increment
            value = session.run(frozen.as_tensor())
            session.run(tf.compat.v1.global_variables_initializer())
            tf.compat.v1.train.Saver().restore(session, saved.prefix)
            assert (session.run(frozen.as_tensor()) == value).all()
            assert (session.run(head) == 3).all()
            one.restore(session)
        print("done")
        """,
        tmp_path,
    )
    assert out == "done\n"


def test_the_docstring_says_what_the_code_does():
    text = incremental.__doc__
    assert str(MOST_SHARDS) in text
    assert "less than half" in text
    assert LEAST_IN_USE == 0.5
    assert pathlib.Path(incremental.__file__).name == "incremental.py"


def test_memory_of_the_caller_is_compared_each_time(tmp_path):
    """A view that cannot be written to may still change: its owner can."""
    owner = np.zeros(1 << 16, np.float32)
    view = owner[:]
    view.flags.writeable = False
    store = tfp.ModelStore(tmp_path, incremental=True)
    for step in range(10):
        owner[:] = step // 2
        assert store.save({"v": view, "same": np.ones(1 << 16)}, step)["v"][0] == step // 2
