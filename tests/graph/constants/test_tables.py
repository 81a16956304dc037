"""Tables whose files and attrs are not what TensorFlow would have written."""

from __future__ import annotations

import pytest

from tfpersist.errors import FreezeError
from tfpersist.formats.graphdef import parse_text
from tfpersist.graph.constants.tables import fill_tables
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
