"""Write a checkpoint of the V2 format, byte for byte as SaveV2 does; `bundle` describes it.

Tensors lie in the data shards in the order in which they are given. With an alignment above 1 zeros
follow each, so that the next starts at a multiple of it. The kernel lets one writer at a time into
a file, and copying into its page cache is most of the work: so several shards are written at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from types import MappingProxyType
from typing import Any, Protocol, TypeVar, overload

import attrs
import numpy as np

from tfpersist.errors import SaveError, UnsupportedError
from tfpersist.formats import crc32c, dtypes, string_tensor
from tfpersist.formats.bundle_layout import Layout, lay_out
from tfpersist.formats.tensors import Payload, Slice, TensorSpec

# Smaller tensors are gathered until there is this much to write.
_SMALL = 64 << 10
_GATHER = 512 << 10
# A piece of a larger one, which stays in the processor's cache between two uses.
_CHUNK = 256 << 10
# From this size on a checksum is worth a thread, and a tensor is written in such pieces.
_LONG = 4 << 20

_NO_ROWS: Mapping[bytes, bytes] = MappingProxyType({})
_Array = np.ndarray[Any, Any]
_T = TypeVar("_T")


class Sink(Protocol):
    """Where bytes go."""

    def reserve(self, size: int) -> None:
        """Learn the exact number of bytes to come; called once, before the first `write`."""
        ...

    def write(self, data: memoryview | bytes) -> None:
        """Append `data`, which the caller may change or drop after the call."""
        ...


@attrs.frozen
class Item:
    """A tensor to write.

    Args:
        key: its name in the checkpoint; for a part, the name of the whole variable.
        payload: its elements.
        part: which slice of a partitioned variable it is; None for a whole one.
    """

    key: str
    payload: Payload
    part: Slice | None = None


@attrs.define(eq=False)
class Items(Sequence[Item]):
    """Many tensors to write, in columns: 20,000 of them are a few lists, not 60,000 objects.

    Args:
        names: the key of each; see `Item`.
        specs: its data type and shape.
        loads: gives its elements; see `Payload`.
        parts: which slice it is.
    """

    names: list[str] = attrs.field(factory=list)
    specs: list[TensorSpec] = attrs.field(factory=list)
    loads: list[Callable[[], _Array]] = attrs.field(factory=list)
    parts: list[Slice | None] = attrs.field(factory=list)

    @classmethod
    def of(cls, items: Iterable[Item]) -> Items:
        """Put items into columns.

        Example:
            >>> from tfpersist.formats.tensors import payload_of
            >>> Items.of([Item("v", payload_of(np.zeros(3)))]).names
            ['v']
        """
        made = cls()
        for item in items:
            made.append(item)
        return made

    def append(self, item: Item) -> None:
        """Add one at the end."""
        self.names.append(item.key)
        self.specs.append(item.payload.spec)
        self.loads.append(item.payload.load)
        self.parts.append(item.part)

    def let_go(self, at: int) -> None:
        """Let go of the value of one, which is not asked for again."""
        self.loads[at] = _let_go

    def clear(self) -> None:
        """Let go of all, and so of their values, whoever still holds this."""
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
    apart: int = 0,
    first: int = 0,
    others: Mapping[bytes, bytes] = _NO_ROWS,
    spend: bool = False,
) -> bytes:
    """Write the data shards of a checkpoint and lay out its index.

    Args:
        items: the tensors, in the order of their bytes in the shards.
        open_shards: gives as many shards as it is asked for, for all bytes to come; of each the
            exact size is reserved first. No two threads use the same one.
        alignment: every tensor starts at a multiple of this many bytes; 1 is what SaveV2 does.
        shard_size: much is cut into several shards of about this many bytes or more, at most four,
            which are written at once; 0 for one shard, however much it is.
        apart: so many tensors share no shard with those behind them.
        first: the number of the first shard; those before it are written already.
        others: what the index says of the tensors in those, by key, encoded.
        spend: let go of each value as soon as it is written, so that nobody has to copy it who
            wants to change it. The items cannot be written again.

    Returns:
        The bytes of the index, to be written once the shards are safe.

    Raises:
        SaveError: two tensors of one name, an empty name, or elements that are not what was said.

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
    taken = items if isinstance(items, Items) else Items.of(items)
    kinds = enumerate(taken.specs)
    strings = {at: _encode_strings(taken, at) for at, spec in kinds if spec.dtype == "string"}
    sizes = {at: len(content) for at, (content, _) in strings.items()}
    columns = (taken.names, taken.specs, taken.parts)
    layout = lay_out(*columns, sizes, alignment, shard_size=shard_size, apart=apart)
    ranges = layout.shards
    sinks = open_shards(len(ranges))
    for sink, tensors in zip(sinks, ranges, strict=True):
        sink.reserve(layout.size(tensors))
    stop = threading.Event()
    shards = [
        _Shard(taken, strings, layout, tensors, sink, stop, alone=len(ranges) == 1, spend=spend)
        for sink, tensors in zip(sinks, ranges, strict=True)
    ]
    crcs = [crc for found in _all_at_once([shard.write for shard in shards], stop) for crc in found]
    return layout.index(crcs, first=first, others=others)


def _all_at_once(works: Sequence[Callable[[], _T]], stop: threading.Event) -> list[_T]:
    """Do the first here and the others in threads; where one fails, let the others stop, too."""

    def stopping(work: Callable[[], _T]) -> Callable[[], _T]:
        def run() -> _T:
            try:
                return work()
            except BaseException:
                stop.set()
                raise

        return run

    others: list[Future[_T]] = []
    try:
        others += [_beside(stopping(work)) for work in works[1:]]
        return [stopping(works[0])(), *(other.result() for other in others)]
    finally:
        # An interrupt comes here: no thread may go on with a file that is about to be closed.
        stop.set()
        wait(others)


def _beside(work: Callable[[], _T]) -> Future[_T]:
    """Let a thread do some work, or do it at once where there is none to be had."""
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    try:
        threading.Thread(target=run, name="tfpersist writing").start()
    except RuntimeError:
        # There are as many as there may be, or the interpreter is about to end.
        run()
    return future


@attrs.frozen(eq=False)
class _Shard:
    """One data shard that is being written.

    Args:
        items: all tensors of the checkpoint.
        strings: the bytes and the checksum of those that are strings, by number.
        layout: where all lie.
        tensors: the numbers of those in this shard.
        sink: where it goes.
        stop: set when the whole has failed.
        alone: whether this is all that is being written.
        spend: whether to let go of each value once it is written.
    """

    items: Items
    strings: Mapping[int, tuple[bytes, int]]
    layout: Layout
    tensors: range
    sink: Sink
    stop: threading.Event
    alone: bool
    spend: bool

    def write(self) -> list[int]:
        """Write it; give the checksums of its tensors."""
        crcs: list[int] = []
        gathered: list[bytes] = []
        length = 0
        for at in self.tensors:
            if self.stop.is_set():
                break
            size, padding = self.layout.sizes[at], self.layout.paddings[at]
            if at in self.strings:
                content, crc = self.strings[at]
                gathered.append(content)
            elif size < _SMALL:
                content = _load(self.items, at).tobytes()
                gathered.append(content)
                crc = crc32c.of_bytes(content)
            else:
                if gathered:
                    self.sink.write(b"".join(gathered))
                    gathered, length = [], 0
                crc = self._write_large(_load(self.items, at))
                length = -size
            if self.spend:
                self.items.let_go(at)
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

    def _write_large(self, array: _Array) -> int:
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        if self.alone and flat.size >= _LONG and crc32c.LETS_OTHERS_RUN:
            # Another processor computes the checksum, in less time than copying the bytes takes.
            beside = _beside(lambda: crc32c.of(flat))
            for start in range(0, flat.size, _LONG):
                self.sink.write(flat[start : start + _LONG].data)
            return beside.result()
        crc = 0
        for start in range(0, flat.size, _CHUNK):
            if self.stop.is_set():
                break
            chunk = flat[start : start + _CHUNK]
            # The copy reads what is not in the cache and leaves it there for the checksum; the
            # other way round both together take longer.
            self.sink.write(chunk.data)
            crc = crc32c.of(chunk, start=crc)
        return crc


def _let_go() -> _Array:
    raise SaveError("this value was let go of when it was written")


def _load(items: Items, at: int) -> _Array:
    array = np.asarray(items.loads[at]())
    spec = items.specs[at]
    wanted = dtypes.BY_NAME[spec.dtype].numpy
    if array.dtype is wanted and array.shape == spec.shape:
        return array
    native = array.dtype.newbyteorder("=") if array.dtype.kind in "iufc" else array.dtype
    strings = spec.dtype == "string" and array.dtype.kind in "SUO"
    if array.shape != spec.shape or not (strings or native == wanted):
        raise SaveError(
            "a tensor is not what it was announced as",
            where=f"tensor {items.names[at]!r}",
            expected=spec,
            found=f"{array.dtype} of shape {list(array.shape)}",
        )
    return array if strings else array.astype(wanted, copy=False)


def _encode_strings(items: Items, at: int) -> tuple[bytes, int]:
    try:
        return string_tensor.encode(_load(items, at))
    except UnsupportedError as error:
        raise SaveError(
            error.problem, where=f"tensor {items.names[at]!r}", expected="bytes or str"
        ) from error
