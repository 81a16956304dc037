"""Choice: what a freezer must know of a source that the source itself does not say."""

from __future__ import annotations

import os

import attrs

from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.errors import FreezeError, value_text
from tfpersist.safety import Policy


@attrs.frozen
class Choice:
    """The choices of a user that a source does not have itself.

    Args:
        checkpoint: the checkpoint with the values of a graph; None for a source that has its own.
        signature: the signature of a SavedModel; None for the default one.
        tags: all tags of the graph of a SavedModel; None for the default ones.
        shaped: names of the tensors whose shapes are needed from a session; None for all.
        batch: the size of the batch that a Keras model is traced with; None for any.
        policy: what the source may do; None for the default of its kind.
    """

    checkpoint: str | os.PathLike[str] | Checkpoint | None = None
    signature: str | None = None
    tags: tuple[str, ...] | None = None
    shaped: tuple[str, ...] | None = None
    batch: int | None = None
    policy: Policy | None = None

    def refuse_signature(self) -> None:
        """Raise if a signature or tags are chosen: the source is not a SavedModel.

        Raises:
            FreezeError: there is such a choice.
        """
        if self.signature is not None or self.tags is not None:
            raise FreezeError(
                "signature() and tags() are for a SavedModel, and this source is not one",
                expected="the directory of a SavedModel",
                advice="Leave them out, and name the outputs: Freezer(...).outputs(...).",
            )

    def refuse_checkpoint(self, source: object) -> None:
        """Raise if a checkpoint is chosen: the source has values of its own.

        Args:
            source: the source, for the error.

        Raises:
            FreezeError: there is such a choice.
        """
        if self.checkpoint is not None:
            raise FreezeError(
                "this source has values of its own",
                expected="a GraphDef or the path of one, beside a checkpoint",
                found=value_text(source),
                advice="Leave the checkpoint out, or restore it into the model first.",
            )
