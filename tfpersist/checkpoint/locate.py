"""Find the checkpoint that a path means, whichever of its spellings that is.

A prefix, a directory (its newest checkpoint; a SavedModel's variables), any one of a checkpoint's
files, a state file, the pattern of V1 shards. Names are compared, never globbed.
"""

from __future__ import annotations

import os
from contextlib import suppress

import attrs

from tfpersist.checkpoint import state_file
from tfpersist.checkpoint.contents import missing
from tfpersist.checkpoint.directory import Directory, is_table
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
_SHOWN = 8
_NAMES = "a prefix, a directory or a file of a checkpoint; of a ModelStore, its latest()"


@attrs.frozen
class Located:
    """Where a checkpoint is.

    Args:
        storage: the directory.
        files: its files there.
    """

    storage: Storage
    files: Files

    @property
    def path(self) -> str:
        """What TensorFlow's readers take."""
        return f"{self.storage.location.rstrip('/')}/{self.files.spelling}"


def locate(path: str | os.PathLike[str], storage: Storage | None = None) -> Located:
    """Find a checkpoint.

    Args:
        path: what names it: a path or URL; with `storage`, a name in it, "" for its newest.
        storage: the directory to look in; None to take it from the path.

    Returns:
        The checkpoint.

    Raises:
        ArgumentError: this is no path.
        CheckpointNotFoundError: there is none; the message names those that are near.
        CorruptionError: there is one, but a data file of it is missing.
        StorageError: the directory cannot be read.
    """
    if path is None:
        raise CheckpointNotFoundError(
            "the path is None",
            expected=_NAMES,
            advice="tf.train.latest_checkpoint gives None where it finds no checkpoint",
        )
    empty = isinstance(path, (str, bytes)) and not path
    text = "" if empty else text_of(path, _NAMES)
    if storage is not None:
        name = text.strip("/")
        found = _named(storage, name) if name not in {"", "."} else _newest(storage)
        return _whole(found or _not_found(text or storage.location, storage, name))
    if not text:
        raise CheckpointNotFoundError("the path is empty", expected=_NAMES)
    directory, parent, name = _split(text)
    beside = open_storage(parent) if name else None
    if beside is not None and not text.endswith("/"):
        names = beside.names()
        if name + INDEX in names:
            return _whole(Located(beside, Listing(names).v2_files(name)))
    inside = open_storage(directory)
    if inside.exists():
        return _whole(_newest(inside) or _not_found(text, inside, ""))
    if beside is None:
        raise _not_found(text, inside, "")
    return _whole(_named(beside, name) or _not_found(text, beside, name))


def parent_of_prefix(location: str) -> str | None:
    """Give the directory that a store should have been given; None where this is no prefix."""
    _, parent, name = _split(location)
    is_prefix = bool(name) and name + INDEX in open_storage(parent).names()
    return parent if is_prefix else None


def directory(path: str | os.PathLike[str]) -> Storage | None:
    """Open the directory that a path means; None where it means one checkpoint, or a SavedModel."""
    text = os.fsdecode(os.fspath(path))
    if not text:
        return None
    itself, parent, name = _split(text)
    if name and not text.endswith("/") and name + INDEX in open_storage(parent).names():
        return None
    inside = open_storage(itself)
    return inside if inside.exists() and not inside.names() & _SAVED_MODEL else None


def _split(text: str) -> tuple[str, str, str]:
    """The path itself, its parent and its last part; the last is empty for a root."""
    if is_url(text) and not text.startswith("file://"):
        scheme, _, rest = text.partition("://")
        above, _, name = rest.rstrip("/").rpartition("/")
        return f"{scheme}://{rest.rstrip('/')}", f"{scheme}://{above}", name if above else ""
    absolute = os.path.abspath(text.removeprefix("file://"))
    return absolute, *os.path.split(absolute)


def _newest(storage: Storage) -> Located | None:
    names = storage.names()
    if names & _SAVED_MODEL:
        variables = open_storage(f"{storage.location}/{_VARIABLES}")
        return _named(variables, _VARIABLES)
    look = Directory.look(storage)
    if look.complete:
        return Located(storage, look.files(look.complete[-1]))
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
    names_one = follow and name in listing.names
    return _recorded(Directory.look(storage), name) if names_one else None


def _recorded(look: Directory, name: str) -> Located | None:
    """Find what a state file names: beside it if it is there, else where the file says."""
    storage = look.storage
    said = (look.record if name == STATE_FILE else state_file.read(storage, name)).says
    if said is None and name != STATE_FILE:
        return None
    latest = "" if said is None else said.latest.rsplit("/", 1)[-1]
    if look.complete:
        # The directory is the truth, whatever its state file says.
        prefix = latest if latest in look.complete else look.complete[-1]
        return Located(storage, look.files(prefix))
    if said is None or not said.latest:
        return None
    if is_url(storage.location) or "/" not in said.latest or not is_possible(said.latest):
        return None
    elsewhere, last = os.path.split(os.path.join(storage.location, said.latest))
    return _named(open_storage(elsewhere), last, follow=False)


def _whole(found: Located | CheckpointNotFoundError) -> Located:
    if isinstance(found, CheckpointNotFoundError):
        raise found
    if found.files.missing:
        raise missing(found.storage, found.files.missing[0])
    return found


def _not_found(path: str, storage: Storage, name: str) -> CheckpointNotFoundError:
    names = storage.names()
    if not storage.exists():
        return CheckpointNotFoundError(
            "nothing here names a checkpoint",
            where=path,
            found=f"no directory {storage.location}",
            advice="Check the spelling of the path",
        )
    look = Directory.look(storage)
    listing = look.listing
    cut = [prefix for prefix in sorted(listing.v2) if not listing.is_complete(prefix)]
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
            found="its data files alone",
            advice="Copy the index from where the checkpoint was saved",
        )
    if name in names:
        return _other_file(path, storage, name)
    near = look.complete
    shown = nearest(prefix, near, _SHOWN) or sorted(near)[:_SHOWN]
    looked = f"{storage.location}/{name}" if name else storage.location
    advice = f"Did you mean {' or '.join(map(repr, shown))}?" if shown else None
    if not shown and cut:
        lacking = listing.v2_files(cut[0]).missing[0]
        advice = f"{cut[0]!r} is not complete: {lacking!r} is missing"
    return CheckpointNotFoundError(
        "nothing here names a checkpoint",
        where=path,
        expected="a prefix, a file of a checkpoint, or a directory with checkpoints in it",
        found=f"{len(near)} checkpoints in {storage.location}" if name else f"none in {looked}",
        advice=advice or "tfpersist.ModelStore(directory).checkpoints() lists what is there",
    )


def _other_file(path: str, storage: Storage, name: str) -> CheckpointNotFoundError:
    """Say what a file is that belongs to no checkpoint."""
    kind, advice = "a file of another kind", None
    if name.endswith((".pb", ".pbtxt")):
        kind = "what may be a graph"
        advice = "A graph is loaded with tfpersist.FrozenModel.load(path)."
    else:
        with suppress(StorageError):
            seen = recognize.by_magic(storage.read(name), name)
            kind, advice = (seen.name, seen.advice) if seen else (kind, advice)
    return CheckpointNotFoundError(
        "this file is no part of a checkpoint",
        where=path,
        expected=_NAMES,
        found=kind,
        advice=advice,
    )
