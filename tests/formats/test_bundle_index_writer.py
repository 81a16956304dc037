"""An index is the same whether it is encoded for the first time or from what is remembered."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.errors import SaveError
from tfpersist.formats import bundle, bundle_entry, bundle_index_writer, crc32c
from tfpersist.formats.bundle_index_writer import Places, tensor_list
from tfpersist.formats.bundle_writer import Item, Items, write_bundle
from tfpersist.formats.sstable_writer import encode_table
from tfpersist.formats.tensors import Payload, Slice, TensorSpec, payload_of


class Shard(io.BytesIO):
    def reserve(self, size):
        """Nothing to do."""


def written(items, **how):
    shard = Shard()
    return write_bundle(items, lambda count: [shard], **how), shard.getvalue()


@pytest.fixture(autouse=True)
def nothing_remembered():
    bundle_index_writer._REMEMBERED.clear()


def first(items, **how):
    """Write with nothing remembered."""
    bundle_index_writer._REMEMBERED.clear()
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


def places(shards, offsets, sizes, crcs):
    return Places(*map(np.array, (shards, offsets, sizes)), np.array(crcs, np.uint32))


def encoded_tables(tensors):
    """Count the tables that are encoded from now on."""
    counted = []
    rows = tensors._rows

    class Counting:
        of_tensors = rows.of_tensors

        def encode(self, *arguments):
            counted.append(arguments)
            return rows.encode(*arguments)

    object.__setattr__(tensors, "_rows", Counting())
    return counted


@pytest.mark.parametrize("alignment", [1, 64])
def test_a_repeated_save_is_byte_for_byte_what_a_first_one_is(alignment):
    fresh = [first(tensors(seed), alignment=alignment) for seed in (5, 6, 5)]
    bundle_index_writer._REMEMBERED.clear()
    again = [written(tensors(seed), alignment=alignment) for seed in (5, 6, 5)]
    assert again == fresh
    assert len(fresh[0][0]) > 1 << 18  # so there are several blocks
    assert fresh[0] != fresh[1]


def test_an_index_with_the_same_places_is_not_encoded_again():
    specs = [TensorSpec("int8", (3,))] * 2
    listed = tensor_list(["b", "a"], specs, [None, None])
    count = encoded_tables(listed)
    for crcs in ([7, 8], [9, 10]):
        index = listed.encode(places([0, 1], [0, 64], [3, 3], crcs), 2)
        entries = bundle.read_index(memoryview(index), "x").entries
        assert [entries[key].crc32c for key in "ba"] == crcs
    assert len(count) == 1
    for number, changed in enumerate(
        [
            (places([0, 1], [0, 64], [3, 3], [7, 8]), 3),
            (places([1, 1], [0, 64], [3, 3], [7, 8]), 3),
            (places([0, 1], [0, 65], [3, 3], [7, 8]), 2),
            (places([0, 1], [0, 64], [3, 4], [7, 8]), 2),
        ],
        2,
    ):
        listed.encode(*changed)
        assert len(count) == number


def test_the_last_two_indexes_are_remembered():
    """A program may save the same tensors in full and incrementally by turns."""
    listed = tensor_list(["a"], [TensorSpec("int8", (3,))], [None])
    count = encoded_tables(listed)
    for offset in (0, 64, 0, 64, 128, 0):
        index = listed.encode(places([0], [offset], [3], [1 + offset]), 1)
        entry = bundle.read_index(memoryview(index), "x").entries["a"]
        assert (entry.offset, entry.crc32c) == (offset, 1 + offset)
    assert len(count) == 4


def test_lists_of_the_same_tensors_are_one():
    names, specs, parts = ["a", "b"], [TensorSpec("int8", (3,))] * 2, [None, None]
    one = tensor_list(names, specs, parts)
    assert tensor_list([*names], [*specs], [*parts]) is one
    assert tensor_list(["b", "a"], specs, parts) is not one
    assert tensor_list(names, [TensorSpec("int8", (3,)), TensorSpec("int8", (4,))], parts) != one
    whole = Slice("a", (3,), (0,), (3,))
    assert tensor_list(names, specs, [whole, None]) is not one
    assert tensor_list(names, specs, parts) is one


def test_only_the_last_few_lists_are_remembered():
    for number in range(9):
        tensor_list([f"v{number}"], [TensorSpec("int8", ())], [None])
    known = [listed.names for listed in bundle_index_writer._REMEMBERED]
    assert known == [["v5"], ["v6"], ["v7"], ["v8"]]


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
def test_changed_entries_are_encoded_again(change):
    items = tensors(5, 20)[:20]
    first(items)
    changed = change(items)
    assert written(changed) == first(changed)


def test_a_masked_checksum_of_zero_is_left_out():
    listed = tensor_list(["a", "b"], [TensorSpec("uint8", (4,))] * 2, [None, None])

    def index(*crcs):
        return listed.encode(places([0, 0], [0, 4], [4, 4], crcs), 1)

    usual, other = index(1, 2), index(1, 0)
    assert len(other) == len(usual) - 5
    assert bundle.read_index(memoryview(other), "x").entries["b"].crc32c == 0
    assert index(1, 2) == usual


@pytest.mark.parametrize(
    ("names", "problem"),
    [(["a", "a"], "two tensors have one name"), (["a", ""], "a name is empty")],
)
def test_nothing_remembered_hides_a_name_that_cannot_be_saved(names, problem):
    specs = [TensorSpec("int8", ())] * 2
    tensor_list(["a", "b"], specs, [None, None])
    for _ in range(2):
        with pytest.raises(SaveError, match=problem):
            tensor_list(names, specs, [None, None])


@pytest.mark.parametrize("whole_first", [True, False])
def test_a_variable_is_saved_as_a_whole_or_in_parts(whole_first):
    half, whole = Slice("v", (4,), (0,), (2,)), None
    specs = [TensorSpec("int8", (4,)), TensorSpec("int8", (2,))]
    parts = [whole, half]
    if not whole_first:
        specs.reverse()
        parts.reverse()
    with pytest.raises(SaveError, match="both as a whole and in parts"):
        tensor_list(["v", "v"], specs, parts)


def test_columns_are_a_sequence_of_items():
    items = tensors(5, 4)
    columns = Items.of(items)
    assert list(columns) == items
    assert (len(columns), columns[1], columns[-2:]) == (len(items), items[1], items[-2:])
    assert written(columns) == written(items)
    columns.clear()
    assert list(columns) == []


def test_cleared_columns_let_go_of_values_though_their_names_are_remembered():
    columns = Items.of([Item("a", Payload(TensorSpec("float64", (2,)), lambda: np.zeros(2)))])
    before = written(columns)
    columns.clear()
    assert written([Item("a", payload_of(np.zeros(2)))]) == before
    assert len(bundle_index_writer._REMEMBERED) == 1


def test_a_partitioned_variable_has_the_shard_of_its_first_part():
    """So it is in TensorFlow."""
    names, specs = ["a", "p", "p"], [TensorSpec("int8", (3,))] * 3
    parts = [None, Slice("p", (6,), (0,), (3,)), Slice("p", (6,), (3,), (3,))]
    listed = tensor_list(names, specs, parts)
    data = listed.encode(places([2, 3, 4], [0, 0, 0], [3, 3, 3], [1, 2, 3]), 5)
    index = bundle.read_index(memoryview(data), "x")
    assert index.num_shards == 5
    assert {key: entry.shard for key, entry in index.entries.items()} == {"a": 2, "p": 3}
    assert sorted(entry.shard for entry in index.parts.values()) == [3, 4]
    assert [entry.crc32c for entry in index.entries.values()] == [1, 0]
    assert sorted(entry.crc32c for entry in index.parts.values()) == [2, 3]


def test_places_of_some_and_of_the_others_are_joined():
    some, others = places([0, 1], [2, 3], [4, 5], [6, 7]), places([8], [9], [10], [11])
    joined = Places.joined((np.array([0, 2]), some), (np.array([1]), others))
    assert [column.tolist() for column in joined.columns] == [
        [0, 8, 1], [2, 9, 3], [4, 10, 5], [6, 11, 7],
    ]  # fmt: skip
    nothing = Places.none()
    assert len(Places.joined((np.zeros(0, np.int64), nothing)).crcs) == 0


@st.composite
def many_places(draw):
    names = draw(
        st.lists(st.text("ab/é\x7f", min_size=1, max_size=9), unique=True, min_size=1, max_size=20)
    )
    count = len(names)

    def numbers(most):
        return draw(st.lists(st.integers(0, most), min_size=count, max_size=count))

    offsets = [offset % (1 << draw(st.integers(1, 55))) for offset in numbers(1 << 55)]
    return names, places(numbers(300), offsets, numbers(1 << 40), numbers(2**32 - 1))


@given(many_places())
def test_an_index_is_the_table_of_its_entries(case):
    names, somewhere = case
    specs = [TensorSpec(["float32", "int64"][n % 2], (n % 3,) * (n % 4)) for n in range(len(names))]
    data = tensor_list(names, specs, [None] * len(names)).encode(somewhere, 301)
    rows = {b"": bundle_header(301)}
    for name, spec, shard, offset, size, crc in zip(
        names, specs, *(column.tolist() for column in somewhere.columns), strict=True
    ):
        place = bundle_entry.encode_place(offset, size, crc, shard=shard)
        rows[name.encode()] = bundle_entry.encode_spec(spec) + place
    assert data == encode_table(sorted(rows.items())).content


def bundle_header(num_shards):
    from tfpersist.formats import schema

    header = schema.BundleHeaderProto(num_shards=num_shards)
    header.version.producer = 1
    return header.SerializeToString()


def test_checksums_are_those_of_the_bytes():
    index, data = first([Item("a", payload_of(np.arange(5))), Item("b", payload_of(np.zeros(3)))])
    for entry in bundle.read_index(memoryview(index), "x").entries.values():
        assert entry.crc32c == crc32c.masked(
            crc32c.of(data[entry.offset : entry.offset + entry.size])
        )
