"""Checksums of frozen files: every bit counts, and another program's copy has none."""

from __future__ import annotations

from contextlib import suppress

import pytest
from graph_protos import PLAIN, joined
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.errors import CorruptionError
from tfpersist.formats import graph_checksums, schema, wire
from tfpersist.formats.graphdef import Graph, split

DATA = joined(split(PLAIN.SerializeToString()))


def last(data):
    return list(wire.fields(memoryview(data), 0, len(data), "net.pb"))[-1]


def checked(data):
    checksums = split(data, "net.pb").checksums
    checksums.check_skeleton()
    checksums.check_payloads()
    return checksums


def test_the_record_is_the_last_field():
    checksums = checked(DATA)
    assert [size for _, size, _ in checksums.payloads] == [4000, 4000]
    assert all(offset % 64 == 0 for offset, _, _ in checksums.payloads)
    assert len(checksums.data) == last(DATA).start


def test_no_bit_flips_unseen():
    """Each bit of the graph and the record, and some of each payload."""
    payloads = checked(DATA).payloads
    inside = {at for start, size, _ in payloads for at in range(start + 9, start + size - 9)}
    for at in sorted(set(range(len(DATA))) - inside):
        for bit in range(8):
            damaged = bytearray(DATA)
            damaged[at] ^= 1 << bit
            try:
                checksums = split(bytes(damaged), "net.pb").checksums
            except CorruptionError:
                continue
            if checksums is None:
                # The tags around the record: without it the file says that it has no checksums.
                assert at >= last(DATA).start
                assert split(bytes(damaged)).proto.node == split(DATA).proto.node
                continue
            with pytest.raises(CorruptionError, match="4,000 bytes") as caught:
                checksums.check_payloads()
            assert caught.value.offset in {offset for offset, _, _ in payloads}


@given(st.integers(0, len(DATA) - 1))
def test_a_cut_file_has_no_record(end):
    with suppress(CorruptionError):
        assert split(DATA[:end]).checksums is None


def test_a_copy_by_another_program_has_no_checksums():
    message = schema.GraphDef.FromString(DATA)
    message.node[0].name = "renamed"
    assert split(message.SerializeToString()).checksums is None
    assert split(PLAIN.SerializeToString()).checksums is None
    version = b"\x18\x05"
    assert split(DATA + version).checksums is None


def test_a_file_that_is_written_again_has_its_own():
    graph = split(DATA)
    again = joined(Graph(graph.proto, graph.payloads))
    assert again == DATA


@given(
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)), max_size=4),
    st.binary(max_size=30),
)
def test_a_record_that_lies_is_refused(ranges, before):
    record = graph_checksums.encode([(offset, size, 0) for offset, size in ranges], 0)
    data = b"\x0a" + bytes([len(before)]) + before + record
    view = memoryview(data)
    try:
        checksums = graph_checksums.decode(view, last(data), "net.pb")
    except CorruptionError:
        return
    assert all(offset + size <= len(before) + 2 for offset, size, _ in checksums.payloads)
