"""Find the checkpoint that a path names.

The path is a prefix, a directory (its newest checkpoint; for a SavedModel its variables), any file
of a checkpoint, a state file, or the pattern of V1 shards. Names are compared as they are: `*` and
`?` match nothing but themselves.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

import attrs

from tfpersist.checkpoint import hdf5, state_file
from tfpersist.checkpoint.directory import Directory, is_table
from tfpersist.checkpoint.fetched import missing
from tfpersist.checkpoint.files import (
    DATA,
    INDEX,
    META,
    SIDECAR,
    STATE_FILE,
    V1_SHARD,
    Files,
    Listing,
)
from tfpersist.errors import CheckpointNotFoundError, StorageError, nearest
from tfpersist.formats import recognize
from tfpersist.storage import Storage, is_url, open_storage, text_of
from tfpersist.storage.base import is_possible

_SAVED_MODEL = frozenset({"saved_model.pb", "saved_model.pbtxt"})
_VARIABLES = "variables"
_SUFFIXES = (INDEX, META, SIDECAR)
# In archives, the first part of the path is a directory or a file, and no bucket or host.
_ROOTED = frozenset({"zip", "tar", "libarchive"})
_SHOWN = 8
_NAMES = "a prefix, a directory or a file of a checkpoint; for a ModelStore, pass its latest()"


@attrs.frozen
class Located:
    """A checkpoint and the directory that it lies in.

    Args:
        storage: the directory.
        files: its files there.
    """

    storage: Storage
    files: Files

    @property
    def path(self) -> str:
        """The path that TensorFlow's readers accept."""
        return _inside(self.storage.location.rstrip("/"), self.files.spelling)


def locate(
    path: str | os.PathLike[str], storage: Storage | None = None, options: object = None
) -> Located:
    """Find a checkpoint.

    Args:
        path: a path or URL; with `storage`, a name in that directory, or "" for the newest.
        storage: the directory to look in; None to take it from the path.
        options: what the file system of a URL is opened with, as `placed` returns it.

    Returns:
        The checkpoint.

    Raises:
        ArgumentError: `path` is not a path.
        CheckpointNotFoundError: no checkpoint has this name; the message lists similar names.
        CorruptionError: a data file of the checkpoint is missing.
        StorageError: the directory cannot be read.
    """
    if path is None:
        raise CheckpointNotFoundError(
            "the path is None",
            expected=_NAMES,
            advice="tf.train.latest_checkpoint returns None if it finds no checkpoint",
        )
    empty = isinstance(path, (str, bytes)) and not path
    text = "" if empty else text_of(path, _NAMES)
    if storage is not None:
        name = text.strip("/")
        located = _named(storage, name) if name not in {"", "."} else _newest(storage)
        return _complete(located or _not_found(text or storage.location, storage, name))
    if not text:
        raise CheckpointNotFoundError("the path is empty", expected=_NAMES)
    directory, parent, name = _split(text)
    beside = open_storage(parent, options) if name else None
    inside = open_storage(directory, options)
    if beside is not None and not text.endswith("/"):
        names = _names_if_allowed(beside)
        if name + INDEX in names:
            return _complete(Located(beside, Listing(names).v2_files(name)))
    if inside.exists():
        return _complete(_newest(inside) or _not_found(text, inside, ""))
    if beside is None:
        raise _not_found(text, inside, "")
    return _complete(_named(beside, name) or _not_found(text, beside, name))


def _names_if_allowed(storage: Storage) -> frozenset[str]:
    """Return the names in a directory; none in a bucket of which only a part may be listed."""
    try:
        return storage.names()
    except StorageError as error:
        if storage.remote and error.errno == errno.EACCES:
            return frozenset()
        raise


def parent_of_prefix(storage: Storage) -> str | None:
    """Return the directory of a checkpoint; None if a location is not the prefix of one."""
    _, parent, name = _split(storage.location)
    is_prefix = bool(name) and name + INDEX in _names_if_allowed(storage.beside(parent))
    return parent if is_prefix else None


def directory(path: str | os.PathLike[str]) -> Storage | None:
    """Open the directory that a path names; None if it names one checkpoint or a SavedModel."""
    text = os.fsdecode(os.fspath(path))
    if not text:
        return None
    itself, parent, name = _split(text)
    if name and not text.endswith("/") and name + INDEX in open_storage(parent).names():
        return None
    inside = open_storage(itself)
    return inside if inside.exists() and not inside.names() & _SAVED_MODEL else None


def variables_of(look: Directory) -> Storage | None:
    """Return the directory with the variables of a SavedModel; None for any other directory.

    Args:
        look: a look at the directory.
    """
    # All names of a directory need not be put together for this.
    if not any(name in look.listing for name in _SAVED_MODEL):
        return None
    return look.storage.beside(_inside(look.storage.location, _VARIABLES))


def file_at(storage: Storage) -> Located | None:
    """Return the HDF5 file of Keras that a location is; None for a directory or another file.

    Args:
        storage: what the location was opened as.
    """
    location = storage.location
    if not location.rstrip("/").endswith(hdf5.SUFFIXES) or storage.exists():
        return None
    _, parent, name = _split(location)
    beside = storage.beside(parent)
    return Located(beside, hdf5.files_of(name)) if _is_hdf5(beside, name) else None


def refuse_other_file(storage: Storage) -> None:
    """Raise if a path is a file of this machine, and not one of Keras in HDF5.

    Args:
        storage: what the path was opened as.

    Raises:
        StorageError: it is; the error names the kind of file.
    """
    location = storage.location
    if is_url(location) or storage.exists():
        return
    _, parent, name = _split(location)
    beside = storage.beside(parent)
    if not name or not beside.exists() or not beside.stamps([name]):
        return
    if file_at(storage) is None:
        file_format, advice = _kind_of(beside, name)
        raise StorageError(
            "this is a file",
            where=location,
            expected="a directory of checkpoints, or a file of Keras in HDF5",
            found=file_format,
            advice=advice,
        )


def only_file(look: Directory) -> Files | None:
    """Return the only HDF5 file of Keras in a directory without checkpoints; None if none is there.

    Args:
        look: a look at the directory.

    Raises:
        CheckpointNotFoundError: there are several of them.
    """
    if look.known:
        return None
    storage = look.storage
    names = sorted(name for name in look.names if name.endswith(hdf5.SUFFIXES))
    found = [name for name in names if _is_hdf5(storage, name)]
    if len(found) > 1:
        shown = ", ".join(map(repr, found[:_SHOWN]))
        raise CheckpointNotFoundError(
            f"there are {len(found)} files of Keras here, and no checkpoint",
            where=storage.location,
            expected="one of them",
            found=shown if len(found) <= _SHOWN else f"{shown} and {len(found) - _SHOWN} more",
            advice=f"Name the file: {storage.location}/{found[0]}",
        )
    return hdf5.files_of(found[0]) if found else None


def _is_hdf5(storage: Storage, name: str) -> bool:
    try:
        return hdf5.is_hdf5(storage.read(name))
    except StorageError:
        return False


def _split(text: str) -> tuple[str, str, str]:
    """Return the absolute path, its parent and its last part; the last is empty for a root."""
    if is_url(text) and not text.startswith("file://"):
        # Of a chain such as zip://runs/a::s3://bucket/b.zip, the first part is the path.
        first, *chain = text.split("::")
        scheme, _, rest = first.partition("://")
        above, _, name = rest.rstrip("/").rpartition("/")
        is_inside = bool(above) or scheme in _ROOTED
        whole, parent = f"{scheme}://{rest.rstrip('/')}", f"{scheme}://{above}"
        return (
            "::".join([whole, *chain]),
            "::".join([parent, *chain]),
            name if is_inside else "",
        )
    absolute = os.path.abspath(text.removeprefix("file://"))
    return absolute, *os.path.split(absolute)


def _inside(location: str, name: str) -> str:
    """Return the location of a directory in another one."""
    first, *chain = location.split("::") if is_url(location) else [location]
    joint = "" if first.endswith("://") else "/"
    return "::".join([f"{first}{joint}{name}", *chain])


def _newest(storage: Storage) -> Located | None:
    names = storage.names()
    if names & _SAVED_MODEL:
        variables = storage.beside(_inside(storage.location, _VARIABLES))
        return _named(variables, _VARIABLES)
    look = Directory.look(storage)
    if look.complete:
        return Located(storage, look.files(look.complete[-1]))
    only = only_file(look)
    if only is not None:
        return Located(storage, only)
    return _recorded(look, STATE_FILE) if STATE_FILE in names else None


def _named(storage: Storage, name: str, *, follow: bool = True) -> Located | None:
    listing = Listing(storage.names())
    shard = V1_SHARD.fullmatch(name)
    is_prefix = name + INDEX in listing.names
    data = None if is_prefix else DATA.fullmatch(name)
    prefix = data["prefix"] if data else name
    for suffix in () if is_prefix else _SUFFIXES:
        prefix = prefix.removesuffix(suffix) if prefix == name else prefix
    if prefix + INDEX in listing.names:
        return Located(storage, listing.v2_files(prefix))
    if shard and not data and shard["prefix"] in listing.v1_sharded:
        return Located(storage, listing.v1_files(shard["prefix"]))
    for candidate in (name, prefix):
        if candidate in listing.names and is_table(storage, candidate):
            return Located(storage, listing.v1_file(candidate))
        if candidate in listing.v1_sharded:
            return Located(storage, listing.v1_files(candidate))
    if name in listing.names and _is_hdf5(storage, name):
        return Located(storage, hdf5.files_of(name))
    is_state_file = follow and name in listing.names
    return _recorded(Directory.look(storage), name) if is_state_file else None


def _recorded(look: Directory, name: str) -> Located | None:
    """Find the checkpoint that a state file names, beside the file or else at the path in it."""
    storage = look.storage
    record = (look.record if name == STATE_FILE else state_file.read(storage, name)).says
    if record is None and name != STATE_FILE:
        return None
    latest = "" if record is None else record.latest.rsplit("/", 1)[-1]
    if look.complete:
        # A state file may name a checkpoint that is gone. The files in the directory decide.
        prefix = latest if latest in look.complete else look.complete[-1]
        return Located(storage, look.files(prefix))
    if record is None or not record.latest:
        return None
    if is_url(storage.location) or "/" not in record.latest or not is_possible(record.latest):
        return None
    elsewhere, last = os.path.split(os.path.join(storage.location, record.latest))
    return _named(storage.beside(elsewhere), last, follow=False)


def _complete(result: Located | CheckpointNotFoundError) -> Located:
    """Return a checkpoint that has all its data files; raise an error for any other result."""
    if isinstance(result, CheckpointNotFoundError):
        raise result
    if result.files.missing:
        raise missing(result.storage, result.files.missing[0])
    return result


def _not_found(path: str, storage: Storage, name: str) -> CheckpointNotFoundError:
    names = storage.names()
    if not storage.exists():
        return CheckpointNotFoundError(
            "there is no checkpoint at this path",
            where=path,
            found=f"no directory {storage.location}",
            advice="Check the spelling of the path",
        )
    look = Directory.look(storage)
    listing = look.listing
    incomplete = [prefix for prefix in sorted(listing.v2) if not listing.is_complete(prefix)]
    prefix = name
    for suffix in _SUFFIXES:
        prefix = prefix.removesuffix(suffix)
    match = DATA.fullmatch(prefix)
    prefix = match["prefix"] if match else prefix
    if any(DATA.fullmatch(other) for other in listing.belonging(prefix)):
        return CheckpointNotFoundError(
            "the index of this checkpoint is missing",
            where=path,
            expected=f"{storage.location}/{prefix}{INDEX}",
            found="only its data files",
            advice="Copy the index from where the checkpoint was saved",
        )
    if name in names:
        return _other_file(path, storage, name)
    present = look.complete
    similar = nearest(prefix, present, _SHOWN) or sorted(present)[:_SHOWN]
    advice = f"Did you mean {' or '.join(map(repr, similar))}?" if similar else None
    if not similar and incomplete:
        lacking = listing.v2_files(incomplete[0]).missing[0]
        advice = f"{incomplete[0]!r} is not complete: {lacking!r} is missing"
    count = len(present) if name else "no"
    return CheckpointNotFoundError(
        "there is no checkpoint at this path",
        where=path,
        expected="a prefix, a file of a checkpoint, or a directory with checkpoints in it",
        found=f"{count} checkpoint{'' if count == 1 else 's'} in {storage.location}",
        advice=advice or "tfpersist.ModelStore(directory).checkpoints() lists what is there",
    )


def _other_file(path: str, storage: Storage, name: str) -> CheckpointNotFoundError:
    """Return the error for a file that belongs to no checkpoint; name its format if known."""
    file_format, advice = _kind_of(storage, name)
    return CheckpointNotFoundError(
        "this file does not belong to a checkpoint",
        where=path,
        expected=_NAMES,
        found=file_format,
        advice=advice,
    )


def _kind_of(storage: Storage, name: str) -> tuple[str, str | None]:
    """Return the kind of a file, and what reads it."""
    file_format, advice = "a file of an unknown format", None
    if name.endswith((".pb", ".pbtxt")):
        file_format = "a file that may be a graph"
        advice = "Load a graph with tfpersist.FrozenModel.load(path)."
    with suppress(StorageError):
        known = recognize.by_magic(storage.read(name), name)
        file_format, advice = (known.name, known.advice) if known else (file_format, advice)
    return file_format, advice
