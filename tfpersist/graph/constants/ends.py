"""What a user chooses of a graph: where it begins, where it ends, which variables stay."""

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
from tfpersist.graph.structure.names import TensorRef, find_tensor
from tfpersist.graph.structure.prune import needed

_MOST_SHOWN = 12


@attrs.frozen
class Begun:
    """A source whose graph begins at some tensors.

    Args:
        lowered: the source.
        outputs: what is to be computed, as it is called now.
        renamed: the new names of the tensors where it begins.
    """

    lowered: Lowered
    outputs: list[TensorRef]
    renamed: Mapping[str, str]


def candidates_of(lowered: Lowered) -> Candidates:
    """Rank what a source may be asked for, its own outputs first: those of all its signatures."""
    offered = (name for offer in lowered.offers for name in offer.tensors)
    return candidates(lowered.graph, lowered.outputs or offered)


def tensor_name(name: str, lowered: Lowered) -> str:
    """Give the name of a tensor that may be called as the source's signature calls it."""
    known = name.partition(":")[0] in lowered.graph.nodes
    return name if known else lowered.labels.get(name, name)


def find_outputs(lowered: Lowered, names: Sequence[str]) -> list[TensorRef]:
    """Find what is to be computed.

    Args:
        lowered: the source.
        names: of the tensors; empty for the source's own outputs.

    Raises:
        NameNotFoundError: there is no such tensor.
        FreezeError: nothing is named, and the source does not tell; likely outputs are shown.
    """
    names = names or lowered.outputs
    if not names and lowered.offers:
        raise FreezeError(
            "it is not said what to compute",
            advice=f'Choose a signature, as in Freezer(...).signature("{lowered.offers[0].name}"),'
            " or name the outputs: Freezer(...).outputs(...). There are"
            + "".join(f"\n  {offer}" for offer in lowered.offers),
        )
    if not names:
        likely = [str(ref) for ref in candidates_of(lowered).outputs]
        more = f" and {len(likely) - _MOST_SHOWN} more" if len(likely) > _MOST_SHOWN else ""
        raise FreezeError(
            "it is not said what to compute",
            advice="Name the outputs: Freezer(...).outputs(...). "
            + (f"Likely ones are {', '.join(likely[:_MOST_SHOWN])}{more}" if likely else ""),
        )
    return [find_tensor(lowered.graph, tensor_name(name, lowered)) for name in names]


def cut_at_inputs(
    lowered: Lowered, refs: list[TensorRef], given: Iterable[tuple[str, str]], *, strict: bool
) -> Begun:
    """Let the graph begin at some tensors.

    Args:
        lowered: the source.
        refs: what is to be computed.
        given: what the placeholders are to be called, and the names of the tensors.
        strict: whether each of them must be needed.

    Raises:
        NameNotFoundError: there is no such tensor.
        FreezeError: no placeholder can take its place, or the outputs do not depend on it.
    """
    wanted: dict[str, TensorRef] = {}
    for label, name in given:
        ref = find_tensor(lowered.graph, tensor_name(name, lowered))
        wanted[ref.name if label == name else label] = ref
    if not wanted:
        return Begun(lowered, refs, {})
    graph, renamed = cut(lowered.graph, wanted)
    refs = [find_tensor(graph, renamed.get(ref.name, ref.name)) for ref in refs]
    used = {f"{name}:0" for name in needed(graph, [ref.name for ref in refs])}
    unused = sorted(set(renamed.values()) - used)
    if strict and unused:
        raise FreezeError(
            "the outputs do not depend on this input",
            where=", ".join(unused),
            advice="Leave it out of inputs(), or cut the graph nearer to the outputs.",
        )
    labels = {label: renamed.get(name, name) for label, name in lowered.labels.items()}
    lowered = attrs.evolve(lowered, graph=graph, labels=labels, inputs=tuple(renamed.values()))
    return Begun(lowered, refs, renamed)


def kept_variables(
    lowered: Lowered,
    pruned: Graph,
    keep: Collection[object],
    only: Collection[object] | None,
) -> frozenset[str]:
    """Name the nodes of the variables that stay.

    Args:
        lowered: the source.
        pruned: what of its graph is needed.
        keep: variables, their names, or globs, that stay.
        only: those that become constants, if not all others do that the source has not kept.

    Raises:
        NameNotFoundError: there is no such variable.
    """
    every = [n.name for n in lowered.graph.proto.node if n.op in VARIABLES]
    found = {name for one in keep for name in _matching(one, every, lowered.objects)}
    if only is None:
        found |= lowered.kept
    else:
        frozen = {name for one in only for name in _matching(one, every, lowered.objects)}
        found |= {name for name in every if name not in frozen}
    return frozenset(found & set(pruned.nodes))


def _matching(wanted: Any, names: list[str], objects: Mapping[str, object]) -> list[str]:
    """Name the variables that a user means by a name, a glob or a variable."""
    # A Keras variable holds one of TensorFlow's as its `value`.
    same = [
        n
        for n, known in objects.items()
        if any(known is one for one in (wanted, getattr(wanted, "value", None)))
    ]
    if same:
        return same
    pattern = str(getattr(wanted, "path", None) or getattr(wanted, "name", wanted))
    plain = pattern.removesuffix(":0")
    found = [plain] if plain in names else fnmatch.filter(names, plain)
    # A partitioned variable goes by the name that its parts begin with.
    found = found or [name for name in names if name.startswith(f"{plain}/part_")]
    if not found:
        raise NameNotFoundError(
            f"the graph has no variable {pattern!r}", advice=did_you_mean(plain, names)
        )
    return found
