"""The bar: on a terminal, after a second, and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import textwrap

import pytest

from tfpersist.progress import Watched
from tfpersist.storage import open_storage

SLOW = """
import sys, time
import numpy as np
import tfpersist as tfp
from tfpersist import progress
from tfpersist.storage import open_storage

progress.PATIENCE = {patience}
tensors = {{f"tensor {{n}}": np.zeros(1 << 19) for n in range(5)}}
store = tfp.ModelStore("run")
{work}
assert ("rich" in sys.modules) == {loaded}, sorted(sys.modules)
"""
WORK = {
    "Saving": "checkpoint = store.save(tensors, step=3)",
    "Restoring": "store.save(tensors, step=3); print('begin'); store.restore(tensors)",
    "Verifying": "store.save(tensors, step=3); print('begin'); store.latest().verify()",
    "nothing": """
saved = store.background().save(tensors, step=3)
while not saved.done:
    time.sleep(0.01)
""",
}
# A background save that is not written before the bar is there, or half a minute is over.
LASTING = """
import contextlib

class Lasting:
    def __init__(self, storage):
        self.storage = storage

    def __getattr__(self, name):
        return getattr(self.storage, name)

    @contextlib.contextmanager
    def publish(self, **options):
        for _ in range(3000):
            if "rich" not in sys.modules:
                time.sleep(0.01)
        with self.storage.publish(**options) as publication:
            yield publication

store = store.background()
vars(store)["_opened"] = Lasting(store._opened)
store.save(tensors, step=3)
"""


def on_a_terminal(tmp_path, code):
    """Run a script whose standard error is a terminal; return what the terminal has shown."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"},
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                more = os.read(ours, 4096)
            except OSError:
                break
            if not more:
                break
            shown += more
    os.close(ours)
    assert process.returncode == 0, shown.decode()
    return shown.decode()


@pytest.mark.parametrize("doing", ["Saving", "Restoring", "Verifying"])
def test_a_long_task_shows_a_bar_on_a_terminal(tmp_path, doing):
    code = SLOW.format(patience=0, work=WORK[doing], loaded=True)
    assert f"{doing} model.ckpt-3" in on_a_terminal(tmp_path, code)


@pytest.mark.parametrize("doing", ["Saving", "Restoring", "Verifying"])
def test_a_short_task_shows_no_bar(tmp_path, doing):
    code = SLOW.format(patience=1000, work=WORK[doing], loaded=False)
    assert on_a_terminal(tmp_path, code) == ""


def test_a_background_save_shows_no_bar(tmp_path):
    code = SLOW.format(patience=0, work=WORK["nothing"], loaded=False)
    assert on_a_terminal(tmp_path, code) == ""


@pytest.mark.parametrize("wait", ["store.close()", "store.save(tensors, step=4)", ""])
def test_waiting_for_the_background_is_shown(tmp_path, wait):
    loaded = bool(wait)
    code = SLOW.format(patience=0, work=LASTING + wait, loaded=loaded)
    assert "Saving model.ckpt-3" in on_a_terminal(tmp_path, code)


def test_no_bar_is_shown_without_a_terminal(fresh):
    assert fresh(SLOW.format(patience=0, work=WORK["Saving"], loaded=False)) == ""


def test_a_watched_publication_is_the_same_publication(tmp_path):
    storage, told = open_storage(tmp_path), []
    with storage.publish() as publication:
        publication.create("old").write(b"1")
    with storage.publish() as publication:
        watched = Watched(publication, told.append)
        sink = watched.create("new")
        sink.reserve(5)
        sink.write(b"12345")
        watched.discard("old")
    assert told == [5]
    assert storage.names() == {"new"}
    hold = storage.hold("new")
    with storage.publish() as publication:
        Watched(publication, told.append).link(hold, "other")
    hold.release()
    assert bytes(storage.read("other")) == b"12345"
