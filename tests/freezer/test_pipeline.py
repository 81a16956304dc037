"""Tables and kept variables go with the file, and work in a fresh process."""

from __future__ import annotations

import json

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from drafts import draft, node, placeholder  # noqa: E402

import tfpersist as tfp  # noqa: E402
from tfpersist.errors import FreezeError, GraphError  # noqa: E402
from tfpersist.freezer.freezer import Freezer  # noqa: E402
from tfpersist.freezer.options import Options  # noqa: E402
from tfpersist.freezer.pipeline import PASSES, Pass, freeze  # noqa: E402

v1 = tf.compat.v1

# Plain TensorFlow 1 style, as another runtime does it: import, run the one operation, compute.
FOREIGN = """
    import json, sys
    import tensorflow as tf
    definition = tf.compat.v1.GraphDef.FromString(open(sys.argv[1], "rb").read())
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(definition, name="")
    with tf.compat.v1.Session(graph=graph) as session:
        session.run("tfpersist/init")
        feeds = {name: value for name, value in json.loads(sys.argv[3]).items()}
        results = session.run(json.loads(sys.argv[2]), feeds)
    print(json.dumps([result.tolist() for result in results]))
"""


def same_everywhere(freezer, tmp_path, fresh, outputs, feeds, expected):
    """Run a frozen file here and in TensorFlow alone, elsewhere."""
    model = freezer.write(tmp_path / "model.pb")
    assert model.signature.init == "tfpersist/init"
    assert sorted(ref.name for ref in model.outputs) == sorted(outputs)
    results = model.run(outputs, feeds)
    assert [np.asarray(each).tolist() for each in results] == expected
    printed = fresh(FOREIGN, tmp_path / "model.pb", json.dumps(outputs), json.dumps(feeds))
    assert json.loads(printed) == expected


@pytest.fixture
def words(tmp_path):
    """A session with tables of every kind, on a graph that is saved with a checkpoint."""
    (tmp_path / "words.txt").write_text("x\nz\r\nw")
    with tf.Graph().as_default() as graph:
        asked = v1.placeholder(tf.string, [None], name="asked")
        pairs = tf.lookup.KeyValueTensorInitializer(["a", "b"], np.int64([10, 20]))
        tf.identity(tf.lookup.StaticHashTable(pairs, -1).lookup(asked), name="static")
        lines = tf.lookup.TextFileInitializer(
            str(tmp_path / "words.txt"),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        )
        vocabulary = tf.lookup.StaticVocabularyTable(lines, 2)
        tf.identity(vocabulary.lookup(asked), name="vocabulary")
        mutable = tf.lookup.experimental.MutableHashTable(
            tf.string, tf.float32, [0.0, 0.0], name="mutable"
        )
        tf.identity(mutable.lookup(asked), name="learned")
        insert = mutable.insert(["m"], [[1.0, 2.0]])
        v1.get_variable("v", initializer=[1.0])
    with v1.Session(graph=graph) as session:
        with graph.as_default():
            session.run([v1.tables_initializer(), v1.global_variables_initializer(), insert])
        yield session


OUTPUTS = ["static:0", "vocabulary:0", "learned:0"]
FEEDS = {"asked:0": ["a", "z", "m"]}


def expected_of(session):
    return [value.tolist() for value in session.run(OUTPUTS, FEEDS)]


def test_tables_of_a_session(words, tmp_path, fresh):
    expected = expected_of(words)
    assert expected[0] == [10, -1, -1]
    freezer = Freezer(words).outputs(*OUTPUTS)
    (tmp_path / "words.txt").rename(tmp_path / "moved.txt")
    with pytest.raises(tfp.errors.StorageError):
        freezer.freeze()
    (tmp_path / "moved.txt").rename(tmp_path / "words.txt")
    freezer.freeze()
    same_everywhere(freezer, tmp_path, fresh, OUTPUTS, FEEDS, expected)


def test_tables_of_a_checkpoint(words, tmp_path, fresh):
    expected = expected_of(words)
    checkpoint = tfp.ModelStore(tmp_path / "runs").save(words, step=1)
    with pytest.raises(tfp.UnsafeModelError, match=r"StaticVocabularyTable|words\.txt"):
        Freezer(checkpoint).outputs(*OUTPUTS).freeze()
    freezer = Freezer(checkpoint, policy=tfp.Policy.trusted()).outputs(*OUTPUTS)
    same_everywhere(freezer, tmp_path, fresh, OUTPUTS, FEEDS, expected)


class Words(tf.Module):
    def __init__(self, file):
        super().__init__()
        pairs = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([10, 20], tf.int64))
        self.static = tf.lookup.StaticHashTable(pairs, -1)
        self.vocabulary = tf.lookup.StaticVocabularyTable(
            tf.lookup.TextFileInitializer(file, tf.string, -2, tf.int64, -1), 2
        )
        self.mutable = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
        self.mutable.insert(["m"], tf.constant([9], tf.int64))

    @tf.function
    def inner(self, asked):
        return self.static.lookup(asked)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="asked")])
    def look_up(self, asked):
        return {
            "a": self.inner(asked),
            "b": self.vocabulary.lookup(asked),
            "c": self.mutable.lookup(asked),
        }


@pytest.mark.parametrize("source", ["function", "SavedModel"])
def test_tables_of_a_module(source, tmp_path, fresh):
    (tmp_path / "words.txt").write_text("x\ny\nz\n")
    words = Words(str(tmp_path / "words.txt"))
    asked = ["a", "z", "m"]
    live = words.look_up(tf.constant(asked))
    expected = [live[name].numpy().tolist() for name in "abc"]
    assert expected[0] == [10, -1, -1]
    assert expected[2] == [-1, -1, 9]
    if source == "SavedModel":
        tf.saved_model.save(words, str(tmp_path / "saved"), signatures=words.look_up)
        (tmp_path / "words.txt").unlink()
        (tmp_path / "saved").rename(tmp_path / "moved")
        freezer = Freezer(tmp_path / "moved").outputs("a", "b", "c")
        names = [f"StatefulPartitionedCall:{n}" for n in range(3)]
        feeds = {"serving_default_asked:0": asked}
    else:
        freezer = Freezer(words.look_up)
        names = ["Identity:0", "Identity_1:0", "Identity_2:0"]
        feeds = {"asked:0": asked}
    same_everywhere(freezer, tmp_path, fresh, names, feeds, expected)


def dense_table(*marks, **options):
    def make(key, value, shape):
        empty, deleted = (tf.constant(mark, key) for mark in marks)
        default = tf.zeros(shape, value)
        return tf.lookup.experimental.DenseHashTable(key, value, default, empty, deleted, **options)

    return make


def mutable_table(key, value, shape):
    return tf.lookup.experimental.MutableHashTable(key, value, tf.zeros(shape, value))


TABLES = {
    "strings": (mutable_table, tf.string, tf.int64, (), [b"b", b"a", b"", b"\xff", b"ab"]),
    "integers": (mutable_table, tf.int64, tf.float32, (3,), [7, -1, 2**40, 0, 5]),
    "short integers": (mutable_table, tf.int32, tf.float64, (), [7, -(2**31), 0]),
    "dense": (dense_table(-1, -2), tf.int64, tf.int64, (), [7, 2**40, 0, 5]),
    "dense strings": (dense_table("", "?"), tf.string, tf.float32, (2,), [b"b", b"a", b"\xff"]),
    "few buckets": (
        dense_table(4, 8, initial_num_buckets=4),
        tf.int64,
        tf.float32,
        (2,),
        [0, 1, 2],
    ),
    "keys of two": (
        dense_table((-1, -1), (-1, -2)),
        tf.int64,
        tf.int64,
        (),
        [(7, 1), (-1, 5), (0, 2**40), (0, 0)],
    ),
}


@pytest.mark.parametrize("kind", TABLES)
def test_the_order_in_which_a_table_was_filled_leaves_no_trace(kind, tmp_path, fresh):
    make, key_dtype, value_dtype, shape, keys = TABLES[kind]
    with tf.Graph().as_default() as graph:
        table = make(key_dtype, value_dtype, shape)
        key = v1.placeholder(key_dtype, np.shape(keys[:1]), name="key")
        asked = v1.placeholder(key_dtype, np.shape(keys), name="asked")
        value = v1.placeholder(value_dtype, (1, *shape))
        tf.identity(table.lookup(asked), name="y")
        insert, remove = table.insert(key, value), table.remove(key)
    written = []
    for order in (keys, keys[::-1]):
        with v1.Session(graph=graph) as session:
            for one in (*order, order[0]):
                session.run(remove, {key: [one]})
                held = np.full((1, *shape), keys.index(one) + 1)
                session.run(insert, {key: [one], value: held})
            expected = session.run("y:0", {asked: keys}).tolist()
            path = tmp_path / f"{len(written)}.pb"
            model = Freezer(session).outputs("y").write(path)
        assert model.run("y:0", {"asked:0": keys}).tolist() == expected
        written.append(path.read_bytes())
    assert written[0] == written[1]
    assert len(written[0]) < 4000
    again = Freezer(model).freeze()
    assert again.run("y:0", {"asked:0": keys}).tolist() == expected
    if key_dtype != tf.string:
        feeds = json.dumps({"asked:0": keys})
        printed = fresh(FOREIGN, tmp_path / "0.pb", json.dumps(["y:0"]), feeds)
        assert json.loads(printed) == [expected]


def test_a_dense_table_whose_empty_key_is_computed():
    with tf.Graph().as_default() as graph:
        empty = v1.placeholder_with_default(np.int64(-1), ())
        table = tf.lookup.experimental.DenseHashTable(tf.int64, tf.int64, 0, empty, -2)
        asked = v1.placeholder(tf.int64, [None], name="asked")
        tf.identity(table.lookup(asked), name="y")
        insert = table.insert(tf.constant([5, 3], tf.int64), tf.constant([50, 30], tf.int64))
    with v1.Session(graph=graph) as session:
        session.run(insert)
        model = Freezer(session).outputs("y").freeze()
    assert model.run("y:0", {"asked:0": [3, 4, 5]}).tolist() == [30, 0, 50]


@pytest.mark.parametrize("layer", ["StringLookup", "TextVectorization", "IntegerLookup"])
def test_layers_that_look_words_up(layer, tmp_path):
    import keras

    if layer == "IntegerLookup":
        x, asked = keras.Input((2,), dtype="int64", name="x"), np.int64([[7, 1], [9, 7]])
        made = keras.layers.IntegerLookup(vocabulary=[7, 9])
    elif layer == "StringLookup":
        x, asked = keras.Input((2,), dtype="string", name="x"), np.array([["a", "?"], ["b", "a"]])
        made = keras.layers.StringLookup(vocabulary=["a", "b"])
    else:
        x, asked = keras.Input((), dtype="string", name="x"), np.array(["a b", "b c a"])
        made = keras.layers.TextVectorization(vocabulary=["a", "b"], output_sequence_length=3)
    model = keras.Model(x, made(x))
    expected = model(tf.constant(asked)).numpy()
    frozen = Freezer(model).write(tmp_path / "model.pb")
    assert (frozen.run(frozen.outputs[0], {frozen.inputs[0]: asked}) == expected).all()


@pytest.mark.parametrize("kind", ["resource", "ref"])
def test_kept_variables_begin_with_their_values(kind, tmp_path, fresh):
    with tf.Graph().as_default() as graph:
        use_resource = kind == "resource"
        w = v1.get_variable("w", initializer=[[2.0, 3.0]], use_resource=use_resource)
        count = v1.get_variable("count", initializer=5, use_resource=use_resource)
        with tf.control_dependencies([v1.assign_add(count, 1)]):
            tf.identity(w * 2.0, name="y")
        tf.identity(count, name="seen")
        init = v1.global_variables_initializer()
    with v1.Session(graph=graph) as session:
        session.run(init)
        session.run("y:0")
        freezer = Freezer(session).outputs("y", "seen").keep_variables("count")
        model = freezer.freeze()
    assert model.run("seen:0") == 6
    assert model.run("y:0").tolist() == [[4.0, 6.0]]
    assert model.run("seen:0") == 7
    model.write(tmp_path / "model.pb")
    printed = fresh(FOREIGN, tmp_path / "model.pb", json.dumps(["y:0"]), "{}")
    assert json.loads(printed) == [[[4.0, 6.0]]]


def test_a_kept_variable_without_a_value():
    with tf.Graph().as_default() as graph:
        tf.identity(v1.get_variable("late", [2]), name="y")
    with v1.Session(graph=graph) as session, pytest.raises(FreezeError, match=r"late.*no value"):
        Freezer(session).outputs("y").keep_variables("late").freeze()


@pytest.mark.parametrize("kind", ["static", "mutable", "keys of two"])
@pytest.mark.parametrize("source", ["function", "session"])
def test_tables_of_which_only_the_size_or_all_is_asked(source, kind, tmp_path, fresh):
    def make():
        if kind == "static":
            pairs = tf.lookup.KeyValueTensorInitializer(["a", "b"], [1.0, 2.0])
            return tf.lookup.StaticHashTable(pairs, 0.0)
        if kind == "keys of two":
            table = dense_table((-1, -1), (-1, -2))(tf.int64, tf.int64, ())
            inserts.append(table.insert(tf.constant([[1, 2], [3, 4]], tf.int64), [5, 6]))
        else:
            table = mutable_table(tf.int64, tf.float32, (2,))
            inserts.append(table.insert(tf.constant([4, 3], tf.int64), [[4.0, 0.0], [3.0, 0.0]]))
        return table

    inserts = []
    if source == "function":
        counted, listed = make(), make()
        size = tf.function(tf.function(counted.size), input_signature=[])
        everything = tf.function(listed.export, input_signature=[])
        freezers = [Freezer(size), Freezer(everything)]
    else:
        with tf.Graph().as_default() as graph:
            counted, listed = make(), make()
            tf.identity(counted.size(), name="size")
            for part, name in zip(listed.export(), ("keys", "values"), strict=True):
                tf.identity(part, name=name)
            set_up = v1.tables_initializer()
        session = v1.Session(graph=graph)
        session.run([set_up, *inserts])
        freezers = [Freezer(session).outputs(*names) for names in (["size"], ["keys", "values"])]
    first = freezers[0].freeze()
    assert first.run(first.outputs[0]) == 2
    same_everywhere(freezers[0], tmp_path, fresh, [first.outputs[0].name], {}, [2])
    if (source, kind) == ("function", "keys of two"):
        with pytest.raises(FreezeError, match="stands for a table"):
            freezers[1].freeze()
        return
    second = freezers[1].freeze()
    keys, values = second.run(list(second.outputs))
    if kind == "keys of two":
        entries = {tuple(k): v for k, v in zip(keys.tolist(), values.reshape(-1), strict=True)}
        assert {k: v for k, v in entries.items() if k[0] > 0} == {(1, 2): 5, (3, 4): 6}
    elif kind == "mutable":
        assert dict(zip(keys.tolist(), values[:, 0].tolist(), strict=True)) == {3: 3.0, 4: 4.0}
    else:
        assert dict(zip(keys.tolist(), values.tolist(), strict=True)) == {b"a": 1.0, b"b": 2.0}


@pytest.mark.parametrize("form", ["float16", "int8"])
@pytest.mark.parametrize("optimized", [False, True])
def test_what_an_initializer_puts_into_a_table_stays_exact(form, optimized):
    held = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    with tf.Graph().as_default() as graph:
        table = tf.raw_ops.MutableHashTableOfTensorsV2(
            key_dtype=tf.int64, value_dtype=tf.float32, value_shape=[4], shared_name="own"
        )
        keys = tf.range(500, dtype=tf.int64)
        fill = tf.raw_ops.LookupTableImportV2(table_handle=table, keys=keys, values=held)
        asked = v1.placeholder(tf.int64, [None], name="asked")
        found = tf.raw_ops.LookupTableFindV2(
            table_handle=table, keys=asked, default_value=tf.zeros(4)
        )
        tf.identity(found, name="found")
        tf.matmul(found, tf.constant(held.reshape(4, 500)), name="y")
    with v1.Session(graph=graph) as session:
        session.run(fill)
        freezer = Freezer(session).outputs("found", "y").weights(form)
        model = (freezer.optimize() if optimized else freezer).freeze()
    assert (model.run("found", {"asked": np.arange(500)}) == held).all()
    smaller = [spec for spec in model.graph.payloads.values() if spec.spec.dtype == form]
    assert len(smaller) == 1


def tally(kind):
    """A session with a table and a variable that stay, and one that counts calls."""
    with tf.Graph().as_default() as graph:
        seen = v1.get_variable("seen", initializer=5, use_resource=kind == "resource")
        count = v1.get_variable("count", initializer=7, use_resource=kind == "resource")
        table = mutable_table(tf.int64, tf.int64, ())
        asked = v1.placeholder(tf.int64, [None], name="asked")
        found = table.lookup(asked) + tf.cast(seen, tf.int64)
        with tf.control_dependencies([v1.assign_add(count, 1)]):
            tf.identity(found, name="y")
        insert = table.insert(tf.constant([3, 4], tf.int64), tf.constant([30, 40], tf.int64))
        init = v1.global_variables_initializer()
    session = v1.Session(graph=graph)
    session.run([init, insert])
    return session


@pytest.mark.parametrize("kind", ["resource", "ref"])
@pytest.mark.parametrize("given", ["model", "file"])
def test_what_is_kept_stays_when_it_is_frozen_again(kind, given, tmp_path, fresh):
    feeds = {"asked:0": [3, 9]}
    with tally(kind) as session:
        first = Freezer(session).outputs("y").keep_variables("seen", "count")
        first = first.write(tmp_path / "first.pb")
    source = first if given == "model" else tmp_path / "first.pb"
    again = Freezer(source).parity(feeds)
    same_everywhere(again, tmp_path, fresh, ["y:0"], feeds, [[35, 5]])
    unproven = Freezer(source).write(tmp_path / "again.pb")
    assert (tmp_path / "again.pb").read_bytes() == (tmp_path / "first.pb").read_bytes()
    assert unproven.run("y:0", feeds).tolist() == [35, 5]
    constant = Freezer(source).only_variables("seen").write(tmp_path / "constant.pb")
    assert constant.run("y:0", feeds).tolist() == [35, 5]
    kept = [node.name for node in constant.graph.proto.node if node.op[:3] == "Var"]
    assert kept == ["count"]
    with pytest.raises(FreezeError, match="needs 'count' as a variable"):
        Freezer(source).only_variables("*").freeze()


def test_a_session_on_a_frozen_graph_is_frozen_again(tmp_path, fresh):
    feeds = {"asked:0": [3, 9]}
    with tally("resource") as session:
        Freezer(session).outputs("y").keep_variables("*").write(tmp_path / "first.pb")
    definition = v1.GraphDef.FromString((tmp_path / "first.pb").read_bytes())
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(definition, name="")
        (table,) = (op for op in graph.get_operations() if op.type == "MutableHashTableV2")
        tf.raw_ops.LookupTableExportV2(
            table_handle=table.outputs[0], Tkeys=tf.int64, Tvalues=tf.int64
        )
        tf.raw_ops.ReadVariableOp(resource=graph.get_tensor_by_name("count:0"), dtype=tf.int32)
    with v1.Session(graph=graph) as session:
        session.run("tfpersist/init")
        freezer = Freezer(session).outputs("y").keep_variables("*")
        same_everywhere(freezer, tmp_path, fresh, ["y:0"], feeds, [[35, 5]])


def test_a_kept_variable_that_nothing_sets_up():
    with tally("resource") as session:
        proto = Freezer(session).outputs("y").keep_variables("*").freeze().graph.proto
    broken = type(proto)()
    broken.CopyFrom(proto)
    nodes = {node.name: node for node in broken.node}
    del nodes["tfpersist/init/count/assign"].input[:]
    with pytest.raises(FreezeError, match=r"count.*no value"):
        Freezer(broken).outputs("y").keep_variables("count").freeze()
    nodes["tfpersist/init"].input.append("^elsewhere")
    with pytest.raises(tfp.errors.GraphError, match="elsewhere"):
        Freezer(broken).outputs("y").freeze()


def test_the_passes_have_names_of_their_own():
    assert len({step.name for step in PASSES}) == len(PASSES)


def test_a_pass_that_the_options_do_not_ask_for_is_skipped():
    skipped = Pass("fail", lambda draft: 1 / 0, lambda options: options.optimized)
    plain = draft(placeholder("x"))
    assert skipped(plain) is plain
    with pytest.raises(ZeroDivisionError):
        skipped(draft(placeholder("x"), optimized=True))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("bake values", {"baked": {"x": 1.0}}),
        ("optimize", {"optimized": True}),
        ("convert to the target", {"target": "1.15"}),
        ("compress weights", {"weights": "int8"}),
    ],
)
def test_a_pass_that_is_asked_for_applies(name, options):
    (step,) = (step for step in PASSES if step.name == name)
    assert step.applies(Options(**options))
    assert not step.applies(Options())


def test_endless_calls_are_refused_before_anything_follows_them():
    text = node("y", "f") + 'library { function { signature { name: "f" } node_def { op: "f" } } }'
    with pytest.raises(GraphError):
        freeze(draft(text).source, Options(outputs=("y",)))
