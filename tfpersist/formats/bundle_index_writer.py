"""Encode the index of a checkpoint of the V2 format. `bundle` describes it.

A training program saves the same tensors many times. Only their bytes, their checksums and
sometimes their places change. So the last four lists of tensors are remembered, with their encoded
names, data types and shapes, and with their last two indexes. If no place has changed, the next
index is one of these with other checksums.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import SaveError
from tfpersist.formats import bundle, bundle_entry, dtypes, schema, slices
from tfpersist.formats.byte_columns import Choices, Numbers
from tfpersist.formats.sstable_writer import Keys, Table, encode_columns
from tfpersist.formats.tensors import Slice, TensorSpec

_MOST_LISTS = 4
_MOST_TABLES = 2


@attrs.frozen(eq=False)
class Places:
    """The places of tensors in the data shards. Every array has a number for each tensor.

    Args:
        shards: the number of its shard.
        offsets: where it starts in the shard.
        sizes: the number of its bytes.
        crcs: the masked checksum of its bytes.
    """

    shards: Numbers
    offsets: Numbers
    sizes: Numbers
    crcs: np.ndarray[Any, Any]

    @classmethod
    def none(cls) -> Places:
        """Return the places of no tensors."""
        nothing = np.zeros(0, np.int64)
        return cls(nothing, nothing, nothing, nothing.astype(np.uint32))

    @classmethod
    def joined(cls, *groups: tuple[Numbers, Places]) -> Places:
        """Return the places of all tensors from those of some and those of the others.

        Args:
            groups: the numbers of some tensors, and the places of these.
        """
        order = np.argsort(np.concatenate([numbers for numbers, _ in groups]))
        columns = zip(*(places.columns for _, places in groups), strict=True)
        return cls(*(np.concatenate(column)[order] for column in columns))

    @property
    def columns(self) -> tuple[np.ndarray[Any, Any], ...]:
        """The arrays."""
        return self.shards, self.offsets, self.sizes, self.crcs

    def fit(self, other: Places) -> bool:
        """Return whether nothing but checksums differs."""
        pairs = zip(self.columns[:-1], other.columns[:-1], strict=True)
        return all(np.array_equal(mine, theirs) for mine, theirs in pairs)


@attrs.frozen(eq=False)
class TensorList:
    """The tensors of a checkpoint without their places; `tensor_list` makes it.

    Args:
        names: the name of each tensor; for a part of a partitioned variable, that of the whole.
        specs: the data type and the shape of each tensor.
        parts: the slice that each tensor is; None for a whole tensor.
        sizes: the number of bytes of each tensor; -1 for strings and variants, whose
            elements decide the size.
    """

    names: Sequence[str]
    specs: Sequence[TensorSpec]
    parts: Sequence[Slice | None]
    sizes: Numbers
    _rows: _Rows
    _tables: deque[tuple[int, Places, Table]] = attrs.field(
        factory=lambda: deque(maxlen=_MOST_TABLES), init=False
    )

    def encode(self, places: Places, num_shards: int) -> bytes:
        """Encode the index.

        Args:
            places: the places of the tensors.
            num_shards: the number of data shards.
        """
        # An entry leaves out a checksum of 0, so an index with one has other offsets.
        usual = bool(places.crcs.all())
        for known_num_shards, known_places, table in tuple(self._tables) if usual else ():
            if known_num_shards == num_shards and known_places.fit(places):
                return table.with_tails(self._rows.of_tensors, places.crcs)
        table = self._rows.encode(places, num_shards)
        if usual:
            self._tables.append((num_shards, places, table))
        return table.content


_REMEMBERED: deque[TensorList] = deque(maxlen=_MOST_LISTS)


def tensor_list(
    names: Sequence[str], specs: Sequence[TensorSpec], parts: Sequence[Slice | None]
) -> TensorList:
    """Return the list of some tensors; the last few lists are remembered.

    Args:
        names: see `TensorList`.
        specs: see `TensorList`.
        parts: see `TensorList`.

    Raises:
        SaveError: two tensors have one name, a name is empty, parts do not fit together, or a
            tensor has no bytes that could be saved.

    Example:
        >>> specs = [TensorSpec("int8", (3,))] * 2
        >>> one, other = (tensor_list(["a", "b"], specs, [None, None]) for _ in range(2))
        >>> one is other, one.sizes
        (True, array([3, 3]))
    """
    for known in tuple(_REMEMBERED):
        if known.names == names and known.specs == specs and known.parts == parts:
            return known
    rows = _Rows.of(names, specs, parts)
    sizes: dict[TensorSpec, int] = {}
    for name, spec in zip(names, specs, strict=True):
        if spec not in sizes:
            sizes[spec] = _size(name, spec)
    # The owner of these lists may clear them, to free the values beside them.
    tensors = TensorList(
        list(names),
        list(specs),
        list(parts),
        np.array([sizes[spec] for spec in specs], np.int64),
        rows,
    )
    _REMEMBERED.append(tensors)
    return tensors


def _size(name: str, spec: TensorSpec) -> int:
    if spec.dtype in dtypes.OF_BYTES and spec.elements is not None:
        return -1
    if spec.nbytes is None:
        raise SaveError(
            f"a tensor of {spec} has no bytes that could be saved",
            where=f"tensor {name!r}",
            advice="Save a tensor whose shape is known and whose data type numpy can hold.",
        )
    return spec.nbytes


@attrs.frozen(eq=False)
class _Rows:
    """The rows of an index: the header, the tensors and the partitioned variables, sorted by key.

    Args:
        keys: the keys.
        heads: the different beginnings of entries, which encode a data type and a shape; the first
            is empty, for the header.
        head_numbers: the number of the beginning of each row.
        slices: the different ends of entries, which encode the slices of a partitioned variable;
            the first is empty.
        slice_numbers: the number of the end of each row.
        order: the number of each row before sorting: header, tensors, partitioned variables.
        of_tensors: the row of each tensor.
        first_parts: the number of the tensor that is the first part of each partitioned variable.
    """

    keys: Keys
    heads: Sequence[bytes]
    head_numbers: Numbers
    slices: Sequence[bytes]
    slice_numbers: Numbers
    order: Numbers
    of_tensors: Numbers
    first_parts: Sequence[int]

    @classmethod
    def of(
        cls, names: Sequence[str], specs: Sequence[TensorSpec], parts: Sequence[Slice | None]
    ) -> _Rows:
        """Sort the rows of some tensors.

        Raises:
            SaveError: two tensors have one name, a name is empty, or parts do not fit together.
        """
        keys, partitioned = _keys(names, specs, parts)
        row_specs = [*specs, *(_spec_of_whole(*variable) for variable in partitioned.items())]
        ends = [b"", *(_encode_slices(members) for members in partitioned.values())]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        heads: dict[TensorSpec, int] = {}
        for spec in row_specs:
            heads.setdefault(spec, len(heads) + 1)
        head_numbers = np.array([0, *(heads[spec] for spec in row_specs)], np.int64)
        slice_numbers = np.zeros(len(keys), np.int64)
        slice_numbers[1 + len(names) :] = np.arange(1, len(ends))
        sorted_rows = np.array(order, np.int64)
        rows = np.empty_like(sorted_rows)
        rows[sorted_rows] = np.arange(len(keys))
        return cls(
            Keys.of([keys[number] for number in order]),
            [b"", *map(bundle_entry.encode_spec, heads)],
            head_numbers[sorted_rows],
            ends,
            slice_numbers[sorted_rows],
            sorted_rows,
            rows[1 : 1 + len(names)],
            [members[0][0] for members in partitioned.values()],
        )

    def encode(self, places: Places, num_shards: int) -> Table:
        """Encode the index."""
        header = schema.BundleHeaderProto(num_shards=num_shards)
        header.version.producer = bundle.VERSION
        # A partitioned variable has no bytes of its own, but TensorFlow gives it the shard of its
        # first part.
        shards = places.shards[self.first_parts]
        nothing = np.zeros_like(shards)

        def by_row(tensors: np.ndarray[Any, Any], wholes: Numbers = nothing) -> Numbers:
            return np.concatenate([[0], tensors, wholes])[self.order]

        return encode_columns(
            self.keys,
            [
                Choices([header.SerializeToString(), *self.heads[1:]], self.head_numbers),
                *bundle_entry.place_columns(
                    by_row(places.shards, shards),
                    by_row(places.offsets),
                    by_row(places.sizes),
                    by_row(places.crcs),
                ),
                Choices(self.slices, self.slice_numbers),
            ],
        )


# The parts of a partitioned variable: the number of the tensor, its spec and its slice.
_Members = list[tuple[int, TensorSpec, Slice]]


def _keys(
    names: Sequence[str], specs: Sequence[TensorSpec], parts: Sequence[Slice | None]
) -> tuple[list[bytes], dict[str, _Members]]:
    """Return the keys of the header, of each tensor and of each partitioned variable.

    Returns:
        The keys, and the parts of each partitioned variable by its name.

    Raises:
        SaveError: two tensors have one name, a name is empty, or a variable is there twice.
    """
    keys, used = [b""], set[bytes]()
    partitioned: dict[str, _Members] = {}
    for number, (name, part) in enumerate(zip(names, parts, strict=True)):
        key = bundle_entry.raw(name)
        if part is not None and not part.is_whole:
            partitioned.setdefault(name, []).append((number, specs[number], part))
            key = slices.part_key(key, zip(part.start, part.length, strict=True))
        if not name or key in used:
            raise _same_name(name, "two tensors have one name" if name else "a name is empty")
        used.add(key)
        keys.append(key)
    for name in partitioned:
        key = bundle_entry.raw(name)
        if key in used:
            raise _same_name(name, "a tensor is saved both as a whole and in parts")
        keys.append(key)
    return keys, partitioned


def _same_name(name: str, problem: str) -> SaveError:
    return SaveError(
        problem, where=f"tensor {name!r}", advice="Give every tensor a name of its own."
    )


def _spec_of_whole(name: str, members: _Members) -> TensorSpec:
    """Return the spec of a partitioned variable.

    Raises:
        SaveError: its parts do not fit together.
    """
    shapes = {part.full_shape for _, _, part in members}
    types = {spec.dtype for _, spec, _ in members}
    fits = all(spec.shape == part.length for _, spec, part in members)
    if len(shapes) != 1 or len(types) != 1 or not fits:
        raise SaveError(
            "the parts of a partitioned variable do not fit together",
            where=f"variable {name!r}",
            expected="one data type, one full shape, and slices of the shape of their elements",
            found=[str(spec) for _, spec, _ in members],
        )
    return TensorSpec(types.pop(), shapes.pop())


def _encode_slices(members: _Members) -> bytes:
    return bundle_entry.encode_slices([part for _, _, part in members])
