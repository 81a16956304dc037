"""Keep signals waiting."""

import os
import signal
import threading

import pytest

from tfpersist.uninterrupted import uninterrupted


@pytest.fixture
def handled():
    """The calls that the handlers of two signals have noted."""
    noted = []
    before = {
        number: signal.signal(number, lambda number, frame: noted.append(number))
        for number in (signal.SIGUSR1, signal.SIGUSR2)
    }
    yield noted
    for number, handler in before.items():
        signal.signal(number, handler)


def test_signals_are_handled_at_the_end_in_their_order(handled):
    with uninterrupted():
        for number in (signal.SIGUSR2, signal.SIGUSR1, signal.SIGUSR2):
            signal.raise_signal(number)
        assert handled == []
    assert handled == [signal.SIGUSR2, signal.SIGUSR1, signal.SIGUSR2]
    signal.raise_signal(signal.SIGUSR1)
    assert handled[3:] == [signal.SIGUSR1]


def test_each_signal_is_handled_though_one_raises(handled):
    done = []

    def work():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGUSR1)
            done.append("all of it")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done
    assert handled == [signal.SIGUSR1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_in_the_block_comes_through_and_handlers_are_there_again(handled):
    before = signal.getsignal(signal.SIGUSR1)

    def work():
        with uninterrupted():
            signal.raise_signal(signal.SIGUSR1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert handled == [signal.SIGUSR1]
    assert signal.getsignal(signal.SIGUSR1) is before


def test_blocks_may_be_nested_and_a_handler_set_inside_stays(handled):
    with uninterrupted():
        with uninterrupted():
            signal.raise_signal(signal.SIGUSR1)
        assert handled == []
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    assert handled == [signal.SIGUSR1]
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_IGN


def test_what_has_no_handler_in_python_keeps_its_course():
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    with uninterrupted():
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_another_thread_changes_no_handler(handled):
    seen = []

    def work():
        with uninterrupted():
            seen.append(signal.getsignal(signal.SIGUSR1))

    before = signal.getsignal(signal.SIGUSR1)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_signal_at_any_moment_is_neither_lost_nor_handled_twice(handled):
    """Signals come from another process all the time, while blocks begin and end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        for _ in range(200):
            os.kill(os.getppid(), signal.SIGUSR1)
            os.read(reading, 1)
        os._exit(0)
    count = 0
    while count < 200:
        with uninterrupted():
            inside = len(handled)
            sum(range(50))
            assert len(handled) == inside
        if len(handled) > count:
            count = len(handled)
            os.write(writing, b"x")
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)
    assert handled == [signal.SIGUSR1] * 200
