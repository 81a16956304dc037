"""Older releases: newer ops become older ops that compute the same."""

import tensorflow as tf

from tfpersist.formats.graphdef import parse_text
from tfpersist.freezer.freezer import Freezer
from tfpersist.graph.runtimes.downgrade import downgrade, without_lowering
from tfpersist.graph.runtimes.op_lists import known_ops


def freezer_of(output, *inputs):
    """Return a freezer of what a function computes from some inputs."""
    return Freezer(tf.function(output, input_signature=[tf.TensorSpec(*one) for one in inputs]))


def test_newer_ops_become_older_ones():
    graph = parse_text(
        b"""
        node { name: "mm" op: "BatchMatMulV3" input: "x" input: "x"
          attr { key: "Ta" value { type: DT_FLOAT } } attr { key: "Tb" value { type: DT_FLOAT } }
          attr { key: "Tout" value { type: DT_FLOAT } } attr { key: "adj_y" value { b: true } } }
        node { name: "wide" op: "BatchMatMulV3" input: "i" input: "i"
          attr { key: "Ta" value { type: DT_INT8 } } attr { key: "Tb" value { type: DT_INT8 } }
          attr { key: "Tout" value { type: DT_INT32 } } }
        node { name: "bn" op: "FusedBatchNormV3" attr { key: "is_training" value { b: false } }
          attr { key: "exponential_avg_factor" value { f: 0.5 } } }
        node { name: "trains" op: "FusedBatchNormV3"
          attr { key: "exponential_avg_factor" value { f: 0.5 } } }
        """
    )
    before = graph.proto.SerializeToString(deterministic=True)
    nodes = downgrade(graph, known_ops("1.15")).nodes
    assert (nodes["mm"].op, sorted(nodes["mm"].attr)) == ("BatchMatMulV2", ["T", "adj_y"])
    assert nodes["wide"].op == "BatchMatMulV3"
    assert sorted(nodes["bn"].attr) == ["is_training"]
    assert "exponential_avg_factor" in nodes["trains"].attr
    assert graph.proto.SerializeToString(deterministic=True) == before


def test_diagonals_become_older_ops_where_alignment_has_no_effect():
    def one(x):
        square = tf.linalg.set_diag(tf.linalg.diag(x, k=1)[:3, :3], x)
        return tf.linalg.diag_part(square, k=-1), tf.linalg.diag_part(square)

    freezer = freezer_of(one, ([3], tf.float32))
    assert freezer.check("1.15").ok
    model = freezer.portable("1.15").freeze()
    older = {"MatrixDiagV2", "MatrixSetDiagV2", "MatrixDiagPartV2"}
    assert older < model.summary().operations.keys()
    for ours, theirs in zip(
        model.run(list(model.outputs), {"x": [1, 2, 3]}), one(tf.constant([1.0, 2, 3])), strict=True
    ):
        assert ours.tolist() == theirs.numpy().tolist()

    def many(x, align):
        return tf.linalg.diag_part(x, k=(-1, 1), align=align)

    left = freezer_of(lambda x: many(x, "LEFT_LEFT"), ([3, 3], tf.float32))
    assert left.check("1.15").ok
    right = freezer_of(lambda x: many(x, "RIGHT_LEFT"), ([3, 3], tf.float32))
    assert [blocker.op for blocker in right.check("1.15").blockers] == ["MatrixDiagPartV3"]
    fed = tf.function(
        lambda x, k: tf.linalg.diag_part(x, k=k),
        input_signature=[tf.TensorSpec([3, 3]), tf.TensorSpec([], tf.int32)],
    )
    assert not Freezer(fed).check("1.15").ok


def test_vectors_are_inserted_into_a_table_instead_of_imported():
    graph = tf.Graph()
    with graph.as_default():
        table = tf.lookup.experimental.MutableHashTable(tf.string, tf.float32, [0.0, 0.0])
        fill = table.insert(["a"], [[1.0, 2.0]])
        tf.identity(table.lookup(tf.constant(["a", "b"])), name="y")
        with tf.compat.v1.Session() as session:
            session.run(fill)
            freezer = Freezer(Freezer(session).outputs("y").freeze())
    assert "LookupTableImportV2" in freezer.freeze().summary().operations
    model = freezer.portable("1.15").freeze()
    assert "LookupTableInsertV2" in model.summary().operations
    assert model.run("y").tolist() == [[1, 2], [0, 0]]


def test_loops_are_not_to_be_lowered():
    graph = parse_text(b"""
        node { name: "w" op: "While" attr { key: "_lower_using_switch_merge" value { b: true } } }
        library { function { signature { name: "f" }
          node_def { name: "i" op: "If"
            attr { key: "_lower_using_switch_merge" value { b: true } }
            attr { key: "then_branch" value { func { name: "g" } } } } } }""")
    result = without_lowering(graph)
    assert not result.nodes["w"].attr
    assert list(result.functions["f"].node_def[0].attr) == ["then_branch"]
    assert graph.nodes["w"].attr


def test_a_model_and_its_form_for_another_runtime_run_in_one_process():
    """Their functions differ, so they have names that differ."""

    def add_one(x):
        return tf.nn.leaky_relu(x) + 1.0

    freezer = freezer_of(
        lambda x: tf.while_loop(lambda x: tf.reduce_sum(x) < 9.0, add_one, [x])[0],
        ([2], tf.float32),
    )
    models = [freezer.freeze(), freezer.portable("1.8").freeze()]
    assert [model.run("Identity", {"x": [1, 2]}).tolist() for model in models] == [[4, 5]] * 2
    assert len({name for model in models for name in model.graph.functions}) == 4
