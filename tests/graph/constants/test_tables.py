"""Tables: what fills them, and files and attrs that TensorFlow would not have written."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compat import v1

import tfpersist as tfp
from tfpersist.errors import FreezeError
from tfpersist.formats.graphdef import parse_text
from tfpersist.freezer.freezer import Freezer
from tfpersist.graph.constants.tables import fill_tables, size_is_read, table_types
from tfpersist.graph.structure.lowered import Lowered

GRAPH = """
node { name: "table" op: "HashTableV2" attr { key: "key_dtype" value { type: DT_STRING } }
  attr { key: "value_dtype" value { type: DT_INT32 } } }
node { name: "file" op: "Const" attr { key: "dtype" value { type: DT_STRING } }
  attr { key: "value" value { tensor { %s } } } }
node { name: "fill" op: "InitializeTableFromTextFileV2" input: "table" input: "file"
  attr { key: "key_index" value { i: 0 } } attr { key: "value_index" value { i: %d } } }
node { name: "find" op: "LookupTableFindV2" input: "table" input: "x" input: "y"
  attr { key: "Tin" value { type: DT_STRING } } attr { key: "Tout" value { type: DT_INT32 } } }
node { name: "x" op: "Placeholder" } node { name: "y" op: "Placeholder" }
"""
NAMED = 'dtype: DT_STRING tensor_shape { } string_val: "dir/words.txt"'


def lowered(name, column, text=b""):
    graph = parse_text((GRAPH % (name, column)).encode())
    return Lowered(graph, {}, read=lambda path, where: {"dir/words.txt": text}[path])


def test_a_file_fills_a_table():
    _, run = fill_tables(lowered(NAMED, 1, b"a\t1\nb\t2\n"), ["find:0"])
    assert len(run) == 1


@pytest.mark.parametrize("line", [b"a\t" + b"9" * 30, b"a\t" + b"9" * 5000, b"a", b"a\tb"])
def test_a_line_that_is_not_a_number_of_the_type(line):
    with pytest.raises(FreezeError, match="a line of the file has no value"):
        fill_tables(lowered(NAMED, 1, line), ["find:0"])


@pytest.mark.parametrize(
    "name", ["dtype: DT_STRING tensor_shape { dim { size: 0 } }", "dtype: DT_INT32 int_val: 5"]
)
def test_a_constant_that_is_not_a_path(name):
    with pytest.raises(FreezeError, match="file that fills this lookup table is not known"):
        fill_tables(lowered(name, 1), ["find:0"])


TABLE = """
node { name: "table" op: "%s" attr { key: "key_dtype" value { type: DT_STRING } }
  attr { key: "value_dtype" value { type: DT_INT32 } } }
node { name: "find" op: "LookupTableFindV2" input: "table" input: "x" input: "y"
  attr { key: "Tin" value { type: DT_STRING } } attr { key: "Tout" value { type: DT_INT32 } } }
node { name: "x" op: "Placeholder" } node { name: "y" op: "Placeholder" }
"""
FILL = """
node { name: "%s" op: "InitializeTableV2" input: "table" input: "%s" input: "values" }
node { name: "keys" op: "Const" } node { name: "values" op: "Const" } """


def source(text, **facts):
    return Lowered(parse_text(text.encode()), {}, **facts)


def exports(text, keys=(b"b", b"a"), values=(2, 1)):
    """Return a source whose table exports its content."""
    content = np.array([*keys], object), np.array(values, np.int32)
    return source(text, tables={"table": lambda: content})


class TestOperations:
    def test_the_initializer_of_the_graph(self):
        lowered = Lowered(
            parse_text((TABLE % "HashTableV2" + FILL % ("fill", "keys")).encode()), {}
        )
        filled, operations = fill_tables(lowered, ["find:0"])
        assert operations == ["fill"]
        assert filled.graph.proto == lowered.graph.proto

    def test_the_first_of_several(self):
        again = (
            'node { name: "again" op: "LookupTableImportV2" input: "table" input: "k" input: "k" }'
        )
        text = TABLE % "MutableHashTableV2" + FILL % ("fill", "keys")
        text += again + 'node { name: "k" op: "Const" }'
        assert fill_tables(source(text), ["find:0"])[1] == ["fill"]

    def test_a_table_that_no_output_needs(self):
        lowered = source(TABLE % "HashTableV2")
        assert fill_tables(lowered, ["x:0"]) == (lowered, [])

    def test_keys_that_a_user_must_feed(self):
        text = TABLE % "HashTableV2" + FILL % ("fill", "x")
        with pytest.raises(FreezeError, match=r"table table \(HashTableV2\).*got placeholder x"):
            fill_tables(source(text), ["find:0"])

    def test_a_restored_table_has_its_content_in_the_checkpoint(self):
        text = (
            TABLE % "MutableHashTableV2"
            + """
            node { name: "restore" op: "RestoreV2" }
            node { name: "fill" op: "LookupTableImportV2"
              input: "table" input: "restore" input: "restore:1" }"""
        )
        lowered = source(text, problems={"table": "it was lost"})
        with pytest.raises(FreezeError, match="it was lost"):
            fill_tables(lowered, ["find:0"])

    def test_a_table_without_content_is_refused(self):
        lowered = source(TABLE % "HashTableV2")
        with pytest.raises(
            FreezeError, match=r"content of this lookup table is not known.*inputs\(\)"
        ):
            fill_tables(lowered, ["find:0"])

    def test_a_function_that_fills(self):
        text = (
            TABLE % "HashTableV2"
            + """
            node { name: "call" op: "init" input: "table" }
            library { function {
              signature { name: "init" input_arg { name: "t" type: DT_RESOURCE } }
              node_def { name: "k" op: "Const" }
              node_def { name: "fill" op: "InitializeTableV2"
                input: "t" input: "k:output:0" input: "k:output:0" } } }"""
        )
        assert fill_tables(source(text), ["find:0"])[1] == ["call"]


class TestExports:
    @pytest.mark.parametrize(
        ("op", "fill"),
        [
            ("HashTable", "InitializeTable"),
            ("HashTableV2", "InitializeTableV2"),
            ("MutableHashTable", "LookupTableImport"),
            ("MutableHashTableV2", "LookupTableImportV2"),
        ],
    )
    def test_an_op_of_the_same_version_fills_it(self, op, fill):
        filled, operations = fill_tables(exports(TABLE % op), ["find:0"])
        assert operations == ["tfpersist/init/table/fill"]
        node = filled.graph.nodes["tfpersist/init/table/fill"]
        assert (node.op, [*node.input]) == (
            fill,
            ["table", "tfpersist/init/table/keys", "tfpersist/init/table/values"],
        )
        names = ("Tkey", "Tval") if op.startswith("Hash") else ("Tin", "Tout")
        assert {name: value.type for name, value in node.attr.items()} == dict(
            zip(names, (7, 3), strict=True)
        )
        assert [*filled.graph.nodes[node.input[1]].attr["value"].tensor.string_val] == [b"a", b"b"]
        assert filled.graph.payloads[node.input[2]].load().tolist() == [1, 2]

    def test_the_buckets_of_a_dense_table_do_not_say_their_shape(self):
        """The shape function of the op takes keys of rank 1 alone."""
        text = TABLE % "MutableDenseHashTableV2" + 'node { name: "empty" op: "Placeholder" }'
        lowered = exports(
            text.replace('HashTableV2"', 'HashTableV2" input: "empty"'), [[b"a", b"b"]]
        )
        filled, _ = fill_tables(lowered, ["find:0"])
        fill = filled.graph.nodes["tfpersist/init/table/fill"]
        passed = [filled.graph.nodes[name] for name in fill.input[1:]]
        assert [node.op for node in passed] == ["PlaceholderWithDefault"] * 2
        assert all(node.attr["shape"].shape.unknown_rank for node in passed)
        assert [[*node.input] for node in passed] == [
            ["tfpersist/init/table/keys"],
            ["tfpersist/init/table/values"],
        ]


class TestPaths:
    PATH = 'dtype: DT_STRING tensor_shape {} string_val: "/old/machine/words.txt"'

    @pytest.mark.parametrize("asset", ["words.txt", "file:0"])
    def test_a_file_that_has_moved(self, asset):
        graph = parse_text((GRAPH % (self.PATH, 1)).encode())
        read = {"dir/words.txt": b"a\t1\n"}
        lowered = Lowered(graph, {}, assets={asset: "dir/words.txt"}, read=lambda p, _: read[p])
        assert len(fill_tables(lowered, ["find:0"])[1]) == 1

    def test_a_path_in_a_variable(self):
        text = (GRAPH % (NAMED, 1)).replace(
            'input: "table" input: "file"', 'input: "table" input: "r"'
        )
        text += """node { name: "v" op: "VarHandleOp" }
            node { name: "r" op: "ReadVariableOp" input: "v" }
            node { name: "assign" op: "AssignVariableOp" input: "v" input: "file" }"""
        read = {"dir/words.txt": b"a\t1\n"}
        lowered = source(text, read=lambda path, _: read[path])
        assert len(fill_tables(lowered, ["find:0"])[1]) == 1


BRANCH = """
node { name: "t" op: "Placeholder" } node { name: "p" op: "Placeholder" }
node { name: "same" op: "Identity" input: "t" }
node { name: "if" op: "If" input: "p" input: "same"
  attr { key: "then_branch" value { func { name: "f" } } }
  attr { key: "else_branch" value { func { name: "f" } } } }
library { function {
  signature { name: "f" input_arg { name: "a" type: DT_RESOURCE } }
  node_def { name: "use" op: "%s" input: "%s" input: "^a"
    attr { key: "%s" value { type: DT_STRING } } attr { key: "%s" value { type: DT_INT64 } } } } }
"""


class TestUsers:
    """A node of the main graph stands for a table; functions use it."""

    @pytest.mark.parametrize(
        ("op", "attrs"),
        [("LookupTableFindV2", ("Tin", "Tout")), ("LookupTableExportV2", ("Tkeys", "Tvalues"))],
    )
    def test_its_types_are_those_of_its_users(self, op, attrs):
        graph = parse_text((BRANCH % (op, "a", *attrs)).encode())
        assert table_types(graph, "t") == (7, 9)
        assert table_types(graph, "p") is None
        assert not size_is_read(graph, "t")

    def test_its_size_is_read(self):
        graph = parse_text((BRANCH % ("LookupTableSizeV2", "a", "Tin", "Tout")).encode())
        assert size_is_read(graph, "t")
        assert table_types(graph, "t") is None

    def test_a_node_that_only_waits_for_it_does_not_use_it(self):
        graph = parse_text((BRANCH % ("LookupTableSizeV2", "b", "Tin", "Tout")).encode())
        assert not size_is_read(graph, "t")


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


def test_tables_of_a_session(words, tmp_path, same_everywhere):
    expected = expected_of(words)
    assert expected[0] == [10, -1, -1]
    freezer = Freezer(words).outputs(*OUTPUTS)
    (tmp_path / "words.txt").rename(tmp_path / "moved.txt")
    with pytest.raises(tfp.errors.StorageError):
        freezer.freeze()
    (tmp_path / "moved.txt").rename(tmp_path / "words.txt")
    freezer.freeze()
    same_everywhere(freezer, OUTPUTS, FEEDS, expected)


def test_tables_of_a_checkpoint(words, tmp_path, same_everywhere):
    expected = expected_of(words)
    checkpoint = tfp.ModelStore(tmp_path / "runs").save(words, step=1)
    with pytest.raises(tfp.UnsafeModelError, match=r"StaticVocabularyTable|words\.txt"):
        Freezer(checkpoint).outputs(*OUTPUTS).freeze()
    freezer = Freezer(checkpoint, policy=tfp.Policy.trusted()).outputs(*OUTPUTS)
    same_everywhere(freezer, OUTPUTS, FEEDS, expected)


@pytest.mark.parametrize("source", ["function", "SavedModel"])
def test_tables_of_a_module(source, tmp_path, same_everywhere):
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
    same_everywhere(freezer, names, feeds, expected)


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


@pytest.mark.parametrize("kind", ["static", "mutable", "keys of two"])
@pytest.mark.parametrize("source", ["function", "session"])
def test_tables_whose_size_or_whole_content_is_read(source, kind, same_everywhere):
    def make():
        if kind == "static":
            pairs = tf.lookup.KeyValueTensorInitializer(["a", "b"], [1.0, 2.0])
            return tf.lookup.StaticHashTable(pairs, 0.0)
        if kind == "keys of two":
            empty, deleted = (tf.constant(key, tf.int64) for key in ((-1, -1), (-1, -2)))
            default = tf.constant(0, tf.int64)
            dense = tf.lookup.experimental.DenseHashTable
            table = dense(tf.int64, tf.int64, default, empty, deleted)
            inserts.append(table.insert(tf.constant([[1, 2], [3, 4]], tf.int64), [5, 6]))
        else:
            table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, [0.0, 0.0])
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
    same_everywhere(freezers[0], [first.outputs[0].name], {}, [2])
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
def test_values_of_a_table_are_not_compressed(form, optimized):
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
