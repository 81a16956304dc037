"""The small file beside a checkpoint with the facts that TensorFlow's own files have no place for.

`<prefix>.tfpersist.json` may be lost, or be unreadable, without harm to the checkpoint. It has a
checksum of its own, so that a damaged one counts as lost.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs

from tfpersist.errors import (
    SaveError,
    value_text,
)
from tfpersist.formats import crc32c

# With anything else in one that has no checksum, it is the checksum's name that is damaged.
_NAMES = frozenset(
    {
        *("created", "order", "step", "metrics", "sizes", "increment"),
        *("index_crc32c", "meta_crc32c", "tfpersist"),
    }
)


@attrs.frozen
class Increment:
    """What an incremental save has written, and what it did not need to.

    Args:
        written: size of the data files that are this checkpoint's own, in bytes.
        shared: size of the tensors that lie in data files of earlier checkpoints, in bytes.
        base: the checkpoint that it was compared with; None where there was none.
        reason: why nothing is shared; empty where something is.

    Example:
        >>> Increment(1024, 4096, "model.ckpt-6").shared
        4096
    """

    written: int
    shared: int = 0
    base: str | None = None
    reason: str = ""


@attrs.frozen
class Sidecar:
    """What is known of a checkpoint besides its tensors.

    Args:
        created: when it was saved, in seconds since 1970.
        step: the training step; None where none was given.
        metrics: what was measured at that step, by name.
        index_crc32c: checksum of the index it was written for, by which it is known to be out of
            date when another program has saved under the same name; None where that is open.
        sizes: the size of each data file, in bytes; empty where that was not noted.
        increment: what an incremental save has noted; None for any other.
        meta_crc32c: checksum of its `.meta`; None where there is none, or that was not noted.
        order: what puts checkpoints in order: `created`, or more where the clock went back.
    """

    created: float
    step: int | None = None
    metrics: Mapping[str, float] = MappingProxyType({})
    index_crc32c: int | None = None
    sizes: tuple[int, ...] = ()
    increment: Increment | None = None
    meta_crc32c: int | None = None
    order: float = attrs.field(default=attrs.Factory(lambda self: self.created, takes_self=True))

    def encode(self) -> bytes:
        """Give the bytes of the file."""
        facts = {
            "created": self.created,
            "order": self.order,
            "step": self.step,
            "metrics": dict(self.metrics),
            "index_crc32c": self.index_crc32c,
            "sizes": self.sizes,
            "increment": None if self.increment is None else attrs.asdict(self.increment),
            "meta_crc32c": self.meta_crc32c,
            "tfpersist": _version(),
        }
        return json.dumps({**facts, "crc32c": _crc(facts)}, indent=1).encode() + b"\n"


def decode(data: bytes | memoryview) -> Sidecar | None:
    """Read a sidecar; None where the bytes are none.

    Example:
        >>> decode(Sidecar(1.5, 7, {"loss": 0.25}).encode()).metrics["loss"], decode(b"{")
        (0.25, None)
    """
    try:
        facts = json.loads(bytes(data))
        noted = facts.pop("crc32c", None)
        if noted != _crc(facts) if noted is not None else not facts.keys() <= _NAMES:
            return None
        created = float(facts["created"])
        order = float(facts.get("order", created))
        step = None if facts.get("step") is None else int(facts["step"])
        crcs = [
            None if facts.get(name) is None else int(facts[name])
            for name in ("index_crc32c", "meta_crc32c")
        ]
        measured = {str(name): float(value) for name, value in facts.get("metrics", {}).items()}
        sizes = tuple(int(size) for size in facts.get("sizes", ()))
        increment = _increment(facts.get("increment"))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None
    if not math.isfinite(created) or not math.isfinite(order):
        return None
    measured_there = MappingProxyType(measured)
    return Sidecar(created, step, measured_there, crcs[0], sizes, increment, crcs[1], order)


def _crc(facts: Mapping[str, Any]) -> int:
    return crc32c.of(json.dumps(facts).encode())


def _increment(facts: Mapping[str, Any] | None) -> Increment | None:
    if facts is None:
        return None
    base = facts.get("base")
    return Increment(
        int(facts["written"]),
        int(facts["shared"]),
        None if base is None else str(base),
        str(facts.get("reason", "")),
    )


def measured(metrics: Mapping[str, float] | None) -> Mapping[str, float]:
    """Take the metrics that a user gave as plain floats.

    Raises:
        SaveError: one of them is no number.
    """
    values = {}
    if metrics is not None and not isinstance(metrics, Mapping):
        raise SaveError(
            "the metrics are no dict", expected="{name: number}", found=type(metrics).__name__
        )
    for name, value in (metrics or {}).items():
        if not isinstance(name, str):
            raise SaveError(
                "a metric has a name that is no text",
                expected='such as {"loss": 0.25}',
                found=value_text(name),
            )
        try:
            values[name] = float(value)
        except (TypeError, ValueError) as error:
            raise SaveError(
                f"the metric {name!r} is no number",
                expected="something that float() takes",
                found=repr(value),
            ) from error
    return MappingProxyType(values)


@functools.cache
def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("tfpersist")
    except metadata.PackageNotFoundError:
        return "unknown"
