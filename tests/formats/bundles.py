"""Make and change the index of a small checkpoint, for the tests of this folder."""

import numpy as np

from tfpersist.formats import schema, sstable, sstable_writer, tensors
from tfpersist.formats.bundle_writer import Item


def item(key, array, dtype=None, part=None):
    return Item(key, tensors.payload_of(np.asarray(array), dtype), part)


def rewritten(index, change):
    """An index of right checksums whose records `change` has changed."""
    records = [(key, bytes(value)) for key, value, _ in sstable.read_table(memoryview(index), "x")]
    return sstable_writer.encode_table(sorted(change(dict(records)).items())).content


def entry(**fields):
    proto = schema.BundleEntryProto(**{"dtype": 1, "size": 4, "crc32c": 1, **fields})
    proto.shape.SetInParent()
    return proto


def with_shape(*sizes, **fields):
    proto = entry(**fields)
    for size in sizes:
        proto.shape.dim.add(size=size)
    return proto
