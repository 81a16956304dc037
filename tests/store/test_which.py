"""Choose the checkpoints to restore."""

import numpy as np
import pytest

from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.errors import CheckpointNotFoundError
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.tensors import payload_of
from tfpersist.storage import open_storage
from tfpersist.store.which import Which


@pytest.fixture
def directory(tmp_path):
    storage = open_storage(tmp_path)
    for prefix, step in (("m-1", 1), ("m-best", 7), ("m-3", 3), ("n-4", 4), ("m-2", 2), ("m", 9)):
        write_checkpoint(storage, prefix, [Item("v", payload_of(np.zeros(1)))], step=step)
    (tmp_path / "m-3.data-00000-of-00001").unlink()
    return Directory.look(storage)


@pytest.mark.parametrize(
    ("which", "known", "complete"),
    [
        (Which("m"), ["m-1", "m-3", "m-2", "m"], ["m-1", "m-2", "m"]),
        (Which("n"), ["n-4"], ["n-4"]),
        (Which("other"), ["m-1", "m-best", "m-3", "n-4", "m-2", "m"], None),
        (Which("m", step=3), ["m-3"], []),
        (Which("m", step=9), ["m"], ["m"]),
        (Which("m", prefix="m-2"), ["m-2"], ["m-2"]),
        (Which("m-best"), ["m-best"], ["m-best"]),
    ],
)
def test_those_that_are_meant(directory, which, known, complete):
    assert which.known(directory) == known
    assert list(which.newest_first(directory)) == known[::-1]
    if complete is not None:
        assert which.complete(directory) == complete
    assert which.is_one is (which.step is not None or which.prefix is not None)


def test_a_step_that_is_not_there_names_those_that_are(directory):
    with pytest.raises(CheckpointNotFoundError, match="of step 8") as caught:
        Which("m", step=8).newest_first(directory)
    assert "steps 1, 2, 3, 9" in str(caught.value)


def test_an_empty_place_is_an_error(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match="Save one first"):
        Which("m").newest_first(Directory.look(open_storage(tmp_path)))
    (tmp_path / "m-1.index.corrupt-1").touch()
    with pytest.raises(CheckpointNotFoundError, match=r"only quarantined: m-1.index.corrupt-1"):
        Which("m").newest_first(Directory.look(open_storage(tmp_path)))
