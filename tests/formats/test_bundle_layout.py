"""Tensors have their places one after the other, in shards of about the same size."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.formats.bundle_layout import MOST_SHARDS, lay_out

SIZES = st.lists(st.one_of(st.integers(0, 40), st.integers(500, 2000)), min_size=1, max_size=30)


def laid_out(sizes, *arguments, **options):
    return lay_out(np.array(sizes, np.int64), *arguments, **options)


@given(SIZES, st.integers(1, 800), st.sampled_from([1, 64]), st.integers(1, 6))
def test_shards_are_about_even_and_not_too_small(sizes, shard_size, alignment, most_shards):
    layout = laid_out(sizes, alignment, shard_size=shard_size, most_shards=most_shards)
    assert [number for shard in layout.tensors for number in shard] == list(range(len(sizes)))
    filled = [sum(sizes[number] for number in shard) for shard in layout.tensors]
    wanted = max(1, min(most_shards, MOST_SHARDS, sum(sizes) // shard_size))
    assert len(filled) == 1 or (len(filled) <= wanted and 2 * min(filled) >= shard_size)
    even = sum(sizes) / wanted
    if even >= max(sizes) + shard_size:
        assert len(filled) == wanted
        assert all(abs(size - even) <= max(sizes) for size in filled)
    assert all(size % alignment == 0 for size in layout.shard_sizes)


@given(SIZES, st.integers(0, 30), st.integers(0, 800), st.integers(1, 4))
def test_separate_tensors_get_shards_of_their_own(sizes, apart, shard_size, most_shards):
    apart = min(apart, len(sizes))
    layout = laid_out(sizes, 1, shard_size=shard_size, apart=apart, most_shards=most_shards)
    assert [number for shard in layout.tensors for number in shard] == list(range(len(sizes)))
    assert all(shard.stop <= apart or shard.start >= apart for shard in layout.tensors)
    assert all(len(shard) for shard in layout.tensors)
    first = sum(shard.stop <= apart for shard in layout.tensors)
    assert max(first, len(layout.tensors) - first) <= most_shards


@given(SIZES, st.integers(0, 30), st.integers(0, 800), st.sampled_from([1, 8, 64]))
def test_tensors_follow_each_other_in_their_shard(sizes, apart, shard_size, alignment):
    layout = laid_out(sizes, alignment, shard_size=shard_size, apart=min(apart, len(sizes)))
    for shard, numbers in enumerate(layout.tensors):
        offset = 0
        for number in numbers:
            assert layout.shards[number] == shard
            assert layout.offsets[number] == offset
            assert 0 <= layout.paddings[number] < alignment
            offset += sizes[number] + int(layout.paddings[number])
            assert offset % alignment == 0
        assert layout.shard_sizes[shard] == offset


def test_no_tensors_have_one_shard():
    layout = laid_out([], 64, shard_size=10)
    assert (layout.tensors, layout.shard_sizes) == ([range(0)], [0])
    assert len(layout.offsets) == len(layout.shards) == 0
