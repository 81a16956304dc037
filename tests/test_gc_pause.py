"""A pause of the garbage collection ends, and leaves it as it was."""

import gc

import pytest

from tfpersist.gc_pause import gc_paused


def test_a_pause_ends_after_an_error():
    seen = []

    def fail():
        seen.append(gc.isenabled())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), gc_paused():
        fail()
    assert seen == [False]
    assert gc.isenabled()


def test_a_collection_that_was_off_stays_off():
    gc.disable()
    try:
        with gc_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
