"""The passes of freezing: each takes a draft and returns a changed one; `pipeline` orders them."""

from __future__ import annotations

import attrs
import numpy as np

from tfpersist.formats.tensors import Array, TensorSpec
from tfpersist.freezer.draft import Draft
from tfpersist.graph.constants import ends, initial_state, refusals, tables, variables
from tfpersist.graph.describe import signature
from tfpersist.graph.optimize.bake import bake
from tfpersist.graph.optimize.batch import fix_batch
from tfpersist.graph.optimize.inline import inline
from tfpersist.graph.optimize.passes import optimize
from tfpersist.graph.optimize.weights import compress
from tfpersist.graph.runtimes import portability, portable
from tfpersist.graph.runtimes.downgrade import without_compilation
from tfpersist.graph.structure import functions, nesting
from tfpersist.graph.structure.feeds import fit
from tfpersist.graph.structure.names import TensorRef, find_tensor, full_name
from tfpersist.graph.structure.order import refuse_cycles
from tfpersist.graph.structure.prune import needed, prune, trim


def refuse_endless_calls(draft: Draft) -> Draft:
    """Raise if functions call themselves, or are nested too deep.

    Raises:
        GraphError: they do.
    """
    nesting.refuse_endless(draft.graph.proto)
    return draft


def bake_values(draft: Draft) -> Draft:
    """Make constants of the tensors that have fixed values.

    Raises:
        NameNotFoundError: there is no such tensor.
        FeedError: a value is of another kind or shape.
    """
    lowered = draft.lowered
    values: dict[TensorRef, Array] = {}
    for name, value in draft.options.baked.items():
        ref = find_tensor(lowered.graph, ends.input_name(name, lowered))
        spec = ref.spec or TensorSpec(np.asarray(value).dtype.name, None)
        values[ref] = fit(value, spec, ref.name)
    baked = {ref.name: value for ref, value in values.items()}
    inputs = tuple(name for name in lowered.inputs if full_name(name) not in baked)
    graph = bake(lowered.graph, values, draft.reserved_names)
    return attrs.evolve(
        draft, lowered=attrs.evolve(lowered, graph=graph, inputs=inputs), baked=baked
    )


def inline_functions(draft: Draft) -> Draft:
    """Put the bodies of functions in the places of their calls, where that changes nothing."""
    graph = without_compilation(draft.graph) if draft.options.is_for_others else draft.graph
    return draft.with_graph(inline(graph, draft.reserved_names))


def cut_at_inputs(draft: Draft, *, strict: bool = True) -> Draft:
    """Find the outputs, and put placeholders in the places of the inputs that the user names.

    Args:
        draft: the draft.
        strict: whether an input that the user names must be needed.

    Raises:
        NameNotFoundError: there is no such tensor.
        FreezeError: no outputs are set, or an input cannot be a placeholder.
    """
    lowered, options = draft.lowered, draft.options
    inputs = options.inputs
    if not options.inputs and not options.outputs:
        inputs = tuple((name, name) for name in lowered.inputs)
    asked, operations = ends.find_outputs(lowered, options.outputs)
    cut = ends.cut_at_inputs(lowered, asked, inputs, strict=strict and bool(options.inputs))
    return attrs.evolve(
        draft,
        lowered=cut.lowered,
        asked=tuple(asked),
        outputs=tuple(cut.outputs),
        operations=tuple(operations),
        spare=() if options.inputs or options.outputs else cut.lowered.inputs,
        renamed=cut.renamed,
    )


def fix_batch_size(draft: Draft) -> Draft:
    """Fix the batch size of the inputs.

    Raises:
        FreezeError: no input takes a batch of that size, or the rank of one is not known.
    """
    size = draft.options.batch
    return draft if size is None else draft.with_graph(fix_batch(draft.graph, size))


def fill_tables(draft: Draft) -> Draft:
    """Find or add the operations that fill the tables that the outputs need.

    Raises:
        FreezeError: the content of a table is not known.
        UnsafeModelError: it is in a file that the source must not read.
    """
    lowered, fills = tables.fill_tables(draft.lowered, draft.wanted)
    return attrs.evolve(draft, lowered=lowered, fills=tuple(fills))


def prune_to_outputs(draft: Draft) -> Draft:
    """Remove what the outputs do not need, and choose the variables that stay variables.

    Raises:
        NameNotFoundError: there is no such variable.
        GraphError: the input of a node is not in the graph, or nodes need each other.
    """
    pruned = prune(draft.graph, draft.roots)
    refuse_cycles(pruned.nodes)
    # A variable that the user names may be one that the outputs do not need.
    stay = ends.kept_variables(draft.lowered, pruned, draft.options.keep, draft.options.only)
    return attrs.evolve(draft.with_graph(pruned), kept=stay)


def make_constants(draft: Draft) -> Draft:
    """Replace variables by constants with their values.

    Raises:
        FreezeError: a variable has no value, or something uses it as no constant can be used.
    """
    graph = variables.replace_variables(draft.lowered, draft.kept)
    return draft.with_graph(trim(graph, draft.roots))


def assign_kept_variables(draft: Draft) -> Draft:
    """Add operations that assign the variables that stay their values.

    Raises:
        FreezeError: such a variable has no value.
    """
    stay = draft.kept & set(draft.graph.nodes)
    graph, assigns = initial_state.add_assignments(draft.graph, draft.lowered, stay)
    return attrs.evolve(draft.with_graph(graph), assigns=tuple(assigns))


def refuse_unfreezable_nodes(draft: Draft) -> Draft:
    """Raise if a node would not work in another process.

    Raises:
        FreezeError: there is such a node; the error names it.
    """
    refusals.refuse(draft.graph, draft.kept, draft.lowered.inputs)
    return draft


def add_init_operation(draft: Draft) -> Draft:
    """Add the one operation that fills all tables and sets all variables.

    Raises:
        FreezeError: the graph has an operation of its name.
    """
    return draft.with_graph(initial_state.add_init(draft.graph, [*draft.fills, *draft.assigns]))


def optimize_graph(draft: Draft) -> Draft:
    """Remove what need not be computed."""
    labels = draft.lowered.labels
    fed = {*draft.lowered.inputs, *labels.inputs.values(), *labels.outputs.values()}
    return draft.with_graph(optimize(draft.graph, [*draft.wanted, *draft.init], fed))


def clean_graph(draft: Draft) -> Draft:
    """Remove what ties the graph to the machine and the process that built it."""
    portable.clean(draft.graph.proto, shaped={ref.operation for ref in draft.outputs})
    return draft


def convert_to_target(draft: Draft) -> Draft:
    """Replace ops that the target does not know by older ones.

    Raises:
        FreezeError: an op has no older equal.
    """
    target = draft.options.target
    return draft if target is None else draft.with_graph(portability.convert(draft.graph, target))


def settle_function_names(draft: Draft) -> Draft:
    """Name functions by what they compute: the same in every process, and two models never clash.

    The names have digests, so this is done when the functions are as they will be.
    """
    functions.settle_names(draft.graph.proto)
    return draft


def compress_weights(draft: Draft) -> Draft:
    """Store the large float32 weights in fewer bytes."""
    form = draft.options.weights
    # Keys and values of tables, and first values of variables that stay, must be exact.
    exact = needed(draft.graph, draft.init) if draft.init else ()
    return draft if form is None else draft.with_graph(compress(draft.graph, form, exact))


def describe(draft: Draft) -> Draft:
    """Make the signature of the frozen graph."""
    described = signature.describe(draft.lowered, draft.graph, draft.outputs, draft.operations)
    return attrs.evolve(draft, signature=described)
