"""Put an imported graph under a name scope of its own, so that it shares no state or functions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from tfpersist.errors import TargetError
from tfpersist.graph.structure.functions import rename_functions, unused

# TensorFlow's importer would read a digit at the beginning as a part of its regular expression.
_SCOPE = re.compile(r"[A-Za-z.][A-Za-z0-9_.>-]*(/[A-Za-z0-9_.>-]+)*", re.ASCII)
# VarHandleOps with the same shared name share a variable, even if the name is empty.
_HANDLE = "VarHandleOp"
_BY_NAME = "use_node_name_sharing"
_ODD = re.compile(r"\W", re.ASCII)
_MOST_SHOWN = 3


def checked(scope: str) -> str:
    """Return a name scope without the slashes at its end; "" for none.

    Args:
        scope: the name scope.

    Raises:
        TargetError: TensorFlow cannot import a graph under that name.

    Example:
        >>> checked("A/b/"), checked("")
        ('A/b', '')
    """
    plain = scope.rstrip("/") if isinstance(scope, str) else ""
    if scope != "" and not _SCOPE.fullmatch(plain):
        raise TargetError(
            f"a graph cannot be imported under the name scope {scope!r}",
            expected="a letter, then letters, digits, '_', '-', '.', and '/' between parts",
        )
    return plain


def unused_scope(scope: str, graph: Any, names: Collection[str]) -> str:
    """Return a name scope that is not in use.

    Args:
        scope: the preferred name; "" for none.
        graph: the tf.Graph to import into.
        names: names of the graph's operations.

    Returns:
        The name, with a number at its end if it is in use.
    """
    if not scope:
        return scope
    used = {outer for name in (*names, *_shared_names_of(graph)) for outer in _with_scopes(name)}
    number, name = 0, scope
    # Under a name scope that is open, no name would be unused as it is.
    with graph.as_default(), graph.name_scope(None):
        while name in used or graph.unique_name(name, mark_as_used=False) != name:
            number += 1
            name = f"{scope}_{number}"
    return name


def refuse_shared(meta: Any, graph: Any, names: Collection[str]) -> None:
    """Refuse a MetaGraphDef that would share variables or names with a graph.

    Args:
        meta: the MetaGraphDef, to be imported under no scope.
        graph: the tf.Graph to import into.
        names: names of the graph's operations.

    Raises:
        TargetError: they have a name in common.
    """
    new_names = {node.name: None for node in meta.graph_def.node}
    new_names |= dict.fromkeys(_shared_names_in(meta))
    twice = [name for name in new_names if name in names]
    twice += sorted((new_names.keys() & set(_shared_names_of(graph))) - set(twice))
    if twice:
        more = f" and {len(twice) - _MOST_SHOWN} more" if len(twice) > _MOST_SHOWN else ""
        raise TargetError(
            "the session's graph has these names already, so both would use the same variables",
            where=", ".join(map(repr, twice[:_MOST_SHOWN])) + more,
            advice='Pass scope="...": under a name scope the model has variables of its own. Or'
            " leave `session` out: open_graph() makes a graph and a session of its own.",
        )


def scope_resources(meta: Any, scope: str) -> None:
    """Rename variables, tables and functions uniquely, so that no other scope shares them.

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
            # The import adds no scope to the names of nodes in functions.
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


def _with_scopes(name: str) -> Iterator[str]:
    """Yield a name and the scopes that it is in."""
    while name:
        yield name
        name = name.rpartition("/")[0]


def _shared_names_in(meta: Any) -> Iterator[str]:
    """Yield the names under which nodes of a MetaGraphDef share variables and tables."""
    library = meta.graph_def.library.function
    for nodes in (meta.graph_def.node, *(function.node_def for function in library)):
        for node in nodes:
            shared = node.attr["shared_name"].s if "shared_name" in node.attr else b""
            if shared or node.op == _HANDLE:
                yield shared.decode(errors="replace")


def _shared_names_of(graph: Any) -> Iterator[str]:
    """Yield the names under which operations of a tf.Graph share variables and tables."""
    for operation in graph.get_operations():
        try:
            shared = operation.get_attr("shared_name")
        except ValueError:
            continue
        if shared or operation.type == _HANDLE:
            yield shared.decode(errors="replace")
