"""A graph and a checkpoint: which tensor belongs to which variable or table."""

from __future__ import annotations

import numpy as np
import pytest

from tfpersist.errors import CorruptionError
from tfpersist.formats import schema
from tfpersist.formats.graphdef import Graph
from tfpersist.formats.tensors import Slice, TensorSpec, payload_of
from tfpersist.graph.constants.from_saver import Source, lower, parse_slice, sources

VALUE = np.arange(12, dtype=np.float32).reshape(4, 3)


def strings(name, *values):
    node = schema.NodeDef(name=name, op="Const")
    tensor = node.attr["value"].tensor
    tensor.dtype = 7
    tensor.tensor_shape.dim.add(size=len(values))
    tensor.string_val.extend(value.encode() for value in values)
    return node


def node(name, op, *inputs):
    return schema.NodeDef(name=name, op=op, input=inputs)


@pytest.fixture
def meta():
    """A saver with other names, a part of a variable, and one variable that it leaves out."""
    meta = schema.MetaGraphDef()
    meta.graph_def.node.extend(
        [
            node("ref", "VariableV2"),
            node("handle", "VarHandleOp"),
            node("loose", "VarHandleOp"),
            strings("save/names", "other", "whole"),
            strings("save/slices", "", "4 3 2,2:0,3"),
            node("save/restore", "RestoreV2", "save/file", "save/names", "save/slices"),
            node("save/assign", "Assign", "ref", "save/restore"),
            node("save/value", "Identity", "save/restore:1"),
            node("save/assign_1", "AssignVariableOp", "handle", "save/value"),
            node("save/all", "NoOp", "^save/assign", "^save/assign_1"),
            node("train/assign", "Assign", "ref", "handle"),
        ]
    )
    meta.graph_def.node[2].attr["shared_name"].s = b"scope/loose"
    meta.saver_def.restore_op_name = "save/all"
    return meta


def test_the_saver_tells_what_belongs_to_what(meta):
    part = Slice("whole", (4, 3), (2, 0), (2, 3))
    assert sources(Graph(meta.graph_def), meta) == {
        "ref": Source("other"),
        "handle": Source("whole", part),
    }


def test_values_parts_and_what_is_missing(meta):
    specs = {"other": TensorSpec("float32", (4, 3)), "whole": TensorSpec("float32", (4, 3))}
    lowered = lower(Graph(meta.graph_def), meta, specs, lambda key: payload_of(VALUE))
    np.testing.assert_array_equal(lowered.variables["ref"].load(), VALUE)
    np.testing.assert_array_equal(lowered.variables["handle"].load(), VALUE[2:])
    assert lowered.variables["handle"].spec == TensorSpec("float32", (2, 3))
    assert "scope/loose" in lowered.problems["loose"]
    assert not lowered.live


def test_without_a_saver_the_collections_and_names_count(meta):
    meta.ClearField("saver_def")
    variable = schema.VariableDef(variable_name="handle:0")
    info = variable.save_slice_info_def
    info.full_name = "whole"
    for numbers, values in ((info.full_shape, (4, 3)), (info.var_offset, (0, 0)),
                            (info.var_shape, (2, 3))):  # fmt: skip
        numbers.extend(values)
    meta.collection_def["variables"].bytes_list.value.append(variable.SerializeToString())
    meta.collection_def["other"].bytes_list.value.append(b"\xff")
    found = sources(Graph(meta.graph_def), meta)
    assert found == {"handle": Source("whole", Slice("whole", (4, 3), (0, 0), (2, 3)))}


def test_only_control_inputs_lead_to_what_the_saver_runs(meta):
    """The saver waits for a node that reads another assignment; that one is not its own."""
    meta.graph_def.node[10].CopyFrom(node("train/assign", "Assign", "loose", "save/restore:1"))
    meta.graph_def.node.append(node("save/print", "PrintV2", "train/assign"))
    meta.graph_def.node[9].input.append("^save/print")
    assert set(sources(Graph(meta.graph_def), meta)) == {"ref", "handle"}


PAIR = {name: TensorSpec("int64", (4, 3)) for name in ("t-keys", "t-values")}
SAVED = {name: TensorSpec("int64", (4, 3)) for name in ("words", "numbers")}


class TestTables:
    def lowered(self, meta, specs):
        asked = []

        def payload(key):
            asked.append(key)
            return payload_of(VALUE)

        return lower(Graph(meta.graph_def), meta, specs, payload), asked

    @pytest.fixture
    def with_saver(self, meta):
        meta.graph_def.node.append(node("t", "HashTableV2"))
        meta.graph_def.node[3].CopyFrom(strings("save/names", "words", "numbers"))
        meta.graph_def.node[4].CopyFrom(strings("save/slices", "", ""))
        restored = ("save/restore:0", "save/restore:1")
        meta.graph_def.node[6].CopyFrom(node("save/assign", "LookupTableImportV2", "t", *restored))
        return meta

    def test_the_saver_tells_where_a_table_is(self, with_saver):
        lowered, asked = self.lowered(with_saver, PAIR | SAVED)
        keys, values = lowered.tables["t"]()
        assert (keys.tolist(), values.tolist()) == (VALUE.tolist(), VALUE.tolist())
        assert asked[-2:] == ["words", "numbers"]

    def test_a_table_is_found_by_its_name(self, meta):
        meta.graph_def.node.append(node("t", "HashTableV2"))
        lowered, asked = self.lowered(meta, PAIR)
        assert set(lowered.tables) == {"t"}
        assert asked == ["t-keys", "t-values"]

    def test_a_table_that_the_checkpoint_lacks(self, with_saver):
        lowered, _ = self.lowered(with_saver, {"words": SAVED["words"]})
        assert not lowered.tables
        assert lowered.problems["t"] == "the checkpoint has no tensor 'numbers'"


def test_loops_in_a_graph_end(meta):
    meta.graph_def.node.extend([node("p", "Identity", "q"), node("q", "Identity", "p")])
    meta.graph_def.node[6].input[1] = "p"
    meta.graph_def.node[9].input.append("^save/all")
    assert "ref" not in sources(Graph(meta.graph_def), meta)


@pytest.mark.parametrize("shape", [[1 << 40], [1] * 32, [1 << 20, 1 << 20]])
def test_a_constant_that_claims_many_names_takes_no_memory(meta, shape):
    names = meta.graph_def.node[3].attr["value"].tensor
    del names.tensor_shape.dim[:], names.string_val[1:]
    for extent in shape:
        names.tensor_shape.dim.add(size=extent)
    found = sources(Graph(meta.graph_def), meta)
    assert found["ref"] == Source("other")
    meta.graph_def.node[6].input[1] = "save/restore:" + "9" * 5000
    assert sources(Graph(meta.graph_def), meta)["ref"] == Source("other")


@pytest.mark.parametrize(
    "text", ["4 3", "4 3 0,1", "4 3 a,b:0,3", "4 3 1:2", "x 0,1", " ", "4 3 ,:,"]
)
def test_parts_that_make_no_sense_are_refused(text):
    with pytest.raises(CorruptionError):
        parse_slice("v", text)
