"""Encode and decode the sidecar: facts about a checkpoint that TensorFlow's files cannot hold.

The sidecar is the file `<prefix>.tfpersist.json`. The checkpoint stays complete if the sidecar is
lost or unreadable. The sidecar has a checksum of its own; a damaged one counts as lost.

In an object store, the same bytes lie in the index instead: `sstable.read_note` finds them.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from typing import Any

import attrs

from tfpersist.errors import (
    SaveError,
    value_text,
)
from tfpersist.formats import crc32c
from tfpersist.formats.bundle import shard_name
from tfpersist.formats.read_only import ReadOnly
from tfpersist.matching.plans.resume import Resume

# What the metaindex of the index calls these facts.
NOTE = b"tfpersist.facts"

RESUME = "resume"

# All names but "crc32c". If that one is damaged, it is a name that is not in this set.
_NAMES = frozenset(
    {
        *("created", "order", "step", "metrics", "sizes", "increment"),
        *("index_crc32c", "meta_crc32c", "tfpersist", "layers", RESUME, "metadata", "attempt"),
    }
)


@attrs.frozen
class Increment:
    """The number of bytes that an incremental save wrote and shares with earlier checkpoints.

    Args:
        written: size of the data files that this save wrote, in bytes.
        shared: size of the tensors that lie in data files of earlier checkpoints, in bytes.
        base: the checkpoint that the save was compared with; None if there was none.
        reason: why nothing is shared; empty if something is.

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
    """The facts about a checkpoint that its sidecar holds.

    Args:
        created: when it was saved, in seconds since 1970.
        step: the training step; None if none was passed to `save`.
        metrics: the metrics at that step, by name.
        index_crc32c: checksum of the index that the sidecar was written for. With another index the
            sidecar is out of date: another program saved under the same name. None if unknown.
        sizes: the size of each data file, in bytes; empty if unknown.
        increment: the amounts that an incremental save wrote and shared; None for other saves.
        meta_crc32c: checksum of the `.meta`; None if there is no `.meta`, or if unknown.
        order: sorts the checkpoints of a directory by age. It equals `created`, or is larger if the
            clock was set back.
        layers: the names of the layers that are in no full name of a variable, by the number of the
            object in the object graph.
        resume: what the checkpoint carries of a training; None if a model alone was saved.
        metadata: what the user noted, as JSON text; empty for nothing.
        attempt: the number in the names of its data files and of its `.meta` in an object store; 0
            for the usual names.
    """

    created: float
    step: int | None = None
    metrics: Mapping[str, float] = ReadOnly({})
    index_crc32c: int | None = None
    sizes: tuple[int, ...] = ()
    increment: Increment | None = None
    meta_crc32c: int | None = None
    order: float = attrs.field(default=attrs.Factory(lambda self: self.created, takes_self=True))
    layers: Mapping[int, str] = ReadOnly({})
    resume: Resume | None = None
    metadata: str = ""
    attempt: int = 0

    def shards(self, prefix: str) -> tuple[str, ...]:
        """Return the names of its data files, if an attempt has written them.

        Example:
            >>> Sidecar(1.5, sizes=(64, 64), attempt=15306).shards("m")
            ('m.data-00000-of-15306', 'm.data-00001-of-15306')
        """
        return tuple(shard_name(prefix, number, self.attempt) for number in range(len(self.sizes)))

    def encode(self) -> bytes:
        """Return the bytes of the file."""
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
        if self.layers:
            facts["layers"] = {str(number): name for number, name in self.layers.items()}
        if self.resume is not None:
            facts[RESUME] = self.resume.as_dict()
        if self.metadata:
            facts["metadata"] = json.loads(self.metadata)
        if self.attempt:
            facts["attempt"] = self.attempt
        facts["crc32c"] = _crc(facts)
        texts = {name: json.dumps(fact, indent=1) for name, fact in facts.items() if name != RESUME}
        if self.resume is not None:
            texts[RESUME] = _text_of(self.resume)
        lines = [" " + f"{json.dumps(name)}: {texts[name]}".replace("\n", "\n ") for name in facts]
        return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def decode(data: bytes | memoryview) -> Sidecar | None:
    """Return the sidecar that some bytes hold; None if they are not an intact sidecar.

    Example:
        >>> decode(Sidecar(1.5, 7, {"loss": 0.25}).encode()).metrics["loss"], decode(b"{")
        (0.25, None)
    """
    try:
        facts = json.loads(bytes(data))
        crc = facts.pop("crc32c", None)
        if crc != _crc(facts) if crc is not None else not facts.keys() <= _NAMES:
            return None
        created = float(facts["created"])
        order = float(facts.get("order", created))
        step = None if facts.get("step") is None else int(facts["step"])
        crcs = [
            None if facts.get(name) is None else int(facts[name])
            for name in ("index_crc32c", "meta_crc32c")
        ]
        metrics = {str(name): float(value) for name, value in facts.get("metrics", {}).items()}
        sizes = tuple(int(size) for size in facts.get("sizes", ()))
        increment = _increment(facts.get("increment"))
        layers = {int(number): str(name) for number, name in facts.get("layers", {}).items()}
        resume = Resume.from_dict(facts[RESUME]) if RESUME in facts else None
        noted = json.dumps(facts["metadata"]) if "metadata" in facts else ""
        attempt = int(facts.get("attempt", 0))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None
    if not math.isfinite(created) or not math.isfinite(order):
        return None
    return Sidecar(
        created,
        step,
        ReadOnly(metrics),
        crcs[0],
        sizes,
        increment,
        crcs[1],
        order,
        ReadOnly(layers),
        resume,
        noted,
        attempt,
    )


def _crc(facts: Mapping[str, Any]) -> int:
    return crc32c.of(json.dumps(facts).encode())


@functools.lru_cache(maxsize=8)
def _text_of(resume: Resume) -> str:
    """Return the facts about a training as JSON text; as a rule they are those of the last save."""
    return json.dumps(resume.as_dict(), indent=1)


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


def as_floats(metrics: Mapping[str, float] | None) -> Mapping[str, float]:
    """Return the metrics that a user passed as plain floats; for None, an empty mapping.

    Raises:
        SaveError: this is not a dict from names to numbers.
    """
    values = {}
    if metrics is not None and not isinstance(metrics, Mapping):
        raise SaveError(
            "the metrics are not a dict",
            expected='a dict such as {"loss": 0.25}',
            found=value_text(metrics),
        )
    for name, value in (metrics or {}).items():
        if not isinstance(name, str):
            raise SaveError(
                "the name of a metric is not a string",
                expected='a dict such as {"loss": 0.25}',
                found=value_text(name),
            )
        try:
            values[name] = float(value)
        except (TypeError, ValueError) as error:
            raise SaveError(
                f"the metric {name!r} is not a number",
                expected="a number, or a value that float() accepts",
                found=repr(value),
            ) from error
    return ReadOnly(values)


def as_json(metadata: Any) -> str:
    """Return the metadata that a user passed as JSON text; for None, an empty text.

    Raises:
        SaveError: JSON would give another value back, or cannot hold it.
    """
    if metadata is None:
        return ""
    found = ""
    try:
        text = json.dumps(metadata, allow_nan=False)
        if json.loads(text) == metadata:
            return text
        found = "a tuple, or a key that is no string"
    except (TypeError, ValueError, RecursionError) as error:
        found = str(error)
    raise SaveError(
        "the metadata are not plain JSON",
        expected="dicts with strings as keys, lists, strings, finite numbers, True, False and None",
        found=found,
    )


@functools.cache
def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("tfpersist")
    except metadata.PackageNotFoundError:
        return "unknown"
