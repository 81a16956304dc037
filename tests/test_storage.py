"""Locations: paths and URLs, absolute or not, of every kind that opens."""

import os
import pathlib

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from upath import UPath

from tfpersist.errors import ArgumentError
from tfpersist.storage import absolute, is_url, open_storage, placed, text_of
from tfpersist.storage.memory import MemoryStorage
from tfpersist.storage.remote import RemoteStorage
from tfpersist.storage.staged import StagedStorage


@pytest.mark.parametrize("text", ["s3://b/k", "file:///a", "simplecache::s3://b/k", "a+b.c-1://x"])
def test_urls(text):
    assert is_url(text)
    assert absolute(text) == text


@pytest.mark.parametrize("text", ["runs", "runs/a:b", "C:/runs", "://x", "1s://x", "a/s3://b"])
def test_paths(text, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert not is_url(text)
    assert absolute(text) == os.path.join(tmp_path, os.path.normpath(text))


def test_the_text_of_a_path():
    assert text_of("runs") == text_of(b"runs") == text_of(pathlib.Path("runs")) == "runs"


@pytest.mark.parametrize("value", ["", b"", None, 3, ["runs"], "a\0b", b"a\0b"])
def test_values_that_are_not_a_path(value):
    with pytest.raises(ArgumentError, match="expected a place") as caught:
        text_of(value, "a place")
    assert caught.value.found


def test_a_path_object_stays_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute(pathlib.Path("runs")) == tmp_path / "runs"
    assert isinstance(absolute(pathlib.Path("runs")), pathlib.Path)


def test_each_kind_of_location_opens(tmp_path):
    assert isinstance(open_storage("memory://opened"), MemoryStorage)
    for location in (tmp_path, str(tmp_path), f"file://{tmp_path}"):
        storage = open_storage(location)
        assert isinstance(storage, StagedStorage)
        assert storage.location == str(tmp_path)


def test_what_a_file_system_is_opened_with():
    system = MemoryFileSystem()
    assert placed("runs") == ("runs", None)
    assert placed("runs", {}) == ("runs", None)
    assert placed("s3://b/k", {"anon": True}) == ("s3://b/k", {"anon": True})
    assert placed("s3://b/k", system) == ("s3://b/k", system)
    assert placed("b/k", system) == ("memory://b/k", system)
    path = UPath("s3://b/k", anon=True)
    assert placed(path) == ("s3://b/k", path.fs)
    assert placed(path)[1].anon
    assert placed(path, {"anon": False}) == ("s3://b/k", {"anon": False})
    local = UPath("runs")
    assert placed(local) == (local, None)


@pytest.mark.parametrize(
    ("location", "options"),
    [("runs", {"anon": True}), ("memory://runs", {"anon": True}), ("s3://b/k", 3), ("s3://b", "x")],
)
def test_what_is_no_option_of_a_location(location, options):
    with pytest.raises(ArgumentError) as caught:
        placed(location, options)
    assert caught.value.expected


def test_a_file_system_is_used_as_it_is():
    system = MemoryFileSystem()
    storage = open_storage(*placed("memory://placed/run", system))
    assert isinstance(storage, RemoteStorage)
    with storage.publish() as publication:
        publication.create("a").write(b"1")
    assert system.cat_file("/placed/run/a") == b"1"
    assert storage.beside("memory://placed/other").names() == frozenset()
