"""Read the HDF5 files of Keras, and the zip files that Keras puts them into.

What such a file says about its tensors is read as data. No class that it names is imported.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import attrs
import numpy as np

from tfpersist.checkpoint.files import Files
from tfpersist.checkpoint.views import ViewFile
from tfpersist.errors import CorruptionError, TFPersistError, UnsupportedError
from tfpersist.formats import dtypes
from tfpersist.formats.foreign import ZIP, foreign
from tfpersist.formats.hdf5_heap import check_heaps
from tfpersist.formats.read_only import ReadOnly
from tfpersist.formats.tensors import MOST_DIMENSIONS, TensorSpec
from tfpersist.matching.keras_files import keras_file
from tfpersist.matching.keras_files.keras_file import KerasFile, Tree

SUFFIXES = (".h5", ".hdf5", ".keras")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_WEIGHTS = "model.weights.h5"
_CONFIG = "config.json"

_DEEPEST = 64
_MOST_OBJECTS = 1 << 20
# No compression makes data smaller than this, neither in HDF5 nor in a zip file.
_MOST_EXPANSION = 1032
_MOST_CONFIG = 1 << 28
# The filters that are part of HDF5: deflate, shuffle, fletcher32, and lzf of h5py. Others are
# plugins, which would be loaded as programs.
_FILTERS = frozenset({1, 2, 3, 32000})
_DAMAGE = (
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    SystemError,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
)

_Array = np.ndarray[Any, Any]


def is_hdf5(data: memoryview) -> bool:
    """Return whether a file begins as HDF5 or as a zip file.

    Args:
        data: the file.

    Example:
        >>> is_hdf5(memoryview(b"PK\\x03\\x04")), is_hdf5(memoryview(b"node"))
        (True, False)
    """
    return bytes(data[: len(_HDF5)]) == _HDF5 or bytes(data[: len(_ZIP)]) == _ZIP


def files_of(name: str) -> Files:
    """Return the files of a checkpoint that is one HDF5 file.

    Args:
        name: its name.

    Example:
        >>> files_of("model.h5").all
        ('model.h5',)
    """
    return Files(name, None, (name,))


@attrs.frozen(eq=False, slots=False)
class Hdf5:
    """An opened HDF5 file of Keras.

    Args:
        file: its path, for errors.
        source: the open h5py.File.
        tree: its groups and tensors.
        data: the bytes of the whole file, which may be a zip file.
    """

    file: str
    source: Any
    tree: Tree
    data: memoryview

    @cached_property
    def specs(self) -> Mapping[str, TensorSpec]:
        """Data type and shape of every tensor, sorted by name."""
        numbers = dict.fromkeys(self.described.numbers, TensorSpec("float32", ()))
        return ReadOnly(dict(sorted({**numbers, **self.tree.specs}.items())))

    @cached_property
    def described(self) -> KerasFile:
        """The description of the tensors in the file."""
        return keras_file.described(self.tree, self.file)

    def read(self, key: str) -> _Array:
        """Return the elements of a tensor, which have no checksum."""
        if key in self.described.numbers and key not in self.tree.specs:
            return np.array(self.described.numbers[key], np.float32)
        with _damage(self.file, key):
            array: _Array = self.source[key][()]
            if self.tree.specs[key].dtype == "bfloat16":
                return array.view(dtypes.BY_NAME["bfloat16"].numpy)
            return np.asarray(array, array.dtype.newbyteorder("="))

    def read_many(self, keys: Iterable[str]) -> Iterator[_Array]:
        """Read many tensors, one after the other."""
        return map(self.read, keys)

    def release(self, key: str) -> None:
        """Do nothing: reading returned a copy, and this object keeps none."""

    @property
    def is_zipped(self) -> bool:
        """Whether it lies in a zip file, which has a checksum of all tensors together."""
        return bytes(self.data[: len(_ZIP)]) == _ZIP

    def flaw(self) -> str:
        """Return what the checksum of a zip file finds; empty if it finds nothing."""
        if not self.is_zipped:
            return ""
        with zipfile.ZipFile(ViewFile(self.data)) as archive:
            info = archive.getinfo(_WEIGHTS)
        member = zlib.crc32(_member(self.data, info, self.file))
        return "" if member == info.CRC else f"the checksum of {_WEIGHTS} does not match"


def open_hdf5(data: memoryview, file: str) -> Hdf5:
    """Open an HDF5 file of Keras, or a zip file with one in it.

    Args:
        data: the bytes of the file.
        file: its path, for errors.

    Raises:
        CorruptionError: it is damaged, or says things that no file of Keras does.
        UnsupportedError: it refers to other files, or needs a plugin.
    """
    import h5py

    weights, config = data, ""
    if bytes(data[: len(_ZIP)]) == _ZIP:
        weights, config = _unzipped(data, file)
    check_heaps(weights, file)
    with _damage(file):
        source = h5py.File(ViewFile(weights), "r")
        tree = _Walk(source, file, len(weights)).tree(config)
    return Hdf5(file, source, tree, data)


@contextmanager
def _damage(file: str, key: str = "") -> Iterator[None]:
    """Translate the errors of h5py and zipfile."""
    try:
        yield
    except TFPersistError:
        raise
    except _DAMAGE as error:
        what = f"the tensor {key!r} cannot be read" if key else "the file cannot be read as HDF5"
        raise CorruptionError(what, file=file, found=str(error) or type(error).__name__) from error


def _unzipped(data: memoryview, file: str) -> tuple[memoryview, str]:
    """Return the weights and the configuration in a zip file."""
    with _damage(file), zipfile.ZipFile(ViewFile(data)) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if _WEIGHTS not in members:
            listed = ", ".join(sorted(members)[:5]) or "an empty zip file"
            kind = foreign(data)
            other = None if kind == ZIP else kind
            raise UnsupportedError(
                "this zip file is no model of Keras with weights in HDF5",
                where=file,
                expected=f"a member {_WEIGHTS}",
                found=other.name if other else listed,
                advice=other.advice if other else None,
            )
        config = ""
        if _CONFIG in members:
            if members[_CONFIG].file_size > _MOST_CONFIG:
                raise _bomb(file, _CONFIG, members[_CONFIG].file_size, _MOST_CONFIG)
            config = bytes(_member(data, members[_CONFIG], file)).decode()
        return _member(data, members[_WEIGHTS], file), config


def _member(data: memoryview, info: zipfile.ZipInfo, file: str) -> memoryview:
    """Return the bytes of a member; without a copy if it is not compressed."""
    head = data[info.header_offset : info.header_offset + 30]
    if len(head) < 30 or bytes(head[:4]) != _ZIP or info.flag_bits & 1:
        raise CorruptionError(f"{info.filename} cannot be read", file=file)
    lengths = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
    start = info.header_offset + 30 + lengths
    packed = data[start : start + info.compress_size]
    if len(packed) < info.compress_size:
        raise CorruptionError(
            f"{info.filename} is cut off",
            file=file,
            expected=f"{info.compress_size} bytes",
            found=len(packed),
        )
    if info.compress_type == zipfile.ZIP_STORED:
        return packed
    most = info.compress_size * _MOST_EXPANSION
    if info.file_size > most or info.compress_type != zipfile.ZIP_DEFLATED:
        raise _bomb(file, info.filename, info.file_size, most)
    unpacked = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, max(info.file_size, 1))
    if len(unpacked) != info.file_size:
        raise CorruptionError(
            f"{info.filename} is cut off",
            file=file,
            expected=f"{info.file_size} bytes",
            found=len(unpacked),
        )
    return memoryview(unpacked)


def _bomb(file: str, what: str, declared: int, most: int) -> CorruptionError:
    return CorruptionError(
        f"{what!r} says that it is larger than it can be",
        file=file,
        expected=f"at most {most} bytes",
        found=declared,
    )


class _Walk:
    """All groups and tensors of a file, with a bound on everything that it declares."""

    def __init__(self, source: Any, file: str, size: int) -> None:
        self.source, self.file, self.size = source, file, size
        self.specs: dict[str, TensorSpec] = {}
        self.texts: dict[str, dict[str, tuple[str, ...]]] = {}
        self.count = 0

    def tree(self, config: str) -> Tree:
        self._group(self.source, "", 0)
        return Tree(dict(sorted(self.specs.items())), self.texts, config)

    def _group(self, group: Any, path: str, depth: int) -> None:
        import h5py

        self.texts[path] = self._texts(group, path)
        for name in group:
            inside = _text(f"{path}/{name}".lstrip("/"))
            self.count += 1
            if self.count > _MOST_OBJECTS or depth > _DEEPEST:
                raise CorruptionError(
                    f"{inside[:100]!r} is one of too many groups or tensors",
                    file=self.file,
                    expected=f"at most {_MOST_OBJECTS}, {_DEEPEST} deep",
                )
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise UnsupportedError(
                    f"{inside!r} is a link to something else",
                    where=self.file,
                    expected="groups and tensors, as Keras writes them",
                    found=type(link).__name__,
                )
            thing = group[name]
            if isinstance(thing, h5py.Dataset):
                self.specs[inside] = self._spec(thing, inside)
            elif isinstance(thing, h5py.Group):
                self._group(thing, inside, depth + 1)

    def _spec(self, tensor: Any, path: str) -> TensorSpec:
        if tensor.is_virtual or tensor.external:
            raise UnsupportedError(f"the elements of {path!r} are in other files", where=self.file)
        shape, dtype = tensor.shape, tensor.dtype
        if shape is None or len(shape) > MOST_DIMENSIONS:
            raise UnsupportedError(f"{path!r} is no tensor", where=self.file, found=shape)
        options = tensor.id.get_create_plist()
        filters = {options.get_filter(at)[0] for at in range(options.get_nfilters())}
        if not filters <= _FILTERS:
            raise UnsupportedError(
                f"{path!r} needs a plugin of HDF5", where=self.file, found=sorted(filters)
            )
        declared = math.prod(shape) * dtype.itemsize
        stored = tensor.id.get_storage_size()
        most = min(stored, self.size) * (_MOST_EXPANSION if 1 in filters or 32000 in filters else 1)
        if declared > most:
            raise _bomb(self.file, path, declared, most)
        if dtype.kind == "V" and self._texts(tensor, path).get("dtype") == ("bfloat16",):
            return TensorSpec("bfloat16", shape)
        return TensorSpec(dtypes.by_numpy(dtype).name, shape)

    def _texts(self, thing: Any, path: str) -> dict[str, tuple[str, ...]]:
        """Return the attributes that are text, or lists of texts."""
        found = {}
        for name in thing.attrs:
            attribute = thing.attrs.get_id(name)
            declared = math.prod(attribute.shape) * attribute.dtype.itemsize
            if declared > self.size:
                raise _bomb(self.file, f"{path}/@{name}", declared, self.size)
            if attribute.dtype.kind not in "SO":
                continue
            value = np.asarray(thing.attrs[name])
            found[name] = tuple(
                one.decode() if isinstance(one, bytes) else _text(str(one)) for one in value.ravel()
            )
        return found


def _text(name: str) -> str:
    """Return a text of a file; h5py gives bytes that are no text as half characters."""
    return name.encode().decode()
