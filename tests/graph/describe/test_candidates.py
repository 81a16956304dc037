from __future__ import annotations

import pytest

from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph, parse_text, split
from tfpersist.graph.describe.candidates import candidates


def ranked(graph, *known):
    return [ref.name for ref in candidates(graph, known).outputs]


def test_nodes_for_training_saving_and_reporting_are_not_outputs():
    graph = parse_text(
        b"""
        node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
        node { name: "v" op: "VariableV2" }
        node { name: "v/Initializer/zeros" op: "Mystery" }
        node { name: "v/Assign" op: "Assign" input: "v" input: "v/Initializer/zeros" }
        node { name: "h" op: "Mystery" input: "x" input: "v" }
        node { name: "probabilities" op: "Mystery" input: "h" }
        node { name: "total_loss" op: "Mystery" input: "h" }
        node { name: "loss_1" op: "ScalarSummary" input: "total_loss" }
        node { name: "gradients/h_grad" op: "Mystery" input: "total_loss" }
        node { name: "decayed" op: "Mystery" input: "v" }
        node { name: "train" op: "ApplyGradientDescent" input: "v" input: "decayed"
               input: "gradients/h_grad" }
        node { name: "trained" op: "Mystery" input: "train" }
        node { name: "save/Const" op: "Placeholder" }
        node { name: "save/SaveV2" op: "SaveV2" input: "v" }
        node { name: "aside" op: "Mystery" input: "v" }
        """
    )
    assert ranked(graph) == ["probabilities:0", "total_loss:0"]
    assert ranked(graph, "h:0", "gone:0")[0] == "h:0"
    assert [ref.name for ref in candidates(graph).inputs] == ["x:0"]


def test_a_graph_without_inputs_has_outputs():
    graph = parse_text(
        b"""
        node { name: "v" op: "VariableV2" }
        node { name: "small" op: "Mystery" input: "v" }
        node { name: "mid" op: "Mystery" input: "v" }
        node { name: "large" op: "Mystery" input: "mid" }
        """
    )
    assert ranked(graph) == ["large:0", "small:0"]
    assert ranked(parse_text(b"")) == []


MLP = """
    node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
    node { name: "y" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
    node { name: "w" op: "VarHandleOp" }
    node { name: "w/read" op: "ReadVariableOp" input: "w" }
    node { name: "h" op: "MatMul" input: "x" input: "w/read" }
    node { name: "pred" op: "Tanh" input: "h" }
"""
SQUARES = """
    node { name: "sub" op: "Sub" input: "pred" input: "y" }
    node { name: "square" op: "Square" input: "sub" }
    node { name: "cost" op: "Mean" input: "square" }
    node { name: "decay/L2Loss" op: "L2Loss" input: "w/read" }
    node { name: "total" op: "Add" input: "cost" input: "decay/L2Loss" }
    node { name: "gradients/total_grad" op: "Mystery" input: "total" }
    node { name: "train" op: "ResourceApplyAdam" input: "w" input: "gradients/total_grad" }
"""
LABELLED = """
    node { name: "next" op: "IteratorGetNext" }
    node { name: "to_handle" op: "IteratorToStringHandle" }
    node { name: "w" op: "VariableV2" }
    node { name: "w/read" op: "Identity" input: "w" }
    node { name: "step" op: "VariableV2" }
    node { name: "counter" op: "Add" input: "step" }
    node { name: "logits" op: "MatMul" input: "next" input: "w/read" }
    node { name: "xent/Shape" op: "Shape" input: "logits" }
    node { name: "xent/Reshape" op: "Reshape" input: "logits" input: "xent/Shape" }
    node { name: "xent" op: "SoftmaxCrossEntropyWithLogits" input: "xent/Reshape" input: "next:1" }
    node { name: "weighed" op: "Mul" input: "xent" input: "next:2" }
    node { name: "gradients/weighed_grad" op: "Mystery" input: "weighed" }
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(MLP + SQUARES, ["pred:0", "total:0"], id="only a loss uses it"),
        pytest.param(
            MLP + SQUARES + 'node { name: "digit" op: "ArgMax" input: "pred" }',
            ["digit:0", "pred:0", "total:0"],
            id="what comes after it is first",
        ),
        pytest.param(
            MLP
            + SQUARES
            + 'node { name: "digit" op: "ArgMax" input: "pred" }'
            + "".join(
                f'node {{ name: "deep{n}" op: "Neg" input: "{f"deep{n - 1}" if n else "x"}" }}'
                for n in range(9)
            ),
            ["digit:0", "pred:0", "deep8:0", "total:0"],
            id="it comes before what is deeper",
        ),
        pytest.param(
            MLP
            + 'node { name: "Size" op: "Size" input: "pred" }'
            + 'node { name: "scope/out" op: "Neg" input: "pred" }'
            + 'node { name: "scope/Rank" op: "Rank" input: "pred" }',
            ["Size:0", "scope/out:0"],
            id="a size that was asked for",
        ),
        pytest.param(
            MLP + SQUARES.replace('input: "y"', 'input: "x"'),
            ["pred:0", "total:0"],
            id="an autoencoder",
        ),
        pytest.param(
            MLP + 'node { name: "out" op: "Mul" input: "pred" input: "y" }',
            ["out:0", "pred:0"],
            id="a switch or a label",
        ),
        pytest.param(
            MLP.replace(
                '"y" op: "Placeholder"',
                '"y" op: "Placeholder" attr { key: "shape" value { shape { } } }',
            )
            + 'node { name: "out" op: "Mul" input: "pred" input: "y" }',
            ["out:0"],
            id="a rate is no label",
        ),
        pytest.param(LABELLED, ["logits:0", "weighed:0"], id="a pipeline"),
        pytest.param(
            MLP
            + 'node { name: "dead" op: "ReadVariableOp" input: "w" }'
            + 'node { name: "Switch" op: "Switch" input: "x" input: "x" }'
            + 'node { name: "Assert" op: "Assert" input: "x" }'
            + 'node { name: "in/Size" op: "Size" input: "x" }',
            ["pred:0"],
            id="leftovers",
        ),
    ],
)
def test_predictions_of_a_training_graph(text, expected):
    versions = "versions { producer: 1000 }"
    assert ranked(parse_text((text + versions).encode())) == expected


METAS = {
    "0.12.1/plain_v1.ckpt": ["output:0", "loss:0"],
    "0.12.1/shard2_v1.ckpt": ["output:0"],
    "0.12.1/session_bundle/00000123/export": ["y:0"],
    "1.4.1/bntrain_v2.ckpt": ["output:0", "loss:0"],
    "1.4.1/embedding/embedding.ckpt": ["my_embedding/read:0"],
    "1.4.1/model_v2.ckpt-5": ["loop_out:0", "output:0", "logits:0", "loss:0"],
    "1.4.1/plain_v1.ckpt": ["output:0", "loss:0"],
    "1.4.1/regression/checkpoint/model": ["pred:0", "truediv:0"],
    "1.4.1/shard2_v2.ckpt": ["output:0"],
    "1.4.1/slim/model.ckpt": ["predictions:0"],
    "1.12.3/bert/bert_model.ckpt": [
        "cls/seq_relationship/LogSoftmax:0",
        "cls/predictions/LogSoftmax:0",
    ],
    "1.15.5/bntrain_v1.ckpt": ["output:0", "loss:0"],
    "1.15.5/model_v2.ckpt-5": ["loop_out:0", "output:0", "logits:0", "loss:0"],
    "1.15.5/plain_v2.ckpt": ["output:0", "loss:0"],
    "1.15.5/shard2_v1.ckpt": ["output:0"],
}
FROZEN = {
    "1.15.5/frozen_output.pb": ["output:0"],
    "1.15.5/frozen_loop.pb": ["loop_out:0"],
    "2.4.4/frozen_v2_lstm.pb": ["Identity:0"],
    "1.4.1/gru_frozen.pb": ["output:0"],
    "1.4.1/lstm_frozen.pb": ["output:0"],
    "1.4.1/regression/frozen.pb": ["pred:0"],
}


def test_only_the_value_that_was_assigned_belongs_to_training():
    graph = parse_text(
        b"""
        node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } }
        node { name: "v" op: "VarHandleOp" } node { name: "w" op: "VarHandleOp" }
        node { name: "assign" op: "AssignVariableOp" input: "v" input: "x" }
        node { name: "written" op: "ReadVariableOp" input: "v" input: "^assign" }
        node { name: "other" op: "ReadVariableOp" input: "w" input: "^assign" }
        node { name: "a" op: "Mul" input: "written" input: "x" }
        node { name: "b" op: "Mul" input: "other" input: "x" }
        """
    )
    assert ranked(graph) == ["b:0"]


MADE = ("1.0.1", "1.4.1", "1.15.5")
IN_CORPUS = {
    "keras-bert/bert_model.ckpt": [
        "cls/predictions/LogSoftmax:0",
        "cls/seq_relationship/LogSoftmax:0",
    ],
    "tensorflow-onnx/regression/checkpoint/model": ["pred:0", "truediv:0"],
    "tensorflow/embedding/embedding.ckpt": ["my_embedding/read:0"],
    "tensorflow/session_bundle_half_plus_two_v1/00000123/export": ["Identity:0"],
    "tensorflow/session_bundle_half_plus_two_v2/00000123/export": ["Identity:0"],
    **{
        f"made-by-tf/{v}/{n}.ckpt": ["output:0", "add_1:0", "Mean:0"]
        for v in MADE
        for n in ("plain_v2", "bntrain_v1", "shard2_v2")
    },
    **{f"made-by-tf/{v}/model_v2.ckpt-5": ["loop_out:0", "logits:0", "loss:0"] for v in MADE},
}


FROZEN_IN_CORPUS = {
    "made-by-tf/1.15.5/frozen_output.pb": ["output:0"],
    "made-by-tf/1.15.5/frozen_loop.pb": ["loop_out:0"],
    "made-by-tf/2.4.4/frozen_v2_lstm.pb": ["Identity:0"],
    "tensorflow-onnx/gru/frozen.pb": ["output:0"],
    "tensorflow-onnx/lstm/frozen.pb": ["output:0"],
    "tensorflow-onnx/regression/graphdef/frozen.pb": ["pred:0"],
}


def ranked_meta(path):
    meta = schema.parse(schema.MetaGraphDef, path.read_bytes(), file=str(path))
    return ranked(split(meta.graph_def.SerializeToString()))


@pytest.mark.parametrize(("name", "expected"), METAS.items(), ids=METAS)
def test_the_results_of_golden_metas(golden, name, expected):
    assert ranked_meta(golden / f"{name}.meta") == expected


def test_the_results_of_metas_of_the_corpus(corpus):
    for name, expected in IN_CORPUS.items():
        found = ranked_meta(corpus / f"{name}.meta")
        assert found[: len(expected)] == expected, name


@pytest.mark.parametrize(("name", "expected"), FROZEN.items(), ids=FROZEN)
def test_the_results_of_golden_frozen_graphs(golden, name, expected):
    assert ranked(split(golden.joinpath(name).read_bytes())) == expected


def test_the_results_of_frozen_graphs_of_the_corpus(corpus):
    for name, expected in FROZEN_IN_CORPUS.items():
        assert ranked(split(corpus.joinpath(name).read_bytes())) == expected, name


@pytest.mark.parametrize("resource", [True, False], ids=["resource", "ref"])
@pytest.mark.parametrize("name", ["Adam", "Momentum", "RMSProp"])
def test_assignments_of_an_optimizer_are_not_outputs(name, resource):
    import tensorflow as tf

    v1 = tf.compat.v1
    options = {"momentum": 0.9} if name == "Momentum" else {}
    optimizer = getattr(v1.train, f"{name}Optimizer")(0.1, **options)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 3], name="x")
        w = v1.get_variable("w", [3, 2], use_resource=resource)
        probabilities = tf.nn.softmax(tf.matmul(x, w), name="probabilities")
        loss = tf.reduce_mean(probabilities, name="loss")
        step = v1.train.get_or_create_global_step()
        trained = optimizer.minimize(loss, name="train", global_step=step)
        with tf.control_dependencies([trained]):
            v1.train.ExponentialMovingAverage(0.9, step).apply([w])
        tf.argmax(probabilities, 1, name="digit")
    encoded = graph.as_graph_def(add_shapes=True).SerializeToString()
    assert ranked(split(encoded)) == ["digit:0", "loss:0"]


def test_a_long_list_is_shortened():
    text = "".join(f'node {{ name: "y{n}" op: "Mystery" }}' for n in range(20))
    shown = str(candidates(parse_text(text.encode()))).splitlines()
    assert shown[0] == "likely outputs:"
    assert shown[-2:] == ["  and 8 more", "inputs: none"]
    assert str(candidates(parse_text(b""))) == "likely outputs:\n  none\ninputs: none"


def test_thousands_of_results_of_a_deep_graph_are_ranked():
    """Looking at all that is behind each of them would take minutes."""
    proto = schema.GraphDef()
    proto.node.add(name="x", op="Placeholder")
    for number in range(4_000):
        proto.node.add(name=f"n{number}", op="Neg", input=[f"n{number - 1}" if number else "x"])
        proto.node.add(name=f"y{number}", op="Neg", input=[f"n{number}"])
    found = [ref.operation for ref in candidates(Graph(proto, {})).outputs]
    assert found == [f"y{number}" for number in reversed(range(4_000))]
