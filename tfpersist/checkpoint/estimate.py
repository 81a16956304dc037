"""Estimate what an incremental save could share, from memory and without opening a file.

To open, lock and compare the earlier checkpoint takes time, which is lost if nothing can be shared
in the end. So the checksums of a random sample of the small tensors are compared with those that
the last save of this store has written. Only a save that would share nothing is decided like this;
what is shared is compared byte by byte.
"""

from __future__ import annotations

import attrs
import numpy as np

from tfpersist.checkpoint.save_memory import LastSave
from tfpersist.formats import crc32c
from tfpersist.formats.bundle_index_writer import TensorList
from tfpersist.formats.bundle_writer import SMALL, Items, load_many

# The number of draws for the sample of the small tensors.
SAMPLE = 128
# The share of all bytes that small tensors must hold. Of large ones nothing is known here.
_LEAST_SMALL = 15 / 16
# A data file of which less is in use is not linked.
_LEAST_IN_USE = 0.5
# Where less than this share lasts, files are linked once or twice, and comparing takes longer.
LEAST_PAID = 0.6


@attrs.frozen
class Estimate:
    """The result of comparing a sample of the tensors.

    Args:
        unchanged: the share of all bytes that did not change.
        linked: the share of all bytes that lie, unchanged, in data files that can be linked.
        sharing_paid: whether most of what the last save has shared, or written to be shared, is
            unchanged; None if it has shared nothing.
    """

    unchanged: float
    linked: float
    sharing_paid: bool | None


def estimate(last: LastSave, items: Items, tensors: TensorList, turn: int) -> Estimate | None:
    """Compare a sample of the tensors with the last save.

    Args:
        last: the last save.
        items: the tensors of the new one.
        tensors: the same tensors as a list.
        turn: a number that differs for each save.

    Returns:
        The estimate; None if these are other tensors, or if they are few or large.

    Raises:
        SaveError: elements do not fit their spec.
    """
    sizes, places = tensors.sizes, last.places
    small = np.flatnonzero((sizes > 0) & (sizes < SMALL))
    ends = sizes[small].cumsum()
    is_known = last.tensors is tensors and len(small) > SAMPLE
    if not is_known or ends[-1] < _LEAST_SMALL * places.sizes.sum():
        return None
    draws = np.random.default_rng(turn).integers(ends[-1], size=SAMPLE)
    sample = small[np.unique(np.searchsorted(ends, draws, side="right"))]
    crcs = crc32c.all_masked(crc32c.of_each(load_many(items, sample.tolist())))
    files, drawn_from = np.array(last.file_sizes), places.shards[sample]
    drawn = np.bincount(drawn_from, minlength=len(files))
    same = np.bincount(drawn_from, crcs == places.crcs[sample], len(files))
    used = np.bincount(places.shards, places.sizes, len(files))
    unchanged = used * same / np.maximum(drawn, 1)
    shared = list(last.shared)
    return Estimate(
        unchanged.sum() / used.sum(),
        unchanged[unchanged >= _LEAST_IN_USE * files].sum() / used.sum(),
        bool(unchanged[shared].sum() >= LEAST_PAID * used[shared].sum()) if shared else None,
    )
