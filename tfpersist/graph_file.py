"""A graph file by its path or URL: where it lies, and what it holds."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

import attrs

from tfpersist.errors import CorruptionError, StorageError, UnsupportedError, did_you_mean
from tfpersist.formats import graphdef, graphdef_writer, recognize
from tfpersist.formats.graphdef import Graph
from tfpersist.storage import is_url, open_storage
from tfpersist.storage.base import is_possible


def place(path: str) -> tuple[str, str]:
    """Take the path of a file apart: directory and name.

    Args:
        path: a path or a URL.

    Raises:
        StorageError: the URL names no file.

    Example:
        >>> place("models/digits.pb"), place("digits.pb"), place("file:///digits.pb")
        (('models', 'digits.pb'), ('.', 'digits.pb'), ('file:///', 'digits.pb'))
    """
    if not is_url(path):
        location, name = os.path.split(path)
        return location or os.curdir, name
    location, _, name = path.rpartition("/")
    if location.endswith(":/"):
        raise StorageError(
            "this URL names a place, not a file in it",
            where=path,
            expected="such as memory://models/digits.pb",
        )
    return location + "/" * location.endswith("://"), name


def inside(folder: str, path: str) -> str | None:
    """Find out whether a file lies in a directory, not deeper and not by way of a link.

    Args:
        folder: the directory, a path or a URL.
        path: the file, a path or a URL.

    Returns:
        How to read that very file; None where it lies elsewhere.

    Example:
        >>> inside("memory://models", "memory://models/words.txt")
        'memory://models/words.txt'
        >>> inside("/models", "/etc/passwd"), inside("/models", "memory://models/words.txt")
        (None, None)
    """
    if is_url(folder) or is_url(path):
        location, _, name = path.rpartition("/")
        same = location.rstrip("/") == folder.rstrip("/") and name not in ("", ".", "..")
        return path if same else None
    if not is_possible(path):
        return None
    real = os.path.realpath(path)
    return real if os.path.dirname(real) == os.path.realpath(folder) else None


def read(path: str, *, inside: Iterable[str] = ()) -> tuple[memoryview, str]:
    """Read a file.

    Args:
        path: a path or a URL.
        inside: if it is a directory, the names of the files in it that will do as well.

    Returns:
        Its bytes, mapped where there is a disk, and its name.

    Raises:
        StorageError: there is no such file, or it cannot be read.
    """
    location, name = place(path)
    storage = open_storage(location)
    try:
        return storage.read(name), name
    except StorageError as error:
        with suppress(StorageError):
            folder = open_storage(path)
            for other in inside:
                if other in folder.names():
                    return folder.read(other), other
        if storage.names():
            error.advice = did_you_mean(name, storage.names())
        raise


def metas(path: str) -> list[str]:
    """Find the `.meta` of a checkpoint by its prefix, or all in a directory.

    Args:
        path: the prefix or the directory, a path or a URL.

    Returns:
        Their paths, sorted; none where there is nothing of the kind.
    """
    location, name = place(path)
    with suppress(StorageError):
        if name and f"{name}.meta" in open_storage(location).names():
            return [f"{path}.meta"]
    with suppress(StorageError):
        names = sorted(open_storage(path).names())
        return [f"{path.rstrip('/')}/{name}" for name in names if name.endswith(".meta")]
    return []


def load(path: str) -> Graph:
    """Read a GraphDef, in binary or in text form.

    Args:
        path: a path or a URL.

    Returns:
        The graph; its payloads look at the mapped file.

    Raises:
        StorageError: there is no such file, or it cannot be read.
        CorruptionError: it is damaged.
        UnsupportedError: it is something else than a graph; what, and what reads that.
    """
    try:
        data, name = read(path)
    except StorageError as error:
        other = _something_else(path)
        if other is not None:
            raise other from error
        raise
    return _parsed(data, path, name)


def save(graph: Graph, path: str, *, durable: bool, large: bool = False) -> None:
    """Write a GraphDef in binary form: all of it or nothing.

    Args:
        graph: what to write.
        path: a path or a URL.
        durable: wait until the file would survive a power loss.
        large: whether it may be larger than 2 GB, which tfpersist alone reads.

    Raises:
        StorageError: it cannot be written; nothing is left behind.
        UnsupportedError: it would be larger than 2 GB, or the name asks for text.
    """
    location, name = place(path)
    if name.endswith((".pbtxt", ".pb.txt")):
        raise UnsupportedError(
            "frozen graphs are written in binary form", where=path, advice="Name it .pb."
        )
    with open_storage(location).publish(durable=durable) as publication:
        graphdef_writer.join(graph, publication.create(name), large=large)


def encoded(graph: Graph) -> bytes:
    """Give the bytes of a GraphDef.

    Raises:
        UnsupportedError: they would be more than 2 GB.
    """
    buffer = _Buffer()
    graphdef_writer.join(graph, buffer)
    return bytes(buffer.data)


@attrs.define(eq=False)
class _Buffer:
    """A sink in memory."""

    data: bytearray = attrs.field(factory=bytearray)

    def reserve(self, size: int) -> None:
        """Take note of nothing: the buffer grows as it needs."""

    def write(self, data: memoryview | bytes) -> None:
        self.data += data


def _parsed(data: memoryview, file: str, name: str) -> Graph:
    if not data:
        raise CorruptionError("the file is empty", file=file)
    seen = recognize.by_magic(data, name)
    if seen is None:
        damage: CorruptionError | None = None
        try:
            if recognize.is_text_graph(data):
                return graphdef.parse_text(data, file)
            graph = graphdef.split(data, file)
        except CorruptionError as error:
            damage = error
        else:
            if recognize.is_sound_graph(graph.proto):
                return graph
        seen = None if recognize.is_text_graph(data) else recognize.by_content(data)
        if seen is None:
            raise damage or CorruptionError("these bytes are no GraphDef", file=file)
    raise UnsupportedError(
        "this is no frozen graph",
        where=file,
        expected="a GraphDef",
        found=seen.kind,
        advice=seen.advice,
    )


def _something_else(path: str) -> UnsupportedError | None:
    """Say what lies at a path where no file can be read; None where nothing does."""
    location, name = place(path)
    beside = open_storage(location).names()
    inside: frozenset[str] = frozenset()
    is_directory = False
    with suppress(StorageError):
        folder = open_storage(path)
        inside, is_directory = folder.names(), folder.exists()
    if "saved_model.pb" in inside or "saved_model.pbtxt" in inside:
        kind, advice = "a SavedModel", f"Freeze it first with tfpersist.Freezer({path!r})."
    elif f"{name}.index" in beside:
        kind = "the prefix of a checkpoint"
        advice = f"Freeze it first with tfpersist.Freezer({path!r}), or read it with Checkpoint."
    elif any(other.endswith(".index") for other in inside):
        kind = "a directory of checkpoints"
        advice = f"Freeze one first with tfpersist.Freezer({path!r}), or read it with Checkpoint."
    elif inside or is_directory:
        graphs = sorted(other for other in inside if other.endswith((".pb", ".pbtxt")))
        kind, advice = "a directory", f"It holds {', '.join(graphs[:8]) or 'no graph'}."
    else:
        return None
    return UnsupportedError(
        "this is no frozen graph", where=path, expected="a file", found=kind, advice=advice
    )
