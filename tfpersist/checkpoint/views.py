"""Present bytes in memory as files, for libraries that read files."""

from __future__ import annotations

import io
from typing import Any


class ViewFile(io.RawIOBase):
    """Bytes in memory as a file that is read, without a copy of all of them.

    Args:
        data: the bytes.

    Example:
        >>> file = ViewFile(memoryview(b"abcd"))
        >>> file.seek(1), file.read(2), file.tell()
        (1, b'bc', 3)
    """

    def __init__(self, data: memoryview) -> None:
        super().__init__()
        self._data = data.cast("B")
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the place of the next read, at the first byte or after it."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._data)}[whence]
        self._at = max(start + offset, 0)
        return self._at

    def tell(self) -> int:
        """Return the place of the next read."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, as far as there are bytes."""
        target = memoryview(buffer).cast("B")
        part = self._data[self._at : self._at + len(target)]
        target[: len(part)] = part
        self._at += len(part)
        return len(part)
