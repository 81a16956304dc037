"""Cut large tables into slices of rows, for a save that writes some of their rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import attrs
import numpy as np

from tfpersist.checkpoint.rows import Runs
from tfpersist.formats import crc32c
from tfpersist.formats.bundle_index_writer import Places, TensorList, tensor_list
from tfpersist.formats.bundle_writer import Items
from tfpersist.formats.byte_columns import Numbers
from tfpersist.formats.tensors import Array, Slice, TensorSpec


@attrs.frozen(eq=False)
class Cut:
    """The tensors of a save, some of them cut.

    Args:
        items: the tensors, with a slice for each run of rows of those that are cut.
        tensors: the same tensors as a list.
        numbers: the number that each tensor has now; of one that is cut, that of its first slice.
        kept: the numbers of the slices that stay in data files of the earlier checkpoint.
        places: the places of these in the earlier checkpoint.
        written: the numbers of the slices that are written.
    """

    items: Items
    tensors: TensorList
    numbers: Numbers
    kept: Numbers
    places: Places
    written: Numbers


def cut(items: Items, tensors: TensorList, tables: Mapping[int, tuple[Array, Runs]]) -> Cut:
    """Cut some tensors into the runs of their rows.

    Args:
        items: the tensors.
        tensors: the same tensors as a list.
        tables: the elements and the runs of those that are cut, by number.
    """
    counts = np.ones(len(items), np.int64)
    for number, (_, runs) in tables.items():
        counts[number] = len(runs.shards)
    numbers = np.append(0, counts.cumsum()[:-1])
    if not tables:
        nothing = np.zeros(0, np.int64)
        return Cut(items, tensors, numbers, nothing, Places.none(), nothing)
    slices = Items()
    for number in range(len(items)):
        if number in tables:
            array, runs = tables[number]
            name, spec = items.names[number], items.specs[number]
            for start, stop in pairwise(runs.starts.tolist()):
                place = _place(name, spec, start, stop)
                slices.names.append(name)
                slices.specs.append(TensorSpec(spec.dtype, place.length))
                slices.loads.append(_rows(array, start, stop))
                slices.parts.append(place)
        else:
            slices.names.append(items.names[number])
            slices.specs.append(items.specs[number])
            slices.loads.append(items.loads[number])
            slices.parts.append(items.parts[number])
    at = np.concatenate([numbers[number] + np.arange(counts[number]) for number in tables])
    shards, offsets, sizes, crcs = (
        np.concatenate(column)
        for column in zip(
            *(
                (runs.shards, runs.offsets, runs.counts * (array.nbytes // len(array)), runs.crcs)
                for array, runs in tables.values()
            ),
            strict=True,
        )
    )
    kept = shards >= 0
    return Cut(
        slices,
        tensor_list(slices.names, slices.specs, slices.parts),
        numbers,
        at[kept],
        Places(
            shards[kept],
            offsets[kept],
            sizes[kept],
            crc32c.all_masked(crcs[kept].astype(np.uint32)),
        ),
        at[~kept],
    )


def _place(name: str, spec: TensorSpec, start: int, stop: int) -> Slice:
    shape = spec.known_shape
    first, length = (start, *(0 for _ in shape[1:])), (stop - start, *shape[1:])
    return Slice(name, shape, first, length)


def _rows(array: Array, start: int, stop: int) -> Callable[[], Array]:
    return lambda: array[start:stop]
