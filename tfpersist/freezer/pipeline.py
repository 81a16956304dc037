"""The pipeline of freezing: an ordered list of passes from a lowered source to a frozen graph.

To add a pass, write its function in `passes` and put it into the list. A pass that does not apply
to the options of a freeze is skipped.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from tfpersist.freezer import passes
from tfpersist.freezer.draft import Draft
from tfpersist.freezer.options import Options
from tfpersist.graph.structure.lowered import Lowered


@attrs.frozen
class Pass:
    """One step of freezing.

    Args:
        name: what the step does.
        run: takes the draft and returns the changed draft.
        applies: returns whether the options ask for the step.
    """

    name: str
    run: Callable[[Draft], Draft]
    applies: Callable[[Options], bool] = lambda options: True

    def __call__(self, draft: Draft) -> Draft:
        """Run the step, if it applies."""
        return self.run(draft) if self.applies(draft.options) else draft


CONVERT = Pass("convert to the target", passes.convert_to_target, lambda o: o.target is not None)
BAKE = Pass("bake values", passes.bake_values, lambda options: bool(options.baked))

PASSES = (
    Pass("refuse endless calls", passes.refuse_endless_calls),
    BAKE,
    Pass("inline functions", passes.inline_functions),
    Pass("cut at the inputs", passes.cut_at_inputs),
    Pass("fix the batch", passes.fix_batch_size, lambda options: options.batch is not None),
    Pass("fill tables", passes.fill_tables),
    Pass("prune to the outputs", passes.prune_to_outputs),
    Pass("make constants of variables", passes.make_constants),
    Pass("assign the variables that stay", passes.assign_kept_variables),
    Pass("refuse nodes that cannot be frozen", passes.refuse_unfreezable_nodes),
    Pass("add the init operation", passes.add_init_operation),
    Pass("optimize", passes.optimize_graph, lambda options: options.is_optimized),
    Pass("clean", passes.clean_graph),
    Pass("compress weights", passes.compress_weights, lambda o: o.weights is not None),
    CONVERT,
    Pass("settle the names of functions", passes.settle_function_names),
    Pass("describe", passes.describe),
)


def freeze(source: Lowered, options: Options, *, converted: bool = True) -> Draft:
    """Run all passes on a source.

    Args:
        source: the lowered source.
        options: what to freeze, and how.
        converted: False leaves out the step that raises if the target does not know an op.

    Returns:
        The frozen graph, as the draft after the last pass.

    Raises:
        NameNotFoundError: an output or a variable of that name is not in the graph.
        FreezeError: no outputs are set, or a node cannot be frozen.
        FeedError: a baked value is of another kind or shape than its tensor.
        UnsafeModelError: a table is in a file that the source must not read.
        GraphError: functions call themselves, or are nested too deep.
    """
    draft = Draft.of(source, options)
    for step in PASSES:
        if converted or step is not CONVERT:
            draft = step(draft)
    return draft
