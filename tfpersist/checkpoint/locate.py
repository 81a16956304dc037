"""Find the checkpoint that a path means, whichever of its spellings that is.

A prefix, a directory (its newest checkpoint; a SavedModel's variables), any one of a checkpoint's
files, a state file, the pattern of V1 shards. Names are compared, never globbed.
"""

from __future__ import annotations

import os
from contextlib import suppress

import attrs

from tfpersist.checkpoint import files as listing
from tfpersist.checkpoint import sidecar
from tfpersist.checkpoint.contents import missing
from tfpersist.checkpoint.files import Files
from tfpersist.errors import CheckpointNotFoundError, StorageError, nearest
from tfpersist.formats import recognize
from tfpersist.storage import Storage, is_url, open_storage, text_of
from tfpersist.storage.base import is_possible

_SAVED_MODEL = frozenset({"saved_model.pb", "saved_model.pbtxt"})
_VARIABLES = "variables"
_SUFFIXES = (listing.INDEX, listing.META, sidecar.SUFFIX)
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
        if name + listing.INDEX in names:
            return _whole(Located(beside, _exact(name, names)))
    inside = open_storage(directory)
    if inside.exists():
        return _whole(_newest(inside) or _not_found(text, inside, ""))
    if beside is None:
        raise _not_found(text, inside, "")
    return _whole(_named(beside, name) or _not_found(text, beside, name))


def parent_of_prefix(location: str) -> str | None:
    """Give the directory that a store should have been given; None where this is no prefix."""
    _, parent, name = _split(location)
    is_prefix = bool(name) and name + listing.INDEX in open_storage(parent).names()
    return parent if is_prefix else None


def directory(path: str | os.PathLike[str]) -> Storage | None:
    """Open the directory that a path means; None where it means one checkpoint, or a SavedModel."""
    text = os.fsdecode(os.fspath(path))
    if not text:
        return None
    itself, parent, name = _split(text)
    if name and not text.endswith("/") and name + listing.INDEX in open_storage(parent).names():
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
    found = listing.checkpoints(storage)
    if found:
        return Located(storage, found[list(listing.dated(storage, found))[-1]])
    return _recorded(storage, listing.STATE_FILE) if listing.STATE_FILE in names else None


def _named(storage: Storage, name: str, *, follow: bool = True) -> Located | None:
    names = storage.names()
    if name + listing.INDEX in names:
        return Located(storage, _exact(name, names))
    v2, v1 = listing.v2_files(names), listing.v1_shard_files(names)
    shard = listing.V1_SHARD.fullmatch(name)
    data = listing.DATA.fullmatch(name)
    prefix = data["prefix"] if data else name
    for suffix in _SUFFIXES:
        prefix = prefix.removesuffix(suffix) if prefix == name else prefix
    if prefix in v2 and prefix != name:
        return Located(storage, v2[prefix])
    if shard and not data and shard["prefix"] in v1:
        return Located(storage, v1[shard["prefix"]])
    for candidate in (name, prefix):
        if candidate in names and listing.is_table(storage, candidate):
            return Located(storage, listing.v1_file(candidate, names))
        if candidate in v1:
            return Located(storage, v1[candidate])
    return _recorded(storage, name) if follow and name in names else None


def _exact(prefix: str, names: frozenset[str]) -> Files:
    """The files of a V2 checkpoint whose index is there, at little cost in a large directory."""
    return listing.v2_files(name for name in names if name.startswith(f"{prefix}."))[prefix]


def _recorded(storage: Storage, name: str) -> Located | None:
    """What a state file names: beside it if it is there, else where it says."""
    state = listing.read_state(storage, name)
    if state is None and name != listing.STATE_FILE:
        return None
    found = listing.checkpoints(storage)
    latest = "" if state is None else state.latest.rsplit("/", 1)[-1]
    if latest in found:
        return Located(storage, found[latest])
    if found:
        # The directory is the truth, whatever its state file says.
        return Located(storage, found[list(listing.dated(storage, found))[-1]])
    if state is None or not state.latest:
        return None
    if is_url(storage.location) or "/" not in state.latest or not is_possible(state.latest):
        return None
    elsewhere, last = os.path.split(os.path.join(storage.location, state.latest))
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
    cut = [files for files in listing.v2_files(names).values() if files.missing]
    data = {match["prefix"] for match in map(listing.DATA.fullmatch, names) if match}
    prefix = name
    for suffix in _SUFFIXES:
        prefix = prefix.removesuffix(suffix)
    match = listing.DATA.fullmatch(prefix)
    prefix = match["prefix"] if match else prefix
    if prefix in data:
        return CheckpointNotFoundError(
            "the index of this checkpoint is missing",
            where=path,
            expected=f"{storage.location}/{prefix}{listing.INDEX}",
            found="its data files alone",
            advice="Copy the index from where the checkpoint was saved",
        )
    if name in names:
        return _other_file(path, storage, name)
    near = list(listing.checkpoints(storage))
    shown = nearest(prefix, near, _SHOWN) or sorted(near)[:_SHOWN]
    looked = f"{storage.location}/{name}" if name else storage.location
    advice = f"Did you mean {' or '.join(map(repr, shown))}?" if shown else None
    if not shown and cut:
        advice = f"{cut[0].prefix!r} is not whole: {cut[0].missing[0]!r} is missing"
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
