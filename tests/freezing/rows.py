"""The table of what can be frozen: the cases of each row, and the page that shows it."""

from __future__ import annotations

import fnmatch
import json
import pathlib

import attrs

HERE = pathlib.Path(__file__).resolve().parent
# The outcome of TensorFlow's freezers for each case: {case: {freezer: outcome}}.
RECORDED = HERE / "tensorflow.json"
PAGE = HERE.parent.parent / "docs" / "what-can-be-frozen.md"


@attrs.frozen
class Row:
    """One row: what a model has, the cases that try it, and the outcome of tfpersist."""

    title: str
    cases: tuple[str, ...]
    ours: str = "equal"

    def names(self, known):
        return [name for name in known if any(fnmatch.fnmatch(name, each) for each in self.cases)]


WITH_INIT = "equal, once `tfpersist/init` has run"
REFUSED = "refused: "
ROWS = (
    Row("sums, dense layers", ("add-*", "dense-*", "keras_dense", "function_plain")),
    Row("convolutions, batch normalization in inference mode", ("conv_bn-*", "keras_convnet")),
    Row("methods of a `tf.Module`", ("function_of_module",)),
    Row("Keras models with several inputs and outputs", ("keras_layer-several",)),
    Row("LSTM, GRU", ("keras_layer-LSTM", "keras_layer-GRU")),
    Row("a masked bidirectional LSTM", ("keras_layer-bidirectional",)),
    Row("multi-head attention", ("keras_layer-attention",)),
    Row("quantised and mixed-precision layers", ("keras_layer-quantised", "keras_layer-mixed")),
    Row("embeddings, `gather`, `gather_nd`", ("embedding-*", "function_gathers")),
    Row("`gather` with `batch_dims`", ("gather_with_batch_dims",)),
    Row("a node that is already called `<gather>/axis`", ("axis_is_taken",)),
    Row(
        "functions that call functions",
        ("legacy_function", "keras_conditional_layers", "module_with_while_and_nested_calls"),
    ),
    Row("`gather` in a `tf.function`, in a session", ("function_in_a_graph-*",)),
    Row("`cond` with a `gather`, control flow v1", ("cond-v1-*",)),
    Row("`cond` with a `gather`, control flow v2", ("cond-v2-*",)),
    Row("the same, branches not lowered", ("gather_in_cond_without_lowering",)),
    Row("`while_loop` with a `gather`", ("loop-*", "nested_loops-*")),
    Row("a `gather` in a function in a loop", ("function_control_flow",)),
    Row("`switch_case`", ("case_of_three-*",)),
    Row("`map_fn`, strings", ("mapped-*", "function_map_fn_and_strings")),
    Row("partitioned variables", ("partitioned-*",)),
    Row("sparse and ragged tensors", ("sparse", "function_ragged")),
    Row("variables shared over scopes", ("shared_over_scopes",)),
    Row("an output such as `split:1`", ("ports",)),
    Row("every data type, bfloat16, float8, int4 and strings among them", ("dtypes-*",)),
    Row("scalars that are strings", ("scalar_string-*",)),
    Row("variables without elements, scalars", ("zero_size_and_scalars-*",)),
    Row("a one-shot iterator", ("one_shot_iterator",)),
    Row("a graph that is frozen already", ("already_frozen",)),
    Row("`is_variable_initialized`", ("is_initialized-*",)),
    Row("`VariableShape`", ("variable_shape",)),
    Row("`RefSwitch`, `RefMerge`, `RefEnter` and the like", ("reference_ops",)),
    Row(
        "handles that are read nowhere, handles of one `shared_name`",
        ("handle_without_a_read", "handles_without_a_read_and_shared_names"),
    ),
    Row("op `Variable` of TensorFlow 0.x", ("first_op_called_variable",)),
    Row("devices that this machine does not have, colocation", ("control_edges_and_devices",)),
    Row("`Dataset.reduce` over a variable", ("function_dataset_reduce",)),
    Row(
        "SavedModels of TensorFlow 1, any signature",
        ("saved_model_of_tensorflow_1-*", "saved_model_with_several_signatures-*"),
    ),
    Row(
        "SavedModels of TensorFlow 2 with a `gather`",
        ("saved_model_of_tensorflow_2-from the file",),
    ),
    Row("the same, loaded into a session", ("saved_model_of_tensorflow_2-from a session",)),
    Row(
        "`is_training` and `keep_prob` as placeholders",
        ("batch_norm_baked-*", "dropout_baked"),
        "equal, with `bake()`",
    ),
    Row("tables that never change, in a session", ("table_in_a_session-Static*",), WITH_INIT),
    Row("the same in a function", ("table_in_a_function-Static*",), WITH_INIT),
    Row("`StringLookup`, `TextVectorization` ...", ("layer_that_looks_words_up-*",), WITH_INIT),
    Row(
        "tables that change, in a session",
        ("table_in_a_session-[MD]*", "table_of_vectors-session"),
        WITH_INIT,
    ),
    Row(
        "the same in a function",
        ("table_in_a_function-[MD]*", "table_of_vectors-function"),
        WITH_INIT,
    ),
    Row("variables that are kept", ("kept_variable-*",), WITH_INIT),
    Row(
        "an assignment on the way to an output",
        ("assignment_on_the_path-*",),
        f"{REFUSED}keep the variable, or freeze another output",
    ),
    Row(
        "batch normalization in training mode",
        ("batch_norm_in_training_mode-*", "layer_in_training_mode-BatchNormalization"),
        f"{REFUSED}build the model for inference",
    ),
    Row(
        "dropout in training mode",
        ("layer_in_training_mode-Dropout",),
        f"{REFUSED}build the model for inference",
    ),
    Row(
        "batch normalization with a tensor for `is_training`",
        ("batch_norm_with_a_tensor-*",),
        f"{REFUSED}`bake()` that tensor",
    ),
    Row(
        "a `tf.random.Generator`",
        ("generator_of_random_numbers",),
        f"{REFUSED}keep its variable, or freeze another output",
    ),
    Row(
        "a recurrent layer that keeps its state",
        ("stateful_recurrent_layer",),
        f"{REFUSED}keep its variable, or build the layer without state",
    ),
    Row(
        "iterators that are initialized, queues",
        ("iterator-*", "input_queue-*"),
        f"{REFUSED}name the tensors behind them with `inputs()`",
    ),
    Row(
        "Python code: `py_func`, `numpy_function`",
        ("python_code-*",),
        f"{REFUSED}write it with TensorFlow ops",
    ),
    Row(
        "a variable without a value",
        ("uninitialized-*",),
        f"{REFUSED}initialize it, or restore a checkpoint",
    ),
)

INTRODUCTION = """\
# What can be frozen

Each row is a set of tests. tfpersist freezes the model, and TensorFlow alone imports the file in a
fresh process. "equal" means that the file computes the same as the live model: bit by bit if
TensorFlow's graph optimizers are off, to the last digits if they are on. "refused" means that
tfpersist writes nothing, and raises an error that names the node, its op, the variable and what to
do.

The other columns show TensorFlow's own freezers: `convert_variables_to_constants` ("v1"), which
takes sessions, and `convert_variables_to_constants_v2` ("v2"), which takes functions and, under
another name, sessions. The tests run these too, with TensorFlow {versions}, and fail if one of them
gets better or worse. "other values" is the worst result: a file that loads and runs, and computes
wrong values.

| the model has | tfpersist | TensorFlow v1 | TensorFlow v2 |
|---|---|---|---|
"""
CLOSING = """
"by resource" means variables with `use_resource=True`, the default of TensorFlow 2; "by ref" means
variables without it.
"""


def recorded():
    """Return the outcomes of TensorFlow's freezers: {case: {freezer: outcome}}."""
    return json.loads(RECORDED.read_text("utf-8"))["outcomes"]


def page():
    """Return the text of the page."""
    known = recorded()
    versions = " and ".join(json.loads(RECORDED.read_text("utf-8"))["versions"])
    lines = [
        f"| {row.title} | {row.ours} | {_cell(row, known, 'v1')} | {_cell(row, known, 'v2')} |\n"
        for row in ROWS
    ]
    return INTRODUCTION.format(versions=versions) + "".join(lines) + CLOSING


def _cell(row, known, freezer):
    outcomes = {
        name: known[name][freezer] for name in row.names(known) if freezer in known.get(name, {})
    }
    distinct = sorted(set(outcomes.values()), key=list(outcomes.values()).index)
    if len(distinct) < 2:
        return distinct[0] if distinct else "–"
    cells = []
    for outcome in distinct:
        kinds = {name.rpartition("-")[2] for name, each in outcomes.items() if each == outcome}
        others = {name.rpartition("-")[2] for name, each in outcomes.items() if each != outcome}
        by_kind = len(kinds) == 1 and kinds <= {"resource", "ref"} and not kinds & others
        cells.append(f"{outcome} by {kinds.pop()}" if by_kind else outcome)
    return ", ".join(cells) if any(" by " in cell for cell in cells) else " or ".join(distinct)


def record(outcomes, version):
    """Write the outcomes, the versions of TensorFlow that gave them, and the page."""
    versions = json.loads(RECORDED.read_text("utf-8"))["versions"] if RECORDED.exists() else []
    facts = {"versions": sorted({*versions, version}), "outcomes": outcomes}
    RECORDED.write_text(json.dumps(facts, indent=1) + "\n")
    PAGE.write_text(page())
