"""Read a checkpoint of the V1 format, which TensorFlow wrote until 0.12 and on request until 1.15.

Each file is a table (`sstable`) whose values are SavedTensorSlices messages. The message under the
empty key lists the variables: name, shape, data type and slices. A variable that is not partitioned
is one slice. Every other key encodes a variable's name and one of its slices (`slices`), and holds
a message with the elements as a TensorProto. A sharded checkpoint is several such files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import CorruptionError, NameNotFoundError, UnsupportedError, did_you_mean
from tfpersist.formats import bundle, bundle_entry, dtypes, schema, slices, sstable, tensor_proto
from tfpersist.formats.bundle_entry import BundleEntry
from tfpersist.formats.tensors import MOST_DIMENSIONS, Slice, TensorSpec

VERSION = 1


@attrs.frozen
class V1Index:
    """The content of a V1 checkpoint or of one of its files.

    Args:
        num_shards: the number of files.
        entries: the variables by name, sorted. `shard` is the number of the file, `offset` and
            `size` are those of the encoded elements, which have no checksum of their own. A
            variable of several parts lists them as `slices`.
        parts: the elements of every slice, by `Part.key`.
        file: names of the files, for errors.
    """

    num_shards: int
    entries: Mapping[str, BundleEntry]
    parts: Mapping[bytes, Part]
    file: str = ""


@attrs.frozen
class Part:
    """The encoded elements of one slice of a variable.

    Args:
        slice: the slice.
        entry: the slice as a tensor of its own.
        data: an encoded SavedTensorSlices message.
        file: name of the file that holds it.
    """

    slice: Slice
    entry: BundleEntry
    data: memoryview = attrs.field(repr=False)
    file: str

    @property
    def key(self) -> bytes:
        """The key that encodes the variable's name and this slice, with every length."""
        return bundle.part_key(self.slice)


def read_v1(data: memoryview, file: str) -> V1Index:
    """Read one file of a V1 checkpoint, and compare every checksum in it.

    Args:
        data: the whole file.
        file: its name, for errors.

    Returns:
        Its content. A file of a sharded checkpoint may lack parts of a variable; `merge` all files.

    Raises:
        CorruptionError: the bytes are not a V1 checkpoint, or damaged.
        UnsupportedError: it has a later version of the format.
    """
    records = sstable.read_table(data, file)
    if not records or records[0][0]:
        raise CorruptionError("the list of variables is missing", file=file)
    _, value, at = records[0]
    meta = schema.parse(schema.SavedTensorSlices, value, file=file, offset=at).meta
    if meta.versions.min_consumer > VERSION or VERSION in meta.versions.bad_consumers:
        raise UnsupportedError(
            "this checkpoint needs a later TensorFlow",
            where=f"{file}, byte {at}",
            expected=f"format version {VERSION}",
            found=meta.versions.min_consumer,
            advice="Save the model again in the V2 format.",
        )
    if len(records) > 1 and not meta.tensor:
        raise CorruptionError(
            "this table is not a V1 checkpoint",
            file=file,
            offset=at,
            expected="a list of variables",
            found=f"an empty list, and {len(records) - 1} entries",
            advice="If its name ends in .index, read it as a V2 checkpoint.",
        )
    stored = {key: (data, where) for key, data, where in records[1:]}
    parts: dict[bytes, Part] = {}
    for variable in meta.tensor:
        spec = _spec(variable, file, at)
        for proto in variable.slice:
            extents = slices.extents_of(proto)
            key = slices.part_key(bundle_entry.raw(variable.name), extents)
            if key not in stored:
                raise CorruptionError(
                    f"the elements of variable {variable.name!r} are missing",
                    file=file,
                    offset=at,
                    expected=f"a table entry {key!r}",
                )
            place = slices.resolve(variable.name, spec.known_shape, extents, file=file, offset=at)
            message, where = stored[key]
            entry = BundleEntry(
                bundle_entry.text(key),
                attrs.evolve(spec, shape=place.length),
                0,
                where,
                len(message),
                0,
            )
            part = Part(place, entry, message, file)
            if part.key in parts:
                raise _twice(part)
            parts[part.key] = part
    return _index([parts], file)


def _spec(variable: schema.Message, file: str, at: int) -> TensorSpec:
    dtype = dtypes.by_number(variable.type)
    shape = tuple(dimension.size for dimension in variable.shape.dim)
    # Also without the dimensions of size 0, which hide how large the others are.
    largest = math.prod(filter(None, shape))
    if (
        dtype is None
        or variable.shape.unknown_rank
        or min(shape, default=0) < 0
        or len(shape) > MOST_DIMENSIONS
        or largest >= 1 << 60
    ):
        raise CorruptionError(
            f"variable {variable.name!r} has an impossible data type or shape",
            file=file,
            offset=at,
            found=f"type {variable.type}, shape {list(shape)}",
        )
    return TensorSpec(dtype.name, shape)


def _twice(part: Part) -> CorruptionError:
    return CorruptionError(
        f"a part of variable {part.slice.full_name!r} is there twice",
        file=part.file,
        offset=part.entry.offset,
        found=f"starts {list(part.slice.start)}, lengths {list(part.slice.length)}",
    )


def merge(files: Sequence[V1Index]) -> V1Index:
    """Merge the files of a sharded V1 checkpoint.

    Args:
        files: all files, in the order of their numbers.

    Returns:
        The whole checkpoint.

    Raises:
        CorruptionError: the files contradict each other.
    """
    return _index([file.parts for file in files], ", ".join(file.file for file in files))


def _index(files: Iterable[Mapping[bytes, Part]], names: str) -> V1Index:
    parts: dict[bytes, Part] = {}
    variables: dict[str, list[Part]] = {}
    count = 0
    for number, file in enumerate(files):
        count = number + 1
        for key, part in file.items():
            if key in parts:
                raise _twice(part)
            parts[key] = attrs.evolve(part, entry=attrs.evolve(part.entry, shard=number))
            variables.setdefault(part.slice.full_name, []).append(parts[key])
    entries = {name: _entry(name, variables[name]) for name in sorted(variables)}
    return V1Index(count, MappingProxyType(entries), MappingProxyType(parts), names)


def _entry(name: str, parts: list[Part]) -> BundleEntry:
    first = parts[0]
    for part in parts:
        same_type = part.entry.spec.dtype == first.entry.spec.dtype
        if not same_type or part.slice.full_shape != first.slice.full_shape:
            raise CorruptionError(
                f"the parts of variable {name!r} differ in data type or full shape",
                file=part.file,
                offset=part.entry.offset,
                expected=f"a part of {_whole(first)}",
                found=f"a part of {_whole(part)}",
            )
    spec = _whole(first)
    if len(parts) == 1 and first.slice.length == first.slice.full_shape:
        return attrs.evolve(first.entry, key=name)
    return BundleEntry(name, spec, 0, 0, 0, 0, tuple(part.slice for part in parts))


def _whole(part: Part) -> TensorSpec:
    return TensorSpec(part.entry.spec.dtype, part.slice.full_shape)


def read_tensor(index: V1Index, key: str) -> np.ndarray[Any, Any]:
    """Read one variable.

    Args:
        index: the whole checkpoint.
        key: name of the variable.

    Returns:
        A new read-only array.

    Raises:
        NameNotFoundError: there is no such variable.
        CorruptionError: its elements are missing or do not fit its shape.
        UnsupportedError: numpy has no such data type, or has not so many dimensions.
    """
    entry = index.entries.get(key)
    if entry is None:
        raise NameNotFoundError(
            f"there is no tensor {key!r}",
            where=index.file or None,
            advice=did_you_mean(key, index.entries),
        )
    shape = entry.spec.known_shape
    places = entry.slices or (Slice(key, shape, (0,) * len(shape), shape),)
    parts = [index.parts[bundle.part_key(place)] for place in places]
    if not entry.slices:
        return _read(parts[0])
    slices.check_cover(key, shape, places, file=index.file, offset=0)
    # All parts are decoded first. Then the file holds as many elements as the shape claims.
    loaded = [_read(part) for part in parts]
    whole = slices.assemble(entry.spec, places, loaded, file=index.file, offset=0)
    whole.flags.writeable = False
    return whole


def _read(part: Part) -> np.ndarray[Any, Any]:
    file, at = part.file, part.entry.offset
    saved = schema.parse(schema.SavedTensorSlices, part.data, file=file, offset=at).data
    flat = tensor_proto.values(saved.data, dtypes.BY_NAME[part.entry.spec.dtype], file=file)
    if saved.name != part.slice.full_name or flat.size != part.entry.spec.elements:
        raise CorruptionError(
            "the elements do not fit their variable",
            file=file,
            offset=at,
            expected=f"{part.entry.spec.elements} elements of {part.slice.full_name!r}",
            found=f"{flat.size} elements of {saved.name!r}",
        )
    shape = part.entry.spec.known_shape
    flat.flags.writeable = False
    try:
        return flat.reshape(shape)
    except ValueError as error:
        raise UnsupportedError(
            f"numpy cannot hold variable {saved.name!r} of shape {list(shape)}: {error}",
            where=file,
            advice="Read it with TensorFlow itself.",
        ) from error
