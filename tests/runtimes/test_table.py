"""Every file computes in every runtime what its source computes, or is refused beforehand."""

from __future__ import annotations

import os
import pathlib

import models
import numpy as np
import pytest
import table

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "runtimes-table.md"


@pytest.fixture(scope="module")
def made():
    return {name: make() for name, make in table.MODELS.items()}


@pytest.fixture(scope="module")
def found(made, tmp_path_factory):
    """Return the cells of each runtime that is here; TensorFlow first."""
    return {
        name: table.cells(made, name, tmp_path_factory.mktemp("runtime"))
        for name in table.ORDER
        if table.ALL[name].find() is not None
    }


@pytest.mark.parametrize("name", table.ORDER)
def test_nothing_is_wrong(found, name):
    if name not in found:
        pytest.skip(f"no {name} here")
    wrong = {case: cell for case, cell in found[name].items() if cell.verdict == table.WRONG}
    assert not wrong
    assert any(cell.verdict == table.EQUAL for cell in found[name].values())


def test_the_page_is_what_was_seen(found):
    """Set TFPERSIST_WRITE_TABLE to write the page."""
    if found.keys() < set(table.ORDER):
        pytest.skip("some runtimes are not here")
    seen = table.page(found)
    head, mark, tables = PAGE.read_text("utf-8").partition("## Plain")
    if os.environ.get("TFPERSIST_WRITE_TABLE"):
        PAGE.write_text(head + seen, "utf-8")
    else:
        assert mark + tables == seen


def test_the_models_are_worth_it(made, tmp_path):
    for name, source in made.items():
        expected = source.expected
        assert expected.size == 1 or expected.std() > 0.05 * np.abs(expected).max(), name
    path = tmp_path / "padded.pb"
    made["padded"].write(path, "plain")
    file = path.read_bytes()
    at = [file.find(models.large(seed).tobytes()) for seed in (0, 1)]
    assert all(offset > 0 and offset % 64 == 0 for offset in at)
