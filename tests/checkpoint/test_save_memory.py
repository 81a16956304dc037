"""The memory of a store's last save, and which tensors may be remembered."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from tfpersist.checkpoint.save_memory import LastSave, SaveMemory, Sharing
from tfpersist.formats.bundle_index_writer import Places, tensor_list
from tfpersist.formats.tensors import TensorSpec

SIZE = 1 << 14  # float32 elements: 64 KiB


def last_save():
    return LastSave(tensor_list(["a"], [TensorSpec("int8", ())], [None]), Places.none(), ())


def view(size=SIZE, dtype=np.float32, *, writeable=False):
    """Return a view of memory that somebody else owns."""
    array = np.zeros(size, dtype)[:]
    array.flags.writeable = writeable
    return array


def test_only_the_last_save_is_remembered():
    memory, first, second = SaveMemory(), last_save(), last_save()
    assert memory.find(7) is None
    memory.note(7, first)
    assert memory.find(7) is first
    memory.note(8, second)
    assert memory.find(8) is second
    assert memory.find(7) is None


def test_a_copy_with_other_borrowed_names_remembers_the_same():
    memory = SaveMemory()
    copy = attrs.evolve(memory, borrowed=frozenset("v"))
    copy.note(7, last_save())
    assert memory.find(7) is copy.find(7) is not None
    assert (next(memory.turns), next(copy.turns), next(memory.turns)) == (0, 1, 2)


def test_each_store_has_a_memory_of_its_own():
    one, other = SaveMemory(), SaveMemory()
    one.note(7, last_save())
    assert other.find(7) is None


@pytest.mark.parametrize(
    ("array", "shared"),
    [
        (view(), True),
        (view(SIZE - 1), False),
        (view(writeable=True), False),
        (np.zeros(SIZE, np.float32), False),
        (view(dtype=object), False),
    ],
    ids=["shared", "small", "writable", "its own", "objects"],
)
def test_only_large_read_only_memory_is_shared(array, shared):
    assert SaveMemory().may_share("v", array) is shared


def test_an_array_that_owns_its_memory_is_not_shared_though_it_is_read_only():
    array = np.zeros(SIZE, np.float32)
    array.flags.writeable = False
    assert not SaveMemory().may_share("v", array)


def test_memory_of_the_caller_is_not_shared():
    memory = SaveMemory(frozenset({"v"}))
    assert not memory.may_share("v", view())
    assert memory.may_share("w", view())


def test_sharing_waits_longer_after_each_failure():
    sharing, waits = Sharing(), []
    assert sharing.is_due()
    for _ in range(6):
        sharing.note(paid=False)
        waits.append(next(n for n in range(99) if sharing.is_due()))
    assert waits == [1, 3, 7, 15, 15, 15]
    sharing.note(paid=False)
    sharing.note(paid=True)
    assert sharing.is_due()
    sharing.note(paid=False)
    assert [sharing.is_due() for _ in range(2)] == [False, True]
