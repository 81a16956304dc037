from __future__ import annotations

import numpy as np
import pytest

from tfpersist.tf.run.aligned import ALIGNMENT, aligned_copy


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1000])
@pytest.mark.parametrize("dtype", ["u1", "<f4", ">f8", "?"])
def test_a_copy_is_aligned_and_shares_nothing(size, dtype):
    array = np.arange(size).astype(dtype)
    copy = aligned_copy(array)
    assert copy.ctypes.data % ALIGNMENT == 0 or not size
    assert copy.dtype.isnative
    assert copy.tolist() == array.tolist()
    assert not np.shares_memory(copy, array)


def test_the_shape_stays_and_the_order_becomes_that_of_c():
    array = np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1)
    copy = aligned_copy(array)
    assert copy.flags.c_contiguous
    np.testing.assert_array_equal(copy, array)
    assert aligned_copy(np.float32(3)[()].reshape(())).shape == ()
