"""All checkpoints of a store are verified, also while others remove or replace them."""

from __future__ import annotations

import numpy as np
import pytest

import tfpersist as tfp
from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.verify import Flaw, Verification
from tfpersist.errors import StorageError
from tfpersist.storage import open_storage
from tfpersist.store.survey import Survey, survey


@pytest.fixture(params=["disk", "memory"])
def location(request, tmp_path):
    return tmp_path / "run" if request.param == "disk" else f"memory://survey/{tmp_path.name}"


def model(value=0):
    return {"w": np.full((20, 30), float(value)), "b": np.full(3, float(value))}


def test_verify_reads_all_checkpoints_of_a_store(location):
    store = tfp.ModelStore(location)
    assert str(store.verify()) == f"{store._opened.location}: 0 checkpoints, ok (0 bytes read)"
    for step in (1, 2):
        store.save(model(step), step)
    tfp.ModelStore(location, name="other").save(model(3))
    assert store.verify()
    storage = open_storage(location)
    storage.remove(["model.ckpt-1.data-00000-of-00001", "model.ckpt-2.index"])
    found = store.verify()
    assert not found
    assert [each.prefix.rsplit("/")[-1] for each in found.damaged] == [
        "model.ckpt-1",
        "model.ckpt-2",
    ]
    assert str(found).startswith(f"{storage.location}: 2 of 2 checkpoints are DAMAGED (")
    assert len(str(found).splitlines()) == 3
    assert len(store.at(1).verify().checkpoints) == 1
    assert tfp.ModelStore(location, name="other").verify().ok


DATA = ".data-00000-of-00001"


@pytest.fixture
def store(tmp_path):
    store = tfp.ModelStore(tmp_path)
    for step in (1, 2, 3):
        store.save(model(step), step)
    return store


def verified(directory):
    """Verify all checkpoints of a look; return what is known of each by its name."""
    found = survey(directory, directory.known)
    return {each.prefix.rsplit("/", 1)[1]: each.ok for each in found.checkpoints}


def test_a_checkpoint_removed_after_the_look_is_left_out(store, tmp_path):
    look = Directory.look(open_storage(tmp_path))
    assert store.prune(keep=tfp.Keep(last=2)).dropped == ("model.ckpt-1",)
    assert verified(look) == {"model.ckpt-2": True, "model.ckpt-3": True}


def test_a_checkpoint_saved_again_after_the_look_is_verified(store, tmp_path):
    look = Directory.look(open_storage(tmp_path))
    store.save(model(9), 2)
    data = tmp_path / f"model.ckpt-3{DATA}"
    data.write_bytes(data.read_bytes()[:-1] + b"x")
    assert verified(look) == {"model.ckpt-1": True, "model.ckpt-2": True, "model.ckpt-3": False}


def test_a_checkpoint_completed_after_the_look_is_intact(store, tmp_path):
    data = tmp_path / f"model.ckpt-2{DATA}"
    content = data.read_bytes()
    data.unlink()
    look = Directory.look(open_storage(tmp_path))
    assert verified(look) == {"model.ckpt-1": True, "model.ckpt-2": False, "model.ckpt-3": True}
    data.write_bytes(content)
    assert verified(look) == dict.fromkeys(look.known, True)


def test_a_checkpoint_replaced_at_every_look_ends_the_survey(store, tmp_path):
    """Another program rewrites a checkpoint in place, and each look finds it unfinished."""
    storage = open_storage(tmp_path)
    sidecar = tmp_path / "model.ckpt-2.tfpersist.json"
    facts = sidecar.read_bytes()
    looks = []

    class Restless(type(storage)):
        def version(self):
            return None

        def names(self):
            looks.append(sidecar.exists())
            sidecar.unlink() if sidecar.exists() else sidecar.write_bytes(facts)
            return super().names()

    (tmp_path / f"model.ckpt-2{DATA}").write_bytes(b"half")
    look = Directory.look(Restless(storage.directory))
    (found,) = survey(look, ["model.ckpt-2"]).checkpoints
    assert not found.ok
    assert len(looks) > 10


def test_a_file_that_cannot_be_read_is_an_error_and_no_damage(store, tmp_path):
    index = tmp_path / "model.ckpt-2.index"
    index.unlink()
    index.mkdir()
    (index / "model.ckpt-2.index").touch()
    storage = open_storage(tmp_path)

    class Unreadable(type(storage)):
        def names(self):
            return super().names() | {"model.ckpt-2.index"}

    look = Directory.look(Unreadable(storage.directory))
    with pytest.raises(StorageError, match=r"model\.ckpt-2\.index"):
        survey(look, look.known)


def test_a_row_shows_the_first_flaw_and_how_much_else_there_is():
    flaws = (Flaw("v", "cut"), Flaw("w", "cut"), Flaw("x", "cut"))
    notes = ("it may be old",)
    result = Survey("runs", (Verification("runs/m-1", 1, 8, flaws, ("iterator",), notes),))
    assert str(result).splitlines()[1] == (
        "  DAMAGED  m-1  1 tensor is intact; v: cut; 2 more; not checked: iterator; it may be old"
    )
