"""An engine is refused in a child that was forked after its threads had started."""

from __future__ import annotations

import os

from tfpersist.calls.forks import Threads
from tfpersist.errors import RunError


def in_child(use):
    """Return what a forked child says of a use: "fine", or the error."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            use()
            os.write(writing, b"fine")
        except RunError as error:
            os.write(writing, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        return pipe.read()


def test_a_child_may_begin_what_its_parent_has_not_begun():
    threads = Threads("Some engine")
    assert in_child(threads.begin) == "fine"
    threads.begin()
    threads.refuse()
    assert in_child(threads.begin).startswith("Some engine has run before this process was forked")
    assert "its threads are gone" in in_child(threads.refuse)
    threads.begin()


def test_threads_that_other_code_started_are_lost_too():
    assert "forked" in in_child(Threads("Some engine", lambda: True).begin)


def test_a_child_of_a_child_has_no_threads_either():
    threads = Threads("Some engine")
    threads.begin()

    def in_a_child_of_its_own():
        raise RunError(in_child(threads.begin))

    assert in_child(in_a_child_of_its_own).startswith("Some engine has run")
