"""The data files of a checkpoint that is being saved: its own, and those it takes over."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Callable, Sequence

import attrs

from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.incremental import Base, Plan, Seen, compare, opened
from tfpersist.checkpoint.sidecar import Increment
from tfpersist.errors import StorageError
from tfpersist.formats import bundle
from tfpersist.formats.bundle_layout import index_of
from tfpersist.formats.bundle_writer import Item, write_bundle
from tfpersist.storage import Publication, Sink, Storage
from tfpersist.storage.base import unlinkable


@attrs.frozen
class Written:
    """What was written.

    Args:
        index: the bytes of the index, which is not written yet.
        sizes: the size of each data file, in bytes.
        own: the size of those that are new.
    """

    index: bytes
    sizes: tuple[int, ...]
    own: int


@attrs.define(eq=False)
class _Measured:
    """A sink that knows how much goes into it."""

    sink: Sink
    size: int = 0

    def reserve(self, size: int) -> None:
        self.size = size
        self.sink.reserve(size)

    def write(self, data: memoryview | bytes) -> None:
        self.sink.write(data)


@attrs.frozen(eq=False)
class Shards:
    """What the data files are to hold.

    Args:
        changed: the tensors to write.
        plan: what is taken over; None for nothing.
        base: where it is taken from.
        reason: why nothing is taken over.
        spend: whether to let go of each value once it is written.
    """

    changed: Sequence[Item]
    plan: Plan | None = None
    base: Base | None = None
    reason: str = ""
    spend: bool = False

    def write(
        self, publication: Publication, prefix: str, alignment: int, shard_size: int
    ) -> tuple[list[str], Written]:
        """Link and write the data files; give their names, and what was written.

        Raises:
            StorageError: that could not be done.
        """
        plan = self.plan or Plan(self.changed)
        linked = [] if self.base is None else [self.base.file(shard) for shard in plan.linked]
        names: list[str] = []
        own: list[_Measured] = []

        def begin(count: int) -> Sequence[Sink]:
            total = len(linked) + count
            names.extend(bundle.shard_name(prefix, number, total) for number in range(total))
            for (hold, _), name in zip(linked, names, strict=False):
                publication.link(hold, name)
            own.extend(_Measured(publication.create(name)) for name in names[len(linked) :])
            return own

        if linked and not plan.again and not plan.changed:
            begin(0)
            index = index_of(plan.rows, len(linked))
        else:
            index = write_bundle(
                [*plan.again, *plan.changed] if plan.again else plan.changed,
                begin,
                alignment=alignment,
                shard_size=shard_size,
                apart=len(plan.again),
                first=len(linked),
                others=plan.rows,
                spend=self.spend,
            )
        sizes = [size for _, size in linked] + [shard.size for shard in own]
        return names, Written(index, tuple(sizes), sum(shard.size for shard in own))

    def noted(self, written: Written) -> Increment:
        """What the sidecar says of it."""
        shared = 0 if self.plan is None else self.plan.shared
        return Increment(
            written.own, shared, None if self.base is None else self.base.name, self.reason
        )


def publish_changes(
    directory: Directory,
    prefix: str,
    items: Sequence[Item],
    publish: Callable[[Shards], list[str]],
    *,
    seen: Seen | None = None,
) -> list[str]:
    """Publish a checkpoint that takes over what has not changed, or else all of it.

    Args:
        directory: a look at the directory, with nothing in it that a dead process left.
        prefix: the checkpoint.
        items: its tensors.
        publish: writes it, and gives the names of its files.
        seen: what is known of memory that the tensors may lie in.

    Returns:
        The names of its files.
    """
    storage = directory.storage
    with opened(directory, prefix) as base:
        if isinstance(base, Base):
            plan = compare(base, items, seen)
            if plan.linked or plan.again:
                reason = "" if plan.linked else "too little is as it was"
                try:
                    return publish(Shards(items, plan, base, reason))
                except StorageError as error:
                    if not unlinkable(error) and error.errno != errno.ENOENT:
                        raise
                    reason = f"files cannot be linked: {error}"
                    if unlinkable(error):
                        _warn(storage, reason)
            else:
                reason = "too little is as it was"
        else:
            reason = base
            if not storage.links:
                _warn(storage, reason)
    return publish(Shards(items, reason=reason))


def _warn(storage: Storage, reason: str) -> None:
    warnings.warn(
        f"{storage.location}: checkpoints are saved in full, not incrementally: {reason}",
        stacklevel=3,
    )
