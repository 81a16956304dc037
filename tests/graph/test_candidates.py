from __future__ import annotations

import pytest

from tfpersist.checkpoint import Checkpoint
from tfpersist.formats.graphdef import parse_text, split
from tfpersist.graph.candidates import candidates


def ranked(graph, *known):
    return [ref.name for ref in candidates(graph, known).outputs]


def test_training_saving_and_reporting_are_no_results():
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


def test_a_graph_that_takes_nothing_has_results_all_the_same():
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


def test_the_results_of_real_models(corpus):
    found = {}
    for name in ("made-by-tf/1.15.5/plain_v2.ckpt", "made-by-tf/1.15.5/model_v2.ckpt-5"):
        meta = Checkpoint(corpus / name).meta
        found[name] = ranked(split(meta.graph_def.SerializeToString()))[:2]
    assert found["made-by-tf/1.15.5/plain_v2.ckpt"][0] == "output:0"
    assert found["made-by-tf/1.15.5/model_v2.ckpt-5"][0] == "loop_out:0"


@pytest.mark.parametrize("resource", [True, False], ids=["resource", "ref"])
@pytest.mark.parametrize("name", ["Adam", "Momentum", "RMSProp"])
def test_what_a_real_optimizer_assigns_is_no_result(name, resource):
    tf = pytest.importorskip("tensorflow")
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


def test_what_is_shown_is_bounded():
    text = "".join(f'node {{ name: "y{n}" op: "Mystery" }}' for n in range(20))
    shown = str(candidates(parse_text(text.encode()))).splitlines()
    assert shown[0] == "likely outputs:"
    assert shown[-2:] == ["  and 8 more", "inputs: none"]
    assert str(candidates(parse_text(b""))) == "likely outputs:\n  none\ninputs: none"
