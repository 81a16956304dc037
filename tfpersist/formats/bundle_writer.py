"""Write a checkpoint of the V2 format, byte for byte as SaveV2 does. `bundle` describes the format.

The tensors are in the data shards in the order of the items. With an alignment above 1, zeros
follow each tensor, so that the next one starts at a multiple of it. Most of the time goes into
copying the bytes into the page cache, and the kernel lets only one writer at a time into a file.
So several shards are written at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from itertools import chain
from types import MappingProxyType
from typing import Protocol, TypeVar, overload

import attrs
import numpy as np

from tfpersist.errors import SaveError, UnsupportedError
from tfpersist.formats import crc32c, dtypes, string_tensor, variant_tensor
from tfpersist.formats.bundle_index_writer import Places, tensor_list
from tfpersist.formats.bundle_layout import MOST_SHARDS, lay_out
from tfpersist.formats.byte_columns import Numbers
from tfpersist.formats.tensors import Array, Payload, Slice, TensorSpec

# Tensors below the first size are gathered and written together, up to the second size.
SMALL = 64 << 10
_GATHER = 512 << 10
# A larger tensor is written in pieces that stay in the processor's cache between two uses.
_CHUNK = 256 << 10
# From this size on a thread computes the checksum, and a tensor is written in pieces of this size.
_LONG = 4 << 20
# From so many bytes on, several files are written at once; for fewer, threads cost more.
_AT_ONCE = 8 << 20

# The bytes of a tensor, and their plain checksum.
Encoded = tuple[bytes, int]
_NOTHING_ENCODED: Mapping[int, Encoded] = MappingProxyType({})
_T = TypeVar("_T")


class Sink(Protocol):
    """A file that is written from its first byte to its last; storages create them."""

    def reserve(self, size: int) -> None:
        """Reserve `size` bytes, the exact size of the file; called once, before `write`."""
        ...

    def write(self, data: memoryview | bytes) -> None:
        """Append `data`; after the call the caller may change it."""
        ...


@attrs.frozen
class Item:
    """A tensor to write.

    Args:
        key: its name in the checkpoint; for a part, the name of the whole variable.
        payload: its elements.
        part: the slice of a partitioned variable that it is; None for a whole tensor.
    """

    key: str
    payload: Payload
    part: Slice | None = None


@attrs.define(eq=False)
class Items(Sequence[Item]):
    """Many tensors to write, in columns: 20,000 tensors are four lists, not 60,000 objects.

    Args:
        names: the key of each tensor; see `Item`.
        specs: the data type and the shape of each tensor.
        loads: a function for each tensor that returns its elements; see `Payload`.
        parts: the slice that each tensor is; None for a whole tensor.
    """

    names: list[str] = attrs.field(factory=list)
    specs: list[TensorSpec] = attrs.field(factory=list)
    loads: list[Callable[[], Array]] = attrs.field(factory=list)
    parts: list[Slice | None] = attrs.field(factory=list)

    @classmethod
    def of(cls, items: Iterable[Item]) -> Items:
        """Return items as columns.

        Example:
            >>> from tfpersist.formats.tensors import payload_of
            >>> Items.of([Item("v", payload_of(np.zeros(3)))]).names
            ['v']
        """
        columns = cls()
        for item in items:
            columns.append(item)
        return columns

    def append(self, item: Item) -> None:
        """Add an item at the end."""
        self.names.append(item.key)
        self.specs.append(item.payload.spec)
        self.loads.append(item.payload.load)
        self.parts.append(item.part)

    def release(self, at: int) -> None:
        """Release the value of one item; it cannot be loaded again."""
        self.loads[at] = _released

    def clear(self) -> None:
        """Release all items and their values, even if something else still refers to this list."""
        for column in (self.names, self.specs, self.loads, self.parts):
            column.clear()

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, at: int) -> Item: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Item]: ...
    def __getitem__(self, at: int | slice) -> Item | Sequence[Item]:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        return Item(self.names[at], Payload(self.specs[at], self.loads[at]), self.parts[at])

    def __iter__(self) -> Iterator[Item]:
        columns = zip(self.names, self.specs, self.loads, self.parts, strict=True)
        return (Item(name, Payload(spec, load), part) for name, spec, load, part in columns)


def write_bundle(
    items: Sequence[Item],
    open_shards: Callable[[int], Sequence[Sink]],
    *,
    alignment: int = 64,
    shard_size: int = 0,
    spend: bool = False,
) -> bytes:
    """Write the data shards of a checkpoint and lay out its index.

    Args:
        items: the tensors, in the order of their bytes in the shards.
        open_shards: creates the given number of shards. The exact size of each is reserved first.
            No two threads use the same shard.
        alignment: every tensor starts at a multiple of this many bytes; SaveV2 uses 1.
        shard_size: the least size of a shard in bytes, about. Up to four shards are written at
            once. 0 for one shard of any size.
        spend: release each value as soon as it is written, so that whoever wants to change it need
            not copy it. The items cannot be written again.

    Returns:
        The bytes of the index. Write them after the shards are safe.

    Raises:
        SaveError: two tensors have one name, a name is empty, or elements do not fit their spec.

    Example:
        >>> from tfpersist.formats.tensors import payload_of
        >>> class Shard(list):
        ...     def reserve(self, size): print("expects", size, "bytes")
        ...     def write(self, data): self.append(bytes(data))
        >>> shard = Shard()
        >>> items = [Item("v", payload_of(np.zeros(3, np.float32)))]
        >>> index = write_bundle(items, lambda count: [shard])
        expects 64 bytes
        >>> len(b"".join(shard))
        64
    """
    columns = items if isinstance(items, Items) else Items.of(items)
    tensors = tensor_list(columns.names, columns.specs, columns.parts)
    places, num_shards = write_shards(
        columns,
        tensors.sizes,
        open_shards,
        alignment=alignment,
        shard_size=shard_size,
        spend=spend,
    )
    return tensors.encode(places, num_shards)


def write_shards(
    items: Items,
    sizes: Numbers,
    open_shards: Callable[[int], Sequence[Sink]],
    *,
    numbers: Sequence[int] | None = None,
    encoded: Mapping[int, Encoded] = _NOTHING_ENCODED,
    alignment: int = 64,
    shard_size: int = 0,
    apart: int = 0,
    most_shards: int = MOST_SHARDS,
    spend: bool = False,
) -> tuple[Places, int]:
    """Write the data shards of a checkpoint.

    Args:
        items: the tensors.
        sizes: the number of bytes of each tensor; below 0 for strings and variants.
        open_shards: see `write_bundle`.
        numbers: the numbers of the tensors to write, in the order of their bytes; None for all.
        encoded: tensors whose bytes are known already, by their number.
        alignment: see `write_bundle`.
        shard_size: see `write_bundle`.
        apart: the first `apart` tensors that are written share no shard with the others.
        most_shards: how many shards these `apart` tensors have at most, and so for the others.
        spend: see `write_bundle`.

    Returns:
        The places of the tensors that were written, in order, and the number of shards.

    Raises:
        SaveError: elements do not fit their spec.
    """
    if numbers is None:
        numbers = range(len(items))
    encoded = dict(encoded)
    sizes = sizes[np.array(numbers, np.int64)]
    for place in np.flatnonzero(sizes < 0).tolist():
        number = numbers[place]
        if number not in encoded:
            encoded[number] = encode_elements(items, number)
        sizes[place] = len(encoded[number][0])
    layout = lay_out(sizes, alignment, shard_size=shard_size, apart=apart, most_shards=most_shards)
    sinks = open_shards(len(layout.ends))
    for sink, size in zip(sinks, layout.shard_sizes, strict=True):
        sink.reserve(size)
    stop = threading.Event()
    shards = [
        _Shard(
            items,
            encoded,
            numbers[tensors.start : tensors.stop],
            layout.sizes[tensors.start : tensors.stop].tolist(),
            layout.paddings[tensors.start : tensors.stop].tolist(),
            sink,
            stop,
            alone=len(sinks) == 1,
            spend=spend,
        )
        for sink, tensors in zip(sinks, layout.tensors, strict=True)
    ]
    if sum(layout.shard_sizes) < _AT_ONCE:
        crcs = [shard.write() for shard in shards]
    else:
        crcs = _all_at_once([shard.write for shard in shards], stop)
    masked = crc32c.all_masked(np.fromiter(chain.from_iterable(crcs), np.uint32, len(numbers)))
    return Places(layout.shards, layout.offsets, layout.sizes, masked), len(sinks)


def _all_at_once(jobs: Sequence[Callable[[], _T]], stop: threading.Event) -> list[_T]:
    """Run the first job here and the others in threads. If one fails, set `stop` for the others."""

    def stopping(job: Callable[[], _T]) -> Callable[[], _T]:
        def run() -> _T:
            try:
                return job()
            except BaseException:
                stop.set()
                raise

        return run

    others: list[Future[_T]] = []
    try:
        others += [_in_thread(stopping(job)) for job in jobs[1:]]
        return [stopping(jobs[0])(), *(other.result() for other in others)]
    finally:
        # Also after an interrupt: no thread may go on with a file that is about to be closed.
        stop.set()
        wait(others)


def _in_thread(job: Callable[[], _T]) -> Future[_T]:
    """Run a job in a thread, or here if no thread can be started."""
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(job())
        except BaseException as error:
            future.set_exception(error)

    try:
        threading.Thread(target=run, name="tfpersist writing").start()
    except RuntimeError:
        # The limit of threads is reached, or the interpreter is about to end.
        run()
    return future


@attrs.frozen(eq=False)
class _Shard:
    """One data shard that is being written.

    Args:
        items: all tensors of the checkpoint.
        encoded: the tensors whose bytes are known, by their number.
        numbers: the numbers of the tensors in this shard.
        sizes: the number of bytes of each of these.
        paddings: the number of zeros after each.
        sink: the file to write to.
        stop: set when another shard has failed.
        alone: whether this is the only shard.
        spend: whether to release each value once it is written.
    """

    items: Items
    encoded: Mapping[int, Encoded]
    numbers: Sequence[int]
    sizes: Sequence[int]
    paddings: Sequence[int]
    sink: Sink
    stop: threading.Event
    alone: bool
    spend: bool

    def write(self) -> list[int]:
        """Write the shard; return the plain checksums of its tensors."""
        crcs: list[int] = []
        gathered: list[bytes] = []
        length = 0
        for number, size, padding in zip(self.numbers, self.sizes, self.paddings, strict=True):
            if self.stop.is_set():
                break
            if number in self.encoded:
                content, crc = self.encoded[number]
                gathered.append(content)
            elif size < SMALL:
                content = load(self.items, number).tobytes()
                gathered.append(content)
                crc = crc32c.of_bytes(content)
            else:
                if gathered:
                    self.sink.write(b"".join(gathered))
                    gathered, length = [], 0
                crc = self._write_large(load(self.items, number))
                length = -size
            if self.spend:
                self.items.release(number)
            if padding:
                gathered.append(bytes(padding))
            length += size + padding
            if length >= _GATHER:
                self.sink.write(b"".join(gathered))
                gathered, length = [], 0
            crcs.append(crc)
        if gathered:
            self.sink.write(b"".join(gathered))
        return crcs

    def _write_large(self, array: Array) -> int:
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        if self.alone and flat.size >= _LONG and crc32c.LETS_OTHERS_RUN:
            # Another processor computes the checksum, in less time than the copying takes.
            checksum = _in_thread(lambda: crc32c.of(flat))
            for start in range(0, flat.size, _LONG):
                self.sink.write(flat[start : start + _LONG].data)
            return checksum.result()
        crc = 0
        for start in range(0, flat.size, _CHUNK):
            if self.stop.is_set():
                break
            chunk = flat[start : start + _CHUNK]
            # First the copy, then the checksum, which finds the bytes in the cache. The other
            # order takes longer.
            self.sink.write(chunk.data)
            crc = crc32c.of(chunk, start=crc)
        return crc


def _released() -> Array:
    raise SaveError(
        "this value was released when it was written, and cannot be written again",
        advice="Capture the target again before the next write.",
    )


def load(items: Items, number: int) -> Array:
    """Return the elements of a tensor in the data type that is saved.

    Raises:
        SaveError: the elements do not fit the spec.
    """
    array, spec = np.asarray(items.loads[number]()), items.specs[number]
    if array.dtype is dtypes.BY_NAME[spec.dtype].numpy and array.shape == spec.shape:
        return array
    return _fitted(array, spec, items.names[number])


def load_many(items: Items, numbers: Iterable[int]) -> list[Array]:
    """Return the elements of many tensors as `load` does, as C-contiguous arrays."""
    arrays = []
    for number in numbers:
        array, spec = items.loads[number](), items.specs[number]
        plain = type(array) is np.ndarray and array.flags.c_contiguous
        if not (
            plain and array.shape == spec.shape and array.dtype is dtypes.BY_NAME[spec.dtype].numpy
        ):
            array = np.ascontiguousarray(load(items, number))
        arrays.append(array)
    return arrays


def _fitted(array: Array, spec: TensorSpec, name: str) -> Array:
    """Return an array in the data type of a spec.

    Raises:
        SaveError: the elements do not fit the spec.
    """
    wanted = dtypes.BY_NAME[spec.dtype].numpy
    native = array.dtype.newbyteorder("=") if array.dtype.kind in "iufc" else array.dtype
    if spec.dtype == "variant":
        of_bytes = array.dtype.kind == "O"
    else:
        of_bytes = spec.dtype == "string" and array.dtype.kind in "SUO"
    if array.shape != spec.shape or not (of_bytes or native == wanted):
        raise SaveError(
            "the elements of a tensor do not fit its spec",
            where=f"tensor {name!r}",
            expected=spec,
            found=f"{array.dtype} of shape {list(array.shape)}",
        )
    return array if of_bytes else array.astype(wanted, copy=False)


def encode_elements(items: Items, number: int) -> Encoded:
    """Return the bytes of a tensor of strings or variants, and their plain checksum.

    Raises:
        SaveError: an element is of another type.
    """
    is_variant = items.specs[number].dtype == "variant"
    encode = variant_tensor.encode if is_variant else string_tensor.encode
    try:
        return encode(load(items, number))
    except UnsupportedError as error:
        raise SaveError(
            error.problem, where=f"tensor {items.names[number]!r}", expected=error.expected
        ) from error
