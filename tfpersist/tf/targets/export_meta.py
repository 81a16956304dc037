"""Encode the graph of a session for a `.meta` file."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Mapping
from typing import Any

from tfpersist.errors import SaveError
from tfpersist.formats.graphdef import Graph
from tfpersist.graph.constants import from_saver
from tfpersist.tf.run.translate import translated

# For each graph: the digest of its nodes, and the MetaGraphDef that was made from them.
_KNOWN: weakref.WeakKeyDictionary[Any, tuple[bytes, Any]] = weakref.WeakKeyDictionary()
# A graph of more bytes holds weights, and a MetaGraphDef in memory would be as large.
_REMEMBERED = 32 << 20


def export_meta(graph: Any, keys: Mapping[str, str] | None = None) -> bytes:
    """Encode a graph with its collections, as Saver writes them into a `.meta` file.

    To list the shapes of all tensors takes most of the time. So they are listed once for a graph
    with the same nodes and functions, and the next call takes a third of the time. A shape that
    only `set_shape` has refined since is written as it was. Collections and Savers are listed at
    each call.

    Args:
        graph: a tf.Graph; nothing is added to it.
        keys: the key of each variable in the checkpoint, by the name of its node; None for those
            of the graph's last Saver.

    Returns:
        The encoded MetaGraphDef, with the SaverDef of the graph's last Saver where it has one that
        would restore the same keys. TensorFlow could not restore the checkpoint by any other.

    Raises:
        SaveError: TensorFlow cannot encode it, for example because it is over 2 GB.
    """
    from tensorflow.compat import v1

    savers = graph.get_collection(v1.GraphKeys.SAVERS)
    saver_def = savers[-1].as_saver_def() if savers else None
    with translated(SaveError), graph.as_default():
        nodes = graph.as_graph_def().SerializeToString(deterministic=True)
        digest = hashlib.sha256(nodes).digest()
        known = _KNOWN.get(graph)
        if known is not None and known[0] == digest:
            parts = {"meta_info_def": known[1].meta_info_def, "graph_def": known[1].graph_def}
        else:
            parts = {}
        meta = v1.train.export_meta_graph(graph=graph, saver_def=saver_def, **parts)
    if not parts and len(nodes) <= _REMEMBERED:
        _KNOWN[graph] = digest, meta
    if saver_def is not None and not _restores(meta, keys or {}):
        meta = type(meta).FromString(meta.SerializeToString())
        meta.ClearField("saver_def")
    return bytes(meta.SerializeToString(deterministic=True))


def _restores(meta: Any, keys: Mapping[str, str]) -> bool:
    """Return whether the Saver of a MetaGraphDef reads each variable under its key."""
    sources = from_saver.sources(Graph(meta.graph_def), meta)
    return all(source.key == keys.get(name, source.key) for name, source in sources.items())
