"""A pause of the garbage collection ends, and leaves it as it was."""

import gc

import pytest

from tfpersist.gc_pause import uncollected


def test_a_pause_ends_after_an_error():
    with pytest.raises(ZeroDivisionError), uncollected():
        assert not gc.isenabled()
        1 / 0  # noqa: B018
    assert gc.isenabled()


def test_a_collection_that_was_off_stays_off():
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
