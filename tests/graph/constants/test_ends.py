"""Outputs, inputs and kept variables that a user chooses."""

import types

import pytest

from tfpersist.errors import FreezeError, NameNotFoundError
from tfpersist.formats.graphdef import parse_text
from tfpersist.formats.tensors import TensorSpec
from tfpersist.graph.constants.ends import (
    cut_at_inputs,
    find_outputs,
    input_name,
    kept_variables,
    output_name,
)
from tfpersist.graph.structure.lowered import Lowered, SourceSignature
from tfpersist.graph.structure.names import Labels, find_tensor

FLOAT = 'attr { key: "%s" value { type: DT_FLOAT } }'
GRAPH = parse_text(
    f"""
    node {{ name: "x" op: "Placeholder" {FLOAT % "dtype"} }}
    node {{ name: "h" op: "Neg" input: "x" {FLOAT % "T"} }}
    node {{ name: "y" op: "Abs" input: "h" {FLOAT % "T"} }}
    node {{ name: "side" op: "Abs" input: "x" {FLOAT % "T"} }}
    node {{ name: "w" op: "VarHandleOp" {FLOAT % "dtype"} }}
    node {{ name: "net/b" op: "VariableV2" {FLOAT % "dtype"} }}
    node {{ name: "table/part_0" op: "VarHandleOp" {FLOAT % "dtype"} }}
    node {{ name: "table/part_1" op: "VarHandleOp" {FLOAT % "dtype"} }}
    """.encode()
)


def source(**facts):
    return Lowered(GRAPH, {}, **facts)


class TestOutputs:
    def test_names_and_labels(self):
        lowered = source(labels=Labels({"in": "x:0"}, {"result": "y:0", "h": "side:0"}))
        tensors, operations = find_outputs(lowered, ["result", "side"])
        assert [ref.name for ref in tensors] == ["y:0", "side:0"]
        assert operations == []
        # What the source calls an output comes before the name of an operation.
        assert output_name("h", lowered) == "side:0"
        assert output_name("h:0", lowered) == "h:0"
        assert output_name("in", lowered) == "x:0"
        with pytest.raises(NameNotFoundError, match="the output 'side:0' or the operation 'h:0'"):
            input_name("h", lowered)

    def test_the_outputs_of_the_source(self):
        tensors, _ = find_outputs(source(outputs=("y:0",)), [])
        assert [ref.name for ref in tensors] == ["y:0"]

    def test_operations_without_outputs(self):
        graph = parse_text(b'node { name: "x" op: "Const" } node { name: "all" op: "NoOp" }')
        assert find_outputs(Lowered(graph, {}, outputs=("all",)), []) == ([], ["all"])
        labels = Labels({}, {"train": "all"})
        assert find_outputs(Lowered(graph, {}, labels=labels), ["train"]) == ([], ["all"])

    def test_signatures_to_choose_from(self):
        signatures = [
            SourceSignature(name, {"x": TensorSpec("float32", (2,))}, {"y": None}) for name in "ab"
        ]
        with pytest.raises(FreezeError, match="no outputs are named") as caught:
            find_outputs(source(signatures=tuple(signatures)), [])
        assert 'signature("a")' in caught.value.advice
        assert caught.value.advice.endswith("\n  a: x float32[2] -> y\n  b: x float32[2] -> y")

    def test_likely_outputs(self):
        with pytest.raises(FreezeError, match=r"no outputs are named.*Likely ones are .*y:0"):
            find_outputs(source(), [])

    def test_many_likely_outputs(self):
        nodes = "".join(f'node {{ name: "y{n}" op: "Neg" input: "x" }}\n' for n in range(20))
        graph = parse_text(f'node {{ name: "x" op: "Placeholder" }} {nodes}'.encode())
        with pytest.raises(FreezeError, match=r" and 8 more"):
            find_outputs(Lowered(graph, {}), [])


class TestInputs:
    def cut(self, *inputs, strict=True, **facts):
        lowered = source(**facts)
        return cut_at_inputs(lowered, [find_tensor(GRAPH, "y")], inputs, strict=strict)

    def test_the_graph_is_unchanged_without_inputs(self):
        found = self.cut()
        assert found.lowered.graph is GRAPH
        assert found.renamed == {}

    def test_the_graph_begins_at_a_tensor(self):
        found = self.cut(("features", "h"), labels=Labels({"hidden": "h:0"}))
        assert found.renamed == {"h:0": "features:0"}
        assert found.lowered.inputs == ("features:0",)
        assert found.lowered.labels == Labels({"hidden": "features:0"})
        assert found.lowered.graph.nodes["y"].input == ["features"]

    def test_a_label_of_the_signature(self):
        assert self.cut(("in", "hidden"), labels=Labels({"hidden": "h:0"})).renamed == {
            "h:0": "in:0"
        }

    def test_an_input_that_is_an_output(self):
        found = self.cut(("in", "y"))
        assert [ref.name for ref in found.outputs] == ["in:0"]

    def test_an_input_that_is_not_needed(self):
        with pytest.raises(FreezeError, match=r"^side:0: the outputs do not depend on this input"):
            self.cut(("h", "h"), ("side", "side"))
        assert self.cut(("side", "side"), strict=False).renamed == {"side:0": "side:0"}


class TestKeptVariables:
    def kept(self, *keep, only=None, pruned=GRAPH, **facts):
        return kept_variables(source(**facts), pruned, keep, only)

    def test_names_globs_and_parts(self):
        assert self.kept("w") == {"w"}
        assert self.kept("w:0", "net/*") == {"w", "net/b"}
        assert self.kept("table") == {"table/part_0", "table/part_1"}

    def test_a_variable_can_be_named_by_its_object(self):
        variable = types.SimpleNamespace(value=object())
        assert self.kept(variable, objects={"w": variable}) == {"w"}
        assert self.kept(variable, objects={"w": variable.value}) == {"w"}
        assert self.kept(types.SimpleNamespace(name="net/b:0")) == {"net/b"}
        assert self.kept(types.SimpleNamespace(path="net/b", name="b")) == {"net/b"}

    def test_only_some_become_constants(self):
        others = {"net/b", "table/part_0", "table/part_1"}
        assert self.kept(only=["w"]) == others
        assert self.kept("w", only=["w"]) == {"w"} | others

    def test_variables_that_the_source_keeps_stay(self):
        assert self.kept(kept=frozenset({"w"})) == {"w"}
        assert self.kept(only=["*", "table"], kept=frozenset({"w"})) == set()

    def test_a_variable_that_no_output_needs_is_not_kept(self):
        assert self.kept("w", pruned=parse_text(b'node { name: "x" }')) == set()

    def test_a_name_without_a_variable_is_refused(self):
        with pytest.raises(NameNotFoundError, match=r"no variable 'net/bb'.*net/b"):
            self.kept("net/bb")
