"""Read and write a graph file by its path or URL."""

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

_GRAPHS = (".pb", ".pbtxt", ".pb.txt", ".meta")
# What TensorFlow, Keras and TensorFlow Hub write beside a SavedModel.
_WITHOUT_GRAPH = frozenset(
    {"fingerprint.pb", "keras_metadata.pb", "saved_model_debug_info.pb", "tfhub_module.pb"}
)
_MOST_FOLDERS = 10_000


def place(path: str) -> tuple[str, str]:
    """Return the directory and the name of a file.

    Args:
        path: a path or a URL.

    Raises:
        StorageError: the URL names a directory, not a file in it.

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
            "this URL names a directory, not a file in it",
            where=path,
            expected="a URL such as memory://models/digits.pb",
        )
    return location + "/" * location.endswith("://"), name


def inside(folder: str, path: str) -> str | None:
    """Return the path of a file if it is in a directory itself, neither deeper nor by a link.

    Args:
        folder: the directory, a path or a URL.
        path: the file, a path or a URL.

    Returns:
        The path to read the file by; None if it is elsewhere.

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


def read(
    path: str, options: object = None, *, inside: Iterable[str] = ()
) -> tuple[memoryview, str]:
    """Read a file.

    Args:
        path: a path or a URL.
        options: what the file system of a URL is opened with.
        inside: if `path` is a directory, the names of files in it to read instead, in order.

    Returns:
        Its bytes, mapped if the storage can, and its name.

    Raises:
        StorageError: there is no such file, or it cannot be read.
    """
    location, name = place(path)
    storage = open_storage(location, options)
    try:
        return storage.read(name), name
    except StorageError as error:
        with suppress(StorageError):
            folder = open_storage(path, options)
            for other in inside:
                if other in folder.names():
                    return folder.read(other), other
        if storage.names():
            error.advice = did_you_mean(name, storage.names())
        raise


def graphs(path: str, options: object = None) -> list[str]:
    """Return the paths of all files with graphs that belong to a prefix or lie in a directory.

    Args:
        path: a path or a URL.
        options: what the file system of a URL is opened with.

    Returns:
        The `.meta` of a prefix; the `.pb`, `.pbtxt`, `.pb.txt` and `.meta` files in a directory and
        its subdirectories, sorted, but not those that TensorFlow writes beside a SavedModel and
        that hold no graph. Links to files are followed, links to directories are not. Empty for
        anything else, such as a file.

    Raises:
        StorageError: a subdirectory cannot be read, or there are more than 10,000.
    """
    with suppress(StorageError):
        location, name = place(path)
        if name and f"{name}.meta" in open_storage(location, options).names():
            return [f"{path}.meta"]
    try:
        open_storage(path, options).names()
    except StorageError:
        return []
    found: list[str] = []
    folders = [path.rstrip("/") or "/"]
    for count, folder in enumerate(folders, 1):
        if count > _MOST_FOLDERS:
            raise StorageError(
                "this directory has too many subdirectories to look for graphs in",
                where=path,
                expected=f"at most {_MOST_FOLDERS:,}",
                advice="Choose one of them.",
            )
        storage = open_storage(folder, options)
        start = folder.rstrip("/") + "/"
        names = sorted(set(storage.names()) - _WITHOUT_GRAPH)
        found += [start + one for one in names if one.endswith(_GRAPHS)]
        folders += [start + one for one in sorted(storage.folders())]
    return sorted(found)


def load(path: str, options: object = None) -> Graph:
    """Read a GraphDef, in binary or in text form.

    Args:
        path: a path or a URL.
        options: what the file system of a URL is opened with.

    Returns:
        The graph; its payloads are views of the mapped file.

    Raises:
        StorageError: there is no such file, or it cannot be read.
        CorruptionError: it is damaged.
        UnsupportedError: it is another kind of file; the message says which, and what reads it.
    """
    try:
        data, name = read(path, options)
    except StorageError as error:
        other = _other_kind(path, options)
        if other is not None:
            raise other from error
        raise
    return _parsed(data, path, name)


def save(
    graph: Graph, path: str, options: object = None, *, durable: bool, large: bool = False
) -> None:
    """Write a GraphDef in binary form, as a whole or not at all.

    Args:
        graph: the graph.
        path: a path or a URL.
        options: what the file system of a URL is opened with.
        durable: wait until the file would survive a power loss.
        large: whether more than 2 GB are allowed, which only tfpersist reads.

    Raises:
        StorageError: it cannot be written; nothing is left behind.
        UnsupportedError: it is larger than 2 GB, or the name is that of a text file.
    """
    location, name = place(path)
    if name.endswith((".pbtxt", ".pb.txt")):
        raise UnsupportedError(
            "frozen graphs are written in binary form",
            where=path,
            expected="a name such as model.pb",
            found=name,
        )
    with open_storage(location, options).publish(durable=durable) as publication:
        graphdef_writer.join(graph, publication.create(name), large=large)


def encoded(graph: Graph) -> bytes:
    """Return the bytes of a GraphDef.

    Raises:
        UnsupportedError: it is larger than 2 GB.
    """
    buffer = _Buffer()
    graphdef_writer.join(graph, buffer)
    return bytes(buffer.data)


@attrs.define(eq=False)
class _Buffer:
    """A sink in memory."""

    data: bytearray = attrs.field(factory=bytearray)

    def reserve(self, size: int) -> None:
        """Do nothing: the buffer grows as needed."""

    def write(self, data: memoryview | bytes) -> None:
        self.data += data


def _parsed(data: memoryview, file: str, name: str) -> Graph:
    if not data:
        raise CorruptionError("the file is empty", file=file)
    file_format = recognize.by_magic(data, name)
    is_text = file_format is None and recognize.is_text_graph(data, file)
    if file_format is None:
        damage: CorruptionError | None = None
        try:
            if is_text:
                return graphdef.parse_text(data, file)
            graph = graphdef.split(data, file)
        except CorruptionError as error:
            damage = error
        else:
            if recognize.is_real_graph(graph.proto):
                return graph
        file_format = None if is_text else recognize.by_content(data)
        if file_format is None:
            raise damage or CorruptionError("these bytes are not a GraphDef", file=file)
    raise UnsupportedError(
        "this is not a frozen graph",
        where=file,
        expected="a GraphDef",
        found=file_format.name,
        advice=file_format.advice,
    )


def _other_kind(path: str, options: object) -> UnsupportedError | None:
    """Return the error for a path where no file can be read; None if nothing is there."""
    location, name = place(path)
    siblings = open_storage(location, options).names()
    inside: frozenset[str] = frozenset()
    is_directory = False
    with suppress(StorageError):
        folder = open_storage(path, options)
        inside, is_directory = folder.names(), folder.exists()
    if "saved_model.pb" in inside or "saved_model.pbtxt" in inside:
        file_format, advice = "a SavedModel", f"Freeze it first with tfpersist.Freezer({path!r})."
    elif f"{name}.index" in siblings:
        file_format = "the prefix of a checkpoint"
        advice = f"Freeze it first with tfpersist.Freezer({path!r}), or read it with Checkpoint."
    elif any(other.endswith(".index") for other in inside):
        file_format = "a directory of checkpoints"
        advice = f"Freeze one first with tfpersist.Freezer({path!r}), or read it with Checkpoint."
    elif inside or is_directory:
        graphs = sorted(other for other in inside if other.endswith((".pb", ".pbtxt")))
        file_format, advice = "a directory", f"It holds {', '.join(graphs[:8]) or 'no graph'}."
    else:
        return None
    return UnsupportedError(
        "this is not a frozen graph",
        where=path,
        expected="a file",
        found=file_format,
        advice=advice,
    )
