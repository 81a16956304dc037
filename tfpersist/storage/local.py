"""Implement directories of this machine. Reads are read-only maps; writes go through `staged`."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress

import attrs
import numpy as np

from tfpersist.storage.base import Stamp
from tfpersist.storage.file_locks import NO_LOCKS, flock, locked_directory
from tfpersist.storage.mounts import is_network
from tfpersist.storage.raw_directory import RawHold
from tfpersist.storage.staged import StagedStorage

# Bytes are written in pieces of this size, so that an interrupt is handled between two of them.
_CHUNK = 1 << 20
# A file of up to this size is read in less time than it is mapped and unmapped.
_SMALL = 1 << 17 if hasattr(os, "preadv") else 0
_ALIGNMENT = 64
_NO_RESERVE = {errno.EINVAL, errno.ENODEV, errno.ENOSYS, errno.EOPNOTSUPP}


# SYNC_FILE_RANGE_WRITE of sync_file_range(2).
_RANGE_WRITE = 2


def _range_writer() -> Callable[[int, int, int, int], int] | None:
    """Return the call of Linux that starts to write a part of a file and does not wait.

    None if the system has no such call.
    """
    try:
        call = ctypes.CDLL(None).sync_file_range
    except (AttributeError, OSError, TypeError):
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return call


_BEGIN_TO_WRITE = _range_writer()


def open_local(path: str, *, mapped: bool | None = None) -> StagedStorage:
    """Open a directory of this machine; it may be absent until something is published.

    Args:
        path: the directory; a relative path starts at the working directory of now.
        mapped: whether files are mapped; None to map them unless they lie on another machine.

    Example:
        >>> open_local("/no/such/place").names()
        frozenset()
    """
    return StagedStorage(LocalDirectory(os.path.abspath(path), mapped))


@attrs.frozen(eq=False)
class LocalDirectory:
    """A `RawDirectory` on a POSIX file system.

    Args:
        location: its absolute path.
        mapped: whether files are mapped; None to map them unless they lie on another machine.
    """

    location: str
    mapped: bool | None = None

    @property
    def maps(self) -> bool:
        if self.mapped is not None:
            return self.mapped
        with suppress(OSError):
            return not is_network(os.stat(self.location).st_dev)
        return True

    def path(self, name: str) -> str:
        return f"{self.location}/{name}"

    def beside(self, location: str) -> LocalDirectory:
        return LocalDirectory(os.path.abspath(location), self.mapped)

    def exists(self) -> bool:
        return os.path.isdir(self.location)

    def make(self, *, durable: bool) -> None:
        missing = []
        path = self.location
        while not os.path.isdir(path):
            missing.append(path)
            path = os.path.dirname(path)
            if path in missing:
                break
        if missing:
            os.makedirs(self.location, exist_ok=True)
        for created in missing if durable else ():
            _sync_directory(os.path.dirname(created))

    def names(self, *, folders: bool = False) -> set[str]:
        with suppress(FileNotFoundError), os.scandir(self.location) as entries:
            if folders:
                return {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
            return {entry.name for entry in entries if entry.is_file()}
        return set()

    def present(self, names: Iterable[str]) -> set[str]:
        # os.path.isfile calls a file absent that cannot be looked at, and it would stay behind.
        present = set()
        for name in names:
            with suppress(FileNotFoundError, NotADirectoryError):
                if stat.S_ISREG(os.stat(self.path(name)).st_mode):
                    present.add(name)
        return present

    def read(self, name: str) -> memoryview:
        descriptor = os.open(self.path(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return _content(descriptor, self.mapped)
        finally:
            os.close(descriptor)

    def read_part(self, name: str, start: int, size: int) -> memoryview:
        if self.maps:
            return self.read(name)[start : start + size]
        descriptor = os.open(self.path(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            end = min(os.fstat(descriptor).st_size, start + size)
            return _read(descriptor, start, max(end - start, 0))
        finally:
            os.close(descriptor)

    def forget(self, data: memoryview) -> None:
        """Free the memory of mapped pages; they are read from the file again when they are used.

        Bytes on pages that they share with other bytes stay in memory.
        """
        mapped = data.obj
        if isinstance(mapped, mmap.mmap) and data.nbytes >= mmap.PAGESIZE:
            first, start = (np.frombuffer(view, np.uint8).ctypes.data for view in (mapped, data))
            begin = -(-(start - first) // mmap.PAGESIZE) * mmap.PAGESIZE
            end = (start - first + data.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
            if end > begin:
                mapped.madvise(mmap.MADV_DONTNEED, begin, end - begin)

    def size(self, name: str) -> int:
        return os.stat(self.path(name)).st_size

    def modified(self, name: str) -> float:
        return os.stat(self.path(name)).st_mtime

    def stamps(self, names: Iterable[str]) -> dict[str, Stamp]:
        stamps = {}
        for name in names:
            try:
                status = os.stat(f"{self.location}/{name}")
            except FileNotFoundError:
                continue
            stamps[name] = status.st_mtime_ns, status.st_size, status.st_ino
        return stamps

    def mark(self, name: str) -> object | None:
        return _mark(self.path(name))

    def version(self) -> object | None:
        return _mark(self.location)

    def seal(self) -> object | None:
        now = time.time_ns()
        try:
            os.utime(self.location, ns=(now, now))
        except OSError:
            # Only its owner may set the times of a directory.
            return None
        return self.version()

    def stage(self, name: str) -> LocalFile:
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            descriptor = os.open(self.path(name), flags, 0o666)
            try:
                flock(descriptor, fcntl.LOCK_EX)
                # Another process may have swept the file between the two calls above.
                if os.fstat(descriptor).st_nlink:
                    return LocalFile(descriptor)
            except BaseException:
                os.close(descriptor)
                with suppress(OSError):
                    self.unlink(name)
                raise
            os.close(descriptor)

    def hold(self, name: str, *, alone: bool) -> LocalHold | None:
        while True:
            descriptor = self._open_to_hold(name, alone)
            try:
                operation = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
                fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
                identity = _identity(os.fstat(descriptor))
                held = LocalHold(descriptor, name, identity, mapped=self.mapped)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    os.close(descriptor)
                    raise
                identity = _identity(os.fstat(descriptor))
                return LocalHold(descriptor, name, identity, effective=False, mapped=self.mapped)
            # The file may have been replaced or removed between the open and the lock.
            with suppress(FileNotFoundError):
                if self.identity(name) == held.identity:
                    return held
            held.release()

    def _open_to_hold(self, name: str, alone: bool) -> int:
        flags = os.O_CLOEXEC | os.O_NONBLOCK
        if alone:
            # On a network file system an exclusive lock needs a file that is open for writing.
            with suppress(PermissionError):
                return os.open(self.path(name), flags | os.O_RDWR)
        return os.open(self.path(name), flags | os.O_RDONLY)

    def identity(self, name: str) -> tuple[int, int]:
        return _identity(os.stat(self.path(name)))

    def link(self, held: RawHold, name: str) -> LinkedFile:
        if not isinstance(held, LocalHold):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        os.link(self.path(held.name), self.path(name))
        same = False
        try:
            same = self.identity(name) == held.identity
        finally:
            if not same:
                with suppress(OSError):
                    self.unlink(name)
        if not same:
            raise FileNotFoundError(errno.ENOENT, f"{held.name!r} was replaced while it was linked")
        return LinkedFile(held)

    def sweep(self, name: str) -> None:
        descriptor = os.open(self.path(name), os.O_RDWR | os.O_CLOEXEC)
        try:
            if flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
                self.unlink(name)
        finally:
            os.close(descriptor)

    def check(self, name: str) -> None:
        """Raise if no file could be renamed to this name."""
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(os.stat(self.path(name)).st_mode):
                raise IsADirectoryError(errno.EISDIR, "there is a directory of this name")

    def rename(self, old: str, new: str) -> None:
        os.rename(self.path(old), self.path(new))

    def unlink(self, name: str) -> None:
        os.unlink(self.path(name))

    def sync(self) -> None:
        _sync_directory(self.location)

    def lock(self) -> AbstractContextManager[None]:
        return locked_directory(self.location)


@attrs.define(eq=False)
class LocalFile:
    """A file that is being written under its staged name, locked while its writer lives."""

    descriptor: int
    written: int = 0
    reserved: int = 0
    begun: int = 0

    def reserve(self, size: int) -> None:
        # A small file is written with one call, which notices a full disk itself.
        if size > _CHUNK and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self.descriptor, 0, size)
                self.reserved = max(self.reserved, size)
            except OSError as error:
                if error.errno not in _NO_RESERVE:
                    raise

    def write(self, data: memoryview) -> None:
        start = 0
        while start < len(data):
            count = os.pwrite(self.descriptor, data[start : start + _CHUNK], self.written)
            start += count
            self.written += count

    def hasten(self, least: int) -> None:
        size = self.written - self.begun
        if size >= least and _BEGIN_TO_WRITE is not None:
            # Errors are left to the sync that comes later; this call does not consume them.
            _BEGIN_TO_WRITE(self.descriptor, self.begun, size, _RANGE_WRITE)
            self.begun = self.written

    def seal(self) -> None:
        now = time.time_ns()
        # Where the times of a file cannot be set, it has no mark, and is read instead.
        with suppress(OSError):
            os.utime(self.descriptor, ns=(now, now))

    def finish(self, *, durable: bool) -> None:
        if self.reserved > self.written:
            os.ftruncate(self.descriptor, self.written)
        if durable:
            os.fsync(self.descriptor)

    def close(self) -> None:
        os.close(self.descriptor)


@attrs.define(eq=False)
class LocalHold:
    """A lock on a file, shared or exclusive.

    Args:
        descriptor: the open file; -1 after the release.
        name: its name when it was opened.
        identity: device and inode.
        effective: whether the file could be locked.
        mapped: as in `LocalDirectory`.
    """

    descriptor: int
    name: str
    identity: tuple[int, int]
    effective: bool = True
    mapped: bool | None = None

    def read(self) -> memoryview:
        return _content(self.descriptor, self.mapped)

    def release(self) -> None:
        if self.descriptor >= 0:
            # A process that was forked meanwhile shares the lock: to close the file is not enough.
            with suppress(OSError):
                fcntl.flock(self.descriptor, fcntl.LOCK_UN)
            with suppress(OSError):
                os.close(self.descriptor)
            self.descriptor = -1


@attrs.frozen(eq=False)
class LinkedFile:
    """A staged name of an existing file. The lock of the hold protects it from a sweep.

    Args:
        held: the hold on the file.
    """

    held: LocalHold

    def reserve(self, size: int) -> None:
        """Do nothing: the file has its size."""

    def write(self, data: memoryview) -> None:
        """Raise: the file belongs to another checkpoint as well."""
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def hasten(self, least: int) -> None:
        """Do nothing: the file was written before."""

    def seal(self) -> None:
        """Do nothing: the file belongs to another checkpoint as well."""

    def finish(self, *, durable: bool) -> None:
        if durable:
            os.fsync(self.held.descriptor)

    def close(self) -> None:
        """Do nothing: the hold closes the file."""


def _mark(path: str) -> tuple[int, ...] | None:
    """Return what differs after each write to a file, or each change of names in a directory."""
    try:
        status = os.stat(path)
    except OSError:
        # Nothing is known of what cannot be looked at.
        return None
    # A change sets both times to the same tick of the clock, so where they differ, no change comes
    # that leaves them as they are.
    if status.st_mtime_ns != status.st_ctime_ns:
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    return None


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _content(descriptor: int, mapped: bool | None) -> memoryview:
    """Return the bytes of an open file, read or mapped."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "this is not a plain file")
    size = status.st_size
    if size > _SMALL and (not is_network(status.st_dev) if mapped is None else mapped):
        return memoryview(_map(descriptor, size))
    return _read(descriptor, 0, size)


def _read(descriptor: int, start: int, size: int) -> memoryview:
    # Tensors are used where they are if they start at such addresses, as those of a map do.
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    first = -memory.__array_interface__["data"][0] % _ALIGNMENT
    data, at = memory.data[first : first + size], 0
    while at < size and (count := os.preadv(descriptor, [data[at:]], start + at)):
        at += count
    return data[:at].toreadonly()


def _map(descriptor: int, size: int) -> mmap.mmap:
    if sys.version_info >= (3, 13):
        return mmap.mmap(descriptor, size, access=mmap.ACCESS_READ, trackfd=False)
    return mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems sync directories by themselves and refuse the call.
        if error.errno not in {errno.EINVAL, errno.EBADF, errno.EOPNOTSUPP}:
            raise
    finally:
        os.close(descriptor)
