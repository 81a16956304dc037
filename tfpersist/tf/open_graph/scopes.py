"""Where an imported graph goes: a name scope that nothing else is in, and that shares nothing."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from tfpersist.errors import TargetError
from tfpersist.graph.structure.functions import rename_functions, unused

# TensorFlow's importer takes a digit at the beginning for a part of its regular expression.
_SCOPE = re.compile(r"[A-Za-z.][A-Za-z0-9_.>-]*(/[A-Za-z0-9_.>-]+)*", re.ASCII)
# VarHandleOp shares its variable with every handle of an equal name, even of the empty name.
_HANDLE = "VarHandleOp"
_BY_NAME = "use_node_name_sharing"
_ODD = re.compile(r"\W", re.ASCII)
_MOST_SHOWN = 3


def checked(scope: str) -> str:
    """Give a name scope without the slashes at its end; "" for none.

    Raises:
        TargetError: nothing can be imported under that name.

    Example:
        >>> checked("A/b/"), checked("")
        ('A/b', '')
    """
    plain = scope.rstrip("/") if isinstance(scope, str) else ""
    if scope != "" and not _SCOPE.fullmatch(plain):
        raise TargetError(
            f"{scope!r} is no name scope that a graph can be imported under",
            expected="a letter, then letters, digits, '_', '-', '.', and '/' between parts",
        )
    return plain


def free(scope: str, graph: Any, names: Collection[str]) -> str:
    """Find a name scope that nothing is in.

    Args:
        scope: what it should be called; "" for none.
        graph: the tf.Graph that it is to be in.
        names: of the graph's operations.

    Returns:
        The name itself, or with a number as TensorFlow gives them.
    """
    if not scope:
        return scope
    used = {name for each in (*names, *_shared_in(graph)) for name in _outer(each)}
    number, name = 0, scope
    while name in used or graph.unique_name(name, mark_as_used=False) != name:
        number += 1
        name = f"{scope}_{number}"
    return name


def refuse_shared(meta: Any, graph: Any, names: Collection[str]) -> None:
    """Refuse a graph that would share variables or names with one that is there.

    Args:
        meta: the MetaGraphDef that is to be imported under no scope.
        graph: the tf.Graph that it is to be in.
        names: of the graph's operations.

    Raises:
        TargetError: it would.
    """
    wanted = {node.name: None for node in meta.graph_def.node}
    wanted |= dict.fromkeys(_shared_by(meta))
    twice = [name for name in wanted if name in names]
    twice += sorted((wanted.keys() & set(_shared_in(graph))) - set(twice))
    if twice:
        more = f" and {len(twice) - _MOST_SHOWN} more" if len(twice) > _MOST_SHOWN else ""
        raise TargetError(
            "the session's graph has these names already, so both would use the same variables",
            where=", ".join(map(repr, twice[:_MOST_SHOWN])) + more,
            advice='Pass scope="...": under a name scope the model has variables of its own. Or'
            " leave `session` out: open_graph() makes a graph and a session of its own.",
        )


def scope_resources(meta: Any, scope: str) -> None:
    """Let nothing be shared with what is under another scope: variables, tables, functions.

    Args:
        meta: the MetaGraphDef, which is changed.
        scope: the name scope that it is imported under.
    """
    for node in meta.graph_def.node:
        _scope_resource(node, scope)
    functions = meta.graph_def.library.function
    suffix = _ODD.sub("_", scope)
    names = {function.signature.name for function in functions}
    renamed = {name: unused(f"{name}__{suffix}", names) for name in names}
    texts = {name.encode(): new.encode() for name, new in renamed.items()}
    for function in functions:
        for node in function.node_def:
            # The import puts no scope before the names of these nodes.
            by_name = _BY_NAME in node.attr and node.attr[_BY_NAME].b
            if by_name and not node.attr["shared_name"].s:
                node.attr["shared_name"].s = node.name.encode()
            _scope_resource(node, scope)
        for value in function.attr.values():
            if value.s:
                value.s = texts.get(value.s, value.s)
    rename_functions(meta.graph_def, renamed)


def _scope_resource(node: Any, scope: str) -> None:
    if "shared_name" in node.attr and (node.attr["shared_name"].s or node.op == _HANDLE):
        node.attr["shared_name"].s = f"{scope}/".encode() + node.attr["shared_name"].s
    elif node.op == _HANDLE:
        node.attr["shared_name"].s = f"{scope}/".encode()


def _outer(name: str) -> Iterator[str]:
    """List a name and the scopes that it is in."""
    while name:
        yield name
        name = name.rpartition("/")[0]


def _shared_by(meta: Any) -> Iterator[str]:
    """List the names under which the nodes of a MetaGraphDef share what they hold."""
    library = meta.graph_def.library.function
    for nodes in (meta.graph_def.node, *(function.node_def for function in library)):
        for node in nodes:
            shared = node.attr["shared_name"].s if "shared_name" in node.attr else b""
            if shared or node.op == _HANDLE:
                yield shared.decode(errors="replace")


def _shared_in(graph: Any) -> Iterator[str]:
    """List the names under which the operations of a tf.Graph share what they hold."""
    for operation in graph.get_operations():
        try:
            shared = operation.get_attr("shared_name")
        except ValueError:
            continue
        if shared or operation.type == _HANDLE:
            yield shared.decode(errors="replace")
