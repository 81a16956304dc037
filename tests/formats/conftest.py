"""Helpers for the tests of formats: sinks, a small checkpoint, damage, TensorFlow's own readers."""

from __future__ import annotations

import pathlib
import sys
import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tfpersist.errors import CorruptionError, UnsupportedError
from tfpersist.formats import bundle, bundle_tensors, bundle_writer, tensors

# The tests of this folder import the helpers that are beside them.
sys.path.insert(0, str(pathlib.Path(__file__).parent))


class MemorySink:
    """A sink that keeps what it gets, and holds its user to the contract."""

    def __init__(self) -> None:
        self.reserved: int | None = None
        self.chunks: list[bytes] = []

    def reserve(self, size: int) -> None:
        assert self.reserved is None
        assert not self.chunks
        self.reserved = size

    def write(self, data: memoryview | bytes) -> None:
        assert self.reserved is not None
        self.chunks.append(bytes(data))

    @property
    def content(self) -> bytes:
        content = b"".join(self.chunks)
        assert len(content) == self.reserved
        return content


@pytest.fixture(scope="session")
def write_ours() -> Callable[..., tuple[bytes, bytes]]:
    """Write items with tfpersist; return the bytes of index and data shard."""

    def write(items: list[bundle_writer.Item], alignment: int = 1) -> tuple[bytes, bytes]:
        sink = MemorySink()
        index = bundle_writer.write_bundle(items, lambda count: [sink], alignment=alignment)
        return index, sink.content

    return write


@pytest.fixture(scope="session")
def write_theirs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[bytes, bytes]]:
    """Write items with SaveV2; return the bytes of index and data shard."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("savev2")

    def write(items: list[bundle_writer.Item]) -> tuple[bytes, bytes]:
        prefix = str(folder / "m")
        tf.raw_ops.SaveV2(
            prefix=prefix,
            tensor_names=[item.key for item in items],
            shape_and_slices=[_slice_spec(item) for item in items],
            tensors=[as_tensor(item.payload.load(), item.payload.spec.dtype) for item in items],
        )
        shard = pathlib.Path(bundle.shard_name(prefix, 0, 1))
        return pathlib.Path(prefix + ".index").read_bytes(), shard.read_bytes()

    return write


def _slice_spec(item: bundle_writer.Item) -> str:
    if item.part is None:
        return ""
    extents = zip(item.part.start, item.part.length, strict=True)
    whole = " ".join(map(str, item.part.full_shape))
    return f"{whole} {':'.join(f'{start},{length}' for start, length in extents)}"


def as_tensor(array: np.ndarray, dtype: str) -> object:
    """Make a tensor of exactly these elements, also of types that `tf.constant` cannot take."""
    import tensorflow as tf

    kind = tf.dtypes.as_dtype(dtype)
    return tf.constant(array, shape=array.shape, dtype=kind)


@pytest.fixture(scope="session")
def read_all() -> Callable[..., dict[str, np.ndarray]]:
    """Read a whole checkpoint from the bytes of index and shards."""

    def read(index: bytes, *shards: bytes, verify: bool = True) -> dict[str, np.ndarray]:
        loaded = bundle.read_index(memoryview(index), "m.index")
        sizes = {number: len(shard) for number, shard in enumerate(shards)}
        bundle.check_ranges(loaded, sizes, "m.index")
        return {
            key: bundle_tensors.read_tensor(
                loaded,
                key,
                lambda number: (memoryview(shards[number]), f"m.data-{number}"),
                verify=verify,
            )
            for key in loaded.entries
        }

    return read


def _damages(data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        for mask in (0xFF, 1 << at % 8, 0x80):
            yield data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]
        yield data[:at]
    yield data + b"\0"
    yield data + data
    yield b"\0" + data


@pytest.fixture(scope="session")
def survives() -> Callable[..., int]:
    """Damage every byte, cut at every length, extend; return how many damages were noticed.

    `survives(read, data, same)`: `read(damaged)` must raise CorruptionError with a place, or return
    a value that `same` accepts; and it must not allocate much more than the file is long.
    """

    def run(read: Callable[[bytes], object], data: bytes, same: Callable[[object], bool]) -> int:
        noticed = 0
        read(data)
        for damaged in _damages(data):
            tracemalloc.start()
            try:
                value = read(damaged)
            except CorruptionError as error:
                found = error
            else:
                found = None
            finally:
                _, peak = tracemalloc.get_traced_memory()
                tracemalloc.stop()
            assert peak < 200_000 + 100 * len(damaged)
            if found is None:
                assert same(value)
            else:
                noticed += 1
                assert found.file
                assert 0 <= found.offset <= len(damaged)
        return noticed

    return run


@pytest.fixture(scope="session")
def refuses() -> Callable[[Callable[[], object]], bool]:
    """Run a reader on hostile bytes whose checksums are right: whether it refused them.

    It may return a value, since it cannot know better; it must not fail otherwise, nor allocate.
    """

    def run(read: Callable[[], object], most: int = 4_000_000) -> bool:
        tracemalloc.start()
        try:
            read()
        except (CorruptionError, UnsupportedError):
            return True
        else:
            return False
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < most

    return run


def equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two arrays are equal bit by bit."""
    if one.shape != other.shape or one.dtype.kind != other.dtype.kind:
        return False
    if one.dtype.kind == "O":
        return one.tolist() == other.tolist()
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


@pytest.fixture(scope="session")
def same_arrays() -> Callable[..., bool]:
    """Return whether two mappings of arrays are equal bit by bit."""

    def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
        return list(one) == list(other) and all(equal(one[key], other[key]) for key in one)

    return same


@pytest.fixture(scope="session")
def sample(write_ours: Callable[..., tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """A small checkpoint with everything: numbers, strings, an empty tensor, slices."""
    from bundles import item as bundle_item

    array = np.arange(6, dtype=np.float32).reshape(3, 2)
    first, second = (
        tensors.Slice("v", (3, 2), (0, 0), (2, 2)),
        tensors.Slice("v", (3, 2), (2, 0), (1, 2)),
    )
    return write_ours(
        [
            bundle_item("a/b", np.array([1, -2], np.int16)),
            bundle_item("a/c", np.float64(0.5)),
            bundle_item("e", np.zeros((0, 3), np.float32)),
            bundle_item("s", np.array([b"xy", b""], object)),
            bundle_item("v", array[:2], part=first),
            bundle_item("v", array[2:], part=second),
        ]
    )
