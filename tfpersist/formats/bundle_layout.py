"""Give each tensor its place in the data shards, and encode the index.

A training program saves the same tensors again and again; only their bytes and checksums change. So
the last few layouts are remembered with their encoded index. The next save puts its checksums into
that index.
"""

from __future__ import annotations

import itertools
from bisect import bisect
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfpersist.errors import SaveError
from tfpersist.formats import bundle, bundle_entry, crc32c, schema, slices
from tfpersist.formats.sstable_writer import Table, encode_table
from tfpersist.formats.tensors import Slice, TensorSpec

_MOST_REMEMBERED = 4
# More shards than processors do not make a save faster.
_MOST_SHARDS = 4
# The first row of an index is its header.
_FIRST = 1

_Rows = dict[bytes, bytes]


@attrs.frozen
class Layout:
    """The places of tensors in data shards. Each shard holds a range of the tensors, in order.

    Args:
        names: the name of each tensor; for a part of a partitioned variable, that of the whole.
        specs: the data type and the shape of each tensor.
        parts: the slice that each tensor is; None for a whole tensor.
        strings: the encoded size of each string tensor, by its number.
        alignment: every tensor starts at a multiple of this many bytes.
        shard_size: the least size of a shard in bytes, about; 0 for one shard of any size.
        apart: a shard begins with the tensor of this number, whatever the sizes are.
        sizes: the number of bytes of each tensor.
        paddings: the number of zeros after each tensor.
        ends: for each shard, the number of the tensor after its last one.
    """

    names: Sequence[str]
    specs: Sequence[TensorSpec]
    parts: Sequence[Slice | None]
    strings: Mapping[int, int]
    alignment: int
    shard_size: int
    apart: int
    sizes: Sequence[int] = attrs.field(eq=False, default=())
    paddings: Sequence[int] = attrs.field(eq=False, default=())
    ends: Sequence[int] = attrs.field(eq=False, default=())
    _index: tuple[Table, np.ndarray[Any, Any]] | None = attrs.field(eq=False, default=None)

    @property
    def shards(self) -> Sequence[range]:
        """The numbers of the tensors in each shard."""
        return [range(*ends) for ends in itertools.pairwise((0, *self.ends))]

    def size(self, tensors: range) -> int:
        """Return the number of bytes of the shard with these tensors."""
        numbers = slice(tensors.start, tensors.stop)
        return sum(self.sizes[numbers]) + sum(self.paddings[numbers])

    def index(self, crcs: Sequence[int], *, first: int, others: Mapping[bytes, bytes]) -> bytes:
        """Encode the index.

        Args:
            crcs: the plain checksum of each tensor.
            first: the number of the first of these shards; other shards come before it.
            others: the encoded entries of the tensors in the shards before `first`, by key.

        Raises:
            SaveError: two tensors have one name, a name is empty, or parts do not fit together.
        """
        masked = crc32c.all_masked(np.array(crcs, np.uint32))
        # An entry leaves out a checksum of 0, so an index with one has other offsets.
        usual = not first and bool(masked.all())
        if usual and self._index is not None:
            table, numbers = self._index
            return table.with_tails(numbers, masked)
        keys, wholes = _keys(self.names, self.specs, self.parts, self.ends, first)
        rows: _Rows = {**others, **wholes}
        heads: dict[TensorSpec, bytes] = {}
        for shard, tensors in enumerate(self.shards, first):
            offset = 0
            for number in tensors:
                spec = self.specs[number]
                head = heads.get(spec)
                if head is None:
                    head = heads[spec] = bundle_entry.encode_spec(spec)
                size = self.sizes[number]
                crc = int(masked[number])
                place = bundle_entry.encode_place(offset, size, crc, shard=shard)
                rows[keys[number]] = head + place
                offset += size + self.paddings[number]
        table = _encode(rows, first + len(self.ends))
        if usual:
            numbered = {key: number for number, key in enumerate(sorted(rows), _FIRST)}
            numbers = np.array([numbered[key] for key in keys], np.int64)
            # The owner of these lists may clear them, to free the values beside them.
            known = attrs.evolve(
                self,
                names=list(self.names),
                specs=list(self.specs),
                parts=list(self.parts),
                index=(table, numbers),
            )
            _REMEMBERED.append(known)
        return table.content


_REMEMBERED: deque[Layout] = deque(maxlen=_MOST_REMEMBERED)


def lay_out(
    names: Sequence[str],
    specs: Sequence[TensorSpec],
    parts: Sequence[Slice | None],
    strings: Mapping[int, int],
    alignment: int,
    *,
    shard_size: int = 0,
    apart: int = 0,
) -> Layout:
    """Give each tensor its place, one after the other. `Layout` describes the arguments.

    Raises:
        SaveError: two tensors have one name, a name is empty, parts do not fit together, or a
            tensor has no bytes that could be saved.

    Example:
        >>> specs = [TensorSpec("int8", (3,))] * 2
        >>> layout = lay_out(["a", "b"], specs, [None, None], {}, 64, shard_size=3)
        >>> layout.shards, layout.paddings
        ([range(0, 1), range(1, 2)], [61, 61])
    """
    layout = Layout(names, specs, parts, strings, alignment, shard_size, apart)
    for known in tuple(_REMEMBERED):
        if known == layout:
            return known
    _keys(names, specs, parts)
    fixed: dict[TensorSpec, int | None] = {}
    sizes: list[int] = []
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
        sizes.append(size)
    # Each starts at a multiple of the alignment, and so does what follows its padding.
    paddings = [-size % alignment for size in sizes]
    ends = _ends(sizes[:apart], shard_size) if apart else []
    if apart < len(sizes) or not apart:
        ends += [apart + end for end in _ends(sizes[apart:], shard_size)]
    return attrs.evolve(layout, sizes=sizes, paddings=paddings, ends=ends)


def _ends(sizes: Sequence[int], shard_size: int) -> list[int]:
    """Cut tensors into shards of about the same size, each of at least half of `shard_size`."""
    sums = [0, *itertools.accumulate(sizes)]
    total = sums[-1]
    wanted = min(total // shard_size, _MOST_SHARDS) if shard_size else 1
    ends = [0]
    for number in range(1, wanted):
        goal = total * number / wanted
        above = bisect(sums, goal)
        end = min((above - 1, above), key=lambda place: abs(sums[place] - goal))
        if 2 * min(sums[end] - sums[ends[-1]], total - sums[end]) >= shard_size:
            ends.append(end)
    return [*ends[1:], len(sizes)]


def index_of(rows: Mapping[bytes, bytes], num_shards: int) -> bytes:
    """Return the bytes of the index that consists of these encoded entries, by key."""
    return _encode(rows, num_shards).content


def _encode(rows: Mapping[bytes, bytes], num_shards: int) -> Table:
    header = schema.BundleHeaderProto(num_shards=num_shards)
    header.version.producer = bundle.VERSION
    ordered = ((key, rows[key]) for key in sorted(rows))
    return encode_table([(b"", header.SerializeToString()), *ordered])


def _keys(
    names: Sequence[str],
    specs: Sequence[TensorSpec],
    parts: Sequence[Slice | None],
    ends: Sequence[int] = (),
    first: int = 0,
) -> tuple[list[bytes], _Rows]:
    """Return the key of each tensor in the index, and the entries of partitioned variables."""
    keys: list[bytes] = []
    used: set[bytes] = set()
    partitioned: dict[str, list[tuple[TensorSpec, Slice]]] = {}
    shards: dict[str, int] = {}
    for name, spec, part in zip(names, specs, parts, strict=True):
        key = bundle_entry.raw(name)
        if part is not None and part.length != part.full_shape:
            partitioned.setdefault(name, []).append((spec, part))
            # It has no bytes of its own, but TensorFlow gives it the shard of its first part.
            shards.setdefault(name, first + bisect(ends, len(keys)))
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
        wholes[key] = _encode_whole(name, members, shards[name])
    return keys, wholes


def _same_name(name: str, problem: str) -> SaveError:
    return SaveError(
        problem, where=f"tensor {name!r}", advice="Give every tensor a name of its own."
    )


def _encode_whole(name: str, members: Sequence[tuple[TensorSpec, Slice]], shard: int) -> bytes:
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
    place = bundle_entry.encode_place(0, 0, 0, shard=shard)
    return head + place + bundle_entry.encode_slices([part for _, part in members])
