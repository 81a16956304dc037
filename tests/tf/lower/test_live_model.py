"""Objects that are not live models are refused."""

from __future__ import annotations

import pytest
import tensorflow as tf

from tfpersist.errors import TargetError
from tfpersist.tf.lower.live_model import lower_live_model


@pytest.mark.parametrize("source", [3, None, {"a": 1}, tf.Module(), tf.Variable(1.0)])
def test_an_object_without_a_computation_is_refused(source):
    with pytest.raises(TargetError, match=r"cannot be frozen\. Pass a session"):
        lower_live_model(source)


def test_each_type_of_living_model_is_lowered():
    function = tf.function(lambda x: x + 1.0, input_signature=[tf.TensorSpec((2,), name="x")])
    with tf.Graph().as_default() as graph:
        tf.identity(3.0, name="three")
    with tf.compat.v1.Session(graph=graph) as session:
        assert "three" in lower_live_model(session).graph.nodes
    for source in (function, function.get_concrete_function()):
        assert lower_live_model(source).inputs == ("x:0",)
