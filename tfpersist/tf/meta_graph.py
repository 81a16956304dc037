"""MetaGraphs: what goes into a `.meta` file, and what has to be mended before one is imported."""

from __future__ import annotations

from typing import Any


def export(graph: Any) -> bytes:
    """Encode a graph with its collections, as Saver writes them into a `.meta` file.

    Args:
        graph: a tf.Graph; nothing is added to it.

    Returns:
        The encoded MetaGraphDef, with the SaverDef of the graph's last Saver where it has one.
    """
    from tensorflow.compat import v1

    savers = graph.get_collection(v1.GraphKeys.SAVERS)
    saver_def = savers[-1].as_saver_def() if savers else None
    with graph.as_default():
        meta = v1.train.export_meta_graph(graph=graph, saver_def=saver_def)
    return bytes(meta.SerializeToString(deterministic=True))
