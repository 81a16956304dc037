"""Another dataset is noticed, and the same one is not mistaken for another."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfpersist.errors import RestoreError
from tfpersist.tf.training.same_data import description_of, require_same

ROWS = np.arange(8.0)


def described(rows=ROWS, batch=2, buffer=4, scale=2.0, **options):
    data = tf.data.Dataset.from_tensor_slices(rows).shuffle(buffer, seed=1)
    return description_of(iter(data.map(lambda n: n * scale, **options).batch(batch)))


def test_the_same_dataset_is_the_same():
    assert described() == described()
    require_same(described(), described())
    require_same(described(), {})


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"rows": ROWS + 1}, "the tensors that it holds"),
        ({"rows": ROWS.astype("float32")}, "a batch"),
        ({"rows": np.arange(9.0)}, "batches"),
        ({"batch": 4}, "batches"),
        ({"buffer": 5}, "steps of tf.data"),
    ],
)
def test_another_dataset_is_refused(other, named):
    with pytest.raises(RestoreError, match=rf"other data.*\n  {named}|\n  {named}"):
        require_same(described(), described(**other))


def test_the_number_of_repetitions_does_not_count():
    def repeated(count, rows=ROWS):
        data = tf.data.Dataset.from_tensor_slices(rows).repeat(count).batch(2)
        return description_of(iter(data))

    require_same(repeated(2), repeated(3))
    with pytest.raises(RestoreError, match="the tensors that it holds"):
        require_same(repeated(2), repeated(2, ROWS + 1))


def test_other_seeds_matter_only_where_data_are_read_again():
    one = description_of(iter(tf.data.Dataset.range(8).shuffle(4, seed=1)))
    other = description_of(iter(tf.data.Dataset.range(8).shuffle(4, seed=2)))
    require_same(one, other)
    with pytest.raises(RestoreError, match=r"seeds of tf\.data"):
        require_same(one, other, replayed=True)
