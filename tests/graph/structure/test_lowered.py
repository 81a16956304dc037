"""A signature as a user reads it who has to choose one."""

from __future__ import annotations

import pytest

from tfpersist.formats.tensors import TensorSpec
from tfpersist.graph.structure.lowered import SourceSignature

PAIR = TensorSpec("float32", (None, 2))


@pytest.mark.parametrize(
    ("inputs", "outputs", "text"),
    [
        ({"x": PAIR}, {"digit": None}, "serve: x float32[?,2] -> digit"),
        (
            {"x": None, "y": PAIR},
            {"a": PAIR, "b": None},
            "serve: x, y float32[?,2] -> a float32[?,2], b",
        ),
        ({}, {}, "serve: nothing -> nothing"),
    ],
)
def test_text_of_a_signature(inputs, outputs, text):
    assert str(SourceSignature("serve", inputs, outputs)) == text


def test_a_name_from_a_file_cannot_steer_a_terminal():
    assert "\x1b" not in str(SourceSignature("a\x1b[2Jb", {"\x1b[1m": None}, {}))
