"""Options: the settings of a freeze, which the steps of Freezer change one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from tfpersist.graph.optimize.weights import Form
from tfpersist.graph.runtimes.op_lists import RELEASES, Runtime


@attrs.frozen
class Options:
    """The options of a freeze.

    Args:
        outputs: names of the tensors to compute; empty for the outputs that the source names.
        inputs: pairs of a name for a placeholder and the name of the tensor that it replaces.
        only: the variables that become constants; None for all.
        keep: the variables that stay variables.
        baked: fixed values, by the names of their tensors.
        batch: the size of the batch; None for any.
        target: the TensorFlow release, or other runtime, that must load the graph; None for any.
        signature: the signature of a SavedModel to freeze; None for the default one.
        tags: all tags of the graph of a SavedModel; None for the default ones.
        optimized: whether to remove what need not be computed.
        weights: the form of the large weights; None for float32.
        feeds: the feeds of the parity test, by the names of their tensors; None for no test.
        tolerance: how much an output may differ in the parity test.
    """

    outputs: tuple[str, ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    only: tuple[object, ...] | None = None
    keep: tuple[object, ...] = ()
    # Arrays do not compare to one truth value, but their text does.
    baked: Mapping[str, Any] = attrs.field(factory=dict, eq=repr)
    batch: int | None = None
    target: Runtime | None = None
    signature: str | None = None
    tags: tuple[str, ...] | None = None
    optimized: bool = False
    weights: Form | None = None
    feeds: Mapping[str, Any] | None = attrs.field(default=None, eq=repr)
    tolerance: float = 0.0

    @property
    def is_for_others(self) -> bool:
        """Whether the graph is for another runtime than TensorFlow."""
        return self.target is not None and self.target not in RELEASES

    @property
    def is_optimized(self) -> bool:
        """Whether to remove what need not be computed.

        OpenCV has no ops for much of it, such as the arithmetic on constants of a batch norm.
        """
        return self.optimized or self.target == "opencv"

    @property
    def input_tensors(self) -> tuple[str, ...]:
        """The names of the tensors that placeholders replace."""
        return tuple(tensor for _, tensor in self.inputs)

    def __repr__(self) -> str:
        """Return the options that differ from their defaults, as arguments of a call."""
        defaults = Options()
        names = [field.name for field in attrs.fields(Options)]
        changed = [name for name in names if getattr(self, name) != getattr(defaults, name)]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in changed)
