"""A forked child refuses to wait for threads that it does not have."""

from __future__ import annotations

import pytest

# The parent imports TensorFlow, which starts no threads. Then it runs something, by each of the
# ways that are named by the arguments, and forks children after each.
FORKING = """
    import copy, os, pickle, signal, sys
    import numpy as np
    import tensorflow as tf
    import tfpersist as tfp
    from tfpersist.formats.graphdef import parse_text

    graph = parse_text(b'''
        node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
        node { name: "y" op: "MatMul" input: "x" input: "x"
          attr { key: "T" value { type: DT_FLOAT } } }''')
    model = tfp.FrozenModel(graph).write("m.pb")
    other = tfp.FrozenModel.load("m.pb")
    feed = np.ones((1000, 1000), np.float32)
    uses = {
        "loaded before": lambda: other.run("y", {"x": feed}),
        "loaded": lambda: tfp.FrozenModel.load("m.pb").run("y", {"x": feed}),
        "bound": lambda: tfp.FrozenModel.load("m.pb").bind("x", "y")(feed),
        "copied": lambda: copy.copy(model).run("y", {"x": feed}),
        "pickled": lambda: pickle.loads(pickle.dumps(model)).run("y", {"x": feed}),
        "module": lambda: model.as_module("x", "y")(feed),
    }
    # Another thread of the parent may hold the lock at a fork.
    other._engine._lock.acquire()
    for before in sys.argv[1:]:
        if before == "model":
            bound = model.bind("x", "y")
            bound(feed)
            uses["its own"] = lambda: model.run("y", {"x": feed})
            uses["its bound"] = lambda: bound(feed)
        elif before == "eager":
            tf.constant(1.0) + 1.0
        for name, use in uses.items():
            child = os.fork()
            if child == 0:
                signal.alarm(60)
                try:
                    use()
                    print(before, "ran", flush=True)
                except tfp.RunError as error:
                    print(before, "forked" if "forked" in str(error) else error, flush=True)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0, name
        if before == "model":
            assert bound(feed)[0, 0] == 1000
"""


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (("nothing", "eager"), ["nothing ran"] * 6 + ["eager forked"] * 6),
        (("model",), ["model forked"] * 8),
    ],
    ids=["eager", "model"],
)
def test_a_forked_child_runs_only_if_nothing_has_run_before(fresh, before, expected):
    assert fresh(FORKING, *before).splitlines() == expected
