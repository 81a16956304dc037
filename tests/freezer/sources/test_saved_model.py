"""A SavedModel: where it is, which of its parts are taken, and where its files are."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from drafts import draft, negative, placeholder

import tfpersist as tfp
from tfpersist.errors import CorruptionError, FreezeError, StorageError, UnsafeModelError
from tfpersist.formats import schema
from tfpersist.freezer.sources.choice import Choice
from tfpersist.freezer.sources.saved_model import folder_of, lower_saved_model
from tfpersist.safety import Policy
from tfpersist.storage import open_storage

CHAIN = placeholder("x") + negative("mid", "x") + negative("y", "mid")


def saved_model(signatures=("serving_default",)):
    """Return a SavedModel whose signatures take `image` and give `label`."""
    saved = schema.SavedModel(saved_model_schema_version=1)
    meta = saved.meta_graphs.add(graph_def=draft(CHAIN).graph.proto)
    meta.meta_info_def.tags.append("serve")
    meta.meta_info_def.tensorflow_version = "1.15.5"
    for name in signatures:
        meta.signature_def[name].inputs["image"].name = "x:0"
        meta.signature_def[name].outputs["label"].name = "y:0"
    return saved


def write(folder, saved, name="saved_model.pb"):
    folder.mkdir(exist_ok=True)
    text = name.endswith(".pbtxt")
    (folder / name).write_bytes(str(saved).encode() if text else saved.SerializeToString())
    return str(folder)


class TestFolder:
    @pytest.mark.parametrize("name", ["saved_model.pb", "saved_model.pbtxt"])
    def test_a_directory_or_the_file_in_it(self, tmp_path, name):
        folder = write(tmp_path / "model", saved_model(), name)
        assert folder_of(folder) == folder_of(f"{folder}/{name}") == folder

    def test_a_url(self):
        with open_storage("memory://saved/model").publish(durable=False) as publication:
            publication.create("saved_model.pb").write(saved_model().SerializeToString())
        assert folder_of("memory://saved/model") == "memory://saved/model"
        assert folder_of("memory://saved/model/saved_model.pb") == "memory://saved/model"
        assert lower_saved_model("memory://saved/model", Choice()).inputs == ("x:0",)

    def test_anything_else(self, tmp_path):
        (tmp_path / "my_saved_model.pb").write_bytes(b"")
        paths = (tmp_path, tmp_path / "my_saved_model.pb", tmp_path / "nothing", "model.ckpt-3")
        assert [folder_of(str(path)) for path in paths] == [None] * 4


class TestLowered:
    @pytest.mark.parametrize("name", ["saved_model.pb", "saved_model.pbtxt"])
    def test_the_default_signature(self, tmp_path, name):
        lowered = lower_saved_model(write(tmp_path, saved_model(), name), Choice())
        assert (lowered.inputs, lowered.outputs) == (("x:0",), ("y:0",))
        assert lowered.labels == {"image": "x:0", "label": "y:0"}
        assert lowered.signatures == ()
        assert lowered.variables == {}

    def test_signatures_are_listed_only_if_none_is_chosen(self, tmp_path):
        folder = write(tmp_path, saved_model(("classify", "regress")))
        assert lower_saved_model(folder, Choice(signature="classify")).signatures == ()
        lowered = lower_saved_model(folder, Choice())
        assert (lowered.inputs, lowered.outputs) == ((), ())
        assert [found.name for found in lowered.signatures] == ["classify", "regress"]

    def test_a_graph_of_other_tags(self, tmp_path):
        with pytest.raises(FreezeError, match="tags"):
            lower_saved_model(write(tmp_path, saved_model()), Choice(tags=("train",)))

    def test_the_origin_is_the_checkpoint_in_it(self, tmp_path):
        folder = write(tmp_path, saved_model())
        lowered = lower_saved_model(folder, Choice())
        assert lowered.origin.checkpoint is None
        tfp.ModelStore(tmp_path / "variables", name="variables").save({"v": np.zeros(1)})
        index = (tmp_path / "variables/variables.index").read_bytes()
        origin = lower_saved_model(folder, Choice()).origin
        assert origin.checkpoint == hashlib.sha256(index).hexdigest()
        assert origin.tensorflow == "1.15.5"

    def test_a_damaged_file(self, tmp_path):
        (tmp_path / "saved_model.pb").write_bytes(b"\xff" * 9)
        with pytest.raises(CorruptionError, match=r"saved_model\.pb"):
            lower_saved_model(str(tmp_path), Choice())


class TestAssets:
    def model(self, tmp_path, filename="words.txt"):
        saved = saved_model()
        saved.meta_graphs[0].asset_file_def.add(filename=filename).tensor_info.name = "path:0"
        folder = write(tmp_path / "model", saved)
        (tmp_path / "model/assets").mkdir()
        (tmp_path / "model/assets/words.txt").write_bytes(b"own")
        (tmp_path / "model/assets/more.txt").write_bytes(b"more")
        (tmp_path / "secret").write_bytes(b"secret")
        return folder

    def test_they_go_by_their_names_and_by_their_tensors(self, tmp_path):
        folder = self.model(tmp_path)
        assert lower_saved_model(folder, Choice()).assets == {
            "words.txt": f"{folder}/assets/words.txt",
            "more.txt": f"{folder}/assets/more.txt",
            "path:0": f"{folder}/assets/words.txt",
        }

    @pytest.mark.parametrize("name", ["../secret", "a/../../secret", "/etc/hostname"])
    def test_they_lie_inside_of_the_model(self, tmp_path, name):
        folder = self.model(tmp_path, name)
        with pytest.raises(CorruptionError, match="lies outside of this model"):
            lower_saved_model(folder, Choice())

    def test_only_they_are_read_unless_the_policy_says_more(self, tmp_path):
        folder = self.model(tmp_path)
        read = lower_saved_model(folder, Choice()).read
        assert read(f"{folder}/assets/words.txt", "table") == b"own"
        with pytest.raises(UnsafeModelError, match=r"^table: .*got .*secret"):
            read(f"{tmp_path}/secret", "table")
        trusted = lower_saved_model(folder, Choice(policy=Policy.trusted())).read
        assert trusted(f"{tmp_path}/secret", "table") == b"secret"
        with pytest.raises(StorageError):
            read(f"{folder}/assets/gone.txt", "table")
