"""Tensors have their places in even shards; a repeated save writes what a first one writes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.errors import SaveError
from tfpersist.formats import bundle, bundle_entry, bundle_layout, crc32c
from tfpersist.formats.bundle_writer import Item, Items, write_bundle
from tfpersist.formats.tensors import Payload, Slice, TensorSpec, payload_of

SIZES = st.lists(st.one_of(st.integers(0, 40), st.integers(500, 2000)), min_size=1, max_size=30)


@given(SIZES, st.integers(1, 800), st.sampled_from([1, 64]))
def test_shards_are_about_even_and_not_too_small(sizes, shard_size, alignment):
    names = [str(number) for number in range(len(sizes))]
    specs = [TensorSpec("int8", (size,)) for size in sizes]
    layout = bundle_layout.lay_out(
        names, specs, [None] * len(sizes), {}, alignment, shard_size=shard_size
    )
    assert [number for shard in layout.shards for number in shard] == list(range(len(sizes)))
    filled = [sum(sizes[number] for number in shard) for shard in layout.shards]
    wanted = max(1, min(4, sum(sizes) // shard_size))
    assert len(filled) == 1 or (len(filled) <= wanted and 2 * min(filled) >= shard_size)
    even = sum(sizes) / wanted
    if even >= max(sizes) + shard_size:
        assert len(filled) == wanted
        assert all(abs(size - even) <= max(sizes) for size in filled)
    assert all(layout.size(shard) % alignment == 0 for shard in layout.shards)


@given(SIZES, st.integers(0, 30), st.integers(0, 800))
def test_what_is_kept_apart_shares_no_shard_with_the_rest(sizes, apart, shard_size):
    apart = min(apart, len(sizes))
    names = [str(number) for number in range(len(sizes))]
    specs = [TensorSpec("int8", (size,)) for size in sizes]
    columns = (names, specs, [None] * len(sizes))
    layout = bundle_layout.lay_out(*columns, {}, 1, shard_size=shard_size, apart=apart)
    assert [number for shard in layout.shards for number in shard] == list(range(len(sizes)))
    assert all(shard.stop <= apart or shard.start >= apart for shard in layout.shards)
    assert all(len(shard) for shard in layout.shards)


class Shard(io.BytesIO):
    def reserve(self, size):
        """Nothing to do."""


def written(items, **how):
    shard = Shard()
    return write_bundle(items, lambda count: [shard], **how), shard.getvalue()


def first(items, **how):
    """Write with nothing remembered."""
    bundle_layout._REMEMBERED.clear()
    return written(items, **how)


def tensors(seed, count=6000):
    generator = np.random.default_rng(seed)
    # Without common beginnings, which would be left out.
    numbers = [n * 2654435761 % (1 << 32) for n in range(count)]
    names = [f"{number:010}/a-layer-of-the-model/.ATTRIBUTES/VARIABLE_VALUE" for number in numbers]
    items = [
        Item(name, payload_of(generator.random((n % 5, 7), np.float32)))
        for n, name in enumerate(names)
    ]
    items.append(Item("text", payload_of(np.array([b"ab" * seed, b"c"], object))))
    halves = (Slice("p", (4,), (0,), (2,)), Slice("p", (4,), (2,), (2,)))
    items += [Item("p", payload_of(generator.random(2)), half) for half in halves]
    return items


@pytest.mark.parametrize("alignment", [1, 64])
def test_a_repeated_save_is_byte_for_byte_what_a_first_one_is(alignment):
    fresh = [first(tensors(seed), alignment=alignment) for seed in (5, 6, 5)]
    bundle_layout._REMEMBERED.clear()
    again = [written(tensors(seed), alignment=alignment) for seed in (5, 6, 5)]
    assert again == fresh
    assert len(fresh[0][0]) > 1 << 18  # so there are several blocks
    assert fresh[0] != fresh[1]


def test_other_values_in_the_same_places_use_what_is_remembered():
    first(tensors(5))
    written([*tensors(5)])
    assert len(bundle_layout._REMEMBERED) == 1
    written(tensors(6))  # its text is longer
    assert len(bundle_layout._REMEMBERED) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda items: [*items[:-1], Item("q", items[0].payload)],
        lambda items: [items[1], items[0], *items[2:]],
        lambda items: [Item(items[0].key, payload_of(np.ones((3, 7), np.float32))), *items[1:]],
        lambda items: [Item(items[0].key, payload_of(np.ones((1, 7), np.int32))), *items[1:]],
    ],
    ids=["a name", "the order", "a shape", "a type"],
)
def test_what_differs_is_laid_out_anew(change):
    items = tensors(5, 20)[:20]
    first(items)
    changed = change(items)
    assert written(changed) == first(changed)


def test_a_masked_checksum_of_zero_is_left_out_as_ever():
    names, specs = ["a", "b"], [TensorSpec("uint8", (4,))] * 2
    bundle_layout._REMEMBERED.clear()

    def index(crcs):
        layout = bundle_layout.lay_out(names, specs, [None, None], {}, 1)
        return layout.index(crcs, first=0, others={})

    usual, other = index([1, 2]), index([1, crc32c.unmasked(0)])
    assert len(other) == len(usual) - 5
    assert bundle.read_index(memoryview(other), "x").entries["b"].crc32c == 0
    assert index([1, 2]) == usual


def test_nothing_remembered_hides_a_name_that_is_there_twice():
    first([Item("a", payload_of(np.zeros(2))), Item("b", payload_of(np.zeros(2)))])
    with pytest.raises(SaveError, match="two tensors have one name"):
        written([Item("a", payload_of(np.zeros(2))), Item("a", payload_of(np.zeros(2)))])


def test_columns_are_a_sequence_of_items():
    items = tensors(5, 4)
    columns = Items.of(items)
    assert list(columns) == items
    assert (len(columns), columns[1], columns[-2:]) == (len(items), items[1], items[-2:])
    assert written(columns) == written(items)
    columns.clear()
    assert list(columns) == []


def test_cleared_columns_let_go_of_values_though_the_layout_is_remembered():
    columns = Items.of([Item("a", Payload(TensorSpec("float64", (2,)), lambda: np.zeros(2)))])
    bundle_layout._REMEMBERED.clear()
    before = written(columns)
    columns.clear()
    assert written([Item("a", payload_of(np.zeros(2)))]) == before
    assert len(bundle_layout._REMEMBERED) == 1


def test_shards_after_others_are_numbered_from_there():
    """The entry of a partitioned variable has the shard of its first part, as in TensorFlow."""
    names, specs = ["a", "p", "p"], [TensorSpec("int8", (3,))] * 3
    parts = [None, Slice("p", (6,), (0,), (3,)), Slice("p", (6,), (3,), (3,))]
    layout = bundle_layout.lay_out(names, specs, parts, {}, 1, shard_size=3)
    other = bundle_entry.encode_spec(specs[0]) + bundle_entry.encode_place(0, 3, 7)
    data = layout.index([1, 2, 3], first=2, others={b"o": other})
    index = bundle.read_index(memoryview(data), "x")
    assert index.num_shards == 5
    assert {key: entry.shard for key, entry in index.entries.items()} == {"a": 2, "o": 0, "p": 3}
    assert sorted(entry.shard for entry in index.parts.values()) == [3, 4]
    assert [entry.crc32c for entry in index.entries.values()] == [crc32c.masked(1), 7, 0]
