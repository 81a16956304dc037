"""Apply the user's choices to a graph: its outputs, its inputs, the variables that stay."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import attrs

from tfpersist.errors import FreezeError, NameNotFoundError, did_you_mean
from tfpersist.formats.graphdef import Graph
from tfpersist.graph.constants.cut import cut
from tfpersist.graph.describe.candidates import Candidates, candidates
from tfpersist.graph.structure.kinds import VARIABLES
from tfpersist.graph.structure.lowered import Lowered
from tfpersist.graph.structure.names import Labels, TensorRef, find_tensor, is_operation
from tfpersist.graph.structure.prune import needed

_MOST_SHOWN = 12


@attrs.frozen
class CutSource:
    """A source whose graph begins at chosen tensors.

    Args:
        lowered: the source.
        outputs: the outputs, under their names in the cut graph.
        renamed: {old name of an input: its new name}.
    """

    lowered: Lowered
    outputs: list[TensorRef]
    renamed: Mapping[str, str]


def candidates_of(lowered: Lowered) -> Candidates:
    """Rank the tensors that can be outputs of a source, those of its signatures first."""
    names = (name for signature in lowered.signatures for name in signature.tensors)
    return candidates(lowered.graph, lowered.outputs or names)


def input_name(name: str, lowered: Lowered) -> str:
    """Return the name of a tensor that is to be an input, or has a fixed value.

    Args:
        name: the name, or what the source's signature calls the tensor.
        lowered: the source.

    Raises:
        NameNotFoundError: the name may mean two tensors, and neither is an input.
    """
    return lowered.labels.fed(name, lowered.graph.nodes)


def output_name(name: str, lowered: Lowered) -> str:
    """Return the name of a tensor that is to be computed.

    Args:
        name: the name, or what the source's signature calls the tensor.
        lowered: the source.

    Raises:
        NameNotFoundError: the name may mean two tensors, and neither is an output.
    """
    return lowered.labels.fetched(name, lowered.graph.nodes)


def find_outputs(lowered: Lowered, names: Sequence[str]) -> tuple[list[TensorRef], list[str]]:
    """Find the tensors to compute, and the operations without outputs to run.

    Args:
        lowered: the source.
        names: names of tensors and operations; empty for the source's own outputs.

    Returns:
        The tensors, and the names of the operations.

    Raises:
        NameNotFoundError: there is no such tensor.
        FreezeError: no names are given, and the source has no outputs of its own; the message shows
            its signatures, or likely outputs.
    """
    names = [output_name(name, lowered) for name in names] or lowered.outputs
    if not names and lowered.signatures:
        first = lowered.signatures[0].name
        listed = "".join(f"\n  {signature}" for signature in lowered.signatures)
        raise FreezeError(
            "no outputs are named",
            advice=f'Choose a signature, as in Freezer(...).signature("{first}"),'
            f" or name the outputs: Freezer(...).outputs(...). The signatures are{listed}",
        )
    if not names:
        likely = [str(ref) for ref in candidates_of(lowered).outputs]
        more = f" and {len(likely) - _MOST_SHOWN} more" if len(likely) > _MOST_SHOWN else ""
        raise FreezeError(
            "no outputs are named",
            advice="Name them: Freezer(...).outputs(...)"
            + (f". Likely ones are {', '.join(likely[:_MOST_SHOWN])}{more}" if likely else ""),
        )
    operations = [name for name in names if is_operation(lowered.graph, name)]
    tensors = [find_tensor(lowered.graph, name) for name in names if name not in operations]
    return tensors, operations


def cut_at_inputs(
    lowered: Lowered, outputs: list[TensorRef], inputs: Iterable[tuple[str, str]], *, strict: bool
) -> CutSource:
    """Let the graph of a source begin at some tensors.

    Args:
        lowered: the source.
        outputs: the tensors to compute.
        inputs: the name of each placeholder, and the name of the tensor that it replaces.
        strict: whether the outputs must depend on each of them.

    Raises:
        NameNotFoundError: there is no such tensor.
        FreezeError: a tensor cannot become a placeholder, or the outputs do not depend on it.
    """
    wanted: dict[str, TensorRef] = {}
    for label, name in inputs:
        ref = find_tensor(lowered.graph, input_name(name, lowered))
        wanted[ref.name if label == name else label] = ref
    if not wanted:
        return CutSource(lowered, outputs, {})
    graph, renamed = cut(lowered.graph, wanted)
    outputs = [find_tensor(graph, renamed.get(ref.name, ref.name)) for ref in outputs]
    used = {f"{name}:0" for name in needed(graph, [ref.name for ref in outputs])}
    unused = sorted(set(renamed.values()) - used)
    if strict and unused:
        raise FreezeError(
            "the outputs do not depend on this input",
            where=", ".join(unused),
            advice="Leave it out of inputs(), or choose an input that is nearer to the outputs.",
        )
    labels = Labels(
        _renamed(lowered.labels.inputs, renamed), _renamed(lowered.labels.outputs, renamed)
    )
    lowered = attrs.evolve(lowered, graph=graph, labels=labels, inputs=tuple(renamed.values()))
    return CutSource(lowered, outputs, renamed)


def _renamed(labels: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    return {label: names.get(name, name) for label, name in labels.items()}


def kept_variables(
    lowered: Lowered,
    pruned: Graph,
    keep: Collection[object],
    only: Collection[object] | None,
) -> frozenset[str]:
    """Return the names of the nodes of the variables that stay variables.

    Args:
        lowered: the source.
        pruned: the part of its graph that the outputs need.
        keep: the variables that stay: variables, names or globs.
        only: the variables that become constants, likewise; None for all but those that stay, and
            those that the source itself has kept.

    Raises:
        NameNotFoundError: there is no such variable.
    """
    names = [node.name for node in lowered.graph.proto.node if node.op in VARIABLES]
    kept = {name for choice in keep for name in _matching(choice, names, lowered.objects)}
    if only is None:
        kept |= lowered.kept
    else:
        frozen = {name for choice in only for name in _matching(choice, names, lowered.objects)}
        kept |= {name for name in names if name not in frozen}
    return frozenset(kept & set(pruned.nodes))


def _matching(choice: Any, names: list[str], objects: Mapping[str, object]) -> list[str]:
    """Return the names of the variables that a name, a glob or a variable stands for."""
    # The `value` of a Keras variable is a TensorFlow variable.
    variables = (choice, getattr(choice, "value", None))
    same = [
        name for name, known in objects.items() if any(known is variable for variable in variables)
    ]
    if same:
        return same
    pattern = str(getattr(choice, "path", None) or getattr(choice, "name", choice))
    plain = pattern.removesuffix(":0")
    matches = [plain] if plain in names else fnmatch.filter(names, plain)
    # The parts of a partitioned variable begin with its name.
    matches = matches or [name for name in names if name.startswith(f"{plain}/part_")]
    if not matches:
        raise NameNotFoundError(
            f"the graph has no variable {pattern!r}", advice=did_you_mean(plain, names)
        )
    return matches
