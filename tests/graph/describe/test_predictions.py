"""Find the predictions from which losses and metrics are computed."""

from __future__ import annotations

import pytest

from tfpersist.formats.graphdef import parse_text
from tfpersist.graph.describe.predictions import compared

FLOAT = 'attr { key: "dtype" value { type: DT_FLOAT } }'


def graph(*lines):
    """Make a graph of lines such as "y: Add x w"."""
    nodes = []
    for line in lines:
        name, _, rest = line.partition(": ")
        op, *inputs = rest.split()
        edges = " ".join(f'input: "{text}"' for text in inputs)
        dtype = FLOAT if op == "Placeholder" else ""
        nodes.append(f'node {{ name: "{name}" op: "{op}" {edges} {dtype} }}')
    return parse_text("\n".join([*nodes, "versions { producer: 1000 }"]).encode())


MODEL = (
    "x: Placeholder",
    "labels: Placeholder",
    "w: VarHandleOp",
    "read: ReadVariableOp w",
    "logits: MatMul x read",
)


def names(*lines, trains=True, service=(), model=MODEL):
    found = compared(graph(*model, *lines), service, trains=trains)
    return [ref.name for ref in found.predictions], set(found.measures)


def test_a_tensor_compared_with_labels_is_a_prediction():
    lines = ("loss: Sub logits labels", "mean: Mean loss", "scaled: Neg mean")
    assert names(*lines) == (["logits:0"], {"loss", "mean", "scaled"})
    assert names(*lines, trains=False) == (["logits:0"], set())


def test_predictions_come_in_the_order_of_the_nodes_that_compare():
    lines = (
        "digit: ArgMax logits",
        "right: Equal digit labels",
        "loss: Sub logits:0 labels",
        "again: Sub digit labels",
    )
    assert names(*lines)[0] == ["digit:0", "logits:0"]


def test_labels_may_be_computed_before_they_are_compared():
    assert names("hot: OneHot labels", "loss: Sub hot logits")[0] == ["logits:0"]


def test_a_tensor_that_is_not_compared_is_not_a_prediction():
    assert names("out: Softmax logits") == ([], set())
    assert names("decay: L2Loss read", "loss: Add decay labels")[0] == []


def test_a_feed_multiplied_by_weights_is_not_a_label():
    lines = ("hidden: MatMul labels read", "out: Add logits labels", "sum: Add out hidden")
    assert names(*lines, trains=False)[0] == []


@pytest.mark.parametrize(
    ("attrs", "expected"),
    [
        ("attr { key: 'dtype' value { type: DT_BOOL } }", []),
        (f"{FLOAT} attr {{ key: 'shape' value {{ shape {{ }} }} }}", []),
        (
            f"{FLOAT} attr {{ key: 'shape' value {{ shape {{ dim {{ size: -1 }} }} }} }}",
            ["logits:0"],
        ),
        ("", ["logits:0"]),
    ],
    ids=["a switch", "a rate", "a vector", "unknown"],
)
def test_a_switch_and_a_rate_are_not_labels(attrs, expected):
    made = graph(*MODEL, "loss: Mul logits labels")
    text = f'node {{ name: "labels" op: "Placeholder" {attrs} }}'
    made.nodes["labels"].CopyFrom(parse_text(text.encode()).nodes["labels"])
    found = compared(made, (), trains=False)
    assert [ref.name for ref in found.predictions] == expected


def test_the_last_that_meets_the_input_of_an_autoencoder():
    model = tuple(line for line in MODEL if not line.startswith("labels"))
    lines = (
        "residual: Add logits x",
        "decoded: MatMul residual read",
        "cropped: Slice x",
        "loss: Sub decoded cropped",
    )
    assert names(*lines, model=model)[0] == ["decoded:0"]
    assert names(*lines, model=model, trains=False)[0] == []


def test_sizes_and_service_do_not_count():
    lines = ("size: Shape labels", "out: Reshape logits size", "gradients/g: Sub logits labels")
    assert names(*lines, service={"gradients/g"}) == ([], set())
    assert names(*lines)[0] == ["logits:0"]


def test_a_loss_that_reshapes_first_compares_what_was_before():
    lines = (
        "out: Cast logits",
        "xent/cast: Cast out",
        "xent/flat: Reshape xent/cast",
        "xent/loss: Sub xent/flat labels",
    )
    assert names(*lines)[0] == ["out:0"]
    computed = (
        "xent/out: Tanh logits",
        "xent/flat: Reshape xent/out",
        "loss: Sub xent/flat labels",
    )
    assert names(*computed)[0] == ["xent/out:0"]
    plain = ("flat: Reshape logits", "loss: Sub flat labels")
    assert names(*plain)[0] == ["flat:0"]
    nested = ("a/flat: Reshape logits", "a/b/flat: Reshape a/flat", "loss: Sub a/b/flat labels")
    assert names(*nested)[0] == ["a/flat:0"]


def test_every_output_of_a_node_is_a_tensor_of_its_own():
    lines = ("split: Halves logits", "loss: Sub split:1 labels")
    (ref,) = compared(graph(*MODEL, *lines), (), trains=True).predictions
    assert (ref.operation, ref.index) == ("split", 1)


def test_a_pipeline_has_features_and_labels():
    model = ("next: IteratorGetNext", *MODEL[2:4], "logits: MatMul next read")
    assert names("loss: Sub logits next:1", model=model)[0] == ["logits:0"]


def test_values_of_variables_may_be_read_in_pieces():
    model = (
        *MODEL[:3],
        "read: ReadVariableOp w",
        "part: StridedSlice read",
        "logits: MatMul x part",
    )
    assert names("loss: Sub logits labels", model=model)[0] == ["logits:0"]
    assert (
        names("hidden: MatMul labels part", "out: Add logits labels", model=model, trains=False)[0]
        == []
    )
