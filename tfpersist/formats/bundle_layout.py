"""Lay out the tensors of a checkpoint in data shards."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import attrs
import numpy as np

from tfpersist.formats.byte_columns import Numbers

# More shards than processors do not make a save faster.
MOST_SHARDS = 4


@attrs.frozen(eq=False)
class Layout:
    """The places of tensors in data shards. Each shard holds a range of the tensors, in order.

    Args:
        sizes: the number of bytes of each tensor.
        paddings: the number of zeros after each tensor.
        ends: for each shard, the number of the tensor after its last one.
    """

    sizes: Numbers
    paddings: Numbers
    ends: Sequence[int]

    @property
    def tensors(self) -> Sequence[range]:
        """The numbers of the tensors in each shard."""
        return [range(*ends) for ends in itertools.pairwise((0, *self.ends))]

    @property
    def shard_sizes(self) -> Sequence[int]:
        """The number of bytes of each shard."""
        filled = self.sizes + self.paddings
        return [int(filled[numbers.start : numbers.stop].sum()) for numbers in self.tensors]

    @property
    def shards(self) -> Numbers:
        """The number of the shard of each tensor."""
        return np.repeat(np.arange(len(self.ends)), [len(numbers) for numbers in self.tensors])

    @property
    def offsets(self) -> Numbers:
        """Where each tensor starts in its shard."""
        filled = self.sizes + self.paddings
        starts = np.append(0, np.cumsum(self.shard_sizes))
        offsets: Numbers = filled.cumsum() - filled - starts[self.shards]
        return offsets


def lay_out(
    sizes: Numbers,
    alignment: int,
    *,
    shard_size: int = 0,
    apart: int = 0,
    most_shards: int = MOST_SHARDS,
) -> Layout:
    """Place the tensors one after the other.

    Args:
        sizes: the number of bytes of each tensor.
        alignment: every tensor starts at a multiple of this many bytes.
        shard_size: the least size of a shard in bytes, about; 0 for one shard of any size.
        apart: a shard begins with the tensor of this number, whatever the sizes are.
        most_shards: how many shards the tensors before it have at most, and so for the others.

    Example:
        >>> layout = lay_out(np.array([3, 3]), 64, shard_size=3)
        >>> layout.tensors, layout.paddings
        ([range(0, 1), range(1, 2)], array([61, 61]))
    """
    most_shards = min(most_shards, MOST_SHARDS)
    ends = _ends(sizes[:apart], shard_size, most_shards) if apart else []
    if apart < len(sizes) or not apart:
        ends += [apart + end for end in _ends(sizes[apart:], shard_size, most_shards)]
    # Each starts at a multiple of the alignment, and so does what follows its padding.
    return Layout(sizes, -sizes % alignment, ends)


def _ends(sizes: Numbers, shard_size: int, most_shards: int) -> list[int]:
    """Cut tensors into shards of about the same size, each of at least half of `shard_size`."""
    sums = np.append(0, sizes.cumsum())
    total = int(sums[-1])
    wanted = min(total // shard_size, most_shards) if shard_size else 1
    ends = [0]
    for number in range(1, wanted):
        goal = total * number / wanted
        above = int(np.searchsorted(sums, goal, side="right"))
        end = min((above - 1, above), key=lambda place: abs(int(sums[place]) - goal))
        if 2 * min(sums[end] - sums[ends[-1]], total - sums[end]) >= shard_size:
            ends.append(end)
    return [*ends[1:], len(sizes)]
