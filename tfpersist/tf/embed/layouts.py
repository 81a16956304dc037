"""What a layer of a frozen model takes and gives, as its config says it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from tfpersist.errors import CorruptionError

Shape = tuple[int | None, ...] | None
Shapes = tuple[Shape, ...]


@attrs.frozen
class Layout:
    """The ends of a layer.

    Args:
        inputs: full names of the tensors that it takes.
        outputs: full names of those that it gives.
        dtypes: the data types of the outputs.
        shapes: the shapes of the outputs by those of the inputs, as far as they were inferred; the
            first are those of any inputs.
        labels: what the outputs are called in a dict; None for a list.
        single: whether the one output is given itself.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dtypes: tuple[str, ...]
    shapes: tuple[tuple[Shapes, Shapes], ...]
    labels: tuple[str, ...] | None = None
    single: bool = False

    def structured(self, values: Sequence[Any]) -> Any:
        """Give one value for each output in the form that the caller of the layer gets.

        Example:
            >>> Layout(("x:0",), ("y:0",), ("float32",), (), single=True).structured([1.0])
            1.0
        """
        if self.labels is not None:
            return dict(zip(self.labels, values, strict=True))
        return values[0] if self.single else list(values)

    def config(self) -> dict[str, Any]:
        """Give it as JSON can hold it."""
        return {
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "dtypes": list(self.dtypes),
            "shapes": [[_plain(taken), _plain(given)] for taken, given in self.shapes],
            "labels": None if self.labels is None else list(self.labels),
            "single": self.single,
        }

    @classmethod
    def parse(cls, config: Any, layer: str) -> Layout:
        """Read what `config` gives; a file of anybody's may hold anything instead.

        Args:
            config: what was found.
            layer: the layer, for the error.

        Raises:
            CorruptionError: it is no such config.
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
            raise _strange(error, file) from error
        counts = {(len(taken), len(given)) for taken, given in layout.shapes}
        outputs = {len(layout.outputs), len(layout.dtypes), len(layout.labels or layout.outputs)}
        outputs |= {1} if layout.single else set()
        if counts != {(len(layout.inputs), len(layout.outputs))} or len(outputs) != 1:
            raise _strange("its lists are not of one length", file)
        return layout


def _plain(shapes: Shapes) -> list[list[int | None] | None]:
    return [None if shape is None else list(shape) for shape in shapes]


def _texts(values: Any, file: str) -> tuple[str, ...]:
    if not isinstance(values, (list, tuple)) or not all(isinstance(one, str) for one in values):
        raise _strange(f"{values!r} is no list of names", file)
    return tuple(values)


def _shapes(shapes: Any, file: str) -> Shapes:
    found = tuple(None if shape is None else tuple(shape) for shape in shapes)
    for size in (size for shape in found for size in shape or ()):
        if size is not None and (type(size) is not int or size < 0):
            raise _strange(f"{size!r} is no number of elements", file)
    return found


def _strange(found: object, file: str) -> CorruptionError:
    return CorruptionError(f"this is no config of a frozen model: {found}", file=file)
