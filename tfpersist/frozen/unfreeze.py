"""Save a frozen graph as a checkpoint and a `.meta`, in which constants are variables again."""

from __future__ import annotations

from collections.abc import Iterable

from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.checkpoint.writer import write_checkpoint
from tfpersist.formats.bundle_writer import Item
from tfpersist.formats.graphdef import Graph
from tfpersist.graph.constants.unfreeze import unfreeze
from tfpersist.graph.optimize.weights import expand
from tfpersist.storage import Storage


def save(
    graph: Graph,
    names: Iterable[str],
    storage: Storage,
    *,
    step: int | None = None,
    durable: bool = True,
) -> Checkpoint:
    """Save a graph with variables in the place of constants.

    Args:
        graph: the frozen graph. Weights in fewer bytes are expanded to float32.
        names: names of constants or globs.
        storage: the directory of the checkpoint.
        step: the training step of the checkpoint.
        durable: wait until the files would survive a power loss.

    Raises:
        NameNotFoundError: a name matches no constant, or there are no names.
        UnsupportedError: TensorFlow cannot train such a constant where it is used.
        StorageError: the files cannot be written; nothing is left behind.
    """
    unfrozen = unfreeze(expand(graph), names)
    items = [Item(name, value) for name, value in sorted(unfrozen.values.items())]
    meta = unfrozen.meta.SerializeToString(deterministic=True)
    prefix = "model.ckpt" if step is None else f"model.ckpt-{step}"
    write_checkpoint(storage, prefix, items, meta=meta, step=step, durable=durable)
    return Checkpoint(prefix, storage=storage)
