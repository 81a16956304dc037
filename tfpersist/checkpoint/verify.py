"""Whether a checkpoint is sound: every byte of every file of it, read again."""

from __future__ import annotations

import errno
import functools
import operator
from collections.abc import Iterator, Sequence
from contextlib import suppress

import attrs
import numpy as np

from tfpersist.checkpoint import sidecar
from tfpersist.checkpoint.contents import Bundle, open_contents
from tfpersist.checkpoint.directory import read_meta, read_sidecar
from tfpersist.checkpoint.files import SIDECAR, Files, Listing, readable
from tfpersist.checkpoint.locate import Located
from tfpersist.checkpoint.pins import held, marker
from tfpersist.checkpoint.sidecar import Sidecar
from tfpersist.errors import CorruptionError, StorageError, UnsupportedError, printable
from tfpersist.formats import crc32c, graphdef, sstable
from tfpersist.progress import progress
from tfpersist.storage import Storage

_SHOWN = 20
_CHUNK = 1 << 20
_MOST_ALIGNMENT = 4096
_NO_FACTS = "; no harm if it was saved incrementally: the .tfpersist.json that says so is missing"


@attrs.frozen
class Flaw:
    """One thing that is wrong.

    Args:
        what: the tensor or file.
        problem: what is wrong with it.
        beside: whether it lies beside the tensors, which are all there and what was saved.

    Example:
        >>> print(Flaw("conv/kernel", "its bytes do not match their checksum"))
        conv/kernel: its bytes do not match their checksum
    """

    what: str
    problem: str
    beside: bool = False

    def __str__(self) -> str:
        return printable(f"{self.what}: {self.problem}")


@attrs.frozen
class Verification:
    """What the reading of all bytes found.

    Args:
        prefix: the checkpoint.
        tensors: how many tensors are sound.
        size: how many bytes were read, the index included.
        flaws: what is wrong.
        unchecked: the tensors whose type means nothing outside of TensorFlow.
        notes: what may be wrong and may not.

    Example:
        >>> print(Verification("m-1", 2, 800, (Flaw("v", "the checksum does not match"),)))
        m-1: DAMAGED, 1 flaw; 2 tensors are sound (800 bytes read)
          v  the checksum does not match
    """

    prefix: str
    tensors: int
    size: int
    flaws: tuple[Flaw, ...] = ()
    unchecked: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.flaws

    @property
    def restorable(self) -> bool:
        """Whether nothing is wrong with the tensors."""
        return all(flaw.beside for flaw in self.flaws)

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        sound = f"{self.tensors} tensors are sound ({readable(self.size)} read)"
        if self.ok:
            head = f"{self.prefix}: ok; {sound}"
        else:
            flaws = "1 flaw" if len(self.flaws) == 1 else f"{len(self.flaws)} flaws"
            head = f"{self.prefix}: DAMAGED, {flaws}; {sound}"
        width = max((len(flaw.what) for flaw in self.flaws[:_SHOWN]), default=0)
        lines = [f"  {flaw.what:{width}}  {flaw.problem}" for flaw in self.flaws[:_SHOWN]]
        if len(self.flaws) > _SHOWN:
            lines.append(f"  … and {len(self.flaws) - _SHOWN} more")
        if self.unchecked:
            lines.append("  not checked: " + ", ".join(self.unchecked))
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(map(printable, [head, *lines]))


def verify(located: Located) -> Verification:
    """Read every byte of a checkpoint, which nobody prunes meanwhile.

    Args:
        located: the checkpoint.

    Returns:
        What was found; damage is told in it, not raised.

    Raises:
        CheckpointNotFoundError: it was removed meanwhile.
        StorageError: a file cannot be read at all.
    """
    if marker(located.files) in located.files.missing:
        return examine(located)
    with held(located.storage, located.files):
        return examine(located)


def examine(located: Located) -> Verification:
    """Read every byte of a checkpoint that is held already; see `verify`."""
    before = _mark(located)
    while True:
        found = _examined(located)
        # It may be saved anew while it is looked at, and then its files are others.
        if found.ok or before == (before := _mark(located)):
            return found
        listing = Listing(located.storage.names())
        if located.files.prefix in listing.v2:
            located = attrs.evolve(located, files=listing.v2_files(located.files.prefix))


def _mark(located: Located) -> tuple[float, int]:
    name = marker(located.files)
    try:
        return located.storage.modified(name), located.storage.size(name)
    except StorageError as error:
        if error.errno == errno.ENOENT and name in located.files.missing:
            return -1.0, -1
        raise


def _examined(located: Located) -> Verification:
    storage, files = located.storage, located.files
    try:
        contents = open_contents(storage, files)
    except CorruptionError as error:
        return Verification(located.path, 0, 0, (Flaw(error.file, str(error)),))
    flaws, unchecked, notes, sound = [], [], [], 0
    tables = files.shards if files.index is None else (files.index,)
    for name in tables:
        if not _is_footer_clean(storage.read(name)):
            flaws.append(Flaw(f"{storage.location}/{name}", "stray bytes in its footer"))
    total = sum(spec.nbytes or 0 for spec in contents.specs.values())
    with progress(f"Verifying {files.prefix}", total) as done:
        for key, spec in contents.specs.items():
            try:
                contents.read(key)
                sound += 1
            except CorruptionError as error:
                flaws.append(Flaw(key, str(error)))
            except UnsupportedError:
                unchecked.append(key)
            contents.release(key)
            done(spec.nbytes or 0)
    if isinstance(contents, Bundle):
        facts = read_sidecar(storage, files)
        hint = _NO_FACTS if facts is None and len(contents.shard_names) > 1 else ""
        flaws += _strays(contents, _own_shards(contents, facts), hint)
        flaws += _misfits(storage, contents.shard_names, facts)
        if files.meta is not None:
            flaws += _meta_flaws(storage, files, facts)
        judged = judge_sidecar(storage, files)
        flaws += [judged] if isinstance(judged, Flaw) else []
        notes += [judged] if isinstance(judged, str) else []
        tables += contents.shard_names
    size = sum(storage.size(name) for name in tables)
    return Verification(located.path, sound, size, tuple(flaws), tuple(unchecked), tuple(notes))


def judge_sidecar(storage: Storage, files: Files) -> Flaw | str | None:
    """Say whether the sidecar beside a checkpoint is whole, and belongs to it.

    Another program that saves under the same name leaves a sidecar of what was there before. Files
    that were mixed up look the same, but for the sidecar of another checkpoint that fits this one.

    Returns:
        What is wrong; a note where that cannot be told; None where nothing is, or there is none.

    Raises:
        StorageError: the index cannot be read.
    """
    if files.index is None or files.sidecar is None or files.index in files.missing:
        return None
    where = f"{storage.location}/{files.sidecar}"
    try:
        facts = sidecar.decode(storage.read(files.sidecar))
    except StorageError as error:
        return None if error.errno == errno.ENOENT else Flaw(where, str(error), beside=True)
    if facts is None:
        problem = "it is damaged, so the metrics and the time that it held are not known"
        return Flaw(where, problem, beside=True)
    return _belonging(storage, files, files.index, facts)


def _belonging(storage: Storage, files: Files, index: str, facts: Sidecar) -> Flaw | str | None:
    where, content = f"{storage.location}/{index}", storage.read(index)
    crc = crc32c.of(np.frombuffer(content, np.uint8))
    if facts.index_crc32c in (None, crc):
        return _renamed(files, facts)
    for prefix, other in _sidecars(storage):
        if prefix != files.prefix and other.index_crc32c == crc:
            if files.step is not None and other.step == files.step:
                problem = f"it belongs to another checkpoint; that of this one lies beside {prefix}"
                return Flaw(f"{storage.location}/{files.sidecar}", problem, beside=True)
            problem = f"it was saved as {prefix}: files of these checkpoints were mixed up"
            return Flaw(where, problem)
    if not _is_footer_clean(content):
        return Flaw(where, "it is not what was saved", beside=True)
    return (
        f"{files.sidecar} belongs to what was saved here before: another program, such as "
        "TensorFlow, has saved under this name since, or files were mixed up"
    )


def _renamed(files: Files, facts: Sidecar | None) -> str | None:
    if facts is None or None in (files.step, facts.step) or files.step == facts.step:
        return None
    return f"it was saved at step {facts.step}, and was given its name since"


def _sidecars(storage: Storage) -> Iterator[tuple[str, Sidecar]]:
    for name in sorted(storage.names()):
        if name.endswith(SIDECAR):
            with suppress(StorageError):
                facts = sidecar.decode(storage.read(name))
                if facts is not None:
                    yield name.removesuffix(SIDECAR), facts


def _own_shards(contents: Bundle, facts: Sidecar | None) -> range:
    """The shards that no other checkpoint shares; in others, tensors of those may lie."""
    count = len(contents.shard_names)
    if facts is None or facts.increment is None or not facts.increment.shared:
        return range(count)
    first, left = count, facts.increment.written
    while first and left > 0:
        first -= 1
        left -= facts.sizes[first] if len(facts.sizes) == count else left
    return range(first, count)


def refuse_misfits(storage: Storage, files: Files) -> str:
    """Compare index and data files with what the sidecar has noted, which costs no reading of data.

    Returns:
        What may be wrong and may not, or harms no tensor; empty where there is no such thing.

    Raises:
        CorruptionError: one is longer or shorter than it was, or they are those of another.
        StorageError: a file cannot be looked at.
    """
    facts = read_sidecar(storage, files)
    while True:
        note = _renamed(files, facts) or ""
        try:
            problem = next(_misfits(storage, files.shards, facts), None)
            if facts is None and problem is None:
                judged = judge_sidecar(storage, files)
                if isinstance(judged, Flaw) and not judged.beside:
                    problem = judged
                elif judged is not None:
                    note = str(judged)
        except StorageError as error:
            if error.errno != errno.ENOENT:
                raise
            problem = Flaw(storage.location, str(error))
        if problem is None:
            return note
        # It may be saved anew while it is looked at; then the sidecar is another as well.
        before, facts = facts, read_sidecar(storage, files)
        if facts == before:
            raise CorruptionError(problem.problem, file=problem.what)


def _misfits(storage: Storage, names: Sequence[str], facts: Sidecar | None) -> Iterator[Flaw]:
    """Shards that are not as long as they were."""
    if facts is None or len(facts.sizes) != len(names):
        return
    for name, size in zip(names, facts.sizes, strict=True):
        found = storage.size(name)
        if found != size:
            yield Flaw(f"{storage.location}/{name}", f"it is of {found} bytes, and was of {size}")


def _meta_flaws(storage: Storage, files: Files, facts: Sidecar | None) -> Iterator[Flaw]:
    try:
        data = read_meta(storage, files)
        if facts is None or facts.meta_crc32c is None:
            graphdef.parse_meta(data, f"{storage.location}/{files.meta}")
    except CorruptionError as error:
        yield Flaw(error.file, str(error))


def _strays(contents: Bundle, shards: range, hint: str) -> Iterator[Flaw]:
    """Bytes of the shards that belong to no tensor; alignment may put zeros there."""
    whole = [entry for entry in contents.index.entries.values() if not entry.slices]
    for number in shards:
        try:
            data, file = contents.shard(number)
        except StorageError as error:
            yield Flaw(contents.shard_names[number], str(error))
            continue
        spans = sorted(
            (entry.offset, entry.offset + entry.size)
            for entry in [*whole, *contents.index.parts.values()]
            if entry.shard == number and entry.size
        )
        end = 0
        for start, stop in [*spans, (len(data), len(data))]:
            if start > end and not _is_zero(data[end:start]):
                yield Flaw(file, f"the {start - end} bytes at {end} belong to no tensor{hint}")
            end = max(end, stop)
        excess = len(data) - max((stop for _, stop in spans), default=0)
        if excess and not _is_padding(excess, len(data), [start for start, _ in spans]):
            problem = f"the {excess} bytes at its end are neither a tensor nor padding"
            yield Flaw(file, problem + hint)


def _is_padding(excess: int, size: int, starts: list[int]) -> bool:
    """Whether a file was filled up to a power of two that all tensors are aligned to as well."""
    common = functools.reduce(operator.or_, starts, _MOST_ALIGNMENT)
    return excess < common & -common and not size % (1 << excess.bit_length())


def _is_footer_clean(table: memoryview) -> bool:
    """Whether a footer is its four numbers, none longer than it need be, and zeros."""
    footer = bytes(table[-sstable.FOOTER_SIZE : -len(sstable.MAGIC)])
    at = 0
    for _ in range(4):
        start = at
        while at < len(footer) and footer[at] >= 0x80:
            at += 1
        if at > start and not any(footer[at : at + 1]):
            return False
        at += 1
    return not any(footer[at:])


def _is_zero(data: memoryview) -> bool:
    flat = np.frombuffer(data, np.uint8)
    return not any(flat[at : at + _CHUNK].any() for at in range(0, flat.size, _CHUNK))
