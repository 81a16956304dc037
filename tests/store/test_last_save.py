"""A signal causes one last save, and then does what it would have done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import tfpersist as tfp
from tfpersist.errors import UnsupportedError
from tfpersist.store import last_save


@pytest.fixture(autouse=True)
def _interrupts_raise():
    """Handle SIGINT as Python does; a shell makes what it starts in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def run(tmp_path, code, signals=1, number=signal.SIGTERM):
    """Run a script, send it signals when it prints "ready", and give its exit code and output."""
    with subprocess.Popen(
        [sys.executable, "-u", "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stdout:
            if line.startswith("ready"):
                break
        for _ in range(signals):
            process.send_signal(number)
        out, error = process.communicate(timeout=120)
        return process.returncode, out, error


LOOP = """
import signal, time
import numpy as np
import tfpersist as tfp
"""


def test_the_process_ends_by_the_signal_with_a_last_checkpoint(tmp_path):
    code, _, error = run(
        tmp_path,
        LOOP
        + """
v = {"v": np.zeros(1000)}
store = tfp.ModelStore("run")
store.save_on_signal(v, signal.SIGTERM, step=lambda: int(v["v"][0]))
print("ready")
while True:
    v["v"] += 1
    time.sleep(0.001)
""",
    )
    assert code == -signal.SIGTERM, error
    (checkpoint,) = tfp.ModelStore(tmp_path / "run").checkpoints()
    assert checkpoint.verify().ok
    assert (checkpoint["v"] == checkpoint.step).all()


@pytest.mark.parametrize("background", ["", ".background()"])
@pytest.mark.parametrize("where", ["run", "memory://preemption"])
def test_a_signal_during_a_save_is_served_after_it(tmp_path, background, where):
    """The loop does nothing but save, so that the signal comes while locks are held."""
    code, out, error = run(
        tmp_path,
        LOOP
        + f"""
def stop(number, frame):
    store.close()
    found = store.checkpoints()
    print("stopped", found[-1].name, all(each.verify().ok for each in found))
    raise SystemExit(3)

v = {{"v": np.zeros(200_000)}}
store = tfp.ModelStore({where!r}){background}
signal.signal(signal.SIGTERM, stop)
last = tfp.ModelStore({where!r}, name="last"){background}
last.save_on_signal(v, signal.SIGTERM)
print("ready")
step = 0
while True:
    step = (step + 1) % 5
    store.save(v, step=step)
    store.latest()
""".replace("store.checkpoints()", "last.checkpoints()"),
    )
    assert code == 3, error
    assert out.splitlines()[-1] == "stopped last True", (out, error)


def test_a_lock_may_be_held_in_any_module_of_the_package():
    assert os.path.join(os.path.dirname(tfp.__file__), "") == last_save._FOLDER


def test_a_second_signal_takes_its_course_at_once(tmp_path):
    code, _, _ = run(
        tmp_path,
        LOOP
        + """
import os

def step():
    print("ready")
    time.sleep(60)

store = tfp.ModelStore("run")
store.save_on_signal({"v": np.zeros(3)}, signal.SIGTERM, step=step)
os.kill(os.getpid(), signal.SIGTERM)
""",
    )
    assert code == -signal.SIGTERM
    assert tfp.ModelStore(tmp_path / "run").latest() is None


def test_a_save_that_fails_does_not_hold_the_signal_up(tmp_path):
    code, _, error = run(
        tmp_path,
        LOOP
        + """
store = tfp.ModelStore("run", name="bad/name").background()
store.save({"v": np.zeros(3)})
store.save_on_signal({"v": np.zeros(3)}, signal.SIGTERM)
print("ready")
while True:
    time.sleep(0.01)
""",
    )
    assert code == -signal.SIGTERM
    assert error.count("a checkpoint cannot have this name") == 2


def test_an_interrupt_is_still_an_interrupt(tmp_path):
    store = tfp.ModelStore(tmp_path)
    with (
        pytest.raises(KeyboardInterrupt),
        store.save_on_signal({"v": np.ones(3)}, signal.SIGINT, step=4),
    ):
        signal.raise_signal(signal.SIGINT)
    assert store.latest().step == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_two_targets_are_both_saved_and_then_the_first_handler_runs(tmp_path):
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    one, two = tfp.ModelStore(tmp_path / "one"), tfp.ModelStore(tmp_path / "two").background()
    try:
        one.save_on_signal({"v": np.ones(3)}, signal.SIGUSR1)
        two.save_on_signal({"v": np.ones(3)}, signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [signal.SIGUSR1]
    assert one.latest() is not None
    assert two.latest() is not None


def test_a_signal_that_was_ignored_is_ignored_after_the_save(tmp_path):
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        store = tfp.ModelStore(tmp_path)
        store.save_on_signal({"v": np.ones(3)}, signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR1)
        assert store.latest() is not None
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_the_handler_is_given_back(tmp_path):
    before = signal.getsignal(signal.SIGUSR1)
    save = tfp.ModelStore(tmp_path).save_on_signal({"v": np.ones(3)}, signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) != before
    save.cancel()
    save.cancel()
    assert signal.getsignal(signal.SIGUSR1) == before


def test_a_signal_that_cannot_be_handled_is_refused(tmp_path):
    store = tfp.ModelStore(tmp_path)
    with pytest.raises(UnsupportedError, match="cannot be handled"):
        store.save_on_signal({"v": np.ones(3)}, signal.SIGKILL)
    caught = []

    def elsewhere():
        try:
            store.save_on_signal({"v": np.ones(3)}, signal.SIGUSR1)
        except UnsupportedError as error:
            caught.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "main thread" in caught[0]


def failing():
    raise ZeroDivisionError("no step here")


@pytest.mark.parametrize(("step", "problem"), [(failing, "no step here"), ("last", "whole number")])
def test_a_step_that_cannot_be_read_prevents_no_save(tmp_path, capsys, step, problem):
    store = tfp.ModelStore(tmp_path)
    with (
        pytest.raises(KeyboardInterrupt),
        store.save_on_signal({"v": np.ones(3)}, signal.SIGINT, step=step),
    ):
        signal.raise_signal(signal.SIGINT)
    assert store.latest().name == "model.ckpt"
    assert problem in capsys.readouterr().err


def test_the_global_step_of_a_session_is_its_step(tmp_path):
    import tensorflow as tf

    v1, store = tf.compat.v1, tfp.ModelStore(tmp_path)
    with tf.Graph().as_default(), v1.Session() as session:
        train = v1.assign_add(v1.train.get_or_create_global_step(), 1)
        session.run(v1.global_variables_initializer())
        session.run(train)
        with pytest.raises(KeyboardInterrupt), store.save_on_signal(session, signal.SIGINT):
            signal.raise_signal(signal.SIGINT)
    assert store.latest().step == 1


def test_a_signal_while_a_function_is_traced(tmp_path):
    import tensorflow as tf

    store, v = tfp.ModelStore(tmp_path), tf.Variable([1.0, 2.0])

    @tf.function
    def step():
        v.assign_add([1.0, 1.0])
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), store.save_on_signal({"v": v}, signal.SIGINT):
        step()
    assert store.latest()["v"].tolist() == [1, 2]


@pytest.mark.parametrize("first", [0, 1])
def test_signals_are_given_back_in_any_order(tmp_path, first):
    seen = []

    def handle(number, frame):
        seen.append(number)

    before = signal.signal(signal.SIGUSR1, handle)
    stores = [tfp.ModelStore(tmp_path / name) for name in ("one", "two")]
    try:
        saves = [store.save_on_signal({"v": np.ones(3)}, signal.SIGUSR1) for store in stores]
        saves[first].cancel()
        assert signal.getsignal(signal.SIGUSR1) is not handle
        signal.raise_signal(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) is handle
        saves[1 - first].cancel()
        assert signal.getsignal(signal.SIGUSR1) is handle
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [signal.SIGUSR1]
    assert stores[first].latest() is None
    assert stores[1 - first].latest() is not None


def test_a_handler_that_came_later_is_left_where_it_is(tmp_path):
    store, seen = tfp.ModelStore(tmp_path), []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append("first"))
    save = store.save_on_signal({"v": np.ones(3)}, signal.SIGUSR1)
    ours = signal.getsignal(signal.SIGUSR1)

    def later(number, frame):
        seen.append("later")
        ours(number, frame)

    signal.signal(signal.SIGUSR1, later)
    try:
        save.cancel()
        assert signal.getsignal(signal.SIGUSR1) is later
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == ["later", "first"]
    assert store.latest() is None


def test_a_handler_that_came_later_may_pass_the_signal_on(tmp_path):
    code, out, error = run(
        tmp_path,
        LOOP
        + """
store = tfp.ModelStore("run")
store.save_on_signal({"v": np.zeros(3)}, signal.SIGTERM)
ours = signal.getsignal(signal.SIGTERM)

def later(number, frame):
    print("later")
    ours(number, frame)

signal.signal(signal.SIGTERM, later)
print("ready")
while True:
    time.sleep(0.01)
""",
    )
    assert (code, out) == (-signal.SIGTERM, "later\n"), error
    assert tfp.ModelStore(tmp_path / "run").latest() is not None


def test_a_forked_process_saves_nothing(fresh, tmp_path):
    out = fresh(
        LOOP
        + """
import os
v = {"v": np.zeros(3)}
store = tfp.ModelStore("run", keep=tfp.Keep(last=1))
own = tfp.ModelStore("own")

def forked(work):
    child = os.fork()
    if not child:
        work()
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

with store.save_on_signal(v, signal.SIGTERM, step=lambda: 77):
    store.save(v, step=500)
    print(forked(lambda: None))
    print(forked(lambda: own.save_on_signal(v, signal.SIGTERM)))
    print([each.step for each in store.checkpoints()], own.latest().name)
    print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
"""
    )
    assert out == "-15\n-15\n[500] model.ckpt\nFalse\nTrue\n"


def test_a_process_that_is_forked_during_a_save_serves_no_signal_that_waits(fresh):
    out = fresh(
        LOOP
        + """
import contextlib, os

class Forking:
    def __init__(self, storage):
        self.storage, self.child = storage, None

    def __getattr__(self, name):
        return getattr(self.storage, name)

    @contextlib.contextmanager
    def publish(self, **options):
        if self.child is None:
            signal.raise_signal(signal.SIGUSR1)
            self.child = os.fork()
            if self.child:
                os.waitpid(self.child, 0)
        with self.storage.publish(**options) as publication:
            yield publication

def stop(number, frame):
    print("parent", storage.child != 0, flush=True)

signal.signal(signal.SIGUSR1, stop)
v = {"v": np.zeros(3)}
store = tfp.ModelStore("run")
storage = vars(store)["_opened"] = Forking(store._opened)
tfp.ModelStore("last").save_on_signal(v, signal.SIGUSR1)
store.save(v)
print("saved", tfp.ModelStore("last").latest() is not None, flush=True)
"""
    )
    assert out == "saved False\nparent True\nsaved True\n"


def test_training_in_fit_is_saved_with_its_step_and_epoch(tmp_path):
    code, _, error = run(
        tmp_path,
        LOOP
        + """
import keras
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
model.compile("adam", "mse")
store = tfp.ModelStore("run").background()
store.save_on_signal(model, signal.SIGTERM)
tell = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print("ready", epoch))
callback = store.callback(every=10**9)
data = np.ones((64, 4)), np.ones((64, 3))
model.fit(*data, batch_size=1, epochs=10**6, verbose=0, callbacks=[callback, tell])
""",
    )
    assert code == -signal.SIGTERM, error
    (checkpoint,) = tfp.ModelStore(tmp_path / "run").checkpoints()
    assert checkpoint.verify().ok
    assert checkpoint.metrics["epoch"] >= 1
    assert (
        0 <= checkpoint.step - checkpoint.metrics["epoch"] * 64 - checkpoint.metrics["batch"] <= 1
    )
