import pytest
from contract import StorageContract, put

from tfpersist.errors import StorageError
from tfpersist.storage import open_storage


class TestMemoryStorage(StorageContract):
    @pytest.fixture
    def storage(self, request):
        storage = open_storage(f"memory://{request.node.name}")
        yield storage
        storage.remove(storage.names())

    def reopen(self, storage):
        return open_storage(storage.location + "/")


@pytest.mark.parametrize("url", ["memory://", "memory:///"])
def test_one_without_a_name_is_refused(url):
    with pytest.raises(StorageError, match="has no name; expected memory://name"):
        open_storage(url)


def test_directories_in_memory_are_separate():
    put(open_storage("memory://one"), a=b"1")
    assert open_storage("memory://one/two").names() == frozenset()
    assert not open_storage("memory://one/two").exists()
    assert open_storage("memory://one").names() == {"a"}
    open_storage("memory://one").remove(["a"])
    assert not open_storage("memory://one").exists()
