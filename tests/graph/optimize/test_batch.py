"""A fixed batch: the inputs have one size, and what reads their shapes gets constants."""

import pytest

from tfpersist.errors import FreezeError
from tfpersist.formats.graphdef import parse_text
from tfpersist.graph.describe import endpoints
from tfpersist.graph.optimize.batch import fix_batch
from tfpersist.graph.optimize.fold import constant_value

FLOAT = 'attr { key: "dtype" value { type: DT_FLOAT } }'


def shaped(name, *extents):
    dims = " ".join(f"dim {{ size: {extent} }}" for extent in extents)
    return (
        f'node {{ name: "{name}" op: "Placeholder" {FLOAT}'
        f' attr {{ key: "shape" value {{ shape {{ {dims} }} }} }} }}'
    )


def graph_of(*texts, producer=1000):
    return parse_text(" ".join([*texts, f"versions {{ producer: {producer} }}"]).encode())


def test_free_first_extents_are_set_and_no_others():
    graph = graph_of(shaped("x", -1, 3), shaped("y", -1, -1), shaped("z", 2, -1), shaped("scalar"))
    fixed = fix_batch(graph, 4)
    assert [str(ref) for ref in endpoints.inputs(fixed)] == [
        "x:0 float32[4,3]",
        "y:0 float32[4,?]",
        "z:0 float32[2,?]",
        "scalar:0 float32[]",
    ]
    assert graph.proto.node[0].attr["shape"].shape.dim[0].size == -1


def test_a_shape_that_is_known_is_a_constant():
    shape = 'node {{ name: "{0}" op: "Shape" input: "{1}" input: "^y" {2} }}'
    graph = graph_of(
        shaped("x", -1, 3),
        shaped("y", -1, -1),
        'node { name: "t" op: "Neg" input: "x" }',
        shape.format("of_x", "x", 'attr { key: "out_type" value { type: DT_INT64 } }'),
        shape.format("of_y", "y:0", ""),
        shape.format("of_t", "t", ""),
    )
    nodes = fix_batch(graph, 4).nodes
    value = constant_value(nodes["of_x"])
    assert (value.tolist(), value.dtype, list(nodes["of_x"].input)) == ([4, 3], "int64", ["^y"])
    assert [nodes[name].op for name in ("of_y", "of_t")] == ["Shape", "Shape"]


def test_shapes_that_the_source_gave_follow():
    output = """attr { key: "_output_shapes"
        value { list { shape { dim { size: -1 } dim { size: 3 } } } } }"""
    graph = graph_of(shaped("x", -1, 3).replace(FLOAT, FLOAT + output))
    (node,) = fix_batch(graph, 2).proto.node
    assert node.attr["_output_shapes"].list.shape[0].dim[0].size == 2


def test_a_batch_of_this_size_stays_and_another_one_is_refused():
    graph = graph_of(shaped("x", 4, 3))
    assert fix_batch(graph, 4).proto == graph.proto
    with pytest.raises(FreezeError, match=r"first extent that is free, or 5, got x:0 float32\[4,3"):
        fix_batch(graph, 5)
    with pytest.raises(FreezeError, match="got no inputs"):
        fix_batch(graph_of('node { name: "c" op: "Const" }'), 1)


def test_an_unknown_rank_is_refused():
    graph = graph_of(shaped("x", -1), f'node {{ name: "y" op: "Placeholder" {FLOAT} }}')
    with pytest.raises(FreezeError, match=r"y:0 float32\[\.\.\.\]: the rank of an input"):
        fix_batch(graph, 1)
    # Up to this version, a placeholder of any shape was written as one without dimensions.
    with pytest.raises(FreezeError, match=r"x:0 float32\[\.\.\.\]: the rank of an input"):
        fix_batch(graph_of(shaped("x"), producer=21), 1)
