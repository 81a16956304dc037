"""Choose a graph and a signature of a SavedModel."""

from __future__ import annotations

import pytest

from tfpersist.errors import FreezeError, NameNotFoundError
from tfpersist.formats import schema
from tfpersist.formats.tensors import TensorSpec
from tfpersist.graph.describe import saved_model
from tfpersist.graph.describe.signature import Signature


def with_graphs(*tags):
    """Make a SavedModel with a graph for each text of tags, such as "serve,gpu"."""
    model = schema.SavedModel()
    for text in tags:
        model.meta_graphs.add().meta_info_def.tags.extend(filter(None, text.split(",")))
    return model


@pytest.mark.parametrize(
    ("graphs", "tags", "expected"),
    [
        (["train"], None, "train"),
        (["serve"], ("serve",), "serve"),
        (["train", "serve"], None, "serve"),
        (["serve", "serve,gpu"], ("gpu", "serve"), "serve,gpu"),
        (["serve", "serve,gpu"], None, "serve"),
        (["train", "", "serve"], (), ""),
    ],
)
def test_the_graph_with_the_tags_is_chosen(graphs, tags, expected):
    meta = saved_model.choose(with_graphs(*graphs), tags, "m")
    assert ",".join(meta.meta_info_def.tags) == expected


@pytest.mark.parametrize(
    ("graphs", "tags", "message"),
    [
        (["serve,gpu"], ("serve",), "m: .*expected serve, got gpu,serve"),
        (["serve", "serve"], ("serve",), "got serve; serve"),
        (["train", "eval"], None, "expected serve, got train; eval"),
        (["train"], (), "expected no tags, got train"),
        ([], None, "got no graph"),
        (["", "a"], None, "got no tags; a"),
    ],
)
def test_a_graph_that_is_not_clear_is_refused(graphs, tags, message):
    with pytest.raises(FreezeError, match=message):
        saved_model.choose(with_graphs(*graphs), tags, "m")


def test_the_default_signature_is_chosen_among_several():
    meta = schema.MetaGraphDef()
    meta.signature_def["a"].outputs["y"].name = "a:0"
    assert saved_model.signature_of(meta, None, "m").outputs == {"y": "a:0"}
    meta.signature_def["serving_default"].outputs["y"].name = "default:0"
    assert saved_model.signature_of(meta, None, "m").outputs == {"y": "default:0"}
    assert saved_model.signature_of(meta, "a", "m").outputs == {"y": "a:0"}


def test_the_signature_that_initializes_is_not_listed():
    meta = schema.MetaGraphDef()
    meta.signature_def["__saved_model_init_op"].outputs["init"].name = "init"
    meta.signature_def["a"].outputs["y"].name = "a:0"
    assert saved_model.signature_of(meta, None, "m").outputs == {"y": "a:0"}
    assert [found.name for found in saved_model.signatures(meta)] == ["a"]
    with pytest.raises(NameNotFoundError, match="got a"):
        saved_model.signature_of(meta, "__saved_model_init_op", "m")


def test_a_sparse_input_has_three_names():
    meta = schema.MetaGraphDef()
    signature = meta.signature_def["serving_default"]
    sparse = signature.inputs["words"].coo_sparse
    sparse.values_tensor_name, sparse.indices_tensor_name = "v:0", "i:0"
    sparse.dense_shape_tensor_name = "s:0"
    signature.outputs["y"].name = "y:0"
    found = saved_model.signature_of(meta, None, "m")
    assert found.inputs == {
        "words/values": "v:0",
        "words/indices": "i:0",
        "words/dense_shape": "s:0",
    }
    assert found.outputs == {"y": "y:0"}
    meta.signature_def["other"].outputs["z"].SetInParent()
    with pytest.raises(FreezeError, match="tensor 'z' has no name"):
        saved_model.signature_of(meta, "other", "m")


def test_several_signatures_without_a_default_leave_the_choice():
    meta = schema.MetaGraphDef()
    meta.signature_def["a"].outputs["y"].name = "y:0"
    meta.signature_def["b"].outputs["y"].name = "z:0"
    assert saved_model.signature_of(meta, None, "m") == Signature()


def test_the_parts_of_a_composite_tensor_are_numbered():
    meta = schema.MetaGraphDef()
    ragged = meta.signature_def["a"].inputs["rows"].composite_tensor
    for name in ("values:0", "splits:0"):
        ragged.components.add().name = name
    inputs = saved_model.signature_of(meta, "a", "m").inputs
    assert inputs == {"rows/0": "values:0", "rows/1": "splits:0"}


def test_the_signatures_to_choose_from_have_types_and_shapes():
    meta = schema.MetaGraphDef()
    signature = meta.signature_def["b"]
    x = signature.inputs["x"]
    x.name, x.dtype = "x:0", 1
    x.tensor_shape.dim.add(size=-1)
    x.tensor_shape.dim.add(size=0)
    y = signature.outputs["y"]
    y.name, y.dtype = "y:0", 3
    y.tensor_shape.unknown_rank = True
    signature.outputs["sparse"].coo_sparse.values_tensor_name = "v:0"
    meta.signature_def["a"].outputs["y"].name = "a:0"
    first, second = saved_model.signatures(meta)
    assert (first.name, second.name) == ("a", "b")
    assert second.inputs == {"x": TensorSpec("float32", (None, 0))}
    assert second.outputs == {"sparse": None, "y": TensorSpec("int32", None)}
    assert second.tensors == ("y:0",)
