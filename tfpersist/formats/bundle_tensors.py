"""Read the tensors of a checkpoint of the V2 format."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import numpy as np

from tfpersist.errors import CorruptionError, NameNotFoundError, UnsupportedError, did_you_mean
from tfpersist.formats import bundle, crc32c, dtypes, slices, string_tensor, variant_tensor
from tfpersist.formats.bundle import BundleIndex
from tfpersist.formats.bundle_entry import BundleEntry

Shard = Callable[[int], tuple[memoryview, str]]

# From this size on a checksum is worth a thread. More threads than these wait for memory.
_LARGE, _THREADS = 1 << 20, 4


def read_tensor(
    index: BundleIndex, key: str, shard: Shard, *, verify: bool = True
) -> np.ndarray[Any, Any]:
    """Read one tensor.

    Args:
        index: the index of the checkpoint.
        key: name of the tensor.
        shard: returns a data file and its name, by its number.
        verify: whether to compare the checksum; those of strings and variants are always
            compared.

    Returns:
        A read-only view of the shard; a new array for strings, for variants, for a partitioned
        variable and for the other byte order.

    Raises:
        NameNotFoundError: there is no such tensor.
        CorruptionError: its bytes are missing or damaged.
        UnsupportedError: its elements have no meaning outside of TensorFlow.

    Example:
        >>> import io
        >>> from tfpersist.formats.bundle import read_index
        >>> from tfpersist.formats.bundle_writer import Item, write_bundle
        >>> from tfpersist.formats.tensors import payload_of
        >>> class Shard(io.BytesIO):
        ...     def reserve(self, size): pass
        >>> shard = Shard()
        >>> item = Item("v", payload_of(np.arange(3)))
        >>> encoded = write_bundle([item], lambda count: [shard])
        >>> index = read_index(memoryview(encoded), "m.index")
        >>> read_tensor(index, "v", lambda number: (memoryview(shard.getvalue()), "m.data"))
        array([0, 1, 2])
    """
    entry = index.entries.get(key)
    if entry is None:
        raise NameNotFoundError(
            f"there is no tensor {key!r}",
            where=index.file or None,
            advice=did_you_mean(key, index.entries),
        )
    if not entry.slices:
        return _read(index, entry, shard, verify)
    _numpy_dtype(entry, index.file)
    parts = [index.parts[bundle.part_key(part)] for part in entry.slices]
    # All parts are checked before any is read: a small file cannot ask for much memory.
    for part in parts:
        _shard_of(part, shard, index)
    bundle.check_disjoint(parts, index.file)

    def read(part: BundleEntry) -> np.ndarray[Any, Any]:
        return _read(index, part, shard, verify)

    is_large = sum(part.size for part in parts) >= _LARGE
    with ThreadPoolExecutor(_THREADS) if is_large else nullcontext() as threads:
        # Checksums are compared while the parts before are copied.
        arrays = map(read, parts) if threads is None else threads.map(read, parts)
        whole = slices.assemble(entry.spec, entry.slices, arrays, file=index.file, offset=0)
    whole.flags.writeable = False
    return whole


def read_tensors(
    index: BundleIndex, keys: Iterable[str], shard: Shard, *, trusted: Container[str] = ()
) -> Iterator[np.ndarray[Any, Any]]:
    """Read many tensors, the large ones on several processors at once.

    Args:
        index: the index of the checkpoint.
        keys: names of the tensors.
        shard: returns a data file and its name, by its number.
        trusted: the names of tensors whose checksum was compared already.

    Returns:
        The arrays in order, each as `read_tensor` returns it. The iterator raises when it comes
        to a damaged tensor: use all of the arrays or none.

    Raises:
        NameNotFoundError: there is no such tensor.
        CorruptionError: the bytes of a tensor are missing or damaged.
        UnsupportedError: the elements of a tensor have no meaning outside of TensorFlow.
    """
    keys = list(keys)
    files: dict[int, np.ndarray[Any, Any]] = {}
    views = [_view(index, key, shard, files) for key in keys]
    large = {
        key: view
        for key, view in zip(keys, views, strict=True)
        if view is not None and view.nbytes >= _LARGE and key not in trusted
    }
    with ThreadPoolExecutor(_THREADS) if large else nullcontext() as threads:
        checks: dict[str, Future[int]] = {}
        try:
            if threads is not None:
                checks = {key: threads.submit(crc32c.of, view) for key, view in large.items()}
            for key, view in zip(keys, views, strict=True):
                intact = view is not None and key in trusted
                if view is not None and not intact:
                    crc = checks[key].result() if key in checks else crc32c.of(view)
                    intact = crc32c.masked(crc) == index.entries[key].crc32c
                # `read_tensor` reads any other tensor, and raises the error for a damaged one.
                if view is not None and intact:
                    yield view
                else:
                    yield read_tensor(index, key, shard, verify=key not in trusted)
        finally:
            if threads is not None:
                threads.shutdown(cancel_futures=True)


def _view(
    index: BundleIndex, key: str, shard: Shard, files: dict[int, np.ndarray[Any, Any]]
) -> np.ndarray[Any, Any] | None:
    """Return a view of a tensor that is numbers in one piece, as most are; None for any other."""
    entry = index.entries.get(key)
    if entry is None or entry.slices or not entry.size or index.big_endian:
        return None
    dtype = dtypes.BY_NAME[entry.spec.dtype].numpy
    if dtype is None or dtype.kind == "O":
        return None
    if entry.shard not in files:
        files[entry.shard] = np.frombuffer(shard(entry.shard)[0].toreadonly(), np.uint8)
    try:
        return np.ndarray(entry.spec.known_shape, dtype, files[entry.shard], entry.offset)
    except (ValueError, TypeError):
        return None


def _numpy_dtype(entry: BundleEntry, file: str) -> np.dtype[Any]:
    dtype = dtypes.BY_NAME[entry.spec.dtype].numpy
    if dtype is None:
        raise UnsupportedError(
            f"tensor {entry.key!r} is of type {entry.spec.dtype}, which numpy cannot hold",
            where=file,
            advice="Leave it out, or read it with TensorFlow itself.",
        )
    return dtype


def _shard_of(entry: BundleEntry, shard: Shard, index: BundleIndex) -> tuple[memoryview, str]:
    if not entry.size:
        return memoryview(b""), index.file
    data, file = shard(entry.shard)
    if entry.offset + entry.size > len(data):
        raise bundle.outside(entry, len(data), file)
    return data.toreadonly(), file


def _read(
    index: BundleIndex, entry: BundleEntry, shard: Shard, verify: bool
) -> np.ndarray[Any, Any]:
    data, file = _shard_of(entry, shard, index)
    start = entry.offset if entry.size else 0
    shape = entry.spec.known_shape
    of_bytes = None
    if entry.spec.dtype in dtypes.OF_BYTES:
        is_variant = entry.spec.dtype == "variant"
        decode = variant_tensor.decode if is_variant else string_tensor.decode
        raw = data[start : start + entry.size]
        of_bytes, crc = decode(
            raw, math.prod(shape), big_endian=index.big_endian, file=file, offset=start
        )
    else:
        dtype = _numpy_dtype(entry, index.file)
        if verify:
            crc = crc32c.of(np.frombuffer(data, np.uint8, entry.size, start))
    if (verify or of_bytes is not None) and crc32c.masked(crc) != entry.crc32c:
        raise CorruptionError(
            f"the checksum of tensor {entry.key!r} does not match its bytes",
            file=file,
            offset=start,
            expected=f"{entry.crc32c:#010x}",
            found=f"{crc32c.masked(crc):#010x}",
        )
    try:
        if of_bytes is not None:
            array = of_bytes.reshape(shape)
        else:
            array = np.ndarray(shape, dtype, data, start)
    except ValueError as error:
        raise UnsupportedError(
            f"numpy cannot hold tensor {entry.key!r} of shape {list(shape)}: {error}",
            where=index.file,
            advice="Read it with TensorFlow itself.",
        ) from error
    if index.big_endian and of_bytes is None:
        array = _swapped(array)
    array.flags.writeable = False
    return array


def _swapped(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an array with the bytes of every number reversed; a complex number is two numbers."""
    size = array.itemsize // 2 if array.dtype.kind == "c" else array.itemsize
    raw = np.frombuffer(array.tobytes(), np.uint8).reshape(-1, size)[:, ::-1]
    return np.ndarray(array.shape, array.dtype, raw.tobytes())
