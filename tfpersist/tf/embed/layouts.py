"""Describe inputs and outputs of a layer, for the config of the layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from tfpersist.errors import CorruptionError

Shape = tuple[int | None, ...] | None
Shapes = tuple[Shape, ...]


@attrs.frozen
class Layout:
    """The inputs and outputs of a layer.

    Args:
        inputs: full names of the input tensors.
        outputs: full names of the output tensors.
        dtypes: the data types of the outputs.
        shapes: pairs of the shapes of the inputs and those of the outputs, as far as they were
            inferred; the first pair is for inputs of any shape that the graph accepts.
        labels: the keys of the outputs in a dict; None for a list.
        single: whether the layer returns the one output itself.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dtypes: tuple[str, ...]
    shapes: tuple[tuple[Shapes, Shapes], ...]
    labels: tuple[str, ...] | None = None
    single: bool = False

    def structured(self, values: Sequence[Any]) -> Any:
        """Return the values of the outputs as the layer returns them: one value, a list or a dict.

        Example:
            >>> Layout(("x:0",), ("y:0",), ("float32",), (), single=True).structured([1.0])
            1.0
        """
        if self.labels is not None:
            return dict(zip(self.labels, values, strict=True))
        return values[0] if self.single else list(values)

    def config(self) -> dict[str, Any]:
        """Return the layout as values of JSON."""
        return {
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "dtypes": list(self.dtypes),
            "shapes": [[_plain(inputs), _plain(outputs)] for inputs, outputs in self.shapes],
            "labels": None if self.labels is None else list(self.labels),
            "single": self.single,
        }

    @classmethod
    def parse(cls, config: Any, layer: str) -> Layout:
        """Read a layout from the result of `config`; a file may hold anything in its place.

        Args:
            config: a value from a file.
            layer: the name of the layer, for the error.

        Raises:
            CorruptionError: the value is not such a config.
        """
        file = f"the config of layer {layer}"
        try:
            labels = config["labels"]
            layout = cls(
                inputs=_texts(config["inputs"], file),
                outputs=_texts(config["outputs"], file),
                dtypes=_texts(config["dtypes"], file),
                shapes=tuple((_shapes(i, file), _shapes(o, file)) for i, o in config["shapes"]),
                labels=None if labels is None else _texts(labels, file),
                single=config["single"] is True,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _invalid(error, file) from error
        counts = {(len(inputs), len(outputs)) for inputs, outputs in layout.shapes}
        outputs = {len(layout.outputs), len(layout.dtypes), len(layout.labels or layout.outputs)}
        outputs |= {1} if layout.single else set()
        if counts != {(len(layout.inputs), len(layout.outputs))} or len(outputs) != 1:
            raise _invalid("its lists have different lengths", file)
        return layout


def _plain(shapes: Shapes) -> list[list[int | None] | None]:
    return [None if shape is None else list(shape) for shape in shapes]


def _texts(values: Any, file: str) -> tuple[str, ...]:
    if not isinstance(values, (list, tuple)) or not all(isinstance(name, str) for name in values):
        raise _invalid(f"expected a list of names, got {values!r}", file)
    return tuple(values)


def _shapes(shapes: Any, file: str) -> Shapes:
    result = tuple(None if shape is None else tuple(shape) for shape in shapes)
    for size in (size for shape in result for size in shape or ()):
        if size is not None and (type(size) is not int or size < 0):
            raise _invalid(f"expected a number of elements, got {size!r}", file)
    return result


def _invalid(reason: object, file: str) -> CorruptionError:
    return CorruptionError(f"this is not the config of a frozen model: {reason}", file=file)
