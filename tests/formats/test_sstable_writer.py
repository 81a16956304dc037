"""Written tables: read again, and refused where their keys have no order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.errors import SaveError
from tfpersist.formats import sstable, sstable_writer


def written(items):
    return sstable_writer.encode_table(items).content


def pairs(data):
    return [(key, bytes(value)) for key, value, _ in sstable.read_table(memoryview(data), "t")]


@given(st.dictionaries(st.binary(max_size=6), st.binary(max_size=300), max_size=60))
def test_what_is_written_is_read(items):
    ordered = sorted(items.items())
    assert pairs(written(ordered)) == ordered


@given(st.lists(st.integers(0, 600_000), max_size=6), st.integers(0, 5))
def test_many_blocks(sizes, prefix):
    items = [(b"k" * prefix + b"%03d" % n, bytes(size)) for n, size in enumerate(sizes)]
    assert pairs(written(items)) == items


def test_keys_out_of_order_are_not_written():
    with pytest.raises(SaveError, match="out of order"):
        written([(b"b", b""), (b"a", b"")])
    with pytest.raises(SaveError, match="out of order"):
        written([(b"a", b""), (b"a", b"")])
