"""Which files a graph may name as its own."""

from __future__ import annotations

import pytest

from tfpersist import graph_file


def test_a_file_in_the_directory_is_its_own(tmp_path):
    (tmp_path / "words.txt").write_text("a")
    assert graph_file.inside(str(tmp_path), f"{tmp_path}/words.txt") == f"{tmp_path}/words.txt"
    assert graph_file.inside(str(tmp_path), f"{tmp_path}/./words.txt") == f"{tmp_path}/words.txt"


@pytest.mark.parametrize("name", ["../words.txt", "deeper/words.txt", "link", "a\0b", "\ud800"])
def test_a_file_elsewhere_is_not(name, tmp_path):
    (tmp_path / "words.txt").write_text("a")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "link").symlink_to(tmp_path / "words.txt")
    assert graph_file.inside(f"{tmp_path}/model", f"{tmp_path}/model/{name}") is None
