"""Optimize a graph and check what must hold for every graph."""

import numpy as np
import pytest

from tfpersist.formats.graphdef import split
from tfpersist.frozen.model import FrozenModel
from tfpersist.graph.optimize.passes import optimize


@pytest.fixture
def optimized():
    """Return a function that optimizes a tf.Graph.

    It checks that the results are the same bit by bit, that a second run changes nothing, and that
    the graph itself is not changed.
    """

    def run(graph, outputs, feeds):
        with FrozenModel(graph) as model:
            return model.run(outputs, feeds)

    def optimize_and_check(graph, outputs, feeds):
        graph = split(graph.as_graph_def().SerializeToString())
        before = graph.proto.SerializeToString(deterministic=True)
        result = optimize(graph, outputs)
        assert graph.proto.SerializeToString(deterministic=True) == before
        pairs = zip(run(graph, outputs, feeds), run(result, outputs, feeds), strict=True)
        for expected, found in pairs:
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == expected.dtype
        once = result.proto.SerializeToString(deterministic=True)
        twice = optimize(result, outputs).proto.SerializeToString(deterministic=True)
        assert twice == once
        return result

    return optimize_and_check
