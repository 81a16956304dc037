"""Options compare by their content, and show what differs from the defaults."""

from __future__ import annotations

import numpy as np

from tfpersist.freezer.options import Options


def test_it_shows_what_differs_from_the_defaults():
    assert repr(Options()) == ""
    options = Options(outputs=("y",), optimized=True, tolerance=0.5)
    assert repr(options) == "outputs=('y',), optimized=True, tolerance=0.5"


def test_arrays_compare_by_their_elements():
    for field in ("baked", "feeds"):
        ones, same, zeros = (
            Options(**{field: {"x": values}}) for values in (np.ones(3), np.ones(3), np.zeros(3))
        )
        assert ones == same
        assert hash(ones) == hash(same)
        assert ones != zeros


def test_the_tensors_that_placeholders_replace():
    options = Options(inputs=(("image", "IteratorGetNext:0"), ("mask:0", "mask:0")))
    assert options.input_tensors == ("IteratorGetNext:0", "mask:0")
