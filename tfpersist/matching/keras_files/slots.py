"""Read the state of optimizers in the HDF5 files of Keras: by names, or in an order. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tfpersist.matching.keras_files.graph_writer import GraphWriter
from tfpersist.matching.sides import eras, facts
from tfpersist.matching.sides.object_graph import TRAINED

_SCALARS: Mapping[str, str] = {
    **dict.fromkeys(("iter", "iteration", "iterations"), "_iterations"),
    "learning_rate": "_learning_rate",
    "u_product": "_u_product",
    "momentum_cache": "_u_product",
    "decay": "decay",
    "step_counter": "step_counter",
    "dynamic_scale": "dynamic_scale",
}
_EVERYTHING = "_variables"


def kind_of(classes: Sequence[str]) -> str:
    """Return the kind of an optimizer, as in `eras.KINDS`; empty if it is not known.

    Args:
        classes: its class and those of the optimizers that it wraps, in snake case.

    Example:
        >>> kind_of(["loss_scale_optimizer", "adam_w"])
        'adam'
    """
    return eras.KINDS.get(classes[-1], "") if classes else ""


class Slots:
    """The state of an optimizer.

    Args:
        classes: its class and those of the optimizers that it wraps, in snake case.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.kind = kind_of(classes)
        self.is_nadam = classes[-1:] == ["nadam"]
        self.wrapper = classes[0] if len(classes) > 1 else ""
        # The keys of single variables: those of the optimizer, and of the one around it.
        self.scalars: dict[str, str] = {}
        self.outer: dict[str, str] = {}
        # The key of each tensor, by its slot and its variable.
        self.slots: dict[str, dict[int, str]] = {}
        self.trained: dict[int, None] = {}
        # Whether the order of variables is only likely, so that another order must confirm it.
        self.guessed = False
        # Why it is not known what the tensors are; empty if it is known.
        self.problem = ""

    def add_number(self, name: str, key: str) -> bool:
        """Add a number of the configuration, unless there is a tensor for it.

        Args:
            name: what the configuration calls it.
            key: its key.

        Returns:
            Whether it was added.
        """
        edge = _SCALARS.get(name, name)
        if edge in self.scalars:
            return False
        self.scalars[edge] = key
        return True

    def add_named(self, name: str, key: str, variables: Mapping[str, Sequence[int]]) -> None:
        """Add a tensor by its name; it is left out if the name does not tell what it is.

        Args:
            name: its full name.
            key: its key.
            variables: the variables by their full names.
        """
        parts = name.split("/")
        if self.is_nadam and facts.stem_of(parts[-1]) == "variable":
            # Keras 3 gives it no name.
            parts[-1] = "u_product"
        if len(parts) <= 2 and parts[-1] in _SCALARS:
            is_outer = self.wrapper and facts.stem_of(parts[0]) == self.wrapper
            (self.outer if is_outer else self.scalars)[_SCALARS[parts[-1]]] = key
            return
        known = {**eras.SLOT_WORDS.get(self.kind, {}), **eras.COMMON_SLOT_WORDS}
        found = {
            (known[slot], variable)
            for slot, variable in _readings(parts, variables)
            if slot in known
        }
        # "Adam/net/w/m" is of "net/w", even if there is another variable "w".
        longest = max((len(variable) for _, variable in found), default=0)
        best = [one for one in found if len(one[1]) == longest]
        if len(best) == 1 and len(variables[best[0][1]]) == 1:
            slot, variable = best[0]
            self.add(slot, variables[variable][0], key)

    def add(self, slot: str, variable: int, key: str) -> None:
        """Add a tensor.

        Args:
            slot: its slot.
            variable: the number of the variable that it is kept for.
            key: its key.
        """
        self.trained.setdefault(variable)
        self.slots.setdefault(slot, {}).setdefault(variable, key)


def _readings(parts: Sequence[str], variables: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield each slot and variable that the name of a slot variable may mean."""
    for at in range(len(parts)):
        # "Adam/net/w/m" of legacy optimizers, and "Adam/m/net/w" of others.
        for slot, variable in ((parts[-1], parts[at:-1]), (parts[at], parts[at + 1 :])):
            name = "/".join(variable)
            if name in variables:
                yield slot, name
    # "adam/net_w_momentum" of Keras 3.
    last = parts[-1]
    for slot in {
        slot for slots in (*eras.SLOT_WORDS.values(), eras.COMMON_SLOT_WORDS) for slot in slots
    }:
        if last.endswith(f"_{slot}"):
            joined = last.removesuffix(f"_{slot}")
            yield from ((slot, name) for name in variables if name.replace("/", "_") == joined)


def written(graph: GraphWriter, found: Slots) -> dict[int, str]:
    """Write an optimizer into an object graph, with lists as Keras 3 has them.

    Args:
        graph: the graph.
        found: its state.

    Returns:
        Its kind, by its number; empty if there is no state.
    """
    if not found.scalars and not found.slots and not found.problem:
        return {}
    outer = graph.child(0, "optimizer")
    core = graph.child(outer, "inner_optimizer") if found.wrapper else outer
    for node in dict.fromkeys((outer, core)):
        for name in (_EVERYTHING, *(("_iterations",) if found.problem else ())):
            graph.child(node, name)
    for node, scalars in ((outer, found.outer), (core, found.scalars)):
        for name, key in scalars.items():
            graph.tensor(node, name, key, "")
    order = {variable: str(at) for at, variable in enumerate(found.trained)}
    trained = graph.child(core, TRAINED)
    for variable, at in order.items():
        graph.link(trained, at, variable)
    names = {slot: name for name, slot in eras.LISTS.get(found.kind, {}).items()}
    names |= {slot: name for name, slot in eras.COMMON_LISTS.items()}
    for slot, keys in found.slots.items():
        listed = graph.child(core, names[slot])
        for variable, key in keys.items():
            graph.tensor(listed, order[variable], key, "")
    return {outer: found.kind}
