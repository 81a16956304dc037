"""Verify a checkpoint: read every byte of its files and compare it with its checksum."""

from __future__ import annotations

import errno
import functools
import operator
from collections.abc import Iterator, Sequence
from contextlib import suppress

import attrs
import numpy as np

from tfpersist.checkpoint import sidecar
from tfpersist.checkpoint.contents import Bundle, Opened, open_contents
from tfpersist.checkpoint.facts import read_meta, read_sidecar
from tfpersist.checkpoint.files import SIDECAR, Files, Listing, readable
from tfpersist.checkpoint.hdf5 import Hdf5
from tfpersist.checkpoint.locate import Located
from tfpersist.checkpoint.pins import held, marker
from tfpersist.checkpoint.sidecar import Sidecar
from tfpersist.errors import (
    CorruptionError,
    StorageError,
    UnsupportedError,
    counted,
    printable,
)
from tfpersist.formats import crc32c, graphdef, sstable
from tfpersist.progress import progress
from tfpersist.storage import Hold, Storage
from tfpersist.storage.base import Stamp

_SHOWN = 20
_CHUNK = 1 << 20
_MOST_ALIGNMENT = 4096
_NO_FACTS = (
    "; an incremental save may leave such bytes, but the .tfpersist.json that would say so is "
    "missing"
)
_UNCHECKED = "an HDF5 file has no checksums of its tensors: they can be read, and may be wrong"


@attrs.frozen
class Flaw:
    """One problem of a checkpoint.

    Args:
        where: the tensor or the file that has it.
        problem: what is wrong.
        tensors_intact: whether all tensors are what was saved in spite of it.

    Example:
        >>> print(Flaw("conv/kernel", "its bytes do not match their checksum"))
        conv/kernel: its bytes do not match their checksum
    """

    where: str
    problem: str
    tensors_intact: bool = False

    def __str__(self) -> str:
        return printable(f"{self.where}: {self.problem}")


@attrs.frozen
class Verification:
    """The result of verifying one checkpoint.

    Args:
        prefix: the checkpoint.
        tensors: the number of tensors that are intact.
        size: the number of bytes that were read, the index included.
        flaws: the problems.
        unchecked: tensors of a type that only TensorFlow can read.
        notes: what may or may not be a problem.

    Example:
        >>> print(Verification("m-1", 2, 800, (Flaw("v", "the checksum does not match"),)))
        m-1: DAMAGED, 1 flaw; 2 tensors are intact (800 bytes read)
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
        """True if there are no flaws."""
        return not self.flaws

    @property
    def restorable(self) -> bool:
        """True if all tensors are intact, even if other files have flaws."""
        return all(flaw.tensors_intact for flaw in self.flaws)

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        intact = f"{count_intact(self)} ({readable(self.size)} read)"
        if self.ok:
            head = f"{self.prefix}: ok; {intact}"
        else:
            head = f"{self.prefix}: DAMAGED, {counted(len(self.flaws), 'flaw')}; {intact}"
        width = max((len(flaw.where) for flaw in self.flaws[:_SHOWN]), default=0)
        lines = [f"  {flaw.where:{width}}  {flaw.problem}" for flaw in self.flaws[:_SHOWN]]
        if len(self.flaws) > _SHOWN:
            lines.append(f"  … and {len(self.flaws) - _SHOWN} more")
        if self.unchecked:
            lines.append("  not checked: " + ", ".join(self.unchecked))
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(map(printable, [head, *lines]))


def count_intact(result: Verification) -> str:
    """Return how many tensors are intact, as a phrase.

    Example:
        >>> count_intact(Verification("m-1", 1, 800))
        '1 tensor is intact'
    """
    return counted(result.tensors, "tensor is intact", "tensors are intact")


def verify(located: Located) -> Verification:
    """Read every byte of a checkpoint, and keep it from being pruned meanwhile.

    Args:
        located: the checkpoint.

    Returns:
        The result. Damage is a flaw in it and raises no error.

    Raises:
        CheckpointNotFoundError: it was removed meanwhile.
        StorageError: a file cannot be read at all.
    """
    if marker(located.files) in located.files.missing:
        return examine(located)
    with held(located.storage, located.files):
        return examine(located)


def examine(located: Located) -> Verification:
    """Read every byte of a checkpoint that the caller holds; see `verify`."""
    before = _marker_state(located)
    while True:
        # If the checkpoint is saved again during the reading, other files take its name.
        try:
            result = _examine_once(located)
        except StorageError:
            if before == (before := _marker_state(located)):
                raise
        else:
            if result.ok or before == (before := _marker_state(located)):
                return result
        listing = Listing(located.storage.names())
        if located.files.prefix in listing.v2:
            located = attrs.evolve(located, files=listing.v2_files(located.files.prefix))


def _marker_state(located: Located) -> Stamp | None:
    name = marker(located.files)
    stamp = located.storage.stamps([name]).get(name)
    if stamp is None and name not in located.files.missing:
        # It raises the error.
        located.storage.size(name)
    return stamp


def _examine_once(located: Located) -> Verification:
    storage, files = located.storage, located.files
    try:
        contents = open_contents(storage, files)
    except CorruptionError as error:
        return Verification(located.path, 0, 0, (Flaw(error.file, str(error)),))
    flaws: list[Flaw] = []
    unchecked: list[str] = []
    notes: list[str] = []
    intact = 0
    tables = files.shards if files.index is None else (files.index,)
    if isinstance(contents, Hdf5):
        notes += [] if contents.is_zipped else [_UNCHECKED]
        damage = contents.flaw()
        flaws += [Flaw(located.path, damage)] if damage else []
    for name in () if isinstance(contents, Hdf5) else tables:
        if not _is_footer_clean(storage.read(name)):
            flaws.append(Flaw(f"{storage.location}/{name}", "stray bytes in its footer"))
    total = sum(spec.nbytes or 0 for spec in contents.specs.values())
    if isinstance(contents, Bundle):
        # What cannot be read is noticed again below, by the tensors that it holds.
        with suppress(StorageError):
            contents.load()
    with progress(f"Verifying {files.prefix}", total) as done:
        for key, spec in contents.specs.items():
            try:
                contents.read(key)
                intact += 1
            except CorruptionError as error:
                flaws.append(Flaw(key, str(error)))
            except UnsupportedError:
                unchecked.append(key)
            contents.release(key)
            done(spec.nbytes or 0)
    if isinstance(contents, Bundle):
        facts = read_sidecar(storage, files)
        names = tuple(contents.shard_names.values())
        hint = _NO_FACTS if facts is None and len(names) > 1 else ""
        flaws += _stray_bytes(contents, _own_shards(contents, facts), hint)
        flaws += _wrong_sizes(storage, names, facts)
        if files.meta is not None:
            flaws += _meta_flaws(storage, files, facts)
        problem = check_sidecar(storage, files)
        flaws += [problem] if isinstance(problem, Flaw) else []
        notes += [problem] if isinstance(problem, str) else []
        tables += names
    size = sum(storage.size(name) for name in tables)
    return Verification(located.path, intact, size, tuple(flaws), tuple(unchecked), tuple(notes))


def check_sidecar(storage: Storage, files: Files) -> Flaw | str | None:
    """Check that the sidecar of a checkpoint is intact and belongs to it.

    If another program saves under the same name, the sidecar of the earlier checkpoint stays. If
    files of two checkpoints were mixed up, the sidecar does not belong either; then the sidecar
    that does belong often lies beside the other checkpoint.

    Returns:
        The flaw; a note if it is not certain that there is one; None if the sidecar belongs to the
        checkpoint, or if there is no sidecar.

    Raises:
        StorageError: the index cannot be read.
    """
    if files.index is None or files.sidecar is None or files.index in files.missing:
        return None
    if files.is_attempt and read_sidecar(storage, attrs.evolve(files, sidecar=None)) is not None:
        # The facts are in the index; the sidecar is that of a checkpoint before.
        return None
    where = f"{storage.location}/{files.sidecar}"
    try:
        facts = sidecar.decode(storage.read(files.sidecar))
    except StorageError as error:
        return None if error.errno == errno.ENOENT else Flaw(where, str(error), tensors_intact=True)
    if facts is None:
        problem = "it is damaged; its metrics and its time are lost"
        return Flaw(where, problem, tensors_intact=True)
    return _check_owner(storage, files, files.index, facts)


def _check_owner(storage: Storage, files: Files, index: str, facts: Sidecar) -> Flaw | str | None:
    """Check that a sidecar belongs to the index beside it."""
    where, content = f"{storage.location}/{index}", storage.read(index)
    crc = crc32c.of(np.frombuffer(content, np.uint8))
    if facts.index_crc32c in (None, crc):
        return _renamed(files, facts)
    for prefix, other in _sidecars(storage):
        if prefix != files.prefix and other.index_crc32c == crc:
            if files.step is not None and other.step == files.step:
                problem = f"it belongs to another checkpoint; the right one lies beside {prefix}"
                return Flaw(f"{storage.location}/{files.sidecar}", problem, tensors_intact=True)
            problem = f"it was saved as {prefix}; files of the two checkpoints were mixed up"
            return Flaw(where, problem)
    if not _is_footer_clean(content):
        return Flaw(where, "its footer is not what was saved", tensors_intact=True)
    return (
        f"{files.sidecar} belongs to an earlier checkpoint: another program, such as TensorFlow, "
        "has saved under this name since, or files were mixed up"
    )


def _renamed(files: Files, facts: Sidecar | None) -> str | None:
    if facts is None or None in (files.step, facts.step) or files.step == facts.step:
        return None
    return f"it was saved at step {facts.step} and renamed later"


def _sidecars(storage: Storage) -> Iterator[tuple[str, Sidecar]]:
    for name in sorted(storage.names()):
        if name.endswith(SIDECAR):
            with suppress(StorageError):
                facts = sidecar.decode(storage.read(name))
                if facts is not None:
                    yield name.removesuffix(SIDECAR), facts


def _own_shards(contents: Bundle, facts: Sidecar | None) -> Sequence[int]:
    """Return the shards that hold tensors of this checkpoint alone, and of no earlier one."""
    count = len(contents.shard_names)
    if facts is None or facts.increment is None or not facts.increment.shared:
        return tuple(contents.shard_names)
    first, left = count, facts.increment.written
    while first and left > 0:
        first -= 1
        left -= facts.sizes[first] if len(facts.sizes) == count else left
    return range(first, count)


def open_as_saved(storage: Storage, files: Files, hold: Hold | None = None) -> tuple[Opened, str]:
    """Open a checkpoint, and do what `refuse_misfits` does.

    Args:
        storage: the directory.
        files: the files of the checkpoint.
        hold: the hold on its index, if the caller has one.

    Returns:
        Its contents, and a note on what may be a problem; empty if there is none.

    Raises:
        CorruptionError: a file is damaged, has another size than it had, or belongs to another
            checkpoint.
        StorageError: a file cannot be read.
    """
    contents, facts = _opened_by_sidecar(storage, files, hold)
    if contents is None:
        note = refuse_misfits(storage, files)
        return open_contents(storage, files), note
    return contents, _renamed(files, facts) or ""


def _opened_by_sidecar(
    storage: Storage, files: Files, hold: Hold | None
) -> tuple[Bundle, Sidecar] | tuple[None, None]:
    """Open a checkpoint and read each file once; None if its sidecar does not confirm all of it."""
    if files.is_attempt:
        opened = open_contents(storage, files, hold)
        if isinstance(opened, Bundle) and opened.facts is not None:
            return opened, opened.facts
    if files.sidecar is None or not storage.maps:
        return None, None
    try:
        facts = sidecar.decode((storage if hold is None else hold).read(files.sidecar))
        contents = open_contents(storage, files, hold)
    except (CorruptionError, StorageError):
        # It is opened again, and the error tells more then.
        return None, None
    if facts is None or not isinstance(contents, Bundle):
        return None, None
    sizes = tuple(len(contents.shards[number]) for number in contents.shard_names)
    if facts.index_crc32c != contents.index_crc32c or facts.sizes != sizes:
        return None, None
    return contents, facts


def refuse_misfits(storage: Storage, files: Files) -> str:
    """Compare index and data files with what the sidecar says, without reading tensors.

    Returns:
        A note on what may be a problem, or on one that harms no tensor; empty if there is none.

    Raises:
        CorruptionError: a file has another size than it had, or belongs to another checkpoint.
        StorageError: a file cannot be read.
    """
    facts = read_sidecar(storage, files)
    while True:
        note = _renamed(files, facts) or ""
        try:
            problem = next(_wrong_sizes(storage, files.shards, facts), None)
            if facts is None and problem is None:
                sidecar_problem = check_sidecar(storage, files)
                if isinstance(sidecar_problem, Flaw) and not sidecar_problem.tensors_intact:
                    problem = sidecar_problem
                elif sidecar_problem is not None:
                    note = str(sidecar_problem)
        except StorageError as error:
            if error.errno != errno.ENOENT:
                raise
            problem = Flaw(storage.location, str(error))
        if problem is None:
            return note
        # If the checkpoint is saved again meanwhile, its sidecar changes too.
        before, facts = facts, read_sidecar(storage, files)
        if facts == before:
            raise CorruptionError(problem.problem, file=problem.where)


def _wrong_sizes(storage: Storage, names: Sequence[str], facts: Sidecar | None) -> Iterator[Flaw]:
    """Yield the shards that are longer or shorter than they were when they were saved."""
    if facts is None or len(facts.sizes) != len(names):
        return
    for name, saved_size in zip(names, facts.sizes, strict=True):
        size = storage.size(name)
        if size != saved_size:
            yield Flaw(
                f"{storage.location}/{name}", f"expected {saved_size} bytes, as saved, got {size}"
            )


def _meta_flaws(storage: Storage, files: Files, facts: Sidecar | None) -> Iterator[Flaw]:
    try:
        data = read_meta(storage, files)
        if data is not None and (facts is None or facts.meta_crc32c is None):
            graphdef.parse_meta(data, f"{storage.location}/{files.meta}")
    except CorruptionError as error:
        yield Flaw(error.file, str(error))


def _stray_bytes(contents: Bundle, shards: Sequence[int], hint: str) -> Iterator[Flaw]:
    """Yield bytes of the shards that belong to no tensor, except zeros from alignment."""
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
            if not _is_zero(data[end:start]):
                yield Flaw(file, f"the {start - end} bytes at {end} belong to no tensor{hint}")
            end = stop
        excess = len(data) - max((stop for _, stop in spans), default=0)
        if excess and not _is_padding(excess, len(data), [start for start, _ in spans]):
            problem = f"the {excess} bytes at its end are neither tensors nor padding"
            yield Flaw(file, problem + hint)


def _is_padding(excess: int, size: int, starts: list[int]) -> bool:
    """Return whether the end of a file is padding: up to a power of two that aligns all tensors."""
    common = functools.reduce(operator.or_, starts, _MOST_ALIGNMENT)
    return excess < common & -common and not size % (1 << excess.bit_length())


def _is_footer_clean(table: memoryview) -> bool:
    """Return whether a footer is four numbers in their shortest form, and then zeros."""
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
