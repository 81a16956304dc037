"""A pause of the garbage collection ends, and leaves it as it was."""

import gc
import sys
import threading

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


def test_pauses_that_overlap_end_with_the_last_one():
    first, second = gc_paused(), gc_paused()
    with first:
        second.__enter__()
        with gc_paused():
            pass
        assert not gc.isenabled()
    assert not gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()


def test_pauses_of_many_threads_leave_the_collection_on(request):
    interval = sys.getswitchinterval()
    request.addfinalizer(lambda: sys.setswitchinterval(interval))
    request.addfinalizer(gc.enable)
    sys.setswitchinterval(1e-6)
    seen = []

    def pause_often():
        for _ in range(2000):
            with gc_paused():
                seen.append(gc.isenabled())

    threads = [threading.Thread(target=pause_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gc.isenabled()
    assert not any(seen)
