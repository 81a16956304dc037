"""An engine builds one executor, when it is first needed, and none after its end."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest

from tfpersist.errors import ArgumentError, RunError, UnsafeModelError
from tfpersist.formats.graphdef import parse_text
from tfpersist.frozen.engine import Engine
from tfpersist.frozen.model import FrozenModel
from tfpersist.safety import Policy

GRAPH = parse_text(
    b"""
    node { name: "c" op: "Const" attr { key: "dtype" value { type: DT_INT32 } }
      attr { key: "value" value { tensor { dtype: DT_INT32 tensor_shape { } int_val: 3 } } } }
    node { name: "file" op: "ReadFile" input: "path" }
    node { name: "path" op: "Placeholder" attr { key: "dtype" value { type: DT_STRING } } }
    """
)


def test_threads_get_one_executor():
    engine = Engine()
    executors = []
    barrier = threading.Barrier(4)

    def start():
        barrier.wait()
        executors.append(engine.start(GRAPH, "m.pb", None, mapped=True))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(executor) for executor in executors}) == 1
    assert engine.executor is executors[0]
    assert executors[0].run("c") == 3
    engine.close()


def test_a_closed_engine_starts_no_more():
    engine = Engine()
    executor = engine.start(GRAPH, "m.pb", None, mapped=True)
    engine.close()
    engine.close()
    assert engine.executor is None
    with pytest.raises(RunError):
        executor.run("c")
    with pytest.raises(RunError, match=r"this model is closed\. Load it again"):
        engine.start(GRAPH, "m.pb", None, mapped=True)


def test_a_graph_that_the_policy_refuses_is_not_imported():
    engine = Engine()
    with pytest.raises(UnsafeModelError, match=r"(?s)m\.pb.*ReadFile"):
        engine.start(GRAPH, "m.pb", Policy.default(), mapped=True)
    assert engine.executor is None


@pytest.mark.parametrize("name", ["tensorrt", None, 3, "OpenVINO"])
def test_an_engine_that_does_not_exist_is_refused_at_once(name):
    with pytest.raises(ArgumentError, match="expected 'tensorflow' or 'openvino', got"):
        FrozenModel(GRAPH, engine=name)


def test_a_model_keeps_its_engine(tmp_path):
    FrozenModel(GRAPH).write(tmp_path / "m.pb")
    model = FrozenModel.load(tmp_path / "m.pb", engine="openvino")
    copies = [copy.copy(model), pickle.loads(pickle.dumps(model)), model.write(tmp_path / "n.pb")]
    assert [each.engine for each in (model, *copies)] == ["openvino"] * 4
    assert FrozenModel.load(tmp_path / "m.pb").engine == "tensorflow"
