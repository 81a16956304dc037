"""An opened model runs by the names of its `.meta` file."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from saved_graphs import doubled, saved

from tfpersist.errors import FeedError, NameNotFoundError, RunError

v1 = tf.compat.v1


@pytest.mark.parametrize("resource", [True, False], ids=["resource", "ref"])
def test_a_model_runs_without_graph_code(tmp_path, resource):
    store = saved(tmp_path, resource=resource)
    with store.open_graph() as model:
        assert model.run("add:0", {"x": [4]}).tolist() == [7.0]
        assert str(model["add"]) == "add:0 float32[1]"
        assert set(model.report.restored) == {"v1", "v2"}
        with pytest.raises(FeedError):
            model.run("add")
        with pytest.raises(NameNotFoundError, match="add"):
            model.run("ad:0")
        version = model.graph.version
        store.save(model.session, step=2)
        assert model.graph.version == version
    with pytest.raises(RunError):
        model.run("add:0", {"x": [4]})


def test_a_name_that_begins_like_the_scope_is_one_of_the_file():
    with doubled("memory://open/names/one", ["A/x", "y"]).open_graph("A") as model:
        assert model.run({"file": "A/x", "graph": "A/A/x", "y": "A/y"}) == {
            "file": 0.0,
            "graph": 0.0,
            "y": 1.0,
        }
    with doubled("memory://open/names/two", ["A/x", "x"]).open_graph("A") as model:
        assert [model.run(name) for name in ("x", "A/A/x")] == [1.0, 0.0]
        assert model.run(model["A/A/x"]) == 0.0
        for use in (model.run, model.__getitem__):
            with pytest.raises(NameNotFoundError, match=r"'A/A/x', which .* 'A/x', which"):
                use("A/x")


@pytest.mark.parametrize("scope", [None, "S"])
def test_a_model_tells_what_it_takes_and_gives(scope):
    prefix = f"{scope}/" if scope else ""
    store = saved("memory://open/tells")
    graph = tf.Graph()
    with graph.as_default():
        v1.placeholder(tf.int32, [], name="mine")
    with v1.Session(graph=graph) as session:
        model = store.open_graph(scope, session=session)
        assert [str(ref) for ref in model.inputs] == [f"{prefix}x:0 float32[1]"]
        assert [str(ref) for ref in model.outputs] == [f"{prefix}add:0 float32[1]"]
        assert model.run(list(model.outputs), {model.inputs[0]: [1]}) == [[4.0]]
        facts = model.summary()
        assert (facts.inputs, facts.outputs) == (model.inputs, model.outputs)
        assert facts.operations["Placeholder"] == 1
        assert f"{prefix}add:0" in model._repr_html_()
        assert "model.ckpt-1.meta" in repr(model)
        assert "2 variables restored" in repr(model)
        assert "add" in model
        assert not {"ad", 0, None} & {name for name in ("ad", 0, None) if name in model}
        with pytest.raises(TypeError, match="not iterable"):
            iter(model)
        with pytest.raises(NameNotFoundError, match="not the name of a tensor"):
            model[0]
        for feeds in ([[1]], np.ones(2)):
            with pytest.raises(FeedError, match=r"expected \{tensor name: value\}"):
                model.run("add", feeds)
