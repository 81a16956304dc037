"""A directory that kills its process in the middle of its work."""

from __future__ import annotations

import itertools
import os
import signal

from tfpersist.storage.local import LocalDirectory


def killing_directory(*steps):
    """Return a class of directories that count calls of these methods.

    An instance takes a location and a number: the call of this number kills the process.
    """

    class KillingDirectory(LocalDirectory):
        def __init__(self, location, at):
            super().__init__(location)
            object.__setattr__(self, "count", itertools.count())
            object.__setattr__(self, "at", at)

    def deadly(step):
        def do(self, *arguments, **options):
            if next(self.count) == self.at:
                os.kill(os.getpid(), signal.SIGKILL)
            return getattr(LocalDirectory, step)(self, *arguments, **options)

        return do

    for step in steps:
        setattr(KillingDirectory, step, deadly(step))
    return KillingDirectory
