"""The executor of TensorFlow does what the protocol of all engines says."""

from __future__ import annotations

import pytest

from tfpersist.calls.executor import Executor
from tfpersist.errors import RunError
from tfpersist.formats.graphdef import parse_text
from tfpersist.graph.structure.names import find_tensor
from tfpersist.tf.run.session_executor import SessionExecutor

GRAPH = parse_text(
    b"""
    node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } }
      attr { key: "shape" value { shape { dim { size: -1 } } } } }
    node { name: "y" op: "Neg" input: "x" attr { key: "T" value { type: DT_FLOAT } } }
    """
)


def test_a_graph_runs_is_bound_and_ends():
    executor: Executor = SessionExecutor.start(GRAPH, mapped=True)
    x, y = (find_tensor(GRAPH, name) for name in "xy")
    assert executor.run("y", {"x": [2.0]}).tolist() == [-2]
    bound = executor.bind([x], [y], single=True, labels=None, pickled=tuple)
    assert bound([3.0]).tolist() == [-3]
    assert str(executor.spec(y)) == "float32[?]"
    assert "TensorFlow has run before" in str(executor.forked())
    executor.close()
    with pytest.raises(RunError):
        bound([3.0])
