import fcntl
import os

from tfpersist.storage.file_locks import flock, locked_directory


def is_locked(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return not flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


def test_a_thread_may_lock_a_directory_again(tmp_path):
    with locked_directory(str(tmp_path)):
        with locked_directory(str(tmp_path)):
            assert is_locked(tmp_path)
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_an_absent_directory_has_nothing_to_lock(tmp_path):
    with locked_directory(str(tmp_path / "absent")):
        assert not (tmp_path / "absent").exists()
