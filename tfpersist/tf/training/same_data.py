"""Describe the data of a training, so that another dataset is noticed when it goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfpersist.errors import RestoreError, printable
from tfpersist.tf.internals import eager, iterators

# Of longer tensors, this many bytes at as many places are looked at.
_MOST_BYTES = 64 << 20
_PIECE = 1 << 20
_SEEDS = "seeds of tf.data"

Description = Mapping[str, Any]


def description_of(iterator: Any) -> dict[str, Any]:
    """Return what identifies the data that an iterator reads.

    Args:
        iterator: an iterator of tf.data, or of a strategy.

    Returns:
        The type of a batch; for a known dataset also its length if it is not repeated, its steps
        with their numbers, and a digest of the tensors that it holds.
    """
    spec = getattr(iterator, "element_spec", None)
    found: dict[str, Any] = {"a batch": _text(spec)}
    dataset = iterators.dataset_of(iterator)
    if dataset is None:
        return found
    steps, seeds, digest = [], [], hashlib.blake2b(digest_size=16)
    sources = list(iterators.sources(dataset))
    if not any(map(iterators.is_repeated, sources)):
        found["batches"] = int(dataset.cardinality())
    for one in sources:
        numbers, ops = iterators.numbers_of(one), iterators.ops_of(one)
        if iterators.is_repeated(one):
            # The data are the same however often they come. tf_keras repeats them for each epoch.
            numbers.pop("count", None)
        seeds.append([numbers.pop(name, 0) for name in ("seed", "seed2")])
        seeds += [[seed, seed2] for _, seed, seed2 in ops if seed or seed2]
        names = "".join(op for op, _, _ in ops).encode()
        shown = [f"{name}={number}" for name, number in sorted(numbers.items())]
        shown += [hashlib.blake2b(names, digest_size=4).hexdigest()] if names else []
        steps.append(f"{type(one).__name__.strip('_')}({', '.join(shown)})")
        for tensor in iterators.tensors_of(one):
            _add(digest, tensor)
    found["steps of tf.data"] = " < ".join(steps)
    found["the tensors that it holds"] = digest.hexdigest()
    found[_SEEDS] = seeds
    return found


def require_same(saved: Description, now: Description, *, replayed: bool = False) -> None:
    """Compare the data of the training that was saved with the data now.

    Args:
        saved: their description in the checkpoint.
        now: their description now.
        replayed: whether they are read again, so that the seeds must be the same too.

    Raises:
        RestoreError: they are different; the message has a table.
    """
    differing = [name for name in saved if name in now and saved[name] != now[name]]
    differing = [name for name in differing if replayed or name != _SEEDS]
    if not differing:
        return
    rows = [(name, str(saved[name]), str(now[name])) for name in differing]
    table = [
        printable(f"  {name}: {then} in the checkpoint, {here} now") for name, then, here in rows
    ]
    raise RestoreError(
        "\n".join(["the training goes on with other data, so it cannot go on to the bit:", *table]),
        advice='Pass the same data, or go on from the weights alone with resume="weights".',
    )


def _text(spec: Any) -> str:
    import tensorflow as tf

    parts: Sequence[Any] = tf.nest.flatten(spec)
    return ", ".join(
        f"{one.dtype.name}{[*one.shape] if one.shape.rank is not None else ''}"
        if isinstance(one, tf.TensorSpec)
        else type(one).__name__
        for one in parts
    )


def _add(digest: Any, tensor: Any) -> None:
    value = eager.view(tensor)
    digest.update(f"{value.dtype}{value.shape}".encode())
    if value.dtype == object:
        for one in value.ravel()[:100_000]:
            digest.update(bytes(one))
        return
    data = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
    if data.nbytes <= _MOST_BYTES:
        digest.update(data)
        return
    for begin in np.linspace(0, data.nbytes - _PIECE, _MOST_BYTES // _PIECE, dtype=np.int64):
        digest.update(data[begin : begin + _PIECE])
