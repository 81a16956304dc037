"""Remember the variables of a session's graph, and what assigns them, while the graph is unchanged.

To find them takes longer than to restore a small checkpoint.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from tfpersist.matching.plans.entry import Entry
from tfpersist.tf.targets import graph_state
from tfpersist.tf.targets.graph_state import Write


@attrs.frozen(eq=False)
class KnownGraph:
    """The variables and tables of a graph at one moment.

    Args:
        graph: a tf.Graph.
        version: its version, which every new operation changes.
        collections: the members of its collections.
        entries: what `graph_state.entries_of` returned.
    """

    graph: Any
    version: object
    collections: Mapping[str, Sequence[object]]
    entries: Sequence[Entry]
    _writes: dict[int, tuple[object, list[Write]]] = attrs.field(factory=dict, init=False)

    def writes_of(self, entry: Entry) -> list[Write]:
        """Return what `graph_state.writes_of` does, for an entry of this graph under any key."""
        known = self._writes.get(id(entry.handle))
        if known is None or known[0] is not entry.handle:
            known = entry.handle, graph_state.writes_of(entry)
            self._writes[id(entry.handle)] = known
        return known[1]

    def is_current(self, graph: Any) -> bool:
        """Return whether this is the graph, and nothing was added to it or its collections."""
        if self.graph is not graph or self.version != graph.version:
            return False
        now = _collections(graph)
        return self.collections.keys() == now.keys() and all(
            len(members) == len(now[name]) and all(map(operator.is_, members, now[name]))
            for name, members in self.collections.items()
        )


# The known variables of the graph of each session. With the graph as its key, it would live for
# ever.
_KNOWN: dict[int, tuple[weakref.ref[Any], KnownGraph]] = {}


def known_graph(session: Any) -> KnownGraph:
    """Return the variables of a session's graph; they are listed again if the graph has changed.

    Nothing that is kept here keeps the session or its graph alive.

    Args:
        session: a tf.compat.v1.Session or a MonitoredSession.

    Raises:
        TargetError: a strategy keeps some variables on several devices.
    """
    graph, key = session.graph, id(session)
    known = _KNOWN.get(key)
    if known is not None and known[0]() is session and known[1].is_current(graph):
        return known[1]
    # The version is read first: a variable that is added meanwhile makes the result out of date.
    version, collections = graph.version, _collections(graph)
    listed = KnownGraph(graph, version, collections, graph_state.entries_of(graph))
    try:
        _KNOWN[key] = weakref.ref(session, lambda _: _KNOWN.pop(key, None)), listed
    except TypeError:
        _KNOWN.pop(key, None)
    return listed


def _collections(graph: Any) -> dict[str, Sequence[object]]:
    return {name: graph.get_collection(name) for name in graph.get_all_collection_keys()}
