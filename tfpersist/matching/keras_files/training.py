"""Find out which slot of an optimizer is kept for which variable, where only an order tells. Pure.

Files of Keras 3 number the variables of an optimizer. First come its own, then the slots of the
variables that it trains, in the order of the model. A file does not always say that order: then the
shapes must leave only one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tfpersist.matching.keras_files import config as keras_config
from tfpersist.matching.keras_files.attributes import Part, SavedAttributes
from tfpersist.matching.keras_files.slots import Slots
from tfpersist.matching.sides import facts
from tfpersist.matching.sides.eras import INNER

Shape = tuple[int | None, ...]
# Slots that follow each other for each variable.
Run = tuple[str, ...]

# The slots of each kind, in their order; and those that an option adds.
_RUNS: Mapping[str, Sequence[Run]] = {
    "adam": [("m", "v")],
    "adamax": [("m", "v")],
    "rmsprop": [("rms",)],
    "sgd": [],
    "adagrad": [("accumulator",)],
    "adadelta": [("accum_grad", "accum_var")],
    "ftrl": [("accumulator", "linear")],
    "lion": [("m",)],
}
_OPTIONS: Mapping[str, Sequence[tuple[str, Run]]] = {
    "adam": [("amsgrad", ("vhat",))],
    "rmsprop": [("momentum", ("momentum",)), ("centered", ("mg",))],
    "sgd": [("momentum", ("momentum",))],
}
_BEFORE: Sequence[tuple[str, Run]] = [
    ("use_ema", ("average",)),
    ("gradient_accumulation_steps", ("accumulated_gradient",)),
]
# So many steps are taken to find the order of variables.
_MOST_STEPS = 100_000
_MOST_CHAINS = 64
_MOST_FOUND = 2


_OPTIMIZER = "optimizer"
# What LossScaleOptimizer of Keras 3 has before the variables of the one that it wraps.
_WRAPPER = ("_iterations", "_learning_rate", "step_counter", "dynamic_scale")


def state_of(saved: SavedAttributes, config: object) -> Slots | None:
    """Return the state of the optimizer of a file; None if it has none.

    Args:
        saved: the layers and tensors of the file.
        config: the configuration of the optimizer, if it is known.
    """
    path, outer = _OPTIMIZER, saved.variables_of(_OPTIMIZER)
    classes = list(keras_config.optimizers_in(config))
    inner = next((f"{path}/{name}" for name in INNER if saved.variables_of(f"{path}/{name}")), "")
    path = inner or path
    keys = saved.variables_of(path)
    if not keys:
        return None
    if not classes:
        classes = [facts.stem_of(saved.name_of(path)).lower()]
    if inner and len(classes) == 1:
        classes = ["loss_scale_optimizer", *classes]
    found = Slots(classes)
    if len(outer) == len(keys) + len(_WRAPPER):
        found.outer = dict(zip(_WRAPPER, outer, strict=False))
    _fill(found, keys, saved, keras_config.innermost(config))
    return found


def _fill(
    found: Slots, keys: Sequence[str], saved: SavedAttributes, options: Mapping[str, Any]
) -> None:
    """Add the numbered variables of an optimizer, if there is one way to give them to variables."""
    specs = saved.specs
    shapes = [specs[key].shape or () for key in keys]
    if keys and not shapes[0] and specs[keys[0]].dtype in ("int64", "int32"):
        found.scalars["_iterations"] = keys[0]
    rates = [False]
    if (
        len(keys) > 1
        and not shapes[1]
        and isinstance(options.get("learning_rate", 0.0), (int, float))
    ):
        rates.append(True)
    search = _Search(saved.trained, lambda node: specs[saved.graph.key_of(node)].shape or ())
    ways: list[tuple[bool, int, Sequence[Run], tuple[int, ...]]] = []
    for has_rate, layout in itertools.product(rates, _layouts(found.kind, options)):
        start, end = 1 + has_rate, len(keys)
        # Nadam has one more variable, at the end.
        for extra in (0, 1) if end and not shapes[-1] else (0,):
            slots = shapes[start : end - extra]
            ways += [(has_rate, extra, layout, order) for order in search.orders(layout, slots)]
    found.guessed = search.guessed or len(ways) > 1
    if len(ways) > 1:
        # Where all variables may be trained, that is likely; the target must have the same order.
        ways = [way for way in ways if len(way[3]) == search.size]
    if len(ways) != 1 or found.kind not in _RUNS:
        found.scalars.clear()
        found.problem = (
            "the file does not say which optimizer its optimizer/vars are of"
            if found.kind not in _RUNS
            else "the file does not say which variables its optimizer/vars are kept for"
        ) + ': restore with missing="skip" to begin with a new optimizer, or save a .keras file'
        return
    (has_rate, extra, layout, order) = ways[0]
    if has_rate:
        found.scalars["_learning_rate"] = keys[1]
    if extra:
        found.scalars["_u_product"] = keys[-1]
    at = 1 + has_rate
    for run in layout:
        for variable, slot in itertools.product(order, run):
            found.add(slot, variable, keys[at])
            at += 1


def _layouts(kind: str, options: Mapping[str, Any]) -> Iterator[Sequence[Run]]:
    """Yield the orders in which an optimizer of a kind may have its slots."""
    if kind not in _RUNS:
        return

    def choices(switches: Sequence[tuple[str, Run]]) -> list[list[tuple[Run, ...]]]:
        return [
            [(run,)] if options.get(name) else [()] if options else [(), (run,)]
            for name, run in switches
        ]

    before, after = choices(_BEFORE), choices(_OPTIONS.get(kind, ()))
    for chosen in itertools.product(*before, [tuple(_RUNS[kind])], *after):
        yield tuple(run for runs in chosen for run in runs)


# The layers that wait: those in each of some chains, and what waits behind them.
_Frame = tuple[tuple[tuple[Part, ...], int], ...]
_Waiting = tuple[_Frame, Any] | None


class _Search:
    """The orders of variables that shapes allow."""

    def __init__(self, model: Part, shape_of: Callable[[int], Shape]) -> None:
        self.model, self.shape_of = model, shape_of
        self.size, self.width, self.guessed = _size(model)

    def orders(self, layout: Sequence[Run], shapes: Sequence[Shape]) -> list[tuple[int, ...]]:
        """Return the orders in which all shapes are those of slots; at most two of them."""
        if not layout:
            return [()] if not shapes else []
        count, rest = divmod(len(shapes), sum(map(len, layout)))
        if rest or not 0 < count <= self.size or self.width > _MOST_CHAINS:
            return []
        wanted = [shapes[at * len(layout[0])] for at in range(count)]
        if list(shapes) != [shape for run in layout for shape in wanted for _ in run]:
            return []
        found: list[tuple[int, ...]] = []
        # A frozen layer has no slots, so some variables may be left out.
        first: _Waiting = ((((self.model,), 0),), None)
        states: list[tuple[int, int, Any, _Waiting]] = [(0, self.size - count, None, first)]
        for _ in range(_MOST_STEPS):
            if not states or len(found) == _MOST_FOUND:
                return found
            at, spare, order, waiting = states.pop()
            if waiting is None:
                whole = _flat(order)
                if at == count and whole not in found:
                    found.append(whole)
                continue
            for part, behind in _next(waiting):
                if part is None:
                    states.append((at, spare, order, behind))
                    continue
                inside = self._behind(part, behind)
                own = tuple(map(self.shape_of, part.own))
                if own and len(own) <= spare:
                    states.append((at, spare - len(own), order, inside))
                if tuple(wanted[at : at + len(own)]) == own:
                    states.append((at + len(own), spare, (order, part.own), inside))
        # An order that was not looked for may be another one.
        return []

    def _behind(self, part: Part, waiting: _Waiting) -> _Waiting:
        frame = tuple((chain, 0) for chain in part.chains)
        return (frame, waiting) if frame else waiting


def _next(waiting: tuple[_Frame, Any]) -> Iterator[tuple[Part | None, _Waiting]]:
    """Yield each layer that may be the next one, and what waits then; None if none is left."""
    frame, behind = waiting
    left = tuple((chain, at) for chain, at in frame if at < len(chain))
    if not left:
        yield None, behind
    for number, (chain, at) in enumerate(left):
        after = (*left[:number], (chain, at + 1), *left[number + 1 :])
        yield chain[at], (after, behind)


def _flat(order: Any) -> tuple[int, ...]:
    """Return the variables of linked groups, the last of which is given."""
    groups = []
    while order is not None:
        order, own = order
        groups.append(own)
    return tuple(variable for own in reversed(groups) for variable in own)


def _size(part: Part) -> tuple[int, int, bool]:
    """Return how many variables there are, the most chains, and whether an order is guessed."""
    size, width, guessed, waiting = 0, 0, False, [part]
    while waiting:
        current = waiting.pop()
        size += len(current.own)
        width = max(width, len(current.chains))
        guessed = guessed or current.guessed
        waiting += [inner for chain in current.chains for inner in chain]
    return size, width, guessed
