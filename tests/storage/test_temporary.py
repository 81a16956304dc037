"""Bytes get a path for the time in which another program reads them."""

from __future__ import annotations

import os
import pathlib
import tempfile

import pytest

from tfpersist.errors import StorageError
from tfpersist.storage.temporary import path_of


@pytest.fixture(params=["memory", "disk"])
def folder(request, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if request.param == "disk":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    return tmp_path


def test_the_bytes_are_there_inside_of_the_block_only(folder):
    data = bytes(range(256)) * 5000
    with path_of(data, ".pb") as path:
        assert pathlib.Path(path).read_bytes() == data
        with open(path, "rb") as first, open(path, "rb") as second:
            assert first.read(7) == second.read(7) == data[:7]
    assert not os.path.exists(path)
    assert list(folder.iterdir()) == []


def test_nothing_is_left_where_the_reader_fails(folder):
    with pytest.raises(KeyError), path_of(b"abc") as path:
        raise KeyError
    assert not os.path.exists(path)
    assert list(folder.iterdir()) == []


def test_a_file_that_cannot_be_written_is_an_error_of_storage(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(StorageError, match=r"gone.*temporary file cannot be written.*TMPDIR"):
        path_of(b"abc").__enter__()
