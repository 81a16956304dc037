"""Read and write the `checkpoint` file of a directory, which `tf.train.latest_checkpoint` reads.

The listing of the directory says which checkpoints exist: this file may name others. It gives the
order of those that it names, so that their files need not be opened.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Mapping
from functools import cached_property

import attrs

from tfpersist.checkpoint.files import STATE_FILE
from tfpersist.errors import StorageError, TFPersistError
from tfpersist.formats import state
from tfpersist.storage import Storage


@attrs.frozen(eq=False, slots=False)
class Record:
    """The content of a state file, parsed and as bytes.

    Args:
        content: the bytes; None if there is no file, or if it cannot be read.
        file: its path, for errors.
        known_dates: when each checkpoint was saved, if known without parsing the content, in
            this order.
        mark: what differs after each write to the file; None if that is not known.
    """

    content: bytes | None
    file: str = STATE_FILE
    _known_dates: Mapping[str, float] | None = None
    mark: object | None = None

    def marked(self, mark: object | None) -> Record:
        """Return the same record with a mark."""
        record = Record(self.content, self.file, self._known_dates, mark)
        # What was made of the content is the same.
        vars(record).update({**vars(self), "mark": mark})
        return record

    def is_what_is_in(self, storage: Storage) -> bool:
        """Return whether the state file of a directory says the same now.

        Its mark tells that without reading it, which takes long if it names thousands.
        """
        if self.mark is not None and storage.mark(STATE_FILE) == self.mark:
            return True
        return read(storage).content == self.content

    @cached_property
    def says(self) -> state.StateFile | None:
        """The parsed content; None if it cannot be parsed."""
        try:
            return None if self.content is None else state.parse_state(self.content, self.file)
        except TFPersistError:
            return None

    @cached_property
    def dates(self) -> Mapping[str, float]:
        """When each checkpoint was saved, in seconds since 1970, by prefix and oldest first.

        The latest is the newest, at any place of the list. A date is 0 if the file has none.
        """
        if self._known_dates is not None:
            return self._known_dates
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
        """True if it names each checkpoint once, in the order of their dates, the latest last.

        TensorFlow and tfpersist write such files. If a user has set another latest, or if a clock
        went back, the sidecars of the checkpoints have to be read instead.
        """
        if self._known_dates is not None:
            return _is_ordered(tuple(self._known_dates.values()))
        said = self.says
        if said is None or len(self.dates) != len(said.all):
            return False
        return said.all[-1:] == (said.latest,) and (
            len(said.timestamps) == len(said.all) and _is_ordered(said.timestamps)
        )

    @cached_property
    def _is_plain(self) -> bool:
        """True if it is ordered, and names checkpoints without their directory."""
        if not self.is_ordered or self._known_dates is not None:
            return self.is_ordered
        return self.says is not None and self.says.all == tuple(self.dates)

    @property
    def last_preserved(self) -> float:
        """The date that `tf.train.CheckpointManager` uses for `keep_checkpoint_every_n_hours`."""
        return 0.0 if self.says is None else self.says.last_preserved

    def naming(self, dates: dict[str, float]) -> Record:
        """Return the record of a file that names these checkpoints, and keeps what else it says.

        Args:
            dates: when each was saved, in seconds since 1970, by prefix and oldest first.
        """
        if not dates:
            return Record(None, self.file)
        latest = next(reversed(dates))
        time = dates[latest]
        content = None
        if self.content is not None and self._is_plain and latest not in self.dates:
            # There may be thousands, and most of them are named already.
            without = {name: self.dates[name] for name in self.dates.keys() - dates.keys()}
            if len(self.dates) - len(without) + 1 == len(dates):
                content = state.edited(self.content, without, latest, time)
                newest = next(reversed(dict(self.dates).values()))
                if content is not None and newest <= time:
                    record = Record(content, self.file, dates)
                    # What was in order stays so without some of it, and with a later one.
                    vars(record)["is_ordered"] = time < math.inf
                    return record
        if content is None:
            prefixes, times = tuple(dates), tuple(dates.values())
            said = state.StateFile(latest, prefixes, times, self.last_preserved)
            content = state.format_state(said)
        return Record(content, self.file, dates)


def _is_ordered(times: tuple[float, ...]) -> bool:
    return bool(times) and (
        times[0] > 0
        and times[-1] < math.inf
        and all(map(operator.le, times, itertools.islice(times, 1, None)))
    )


def read(storage: Storage, name: str = STATE_FILE) -> Record:
    """Read a state file.

    Args:
        storage: its directory.
        name: what it is called.
    """
    try:
        # In this order, the mark cannot be that of a later write.
        mark = storage.mark(name)
        return Record(bytes(storage.read(name)), f"{storage.location}/{name}", mark=mark)
    except StorageError:
        return Record(None, f"{storage.location}/{name}")
