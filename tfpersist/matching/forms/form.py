"""A row of the tables of forms: the recipes for the tensors of one layer. Pure.

A name is a path below the layer; its last part is a role, as in `eras.ROLES`. A size is text: "i+u"
for the inputs and the units together, "4u" for four gates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

# A step, with sizes as text: its name and its arguments.
StepText = tuple[Any, ...]


@attrs.frozen
class Way:
    """The recipe of one tensor.

    Args:
        of: the names of the tensors that it is made of.
        steps: what is done to them.
    """

    of: tuple[str, ...]
    steps: tuple[StepText, ...] = ()


@attrs.frozen
class Form:
    """The recipes that make the tensors of a layer from those of another form.

    Args:
        title: what is done, for a report.
        wanted: the tensors of the target, with their shapes.
        stored: the tensors of the checkpoint, with their shapes.
        ways: how each tensor of the target is made; empty if it cannot be made.
        source: the file that says so.
        scopes: what the checkpoint calls the layer, if this form is only for such layers.
        other_scopes: what the checkpoint calls layers of another form.
        others: other ways that are possible too, if the user has changed a default.
        without: tensors that a layer of this form does not have.
        refused: why nothing can be made; empty if it can.
        by_order: whether the order of layers may tell which is which, beside names.
        adds: whether the way of the bias adds the forget bias of a cell, in its last step.
    """

    title: str
    wanted: Mapping[str, str]
    stored: Mapping[str, str]
    ways: Mapping[str, Way] = attrs.field(factory=dict)
    source: str = ""
    scopes: frozenset[str] = frozenset()
    other_scopes: frozenset[str] = frozenset()
    others: Mapping[str, Way] = attrs.field(factory=dict)
    without: frozenset[str] = frozenset()
    refused: str = ""
    by_order: bool = True
    adds: bool = False

    def with_forget_bias(self, value: float) -> Form:
        """Return the same form for a cell whose forget bias is known.

        Args:
            value: the number that the cell adds to the bias of its forget gate.

        Returns:
            A changed copy, without other ways.

        Example:
            >>> way = Way(("bias",), (("add_to_block", 0, 4, 1, 1.0),))
            >>> form = Form("forget_bias 1.0 added", {}, {}, {"bias": way}, adds=True)
            >>> known = form.with_forget_bias(0.5)
            >>> known.title, known.ways["bias"].steps
            ('forget_bias 0.5 added, as the graph says', (('add_to_block', 0, 4, 1, 0.5),))
        """
        way = self.ways["bias"]
        steps = (*way.steps[:-1], (*way.steps[-1][:-1], value))
        return attrs.evolve(
            self,
            title=f"{self.title.replace('1.0', str(value))}, as the graph says",
            ways={**self.ways, "bias": attrs.evolve(way, steps=steps if value else steps[:-1])},
            others={},
        )
