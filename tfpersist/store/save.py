"""Save: capture the values of a target, write them, and prune older checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from tfpersist.checkpoint import sidecar
from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.locate import Located
from tfpersist.checkpoint.save_memory import SaveMemory
from tfpersist.checkpoint.worker_parts import JointSave, commit_parts
from tfpersist.checkpoint.writer import note_latest, publish_checkpoint
from tfpersist.errors import TargetError
from tfpersist.formats.bundle_writer import Item, Items
from tfpersist.formats.tensors import payload_of
from tfpersist.gc_pause import gc_paused
from tfpersist.matching.choices.selection import Selection
from tfpersist.matching.sides.object_graph import OBJECT_GRAPH_KEY
from tfpersist.storage import Storage
from tfpersist.store import pruning, together
from tfpersist.store.background import PendingCheckpoint, worker_at
from tfpersist.store.retention import Keep
from tfpersist.tf.targets.adapt import adapt
from tfpersist.tf.targets.cluster import all_reading, replicated, workers_of
from tfpersist.tf.targets.resumable import Resumable
from tfpersist.tf.targets.steps import step_of
from tfpersist.tf.targets.target import Captured, Target

if TYPE_CHECKING:
    from tfpersist.tf.internals.workers import Workers


@attrs.frozen
class Destination:
    """Where saves go, and what becomes of older checkpoints there.

    Args:
        storage: the directory.
        name: what the checkpoints are called; "-" and the step follow it.
        selection: which variables are saved, under which keys.
        keep: which checkpoints a save leaves; None for all.
        durable: wait until a save would survive a power loss.
        incremental: write only what has changed since the checkpoint before.
        memory: what incremental saves remember of the last one.
        in_flight: how many saves may be under way in the background; 0 to save at once.
        write_meta_graph: whether a save of a session writes the `.meta` file.
    """

    storage: Storage
    name: str
    selection: Selection
    keep: Keep | None
    durable: bool
    incremental: bool
    memory: SaveMemory
    in_flight: int
    write_meta_graph: bool = True


@attrs.frozen
class Facts:
    """The facts of a save for its sidecar."""

    prefix: str
    step: int | None
    metrics: Mapping[str, float]
    metadata: str

    @classmethod
    def of(
        cls,
        name: str,
        step: Any,
        metrics: Mapping[str, float] | None,
        metadata: Any,
        target: Target | None = None,
    ) -> Facts:
        """Return what a user passed to a save.

        Args:
            name: what the checkpoints are called.
            step: see `save_target`.
            metrics: see `save_target`.
            metadata: see `save_target`.
            target: see `step_of`.

        Raises:
            TargetError: the step is not a whole number.
            SaveError: the metrics or the metadata cannot be saved.
        """
        number = None if step is None else step_of(step, target)
        prefix = name if number is None else f"{name}-{number}"
        return cls(prefix, number, sidecar.as_floats(metrics), sidecar.as_json(metadata))


def save_target(
    target: object,
    step: Any,
    metrics: Mapping[str, float] | None,
    metadata: Any,
    destination: Destination,
) -> Checkpoint:
    """Save a target, as `ModelStore.save` says."""
    # For 20,000 arrays this makes more than 100,000 objects. They would start garbage collections,
    # which also visit all objects of TensorFlow.
    with gc_paused():
        adapted = adapt(target)
    facts = Facts.of(destination.name, step, metrics, metadata, adapted)
    in_flight = destination.in_flight

    workers = workers_of(adapted)

    def capture_now() -> Callable[[], Located]:
        if workers is not None:
            return _capture_together(target, adapted, facts, destination, workers)
        with gc_paused():
            captured, items = capture(
                target, adapted, destination.selection, lasting=bool(in_flight)
            )
            encode = captured.meta if destination.write_meta_graph else None
            meta = None if encode is None else encode()
        return lambda: _write(facts, captured, meta, items, destination)

    if not in_flight:
        return Checkpoint(capture_now()())
    worker = worker_at(destination.storage.location)
    job = worker.begin(facts.prefix, capture_now, in_flight)
    return PendingCheckpoint(destination.storage, facts.prefix, facts.step, job, worker)


def _capture_together(
    target: object, adapted: Target, facts: Facts, destination: Destination, workers: Workers
) -> Callable[[], Located]:
    """Take the values of all workers of a strategy at once; see `together`."""
    storage, durable = destination.storage, destination.durable
    chosen = destination.selection.for_save(adapted.entries())
    token = together.agreed(
        workers,
        {
            "call": "save",
            "checkpoint": facts.prefix,
            "variables": together.digest_of([f"{entry.key} {entry.spec}" for entry in chosen]),
        },
    )
    save = JointSave(facts.prefix, workers.of, token)

    def capture_all() -> tuple[Captured, Items]:
        with gc_paused(), all_reading():
            lasting = bool(destination.in_flight)
            return capture(target, adapted, destination.selection, lasting=lasting)

    def commit() -> Directory:
        look = commit_parts(
            storage,
            save,
            step=facts.step,
            metrics=facts.metrics,
            metadata=facts.metadata,
            durable=durable,
        )
        finished(look, facts.prefix, destination)
        return look

    return together.writing(
        workers,
        save,
        capture_all,
        replicated=replicated(chosen),
        storage=storage,
        commit=commit,
        durable=durable,
    )


def _write(
    facts: Facts,
    captured: Captured,
    meta: bytes | None,
    items: Items,
    destination: Destination,
) -> Located:
    prefix = facts.prefix
    incremental, durable = destination.incremental, destination.durable
    memory = attrs.evolve(destination.memory, borrowed=captured.borrowed) if incremental else None
    try:
        directory = publish_checkpoint(
            Directory.look(destination.storage, to_write=True),
            prefix,
            items,
            meta=meta,
            step=facts.step,
            metrics=facts.metrics,
            metadata=facts.metadata,
            durable=durable,
            incremental=incremental,
            memory=memory,
            spend=bool(destination.in_flight),
            layers=captured.layers,
            resume=captured.resume,
        )
    finally:
        # An error's traceback would keep the values for as long as it lives itself.
        items.clear()
    return finished(directory, prefix, destination)


def finished(directory: Directory, prefix: str, destination: Destination) -> Located:
    """Name a checkpoint that was just saved the latest, and prune older ones.

    Args:
        directory: the directory with the checkpoint in it.
        prefix: the checkpoint.
        destination: the rules of pruning.

    Raises:
        RetentionError: a `where` failed; the message says that the checkpoint is saved.
        StorageError: the state file could not be written, or files not be removed; so it does.
    """
    durable = destination.durable
    if destination.keep is None:
        note_latest(directory, prefix, durable=durable)
    else:
        pruning.prune_after(directory, prefix, destination.name, destination.keep, durable=durable)
    return Located(destination.storage, directory.files(prefix))


def capture(
    target: object, adapted: Target, selection: Selection, *, lasting: bool
) -> tuple[Captured, Items]:
    """Take the values of a target.

    Args:
        target: what the user gave, for the error.
        adapted: the same, seen as variables under keys.
        selection: which variables, under which keys.
        lasting: whether the values are to stay what they are now while the target changes.

    Returns:
        What was captured; and all tensors that are to be written, the object graph among them,
        for the caller to clear.

    Raises:
        TargetError: there is nothing to save.
        SelectionError: the selection asks for what is not there, or for one key twice.
        SaveError: some variables have no value yet.
    """
    chooses = selection.only is not None or selection.renames or selection.averages is not None
    captured = None if chooses else adapted.capture_all()
    if captured is None:
        chosen = selection.for_save(adapted.entries())
        if not chosen:
            raise TargetError(
                f"this {type(target).__name__} has no variables, so there is nothing to save",
                advice="Build the model first.",
            )
        captured = adapted.capture(chosen)
    if isinstance(target, Resumable):
        # This comes second: a capture finds out what can be captured.
        captured = attrs.evolve(captured, resume=target.noted())
    values = _loaded(captured) if lasting else captured.items
    if captured.object_graph is None:
        values = sorted(values, key=lambda item: item.key)
    items = values if isinstance(values, Items) else Items.of(values)
    if captured.object_graph is not None:
        # tf.train.Checkpoint writes in the order of the objects, and their graph last.
        encoded = np.array(captured.object_graph, dtype=object)
        items.append(Item(OBJECT_GRAPH_KEY, payload_of(encoded)))
    return captured, items


def _loaded(captured: Captured) -> list[Item]:
    """Load all values now, and copy those that lie in the caller's own memory."""
    items = []
    for item in captured.items:
        value = item.payload.load()
        lasting = value.copy() if item.key in captured.borrowed else value
        items.append(attrs.evolve(item, payload=payload_of(lasting, item.payload.spec.dtype)))
    return items
