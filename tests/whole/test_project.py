"""The project's files agree with each other: paths, versions, requirements, sessions."""

from __future__ import annotations

import importlib.metadata
import pathlib
import re

import pytest

import tfpersist

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
PACKAGE = pathlib.Path(tfpersist.__file__).parent
METADATA = importlib.metadata.metadata("tfpersist")
GUIDES = ["CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "README.md", "SECURITY.md"]
PATHS = ["CONTRIBUTING.md", "SECURITY.md", "docs/releasing.md", ".github/pull_request_template.md"]
PATHS += ["docs/design/walks.md"]
NO_PATHS = {".meta", "tfpersist/init"}
FILE = re.compile(r"[\w./-]+\.(?:py|md|toml|yml|yaml|cff|txt|json|c)|[\w.-]+/[\w./-]*")


def text(name):
    return (REPOSITORY / name).read_text("utf-8")


def paths_in(markdown):
    """Return the paths in code spans: with a slash inside, or with the suffix of a source file."""
    spans = re.findall(r"`([^`\n]+)`", markdown)
    return [span for span in spans if FILE.fullmatch(span) and span not in NO_PATHS]


def exists(path):
    """Return whether a path of the repository exists; its package may be installed elsewhere."""
    if path.startswith("tfpersist/"):
        return (PACKAGE / path.removeprefix("tfpersist/")).exists()
    return (REPOSITORY / path).exists() or (PACKAGE / path).exists()


@pytest.mark.parametrize("name", PATHS)
def test_every_path_that_a_guide_names_is_there(name):
    assert not [path for path in paths_in(text(name)) if not exists(path)]


def test_paths_are_recognized():
    named = paths_in("`tests/gone.py`, `noxfile.py`, `store.save()`, `.meta`, `nox -s a/b`, `a/`")
    assert named == ["tests/gone.py", "noxfile.py", "a/"]
    assert not exists("tests/gone.py")
    assert exists("tfpersist/errors.py")
    assert exists("errors.py")


@pytest.mark.parametrize("name", GUIDES)
def test_every_link_to_a_file_leads_somewhere(name):
    links = re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", text(name))
    assert not [link for link in links if not (REPOSITORY / link).exists()]


def test_one_version():
    version = METADATA["Version"]
    assert re.search(rf"^version: {re.escape(version)}$", text("CITATION.cff"), re.MULTILINE)
    sections = re.findall(r"^## \[([^\]]+)\]", text("CHANGELOG.md"), re.MULTILINE)
    assert sections[:2] == ["Unreleased", version]


def test_the_hooks_install_what_the_linters_of_the_checks_are():
    tomllib = pytest.importorskip("tomllib", reason="tomllib comes with Python 3.11")
    project = tomllib.loads(text("pyproject.toml"))
    groups = project["dependency-groups"]
    known = {*project["project"]["dependencies"]}
    known |= {each for name in ("lint", "types") for each in groups[name] if isinstance(each, str)}
    installed = re.findall(r'"([^"]+)"', re.sub(r"#.*", "", text(".pre-commit-config.yaml")))
    assert {re.match(r"[\w-]+", each)[0] for each in installed} >= {"ruff", "mypy", "attrs"}
    assert not set(installed) - known


def test_the_workflow_runs_every_supported_python_and_tensorflow():
    workflow, nox = text(".github/workflows/ci.yml"), text("noxfile.py")
    classifiers = METADATA.get_all("Classifier")
    pythons = [each.rpartition(" ")[2] for each in classifiers if re.search(r":: 3\.\d+$", each)]
    (tested,) = re.findall(r"^ +python: \[(.+)\]$", workflow, re.MULTILINE)
    assert re.findall(r"[\d.]+", tested) == pythons
    (releases,) = re.findall(r"^ +tensorflow: \[(.+)\]$", workflow, re.MULTILINE)
    assert re.findall(r"[\d.]+", releases) == re.findall(r'name="tests\(tf=([\d.]+)\)"', nox)
    assert "bash .ci/run" in workflow


def test_the_page_of_runtimes_has_no_wrong_cell_and_a_reason_for_each_other_one():
    """`nox -s runtimes` writes its tables, and compares them with what it sees."""
    sections = re.split(r"^## (.+)\n", text("docs/runtimes-table.md"), flags=re.MULTILINE)[1:]
    tables = {
        title: [[cell.strip() for cell in line.split("|")[1:-1]] for line in body.splitlines()[1:]]
        for title, body in zip(sections[::2], sections[1::2], strict=True)
    }
    tables = {title: [row for row in rows if row] for title, rows in tables.items()}
    reasons = {
        word: {(runtime, model.partition(" (")[0]) for runtime, model, _ in tables.pop(title)[2:]}
        for word, title in (("refused", "What check refuses"), ("fault", "Faults of runtimes"))
    }
    assert list(tables) == ["Plain", "Optimized", "Golden", "Float16", "Int8"]
    cells = {"equal": 0, "refused": 0, "fault": 0}
    for (_, *runtimes), _, *rows in tables.values():
        assert (len(runtimes), len(rows)) == (12, 16)
        for model, *row in rows:
            for runtime, verdict in zip(runtimes, row, strict=True):
                cells[verdict] += 1
                assert verdict == "equal" or (runtime, model) in reasons[verdict]
    assert sum(cells.values()) == 5 * 12 * 16
    assert cells["equal"] > 700
