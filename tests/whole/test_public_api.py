"""What the facade promises is what is there."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.resources
import inspect
import os
import pathlib
import sys

import pytest

import tfpersist
from tfpersist import errors


def test_all_is_sorted_and_small():
    assert tfpersist.__all__ == sorted(set(tfpersist.__all__))
    assert len(tfpersist.__all__) < 30


@pytest.mark.parametrize("name", tfpersist.__all__)
def test_every_name_is_there(name):
    value = getattr(tfpersist, name)
    assert inspect.isclass(value)
    assert value.__name__ == name
    assert value.__module__.startswith("tfpersist.")


def test_every_error_is_exported():
    own = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.TFPersistError)
    }
    assert own <= set(tfpersist.__all__)
    assert {name for name in tfpersist.__all__ if name.endswith("Error")} == own


def test_type_checkers_see_the_same_names():
    tree = ast.parse(inspect.getsource(tfpersist))
    (guarded,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    imports = [node for node in guarded.body if isinstance(node, ast.ImportFrom)]
    assert sorted(alias.name for node in imports for alias in node.names) == tfpersist.__all__
    for node in imports:
        for alias in node.names:
            assert getattr(tfpersist, alias.name).__module__ == node.module


def test_dir_lists_the_public_names():
    assert sorted(dir(tfpersist)) == sorted([*tfpersist.__all__, "__version__"])


def test_star_import_gives_all():
    names: dict[str, object] = {}
    exec("from tfpersist import *", names)
    assert set(tfpersist.__all__) <= set(names)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Savor'"):
        _ = tfpersist.Savor


def test_version_is_that_of_the_distribution():
    assert tfpersist.__version__ == importlib.metadata.version("tfpersist")


def test_types_are_shipped():
    assert importlib.resources.files("tfpersist").joinpath("py.typed").is_file()


@pytest.mark.skipif("TFPERSIST_INSTALLED" not in os.environ, reason="only for the built wheel")
def test_the_built_wheel_is_what_is_tested():
    assert pathlib.Path(tfpersist.__file__).is_relative_to(sys.prefix)
    assert "site-packages" in tfpersist.__file__
