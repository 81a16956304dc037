"""Models without an ONNX form are refused and leave nothing behind; tests/runtimes writes some."""

from __future__ import annotations

import re

import pytest
import tensorflow as tf
from tensorflow.compat import v1

from tfpersist.errors import ArgumentError, FreezeError, UnsupportedError
from tfpersist.freezer.freezer import Freezer


def of_function(function, *specs):
    return Freezer(tf.function(function, input_signature=specs, autograph=False))


def step(state):
    return {"state": state * 2.0}


STEP = of_function(step, tf.TensorSpec((2,), name="state"))


def group():
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, (), name="x")
        tf.group(tf.identity(x), name="nothing")
        return Freezer(graph.as_graph_def()).outputs("nothing")


REFUSED = {
    "a name on both sides": (
        lambda: STEP,
        UnsupportedError,
        "'state' is an input and an output.*inputs(new_name='state')",
    ),
    "a group": (group, UnsupportedError, "nothing.*no operation without outputs"),
    "a string": (
        lambda: of_function(tf.strings.length, tf.TensorSpec((), tf.string)),
        FreezeError,
        "StringLength",
    ),
    "no input": (lambda: of_function(lambda: tf.constant(1.0)), FreezeError, "from no input"),
    "another target": (
        lambda: STEP.portable("1.15"),
        ArgumentError,
        "portable('onnx'), not portable('1.15')",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_onnx_file_can_be_is_refused(name, tmp_path):
    make, error, message = REFUSED[name]
    pattern = re.escape(message).replace(r"\.\*", ".*")
    with pytest.raises(error, match=pattern):
        make().write(tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
