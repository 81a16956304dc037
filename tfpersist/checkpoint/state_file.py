"""The `checkpoint` file of a directory, which `tf.train.latest_checkpoint` reads.

The directory is the truth: this file may name what is gone, and lack what is there. It gives the
order of what it names, so that no file of those checkpoints has to be opened.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from functools import cached_property

import attrs

from tfpersist.checkpoint.files import STATE_FILE
from tfpersist.errors import StorageError, TFPersistError
from tfpersist.formats import state
from tfpersist.storage import Storage


@attrs.frozen(eq=False, slots=False)
class Record:
    """What a state file says, and its bytes.

    Args:
        content: the bytes; None where there is no file, or it cannot be read.
        file: its path, for errors.
    """

    content: bytes | None
    file: str = STATE_FILE

    @cached_property
    def says(self) -> state.StateFile | None:
        """What it says; None where it cannot be parsed."""
        try:
            return None if self.content is None else state.parse_state(self.content, self.file)
        except TFPersistError:
            return None

    @cached_property
    def dates(self) -> Mapping[str, float]:
        """When each checkpoint was saved, in seconds since 1970, by prefix and oldest first.

        The latest is the newest, wherever the list has it. A date is 0 where the file has none.
        """
        said = self.says
        if said is None:
            return {}
        paths = said.all
        times = said.timestamps if len(said.timestamps) == len(paths) else [0.0] * len(paths)
        dates = {path.rsplit("/", 1)[-1]: time for path, time in zip(paths, times, strict=True)}
        latest = said.latest.rsplit("/", 1)[-1]
        if next(reversed(dates), None) != latest:
            date = dates.pop(latest, 0.0)
            dates[latest] = date
        return dates

    @cached_property
    def is_ordered(self) -> bool:
        """Whether it names each checkpoint once, in the order of their dates, the latest last.

        So are the files that TensorFlow and tfpersist write, unless somebody has chosen another
        latest, or a clock went back: then the checkpoints themselves have to be asked.
        """
        said = self.says
        if said is None or len(self.dates) != len(said.all) or not said.all:
            return False
        times = said.timestamps
        return (
            said.latest == said.all[-1]
            and len(times) == len(said.all)
            and times[0] > 0
            and times[-1] < math.inf
            and all(earlier <= later for earlier, later in itertools.pairwise(times))
        )

    @property
    def last_preserved(self) -> float:
        """What `tf.train.CheckpointManager` has noted for itself."""
        return 0.0 if self.says is None else self.says.last_preserved


def read(storage: Storage, name: str = STATE_FILE) -> Record:
    """Read a state file.

    Args:
        storage: its directory.
        name: what it is called.
    """
    try:
        return Record(bytes(storage.read(name)), f"{storage.location}/{name}")
    except StorageError:
        return Record(None, f"{storage.location}/{name}")


def write(
    storage: Storage,
    dates: Mapping[str, float],
    *,
    durable: bool = True,
    last_preserved: float = 0.0,
    only_if: Callable[[], bool] | None = None,
) -> bool:
    """Write the state file.

    Args:
        storage: the directory.
        dates: when each checkpoint in it was saved, by prefix and oldest first; empty to remove
            the file.
        durable: wait until it would survive a power loss.
        last_preserved: what `tf.train.CheckpointManager` has noted for itself.
        only_if: as in `Storage.publish`.

    Returns:
        Whether it was written; False where `only_if` was false.

    Raises:
        StorageError: it could not be written; what it said before still stands.
    """
    with storage.publish(durable=durable, only_if=only_if) as publication:
        if dates:
            prefixes, times = tuple(dates), tuple(dates.values())
            said = state.StateFile(prefixes[-1], prefixes, times, last_preserved)
            publication.create(STATE_FILE).write(state.format_state(said))
        else:
            publication.discard(STATE_FILE)
    return publication.committed
