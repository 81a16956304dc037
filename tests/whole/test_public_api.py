"""The facade has the names that it promises."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.resources
import inspect
import os
import pathlib
import sys
from collections.abc import Iterator

import pytest

import tfpersist
from tfpersist import errors

# What a user calls; all other names are types of what these take, return and raise.
CALLED = ("Checkpoint", "Freezer", "FrozenModel", "Keep", "ModelStore", "Policy", "Training")
# What `tfpersist.safety.scan` and a save in the background return.
RETURNED = ("PendingCheckpoint", "ScanReport")
# Attributes of public types that are for the package itself.
INTERNAL = {"Checkpoint.storage", "Checkpoint.keras_file", "Graph.checksums"}


def test_all_is_sorted():
    assert tfpersist.__all__ == sorted(set(tfpersist.__all__))


def public_parts(owner: type) -> Iterator[tuple[str, str, ast.expr]]:
    """Yield the module, the name and the type of each attribute and result of a class."""
    for base in owner.__mro__:
        if not base.__module__.startswith("tfpersist."):
            continue
        tree = ast.parse(inspect.getsource(sys.modules[base.__module__]))
        (body,) = (n.body for n in tree.body if getattr(n, "name", "") == base.__name__)
        for node in body:
            if isinstance(node, ast.AnnAssign):
                name, type_ = ast.unparse(node.target), node.annotation
            elif isinstance(node, ast.FunctionDef) and node.returns is not None:
                name, type_ = node.name, node.returns
            else:
                continue
            named = not name.startswith("_") or name in ("__getitem__", "__call__", "__enter__")
            if named and INTERNAL.isdisjoint(f"{each.__name__}.{name}" for each in owner.__mro__):
                yield base.__module__, name, type_


def types_in(module: str, expression: ast.expr) -> Iterator[type]:
    """Yield the classes of this package that a type mentions."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    homes = {
        alias.asname or alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in ast.walk(expression):
        name = node.id if isinstance(node, ast.Name) else getattr(node, "value", None)
        if isinstance(name, str) and (name in homes or hasattr(sys.modules[module], name)):
            home = importlib.import_module(homes.get(name) or module)
            value = getattr(home, name, None)
            if inspect.isclass(value) and value.__module__.startswith("tfpersist."):
                yield value


def test_all_types_that_are_returned_are_public_and_no_others():
    found: dict[type, str] = {}
    waiting = [(getattr(tfpersist, name), name) for name in (*CALLED, *RETURNED)]
    while waiting:
        owner, origin = waiting.pop()
        if owner not in found:
            found[owner] = origin
            for module, name, type_ in public_parts(owner):
                origin = f"{owner.__name__}.{name}"
                waiting += [(inner, origin) for inner in types_in(module, type_)]
    errors_too = {name for name in tfpersist.__all__ if name.endswith("Error")}
    public = {getattr(tfpersist, name) for name in set(tfpersist.__all__) - errors_too}
    assert {owner: origin for owner, origin in found.items() if owner not in public} == {}
    assert public == set(found)


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
    # A module is imported under its own name: `import x as x`.
    imports = [node for node in imports if node.names[0].asname is None]
    assert sorted(alias.name for node in imports for alias in node.names) == tfpersist.__all__
    for node in imports:
        for alias in node.names:
            assert getattr(tfpersist, alias.name).__module__ == node.module


def test_dir_lists_the_public_names():
    assert sorted(dir(tfpersist)) == sorted([*tfpersist.__all__, "__version__"])


def test_star_import_has_all_public_names():
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
