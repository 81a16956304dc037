"""Run every example in the documents and docstrings, and compare its output."""

from __future__ import annotations

import doctest
import importlib
import pathlib
import pkgutil
import re

import pytest
import sybil
from sybil.parsers.markdown import PythonCodeBlockParser

import tfpersist

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
# Pages whose examples need an extra package; tests/runtimes runs them too.
NEEDS = {"serve-without-tensorflow.md": ["openvino", "tf2onnx", "onnxruntime"]}
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MARKDOWN = sybil.Sybil(parsers=[PythonCodeBlockParser(doctest_optionflags=OPTIONS)])
MODULES = [
    "tfpersist",
    *sorted(found.name for found in pkgutil.walk_packages(tfpersist.__path__, "tfpersist.")),
]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_document(path, tmp_path, monkeypatch):
    for package in NEEDS.get(path.name, ()):
        pytest.importorskip(package, reason=f"the examples need {package}")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"(?:```|code-block: )python$", path.read_text("utf-8"), re.MULTILINE)
    examples = list(MARKDOWN.parse(path))
    assert len(examples) >= len(blocks)
    for example in examples:
        example.evaluate()


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert result.failed == 0


def test_the_docstrings_have_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    tried = [
        test
        for name in MODULES
        for test in finder.find(importlib.import_module(name))
        if test.examples
    ]
    assert len(tried) > 30


def test_the_reference_names_everything_public():
    text = (REPOSITORY / "docs" / "reference.md").read_text("utf-8")
    named = set(re.findall(r"^::: (\S+)$", text, re.MULTILINE))
    for name in tfpersist.__all__:
        home = getattr(tfpersist, name).__module__
        assert named & {home, f"{home}.{name}"}, name


def test_the_design_names_files_that_exist():
    package = pathlib.Path(tfpersist.__file__).parent
    tests = {path.name for path in (REPOSITORY / "tests").rglob("*.py")}
    code = {"/" + path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    named = 0
    for page in sorted((REPOSITORY / "docs" / "design").iterdir()):
        text = page.read_text("utf-8")
        if page.suffix == ".svg":
            drawn = re.findall(r">([\w/]+\.py)<", text)
            assert [name for name in drawn if not any(c.endswith("/" + name) for c in code)] == []
            continue
        for name in re.findall(r"`((?:\w+/)+|\w+\.py|(?:\w+/)+\w+\.(?:py|proto|txt|c))`", text):
            places = [folder / name for folder in (REPOSITORY, package, package.parent)]
            assert name in tests or any(place.exists() for place in places), (page.name, name)
            named += 1
    assert named > 100


def test_the_commands_of_the_readme_are_those_of_the_checks():
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    commands = re.findall(r"^```sh\n(.+)\n```$", readme, re.MULTILINE)
    checks = (REPOSITORY / ".ci" / "run").read_text("utf-8")
    assert len(commands) == 2
    assert all(re.search(rf"^{re.escape(each)}( \|\| exit)?$", checks, re.M) for each in commands)
