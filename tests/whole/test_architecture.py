"""The laws of the design, held against the source of the installed package.

Each law is a function from modules to offences. Each is also shown a small offender, so that a
law that can no longer fail is noticed.
"""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import io
import pathlib
import re
import sys
import tokenize
from collections.abc import Callable, Iterator

import attrs
import pytest

import tfpersist

ROOT = "tfpersist"
FRAMEWORKS = {"tensorflow", "keras", "tf_keras"}
FILE_ACCESS = {"os", "pathlib", "mmap", "tempfile", "shutil", "glob", "socket", "fsspec", "urllib"}
WRITERS = {
    *("open", "write_bytes", "write_text", "rename", "replace", "unlink", "rmdir", "mkdir"),
    *("makedirs", "truncate", "ftruncate", "pwrite", "fsync", "posix_fallocate", "touch"),
}
VAGUE_NAMES = {"util", "utils", "helper", "helpers", "common", "manager", "misc"}
# Builtin errors that a room may raise: storage translates OSErrors on their way out, and Python
# asks a module for a name by way of AttributeError.
TRANSLATED = {
    "storage": {"OSError", "FileNotFoundError", "FileExistsError", "IsADirectoryError"},
    "": {"AttributeError"},
}

# From the top down: a room imports from the rows below its own, and from no other room.
FLOORS = (
    {"", "cli"},
    {"freezer"},
    {"store", "frozen"},
    {"tf", "openvino"},
    {"checkpoint", "safety", "calls"},
    {"matching", "graph", "graph_file", "progress"},
    {"formats", "storage"},
    {"errors"},
)
# Every room may import these; they import nothing but the errors.
LEAVES = {"arguments", "gc_pause", "uninterrupted"}
# The groups of a room, each with the groups that it may import.
GROUPS = {
    "matching": {
        "sides": set(),
        "keras_files": {"sides"},
        "recipes": set(),
        "plans": {"recipes", "sides"},
        "pairing": {"plans", "keras_files", "sides"},
        "choices": {"plans", "recipes", "sides"},
        "forms": {"choices", "pairing", "plans", "recipes", "sides"},
    },
    "graph": {
        "structure": set(),
        "describe": {"structure"},
        "constants": {"describe", "structure"},
        "optimize": {"constants", "describe", "structure"},
        "runtimes": {"optimize", "constants", "describe", "structure"},
    },
    "tf": {
        "internals": set(),
        "run": {"internals"},
        "targets": {"run", "internals"},
        "open_graph": {"targets", "run", "internals"},
        "lower": {"targets", "run", "internals"},
        "embed": {"run", "internals"},
        "onnx": {"run", "internals"},
        "training": {"targets", "internals"},
    },
}
MOST_CODE_LINES = 300


@functools.cache
def parsed(source: str) -> ast.Module:
    return ast.parse(source)


@attrs.frozen
class Module:
    """One module of the package: its dotted name, its source and its syntax tree."""

    name: str
    source: str
    is_package: bool = False

    @property
    def tree(self) -> ast.Module:
        return parsed(self.source)

    @property
    def room(self) -> str:
        """The part of the name after "tfpersist." and before the next dot."""
        return [*self.name.split("."), ""][1]

    @property
    def group(self) -> str:
        """The part of the name after the room, if the room has groups; "" elsewhere."""
        return [*self.name.split("."), "", ""][2] if self.room in GROUPS else ""


Modules = dict[str, Module]


@attrs.frozen
class Import:
    """One module that is imported, and how."""

    target: str
    line: int
    lazy: bool
    typing_only: bool


def installed() -> Modules:
    folder = pathlib.Path(tfpersist.__file__).parent
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = (ROOT, *path.relative_to(folder).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found[name] = Module(name, path.read_text("utf-8"), is_package)
    return found


def invented(**sources: str) -> Modules:
    """Make up a package; double underscores in the names stand for dots."""
    names = {f"{ROOT}.{key.replace('__', '.')}": source for key, source in sources.items()}
    parents = {name.rpartition(".")[0] for name in names}
    return {name: Module(name, source, name in parents) for name, source in names.items()}


def imports(module: Module, modules: Modules) -> Iterator[Import]:
    def walk(node: ast.AST, lazy: bool, typing_only: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            inside = lazy or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            guarded = typing_only or (
                isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
            )
            for target in targets(child):
                yield Import(target, child.lineno, inside, guarded)
            yield from walk(child, inside, guarded)

    def targets(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.name.split(".")[
                    : (1 if module.is_package else 0) - node.level or None
                ]
                base = ".".join([*above, base]).rstrip(".")
            for alias in node.names:
                deeper = f"{base}.{alias.name}"
                yield deeper if deeper in modules or not base.startswith(ROOT) else base
        elif isinstance(node, ast.Call) and node.args:
            called = ast.unparse(node.func).rpartition(".")[2]
            first = node.args[0]
            if called in ("import_module", "__import__") and isinstance(first, ast.Constant):
                yield str(first.value)

    return walk(module.tree, False, False)


def inner_imports(module: Module, modules: Modules) -> Iterator[Import]:
    return (each for each in imports(module, modules) if each.target in modules)


# --- the laws ------------------------------------------------------------------------------------


def frameworks_only_in_tf_and_lazily(modules: Modules) -> Iterator[str]:
    for module in modules.values():
        for each in imports(module, modules):
            if each.target.split(".")[0] in FRAMEWORKS and not each.typing_only:
                if module.room != "tf":
                    yield f"{module.name}:{each.line} imports {each.target}"
                elif not each.lazy:
                    yield f"{module.name}:{each.line} imports {each.target} outside a function"


def private_frameworks_only_in_internals(modules: Modules) -> Iterator[str]:
    """The generated messages of tensorflow.core are a file format, not an internal."""
    private = re.compile(r"(tensorflow\.python|keras\.src|(tensorflow|keras).*\._)")
    for module in modules.values():
        if module.name.startswith(f"{ROOT}.tf.internals"):
            continue
        for each in imports(module, modules):
            if private.match(each.target):
                yield f"{module.name}:{each.line} imports {each.target}"
        if module.room != "tf":
            continue
        own = set(re.findall(r"(?:self|cls)\.(_\w+)|\b(_\w+)(?:: .*)? =|def (_\w+)", module.source))
        own_names = {name for names in own for name in names}
        for node in ast.walk(module.tree):
            if (
                isinstance(node, ast.Attribute)
                and re.match("_(?!_)", node.attr)
                and node.attr not in own_names
            ):
                yield f"{module.name}:{node.lineno} touches {ast.unparse(node)}"


def formats_and_graph_do_no_io(modules: Modules) -> Iterator[str]:
    for module in modules.values():
        if module.room not in ("formats", "graph"):
            continue
        for each in imports(module, modules):
            if each.target.split(".")[0] in FILE_ACCESS:
                yield f"{module.name}:{each.line} imports {each.target}"
        for line, call in calls(module):
            if call in ("open", "io.open", "io.FileIO", "print", "input"):
                yield f"{module.name}:{line} calls {call}()"


def only_storage_writes(modules: Modules) -> Iterator[str]:
    for module in modules.values():
        if module.room == "storage":
            continue
        for line, call in calls(module):
            root, _, last = call.rpartition(".")
            if last in WRITERS and (root in ("", "os", "io", "shutil") or "path" in root.lower()):
                yield f"{module.name}:{line} calls {call}()"
        for each in imports(module, modules):
            if each.target.split(".")[0] in {"tempfile", "shutil", "mmap", "fsspec"}:
                yield f"{module.name}:{each.line} imports {each.target}"


def calls(module: Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


def arrows_point_down(modules: Modules) -> Iterator[str]:
    floors = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
    floors |= dict.fromkeys(LEAVES, len(FLOORS))
    for module in modules.values():
        if module.room not in floors:
            yield f"{module.name} is in a room without a floor"
            continue
        for each in inner_imports(module, modules):
            room = modules[each.target].room
            if module.room in LEAVES:
                allowed = room == "errors"
            else:
                allowed = floors.get(room, -1) > floors[module.room]
            if not allowed and room != module.room:
                yield f"{module.name}:{each.line} imports {each.target}"


def arrows_between_groups_point_down(modules: Modules) -> Iterator[str]:
    for module in modules.values():
        groups = GROUPS.get(module.room, {})
        if groups and module.group not in groups and module.name != f"{ROOT}.{module.room}":
            yield f"{module.name} is in no group"
            continue
        for each in inner_imports(module, modules) if groups else ():
            target = modules[each.target]
            allowed = {module.group, *groups.get(module.group, ())}
            if target.room == module.room and target.group not in allowed:
                yield f"{module.name}:{each.line} imports {each.target}"


def no_import_cycles(modules: Modules) -> Iterator[str]:
    needs = {
        name: {each.target for each in inner_imports(module, modules)}
        for name, module in modules.items()
    }

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            new = needs[waiting.pop()] - seen
            seen |= new
            waiting += new
        return seen

    yield from (f"{name} imports itself by detours" for name in needs if name in reachable(name))


def imports_are_written_out(modules: Modules) -> Iterator[str]:
    """No other law sees an import by a computed name.

    Only the facade has them, for its own modules, and the command that imports the user's model.
    """
    importers = {"import_module", "__import__", "resolve_name", "run_module", "exec_module"}
    for module in modules.values():
        if module.name in (ROOT, f"{ROOT}.cli.plan"):
            continue
        nodes = list(ast.walk(module.tree))
        spelled = set()
        for node in nodes:
            if isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords:
                name = node.args[0]
                if isinstance(name, ast.Constant) and not str(name.value).startswith("."):
                    spelled.add(id(node.func))
        for node in nodes:
            if isinstance(node, (ast.Name, ast.Attribute)):
                last = ast.unparse(node).rpartition(".")[2]
                if last in importers and id(node) not in spelled:
                    yield f"{module.name}:{node.lineno} imports by a name that is not written out"
                if isinstance(node, ast.Name) and node.id in ("exec", "eval"):
                    yield f"{module.name}:{node.lineno} runs text as a program"
            elif isinstance(node, ast.ImportFrom) and node.module in ("importlib", "pkgutil"):
                names = importers.intersection(alias.name for alias in node.names)
                yield from (f"{module.name}:{node.lineno} hides {name}" for name in names)


def nothing_is_unpickled(modules: Modules) -> Iterator[str]:
    """A pickle is a program; no file that is read may be one."""
    loaders = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    for module in modules.values():
        for each in imports(module, modules):
            if each.target.split(".")[0] in loaders:
                yield f"{module.name}:{each.line} imports {each.target}"
        for line, call in calls(module):
            if call in ("np.load", "numpy.load"):
                yield f"{module.name}:{line} calls {call}()"


def modules_are_short(modules: Modules) -> Iterator[str]:
    for module in modules.values():
        lines = code_lines(module)
        if lines > MOST_CODE_LINES:
            yield f"{module.name} has {lines} lines of code"


def code_lines(module: Module) -> int:
    """Count the lines that are not blank, a comment or a docstring."""
    other = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(module.source).readline):
        if token.type not in other and token.type != tokenize.ENDMARKER:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(module.tree):
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            docstring = node.body[0]
            lines.difference_update(range(docstring.lineno, docstring.end_lineno + 1))
    return len(lines)


def types_are_not_ignored(modules: Modules) -> Iterator[str]:
    for module in modules.values():
        for token in tokenize.generate_tokens(io.StringIO(module.source).readline):
            if token.type == tokenize.COMMENT and re.match(
                r"#\s*(type|pyright): *ignore", token.string
            ):
                yield f"{module.name}:{token.start[0]} silences the type checker"


def words_are_plain(modules: Modules) -> Iterator[str]:
    """A docstring begins with a verb such as "Return", or with the name of a thing."""
    mannered = {"Give", "Tell", "Say", "What", "Which", "How"}
    for module in modules.values():
        named = []
        for node in ast.walk(module.tree):
            line = getattr(node, "lineno", 1)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                text = ast.get_docstring(node) or ""
                # A property may be documented by "Whether it is true."
                avoided = mannered | (set() if isinstance(node, ast.FunctionDef) else {"Whether"})
                if text.split(" ")[0] in avoided:
                    yield f"{module.name}:{line} has a docstring that begins {text[:20]!r}"
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                named.append((line, node.id))
        for line, name in named:
            if name in {"each", "given", "taken", "told"}:
                yield f"{module.name}:{line} has a variable {name!r}, which says nothing"


def names_say_something(modules: Modules) -> Iterator[str]:
    for name in modules:
        if VAGUE_NAMES & set(re.split(r"[._]", name)):
            yield name


def values_are_frozen(modules: Modules) -> Iterator[str]:
    for module in modules.values():
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.ClassDef):
                continue
            decorators = {ast.unparse(each).split("(")[0] for each in node.decorator_list}
            bases = {ast.unparse(each).split("[")[0].rpartition(".")[2] for each in node.bases}
            written = " ".join(ast.unparse(each) for each in node.decorator_list)
            where = f"{module.name}:{node.lineno} {node.name}"
            if "attrs.define" in decorators:
                if "eq=False" not in written and "frozen=True" not in written:
                    yield f"{where} can change and yet compares by its fields"
            elif bases & {"NamedTuple", "TypedDict"} or "dataclass" in written:
                yield f"{where} is no attrs class"
            elif "attrs.frozen" not in decorators and "Protocol" not in bases:
                fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
                if any(each.value is None for each in fields):
                    yield f"{where} has fields and is no frozen attrs class"


def classes_are_whole(modules: Modules) -> Iterator[str]:
    """A class declares what it has, and is not a part of another that a checker has to imagine."""
    for module in modules.values():
        for node in ast.walk(module.tree):
            where = f"{module.name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.ClassDef):
                for part in node.body:
                    if isinstance(part, ast.If) and "TYPE_CHECKING" in ast.unparse(part.test):
                        yield f"{where} {node.name} declares what it does not have"
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("cast"):
                selves = [argument for argument in node.args if ast.unparse(argument) == "self"]
                yield from (f"{where} takes self for something else" for _ in selves)


def failures_are_our_own(modules: Modules) -> Iterator[str]:
    foreign = re.compile(r"(\w*Error|Exception|StopIteration)$")
    own = {name for name in tfpersist.__all__ if name.endswith("Error")}
    for module in modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Assert) and module.room in ("formats", "graph", "storage"):
                yield f"{module.name}:{node.lineno} asserts"
            elif isinstance(node, ast.Raise) and node.exc is not None:
                raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
                name = ast.unparse(raised).rpartition(".")[2]
                if foreign.match(name) and name not in own | TRANSLATED.get(module.room, set()):
                    yield f"{module.name}:{node.lineno} raises {name}"


def public_names_are_documented(modules: Modules) -> Iterator[str]:
    facade = set(tfpersist.__all__)
    for module in modules.values():
        for node in module.tree.body:
            if not isinstance(node, ast.ClassDef) or node.name not in facade:
                continue
            where = f"{module.name}.{node.name}"
            text = ast.get_docstring(node) or ""
            if not text.split("\n")[0].endswith("."):
                yield f"{where} has no summary that ends with a full stop"
            if node.name.endswith("Error"):
                continue
            if ">>>" not in text:
                yield f"{where} has no example"
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                    yield from (f"{where}.{method.name} {lack}" for lack in lacks(method))


def lacks(method: ast.FunctionDef) -> Iterator[str]:
    text = ast.get_docstring(method) or ""
    if not text.split("\n")[0].endswith("."):
        yield "has no summary that ends with a full stop"
    if any(ast.unparse(each).endswith("property") for each in method.decorator_list):
        return
    arguments = method.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    taken = [each.arg for each in named if each.arg not in ("self", "cls")]
    taken += [each.arg for each in (arguments.vararg, arguments.kwarg) if each]
    for argument in taken:
        if not re.search(rf"^\s+\*{{0,2}}{argument}\b.*:", text, re.MULTILINE):
            yield f"does not describe its argument {argument!r}"
    returns = method.returns and ast.unparse(method.returns)
    if returns not in (None, "None") and "Returns:" not in text:
        yield "does not say what it returns"
    if ">>>" not in text:
        yield "has no example"


def dependencies_are_those_imported(modules: Modules) -> Iterator[str]:
    """TensorFlow brings Keras; protobuf and google-crc32c are imported by other names.

    fsspec imports what it needs for each kind of URL.
    """
    names = {"protobuf": "google", "keras": "tensorflow", "s3fs": "fsspec", "gcsfs": "fsspec"}
    declared = {
        re.split(r"[^\w.-]", requirement)[0].lower().replace("-", "_")
        for requirement in importlib.metadata.requires(ROOT) or ()
    }
    declared = {names.get(name, name) for name in declared}
    used = {
        each.target.split(".")[0]
        for module in modules.values()
        for each in imports(module, modules)
    }
    used = {names.get(name, name) for name in used} - {ROOT, *sys.stdlib_module_names}
    yield from (f"{name} is imported and not declared" for name in sorted(used - declared))
    yield from (f"{name} is declared and not imported" for name in sorted(declared - used))


LAWS: dict[Callable[[Modules], Iterator[str]], list[Modules]] = {
    frameworks_only_in_tf_and_lazily: [
        invented(store="import tensorflow as tf"),
        invented(store="def f():\n    from keras import layers"),
        invented(store="import importlib\nimportlib.import_module('tensorflow')"),
        invented(tf__session="import tensorflow"),
    ],
    private_frameworks_only_in_internals: [
        invented(tf__session="def f():\n    from tensorflow.python.framework import ops"),
        invented(tf__session="def f():\n    import keras.src.saving"),
        invented(tf__session="def f(session):\n    return session._make_callable()"),
    ],
    formats_and_graph_do_no_io: [
        invented(formats__bundle="import os.path"),
        invented(graph__prune="def f():\n    from pathlib import Path"),
        invented(formats__bundle="def f(p):\n    return open(p)"),
    ],
    only_storage_writes: [
        invented(checkpoint="def f(p):\n    open(p, 'wb')"),
        invented(store="import os\nos.replace('a', 'b')"),
        invented(store="def f(path):\n    path.write_bytes(b'')"),
        invented(tf__session="import tempfile"),
    ],
    arrows_point_down: [
        invented(errors="from tfpersist import formats", formats=""),
        invented(formats__v1="from tfpersist.graph import names", graph__names=""),
        invented(graph__names="def f():\n    import tfpersist.store", store=""),
        invented(store="from tfpersist import frozen", frozen=""),
        invented(arguments="from tfpersist import formats", formats=""),
        invented(matching__selection="from ..tf import target", tf__target=""),
        invented(elsewhere=""),
    ],
    arrows_between_groups_point_down: [
        invented(
            graph__structure__calls="from tfpersist.graph.constants import rewrites",
            graph__constants__rewrites="",
        ),
        invented(
            tf__run__execute="def f():\n    from tfpersist.tf.targets import target",
            tf__targets__target="",
        ),
        invented(tf__training__hooks="from tfpersist.tf.run import execute", tf__run__execute=""),
        invented(graph__prune="", graph=""),
    ],
    no_import_cycles: [
        invented(
            formats__a="from tfpersist.formats import b", formats__b="import tfpersist.formats.a"
        ),
        invented(
            tf__a="def f():\n    from tfpersist.tf import b",
            tf__b="from tfpersist.tf.c import g",
            tf__c="def g():\n    from . import a",
        ),
    ],
    nothing_is_unpickled: [
        invented(checkpoint="def f(data):\n    import pickle\n    return pickle.loads(data)"),
        invented(store="from joblib import load"),
        invented(store="import numpy as np\ndef f(path):\n    return np.load(path)"),
    ],
    imports_are_written_out: [
        invented(store="import importlib\nimportlib.import_module(f'tfpersist.{__name__}')"),
        invented(store="import importlib\nimportlib.import_module('.tf', 'tfpersist')"),
        invented(store="import importlib\nload = importlib.import_module\nload('tensorflow')"),
        invented(store="from importlib import import_module as load\nload('tensorflow')"),
        invented(store="def f(name):\n    return __import__('tfpersist.' + name)"),
        invented(store="import pkgutil\nf = pkgutil.resolve_name"),
        invented(store="exec('import tensorflow')"),
    ],
    modules_are_short: [invented(store="x = 1\n" * (MOST_CODE_LINES + 1))],
    names_say_something: [invented(formats__utils=""), invented(store_manager="")],
    types_are_not_ignored: [invented(store="x: int = 'a'  # type: ignore[assignment]")],
    words_are_plain: [
        invented(store="'''What a store holds.'''"),
        invented(store="def f():\n    '''Give the names.'''"),
        invented(store="class A:\n    '''Whether it fits.'''"),
        invented(store="def f(names):\n    return [each for each in names]"),
    ],
    values_are_frozen: [
        invented(report="@attrs.define\nclass A:\n    a: int"),
        invented(report="@dataclass(frozen=True)\nclass A:\n    a: int"),
        invented(report="class A:\n    a: int"),
        invented(report="class A(typing.NamedTuple):\n    a: int"),
    ],
    classes_are_whole: [
        invented(store="class A:\n    if TYPE_CHECKING:\n        path: str"),
        invented(store="def f(self):\n    return typing.cast(ModelStore, self).save"),
    ],
    failures_are_our_own: [
        invented(formats__v1="def f():\n    raise ValueError('bad')"),
        invented(formats__v1="def f(data):\n    assert data"),
    ],
    dependencies_are_those_imported: [invented(store="import pandas")],
    public_names_are_documented: [
        invented(store="class ModelStore:\n    pass"),
        invented(store="class ModelStore:\n    '''A store.'''"),
        invented(
            store="class ModelStore:\n    '''A store.\n\n    >>> 1\n    '''\n"
            "    def save(self, target) -> int:\n        '''Save.'''"
        ),
    ],
}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_package_keeps_the_law(law):
    offences = list(law(installed()))
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize(
    ("law", "offender"),
    [(law, offender) for law, offenders in LAWS.items() for offender in offenders],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_law_notices_an_offender(law, offender):
    assert list(law(offender))


def test_only_code_counts():
    source = '"""Docs\n\nof two lines."""\n\n# A comment.\nx = """a\nb"""\n\n\n'
    source += 'def f():\n    """Docs."""\n    return x  # why\n'
    assert code_lines(Module("tfpersist.store", source)) == 4


def test_the_design_shows_the_table_of_allowed_arrows():
    page = pathlib.Path(__file__).resolve().parents[2] / "docs" / "design" / "index.md"
    text = page.read_text("utf-8").partition("### The table of allowed arrows")[2]

    def named(cell):
        paths = re.findall(r"`([^`]+)`", cell)
        return [
            path.removesuffix("/").removesuffix(".py").replace("__init__", "") for path in paths
        ]

    floors = [set(named(cell)) for cell in re.findall(r"^\| \d \| (.+) \|$", text, re.MULTILINE)]
    assert floors == list(FLOORS)
    groups = {}
    row = r"^\| (`(?:graph|matching|tf)/.+) \| (.+) \|$"
    for names, allowed in re.findall(row, text, re.MULTILINE):
        for name in named(names):
            groups[name] = set(named(allowed))
    assert groups == {
        f"{room}/{group}": {f"{room}/{other}" for other in others}
        for room in GROUPS
        for group, others in GROUPS[room].items()
    }


def test_the_whole_package_was_read():
    modules = installed()
    assert {
        f"{ROOT}.errors",
        f"{ROOT}.formats.schema",
        f"{ROOT}.tf.targets.adapt",
    } <= modules.keys()
    assert modules[ROOT].is_package


# --- what is loaded ------------------------------------------------------------------------------


def test_importing_the_facade_loads_no_large_package(fresh):
    loaded = fresh(
        """
        import sys
        before = set(sys.modules)
        import tfpersist
        print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
        """
    ).split()
    heavy = {*FRAMEWORKS, "numpy", "google", "rich", "fsspec", "attrs", "ml_dtypes", "cramjam"}
    assert "tfpersist" in loaded
    assert heavy.isdisjoint(loaded)


def test_reading_a_checkpoint_leaves_tensorflow_out(fresh):
    out = fresh(
        """
        import sys
        import numpy as np
        import tfpersist as tfp
        tfp.ModelStore("run").save({"v1": np.ones(3, np.float32)}, step=1)
        checkpoint = tfp.Checkpoint("run")
        assert checkpoint["v1"].sum() == 3
        checkpoint.specs, checkpoint.verify(), checkpoint.diff(checkpoint), str(checkpoint)
        print(sorted({"tensorflow", "keras", "rich", "fsspec"} & set(sys.modules)))
        """
    )
    assert out == "[]\n"


def test_freezing_a_meta_and_describing_the_result_leave_tensorflow_out(fresh, golden):
    out = fresh(
        """
        import sys
        import tfpersist as tfp
        tfp.Freezer(sys.argv[1]).outputs("output").write("model.pb")
        model = tfp.FrozenModel.load("model.pb")
        str(model.summary()), model.inputs, model.outputs, model["output"]
        print(sorted({"tensorflow", "keras", "fsspec"} & set(sys.modules)))
        """,
        golden / "1.15.5" / "model_v2.ckpt-5",
    )
    assert out == "[]\n"
