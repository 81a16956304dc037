"""The laws of the tests: where a test is, that it can fail, and that what is skipped has a reason.

As in test_architecture.py, each law is a function that yields offences, and each is shown some.
"""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator

import pytest

import tfpersist

TESTS = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = pathlib.Path(tfpersist.__file__).parent
# Tests of no single module: of the whole package, of frozen files in all runtimes, of tables of
# cases, and of files of old releases.
APART = {"whole", "freezing", "runtimes", "golden"}
# The facade is tested in tests/whole/test_public_api.py.
FACADE = "__init__"

Sources = dict[str, str]


def sources_in(folder: pathlib.Path) -> Sources:
    """Return the source of each Python file, by its path without ".py"."""
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path.read_text("utf-8")
        for path in sorted(folder.rglob("*.py"))
    }


def module_of(test: str) -> str:
    """Return the module that a test file is about: "a/b/test_c" tests "a/b/c"."""
    folder, _, name = test.rpartition("/")
    return f"{folder}/{name.removeprefix('test_')}".lstrip("/")


def is_test_file(path: str) -> bool:
    return path.rpartition("/")[2].startswith("test_")


def has_logic(source: str) -> bool:
    """Return whether a module has a function that does something: more than a docstring."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return any(len(node.body) > (ast.get_docstring(node) is not None) for node in functions)


# --- the laws ------------------------------------------------------------------------------------


def a_test_file_mirrors_a_module(tests: Sources, package: Sources) -> Iterator[str]:
    """tests/a/b/test_c.py tests tfpersist/a/b/c.py, or the package tfpersist/a/b/c."""
    for test in filter(is_test_file, tests):
        module = module_of(test)
        if test.split("/")[0] not in APART and not {module, f"{module}/__init__"} & package.keys():
            yield f"tests/{test}.py tests no module tfpersist/{module}.py"


def a_module_has_a_test_file(tests: Sources, package: Sources) -> Iterator[str]:
    mirrored = set(map(module_of, filter(is_test_file, tests)))
    for module, source in package.items():
        tested = module == FACADE or module.removesuffix("/__init__") in mirrored
        if not tested and has_logic(source):
            yield f"tfpersist/{module}.py has no test file of its own"


def a_test_can_fail(tests: Sources, package: Sources) -> Iterator[str]:
    """It asserts, or calls a function of the tests or of a fixture that does."""
    trees = {path: ast.parse(source) for path, source in tests.items()}
    shared = {}
    for path, tree in trees.items():
        if not is_test_file(path):
            shared |= functions_of(tree)
    for path, tree in trees.items():
        known = shared | functions_of(tree)
        for name, node in functions_of(tree).items():
            if name.startswith("test_") and not asserts(node, known, {name}):
                yield f"tests/{path}.py:{node.lineno} {name} asserts nothing"


def functions_of(tree: ast.AST) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def asserts(node: ast.AST, known: dict[str, ast.FunctionDef], seen: set[str]) -> bool:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Assert):
            return True
        if isinstance(inner, ast.Call):
            called = ast.unparse(inner.func)
            last = called.rpartition(".")[2]
            if called.startswith(("pytest.raises", "pytest.warns", "pytest.fail")):
                return True
            if last.startswith("assert_") and last not in known:
                return True
            if last in known and last not in seen and asserts(known[last], known, seen | {last}):
                return True
    return False


def what_is_skipped_has_a_reason(tests: Sources, package: Sources) -> Iterator[str]:
    for path, source in tests.items():
        nodes = list(ast.walk(ast.parse(source)))
        called = {node.func: node for node in nodes if isinstance(node, ast.Call)}
        for node in nodes:
            name = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            if name in SKIPS and not any(
                ast.unparse(reason) != repr("") for reason in reasons(called.get(node))
            ):
                yield f"tests/{path}.py:{node.lineno} gives no reason"


def reasons(call: ast.Call | None) -> Iterator[ast.expr]:
    """Yield the reason that a call gives; a pytest.skip may give it without a name."""
    if call is not None:
        yield from (keyword.value for keyword in call.keywords if keyword.arg == "reason")
        if ast.unparse(call.func) in ("pytest.skip", "pytest.xfail"):
            yield from call.args


SKIPS = {"pytest.skip", "pytest.xfail", "pytest.importorskip"}
SKIPS |= {"pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail"}
PAIR = {"graph/__init__": "", "graph/names": "def f():\n    return 1"}
LAWS = {
    a_test_file_mirrors_a_module: [
        ({"graph/test_naming": ""}, PAIR),
        ({"test_names": ""}, PAIR),
    ],
    a_module_has_a_test_file: [
        ({"graph/test_naming": ""}, PAIR),
        ({"whole/test_names": ""}, PAIR),
    ],
    a_test_can_fail: [
        ({"test_names": "def test_f():\n    f()"}, {}),
        ({"test_names": "def f():\n    g()\ndef g():\n    f()\ndef test_f():\n    f()"}, {}),
        ({"test_names": "class TestF:\n    def test_f(self, check):\n        check(1)"}, {}),
    ],
    what_is_skipped_has_a_reason: [
        ({"test_names": "pytest.importorskip('fsspec')"}, {}),
        ({"test_names": "pytest.skip()"}, {}),
        ({"test_names": "@pytest.mark.skipif(True, reason='')\ndef test_f(): ..."}, {}),
        ({"test_names": "@pytest.mark.xfail\ndef test_f(): ..."}, {}),
    ],
}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_tests_keep_the_law(law):
    offences = list(law(sources_in(TESTS), sources_in(PACKAGE)))
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize(
    ("law", "tests", "package"),
    [(law, *offender) for law, offenders in LAWS.items() for offender in offenders],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_law_notices_an_offender(law, tests, package):
    assert list(law(tests, package))


def test_a_good_test_breaks_no_law():
    tests = {
        "conftest": "def check():\n    def run(x):\n        assert x\n    return run",
        "test_graph": "def test_f(check):\n    check(1)",
        "graph/test_names": "def test_f():\n    with pytest.raises(KeyError):\n        f()",
        "whole/test_all": "def test_f():\n    np.testing.assert_array_equal(1, 1)",
        "test_errors": "@pytest.mark.skipif(f(), reason='why')\ndef test_f():\n    assert f()",
    }
    package = {**PAIR, "errors": "class E(Protocol):\n    def f(self):\n        '''Do it.'''"}
    assert [offence for law in LAWS for offence in law(tests, package)] == []
