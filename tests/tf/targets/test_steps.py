"""A training step is a number, a variable or a tensor."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from session_graphs import (
    unchanged,
)

import tfpersist as tfp
from tfpersist.errors import TargetError

v1 = tf.compat.v1


def test_the_step_may_be_a_variable_or_a_tensor():
    store = tfp.ModelStore("memory://session/step")
    graph = tf.Graph()
    with graph.as_default():
        ref = v1.get_variable("step", initializer=np.int64(11), use_resource=False)
        later = ref + 1
    eager = tf.Variable(13)
    with v1.Session(graph=graph) as session, unchanged(graph):
        session.run(ref.initializer)
        assert store.save(session, step=ref).step == 11
        assert store.save(session, step=later).step == 12
        assert store.save(session, step=eager).step == 13
        with pytest.raises(TargetError, match="not a whole number"):
            store.save(session, step=1.5)
