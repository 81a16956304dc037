"""Each pass on the draft of a small graph, without TensorFlow."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from drafts import draft, negative, node, placeholder, variable

from tfpersist.errors import FeedError, FreezeError, GraphError, NameNotFoundError
from tfpersist.freezer import passes
from tfpersist.graph.structure.names import Labels

CHAIN = placeholder("x") + negative("mid", "x") + negative("y", "mid")
SUM = node("y", "AddV2", "x", "read", T="type: DT_FLOAT")
LINEAR = placeholder("x") + variable("w", "read") + SUM


def ops(made):
    return {node.name: node.op for node in made.graph.proto.node}


def run(made, *steps):
    for step in steps:
        made = step(made)
    return made


def test_functions_that_call_themselves_are_refused():
    text = node("y", "f") + 'library { function { signature { name: "f" } node_def { op: "f" } } }'
    with pytest.raises(GraphError):
        passes.refuse_endless_calls(draft(text))
    made = draft(CHAIN)
    assert passes.refuse_endless_calls(made) is made


def test_nodes_that_need_each_other_are_refused():
    text = placeholder("x") + node("a", "AddV2", "x", "y") + node("y", "Neg", "a")
    made = draft(text, outputs=("y",))
    with pytest.raises(GraphError, match="y -> a -> y"):
        run(made, passes.cut_at_inputs, passes.prune_to_outputs)


class TestBakeValues:
    def test_a_baked_tensor_is_not_an_input(self):
        text = placeholder("x") + placeholder("rate") + negative("y", "x")
        labels = Labels({"keep": "rate:0"}, {"keep": "y:0"})
        source = {"inputs": ("x:0", "rate:0"), "outputs": ("y:0",), "labels": labels}
        made = passes.bake_values(draft(text, lowered=source, baked={"keep": 2.0}))
        assert made.lowered.inputs == ("x:0",)
        assert made.graph.nodes["rate"].op == "Const"
        assert {name: value.tolist() for name, value in made.baked.items()} == {"rate:0": 2.0}
        assert made.source.inputs == ("x:0", "rate:0")

    def test_a_name_that_is_not_there(self):
        with pytest.raises(NameNotFoundError, match="'x'"):
            passes.bake_values(draft(CHAIN, baked={"xx": 1.0}))

    def test_a_value_of_another_shape(self):
        text = placeholder("x", "dim { size: 2 }") + negative("y", "x")
        with pytest.raises(FeedError, match=r"x:0.*expected float32\[2\]"):
            passes.bake_values(draft(text, baked={"x": [1.0, 2.0, 3.0]}))


class TestCutAtInputs:
    def test_inputs_of_the_source_are_cut_if_the_user_chooses_nothing(self):
        source = {"inputs": ("mid:0",), "outputs": ("y:0",)}
        made = passes.cut_at_inputs(draft(CHAIN, lowered=source))
        assert made.graph.nodes["mid"].op == "Placeholder"
        chosen = passes.cut_at_inputs(draft(CHAIN, lowered=source, outputs=("y",)))
        assert chosen.graph.nodes["mid"].op == "Neg"

    def test_an_input_that_is_not_needed_is_an_error_of_the_user_only(self):
        text = CHAIN + placeholder("other")
        chosen = {"outputs": ("y",), "inputs": (("other", "other"),)}
        with pytest.raises(FreezeError, match="other:0"):
            passes.cut_at_inputs(draft(text, **chosen))
        made = passes.cut_at_inputs(draft(text, **chosen), strict=False)
        assert [ref.name for ref in made.outputs] == ["y:0"]
        source = {"inputs": ("x:0", "other:0"), "outputs": ("y:0",)}
        assert passes.cut_at_inputs(draft(text, lowered=source)).outputs[0].name == "y:0"

    def test_outputs_may_be_cut_themselves(self):
        made = passes.cut_at_inputs(draft(CHAIN, outputs=("mid", "y"), inputs=(("deep", "mid"),)))
        assert [ref.name for ref in made.outputs] == ["deep:0", "y:0"]
        assert [ref.name for ref in made.asked] == ["mid:0", "y:0"]
        assert made.renamed == {"mid:0": "deep:0"}


class TestVariables:
    def test_a_variable_that_is_named_need_not_be_needed(self):
        text = LINEAR + variable("unused", "unused/read")
        made = draft(text, {"w": [1, 2, 3]}, outputs=("y",), keep=("unused",))
        made = run(made, passes.cut_at_inputs, passes.prune_to_outputs)
        assert made.kept == frozenset()
        assert ops(made) == {"x": "Placeholder", "w": "VarHandleOp", "read": "ReadVariableOp",
                             "y": "AddV2"}  # fmt: skip
        unknown = draft(text, outputs=("y",), keep=("unsed",))
        with pytest.raises(NameNotFoundError, match="'unused'"):
            run(unknown, passes.cut_at_inputs, passes.prune_to_outputs)

    def test_a_variable_becomes_a_constant_of_its_name(self):
        made = draft(LINEAR, {"w": [1, 2, 3]}, outputs=("y",))
        made = run(made, passes.cut_at_inputs, passes.prune_to_outputs, passes.make_constants)
        assert ops(made)["w"] == "Const"
        assert made.graph.payloads["w"].load().tolist() == [1, 2, 3]

    def test_only_variables_that_are_still_there_are_assigned(self):
        made = draft(LINEAR, {"w": [1, 2, 3]}, outputs=("y",), keep=("w",))
        made = run(made, passes.cut_at_inputs, passes.prune_to_outputs)
        made = attrs.evolve(made, kept=made.kept | {"pruned/since"})
        made = run(made, passes.assign_kept_variables, passes.add_init_operation)
        assert made.assigns == ("tfpersist/init/w/assign",)
        assert list(made.graph.nodes["tfpersist/init"].input) == ["^tfpersist/init/w/assign"]
        assert made.init == ["tfpersist/init"]

    def test_a_graph_without_state_has_no_init_operation(self):
        made = passes.cut_at_inputs(draft(CHAIN, outputs=("y",)))
        made = run(made, passes.fill_tables, passes.assign_kept_variables)
        made = passes.add_init_operation(made)
        assert (made.fills, made.assigns, made.init) == ((), (), [])

    def test_the_init_operation_fills_tables_and_assigns_variables(self):
        made = draft(LINEAR, {"w": [1, 2, 3]}, outputs=("y",), keep=("w",))
        made = run(made, passes.cut_at_inputs, passes.prune_to_outputs)
        made = attrs.evolve(passes.assign_kept_variables(made), fills=("x",))
        init = passes.add_init_operation(made).graph.nodes["tfpersist/init"]
        assert list(init.input) == ["^x", "^tfpersist/init/w/assign"]


def test_nodes_that_need_this_process_are_refused():
    with pytest.raises(FreezeError, match=r"node call \(PyFunc\)"):
        passes.refuse_unfreezable_nodes(draft(node("call", "PyFunc")))
    # A kept variable has its value in the file; any other one is left over in a function.
    made = attrs.evolve(draft(variable("w")), kept=frozenset({"w"}))
    assert passes.refuse_unfreezable_nodes(made) is made


class TestOptimize:
    TEXT = placeholder("x") + node("same", "Identity", "x", T="type: DT_FLOAT")
    TEXT += negative("y", "same")

    def optimized(self, **lowered):
        made = passes.cut_at_inputs(draft(self.TEXT, lowered=lowered, outputs=("y",)))
        return ops(passes.optimize_graph(made))

    def test_tensors_that_may_be_fed_stay(self):
        assert "same" not in self.optimized()
        assert "same" in self.optimized(inputs=("same:0",))
        assert "same" in self.optimized(labels=Labels({"hidden": "same:0"}))

    def test_the_init_operation_stays(self):
        made = draft(LINEAR, {"w": [1, 2, 3]}, outputs=("y",), keep=("w",))
        made = run(
            made,
            passes.cut_at_inputs,
            passes.prune_to_outputs,
            passes.assign_kept_variables,
            passes.add_init_operation,
            passes.optimize_graph,
        )
        assert "tfpersist/init/w/assign" in ops(made)


def test_only_outputs_keep_the_shapes_that_tensorflow_noted():
    shapes = "list { shape { dim { size: 2 } } }"
    text = placeholder("x")
    for name, source in (("mid", "x"), ("y", "mid")):
        attributes = {"T": "type: DT_FLOAT", "_output_shapes": shapes}
        text += node(name, "Neg", source, **attributes)
    made = passes.cut_at_inputs(draft(text, outputs=("y",)))
    made = passes.clean_graph(made)
    noted = [node.name for node in made.graph.proto.node if "_output_shapes" in node.attr]
    assert noted == ["y"]


def test_an_op_that_the_target_lacks_is_refused():
    text = placeholder("x") + node("y", "XlaSharding", "x", T="type: DT_FLOAT")
    made = passes.cut_at_inputs(draft(text, outputs=("y",), target="1.15"))
    with pytest.raises(FreezeError, match=r"node y \(XlaSharding\)"):
        passes.convert_to_target(made)
    anywhere = attrs.evolve(made, options=attrs.evolve(made.options, target=None))
    assert passes.convert_to_target(anywhere) is anywhere


def test_values_that_set_up_state_stay_exact():
    text = placeholder("x") + variable("w", "read") + variable("kept", "kept/read")
    text += node("sum", "AddV2", "x", "read", T="type: DT_FLOAT")
    text += node("y", "AddV2", "sum", "kept/read", T="type: DT_FLOAT")
    text = text.replace("size: 3", "size: 4096")
    large = np.linspace(0, 1, 4096, dtype=np.float32)
    made = draft(
        text, {"w": large, "kept": large}, outputs=("y",), keep=("kept",), weights="float16"
    )
    made = run(
        made,
        passes.cut_at_inputs,
        passes.prune_to_outputs,
        passes.make_constants,
        passes.assign_kept_variables,
        passes.add_init_operation,
        passes.compress_weights,
    )
    dtypes = {name: payload.spec.dtype for name, payload in made.graph.payloads.items()}
    assert dtypes == {"w/float16": "float16", "tfpersist/init/kept/value": "float32"}
    plain = attrs.evolve(made, options=attrs.evolve(made.options, weights=None))
    assert passes.compress_weights(plain) is plain


def test_the_signature_names_what_the_source_named():
    source = {"labels": Labels({"image": "x:0"}, {"label": "y:0"})}
    made = passes.cut_at_inputs(draft(CHAIN, lowered=source, outputs=("label", "mid")))
    made = passes.describe(made)
    assert made.signature.inputs == {"image": "x:0"}
    assert made.signature.outputs == {"label": "y:0", "mid": "mid:0"}
