"""Where the tensors of a data shard lie, and the index that says so.

A program that trains saves the same tensors again and again: only their bytes change, and so their
checksums. So a few layouts are remembered together with their encoded index, into which the
checksums of the next save are put.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import SaveError
from tfpersist.formats import bundle, bundle_entry, crc32c, schema, slices, sstable
from tfpersist.formats.sstable_writer import Table, encode_table
from tfpersist.formats.tensors import Slice, TensorSpec

_MOST_REMEMBERED = 4
# The first row of an index is its header.
_FIRST = 1

_Rows = dict[bytes, bytes]


@attrs.frozen
class Layout:
    """Where tensors lie in a data shard; see `lay_out`.

    Args:
        names: their names; for a part of a partitioned variable, that of the whole.
        specs: their data types and shapes.
        parts: which slices they are; None for a whole one.
        strings: the encoded size of those that are strings, by number.
        alignment: each starts at a multiple of this many bytes.
        sizes: the number of bytes of each.
        paddings: how many zeros follow each.
        size: the number of bytes of the shard.
    """

    names: Sequence[str]
    specs: Sequence[TensorSpec]
    parts: Sequence[Slice | None]
    strings: Mapping[int, int]
    alignment: int
    sizes: Sequence[int] = attrs.field(eq=False, default=())
    paddings: Sequence[int] = attrs.field(eq=False, default=())
    size: int = attrs.field(eq=False, default=0)
    _index: tuple[Table, np.ndarray[Any, Any]] | None = attrs.field(eq=False, default=None)

    def index(self, crcs: Sequence[int], *, shard: int, others: Mapping[bytes, bytes]) -> bytes:
        """Encode the index.

        Args:
            crcs: the plain checksum of each tensor.
            shard: the number of their data shard, the last one.
            others: the rows of tensors in other shards, by key.

        Raises:
            SaveError: two tensors of one name, an empty name, or parts that do not fit together.
        """
        masked = crc32c.all_masked(np.array(crcs, np.uint32))
        # An entry leaves out a zero, so an index with one in it has other offsets.
        usual = not shard and not others and bool(masked.all())
        if usual and self._index is not None:
            table, numbers = self._index
            return table.with_tails(numbers, masked)
        keys, wholes = _keys(self.names, self.specs, self.parts)
        rows: _Rows = {**others, **wholes}
        heads: dict[TensorSpec, bytes] = {}
        offset = 0
        for number, (key, spec) in enumerate(zip(keys, self.specs, strict=True)):
            head = heads.get(spec)
            if head is None:
                head = heads[spec] = bundle_entry.encode_spec(spec)
            size = self.sizes[number]
            crc = int(masked[number])
            rows[key] = head + bundle_entry.encode_place(offset, size, crc, shard=shard)
            offset += size + self.paddings[number]
        table = _encode(rows, shard + 1)
        if usual:
            numbered = {key: number for number, key in enumerate(sorted(rows), _FIRST)}
            numbers = np.array([numbered[key] for key in keys], np.int64)
            # What was given may be emptied by its owner, to free the values beside it.
            lists = (list(self.names), list(self.specs), list(self.parts))
            places = (self.sizes, self.paddings, self.size)
            known = Layout(*lists, self.strings, self.alignment, *places, (table, numbers))
            _REMEMBERED.append(known)
        return table.content


_REMEMBERED: deque[Layout] = deque(maxlen=_MOST_REMEMBERED)


def lay_out(
    names: Sequence[str],
    specs: Sequence[TensorSpec],
    parts: Sequence[Slice | None],
    strings: Mapping[int, int],
    alignment: int,
) -> Layout:
    """Give each tensor its place, one behind the other; see `Layout` for what is given.

    Raises:
        SaveError: two tensors of one name, an empty name, parts that do not fit together, or a
            tensor that has no bytes that could be saved.

    Example:
        >>> lay_out(["a"], [TensorSpec("int8", (3,))], [None], {}, 64).size
        64
    """
    layout = Layout(names, specs, parts, strings, alignment)
    for known in tuple(_REMEMBERED):
        if known == layout:
            return known
    _keys(names, specs, parts)
    fixed: dict[TensorSpec, int | None] = {}
    sizes, paddings = [], []
    offset = 0
    for number, spec in enumerate(specs):
        if spec not in fixed:
            fixed[spec] = spec.nbytes
        size = strings[number] if number in strings else fixed[spec]
        if size is None:
            raise SaveError(
                f"a tensor of {spec} has no bytes that could be saved",
                where=f"tensor {names[number]!r}",
                advice="Save a tensor whose shape is known and whose data type numpy can hold.",
            )
        padding = -(offset + size) % alignment
        sizes.append(size)
        paddings.append(padding)
        offset += size + padding
    return attrs.evolve(layout, sizes=sizes, paddings=paddings, size=offset)


def index_of(rows: Mapping[bytes, bytes], num_shards: int) -> bytes:
    """Give the bytes of the index that consists of these encoded entries, by key."""
    return _encode(rows, num_shards).content


def rows_of(index: bytes) -> _Rows:
    """Give the encoded entries of an index, by key."""
    records = sstable.read_table(memoryview(index), "an index just made", copied=True)
    return {key: row for key, row, _ in records[_FIRST:]}


def _encode(rows: Mapping[bytes, bytes], num_shards: int) -> Table:
    header = schema.BundleHeaderProto(num_shards=num_shards)
    header.version.producer = bundle.VERSION
    ordered = ((key, rows[key]) for key in sorted(rows))
    return encode_table([(b"", header.SerializeToString()), *ordered])


def _keys(
    names: Sequence[str], specs: Sequence[TensorSpec], parts: Sequence[Slice | None]
) -> tuple[list[bytes], _Rows]:
    """The key of each tensor in the index, and the rows of partitioned variables as wholes."""
    keys: list[bytes] = []
    used: set[bytes] = set()
    partitioned: dict[str, list[tuple[TensorSpec, Slice]]] = {}
    for name, spec, part in zip(names, specs, parts, strict=True):
        key = bundle_entry.raw(name)
        if part is not None and part.length != part.full_shape:
            partitioned.setdefault(name, []).append((spec, part))
            key = slices.part_key(key, zip(part.start, part.length, strict=True))
        if not name or key in used:
            raise _same_name(name, "two tensors have one name" if name else "a name is empty")
        used.add(key)
        keys.append(key)
    wholes = {}
    for name, members in partitioned.items():
        key = bundle_entry.raw(name)
        if key in used:
            raise _same_name(name, "a tensor is saved both as a whole and in parts")
        wholes[key] = _encode_whole(name, members)
    return keys, wholes


def _same_name(name: str, problem: str) -> SaveError:
    return SaveError(
        problem, where=f"tensor {name!r}", advice="Give every tensor a name of its own."
    )


def _encode_whole(name: str, members: Sequence[tuple[TensorSpec, Slice]]) -> bytes:
    shapes = {part.full_shape for _, part in members}
    types = {spec.dtype for spec, _ in members}
    fits = all(spec.shape == part.length for spec, part in members)
    if len(shapes) != 1 or len(types) != 1 or not fits:
        raise SaveError(
            "the parts of a partitioned variable do not fit together",
            where=f"variable {name!r}",
            expected="one data type, one full shape, and slices of the shape of their elements",
            found=[str(spec) for spec, _ in members],
        )
    head = bundle_entry.encode_spec(TensorSpec(types.pop(), shapes.pop()))
    return head + bundle_entry.encode_slices([part for _, part in members])
