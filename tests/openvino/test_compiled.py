"""Results in the declared data type, and OpenVINO's words as errors; tests/runtimes computes."""

from __future__ import annotations

import numpy as np
import pytest

from tfpersist.errors import RunError, UnsupportedError
from tfpersist.formats.graphdef import parse_text
from tfpersist.formats.tensors import TensorSpec
from tfpersist.openvino import compiled


@pytest.mark.parametrize(
    ("given", "declared"),
    [("int32", "int64"), ("float16", "float32"), ("uint8", "uint8"), ("uint16", "bfloat16")],
)
def test_a_result_is_converted_where_that_loses_nothing(given, declared):
    array = np.array([1, 2], given)
    found = compiled.as_declared(array, TensorSpec(declared, None))
    assert found.dtype.name == declared
    if declared != "bfloat16":
        assert found.tolist() == [1, 2]
    assert compiled.as_declared(array, None) is array


@pytest.mark.parametrize(
    ("given", "declared"),
    [("int64", "int32"), ("float32", "float16"), ("float32", "complex64"), ("uint8", "bool")],
)
def test_any_other_conversion_is_refused(given, declared):
    with pytest.raises(UnsupportedError, match=f"expected {declared}, got {given}"):
        compiled.as_declared(np.zeros(2, given), TensorSpec(declared, None))


# What OpenVINO 2026.4 says, shortened.
MESSAGE = """Check 'false' failed at src/frontends/src/unconverted_ops_report.cpp:151:
FrontEnd API failed with OpConversionFailure:
Model wasn't fully converted. Failed operations detailed log:
-- Multinomial with a message:
Check '!any.empty()' failed at src/frontends/common/include/openvino/node_context.hpp:79:
FrontEnd API failed with GeneralFailure:
Attribute with name 'output_dtype' does not exist

Summary:
-- No conversion rule found for operations: RaggedGather, Other
-- Conversion is failed for: Multinomial
"""


def test_the_nodes_that_a_message_is_about_are_named():
    nodes = b"".join(
        b'node { name: "n%d" op: "%s" }' % pair
        for pair in enumerate([b"RaggedGather", b"Multinomial", b"Add"])
    )
    error = compiled.unread(RuntimeError(MESSAGE), parse_text(nodes))
    assert isinstance(error, UnsupportedError)
    assert str(error) == (
        "node n0 (RaggedGather), node n1 (Multinomial): OpenVINO cannot read this: Attribute with"
        " name 'output_dtype' does not exist. Run the model with engine=\"tensorflow\"."
    )


def test_a_failure_is_a_run_error_with_one_sentence():
    text = "Exception from src/inference/src/infer_request.cpp:224:\nShape inference of X failed.\n"
    with pytest.raises(RunError, match=r"^OpenVINO failed: Shape inference of X failed\.$"):
        fail(RuntimeError(text))
    with pytest.raises(KeyError):
        fail(KeyError("not OpenVINO's"))


def fail(error):
    with compiled.translated():
        raise error
