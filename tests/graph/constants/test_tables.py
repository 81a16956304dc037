"""Tables: what fills them, and files and attrs that TensorFlow would not have written."""

from __future__ import annotations

import numpy as np
import pytest

from tfpersist.errors import FreezeError
from tfpersist.formats.graphdef import parse_text
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
def test_a_line_that_is_no_number_of_the_type(line):
    with pytest.raises(FreezeError, match="a line of the file has no value"):
        fill_tables(lowered(NAMED, 1, line), ["find:0"])


@pytest.mark.parametrize(
    "name", ["dtype: DT_STRING tensor_shape { dim { size: 0 } }", "dtype: DT_INT32 int_val: 5"]
)
def test_a_constant_that_is_no_path(name):
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

    def test_a_table_that_nothing_fills(self):
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
