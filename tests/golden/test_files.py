"""The golden files are small, described, and free of what a machine left in them."""

from __future__ import annotations

import fnmatch
import pathlib
import re

HERE = pathlib.Path(__file__).parent
README = (HERE / "README.md").read_text("utf-8")
RELEASES = sorted(path.name for path in HERE.iterdir() if re.fullmatch(r"\d+\.\d+\.\d+", path.name))
FILES = [path for name in RELEASES for path in sorted((HERE / name).rglob("*")) if path.is_file()]


def rows(heading):
    """Return the rows of the table that has this heading in its first column."""
    lines = README.splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    cells = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        cells.append([cell.strip() for cell in line.strip("|").split("|")])
    return cells


def test_each_release_is_described_with_its_generators():
    described = {row[0]: re.findall(r"`(\w+\.py)`", row[3]) for row in rows("Release")}
    assert sorted(described) == RELEASES
    used = {generator for generators in described.values() for generator in generators}
    assert used | {"writing.py"} == {path.name for path in (HERE / "make").glob("*.py")}


def test_each_file_is_described():
    described = {row[0]: re.findall(r"`(\w+\.py)`", row[3]) for row in rows("Release")}
    patterns = [(re.findall(r"`([^`]+)`", row[0]), row[1].strip("`")) for row in rows("Files")]
    unused = {pattern for names, _ in patterns for pattern in names}
    for path in FILES:
        release, _, name = path.relative_to(HERE).as_posix().partition("/")
        fitting = {
            pattern
            for names, generator in patterns
            for pattern in names
            if generator in described[release] and fnmatch.fnmatchcase(name, pattern)
        }
        assert fitting, path
        unused -= fitting
    assert not unused


def test_golden_files_are_small():
    assert len(FILES) > 100
    assert sum(path.stat().st_size for path in FILES) < 1_300_000


def test_they_name_no_folder_of_the_machine_that_wrote_them():
    for path in FILES:
        assert not re.search(rb"/(tmp|root|home|Users)/", path.read_bytes()), path
