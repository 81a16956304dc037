"""What the name of a checkpoint says: the store that has made it, and the training step."""

from __future__ import annotations

import re

# As many digits as a number of 64 bits may have.
_STEP = re.compile(r"(?P<name>.*)-(?P<step>[0-9]{1,19})", re.DOTALL)
_MOST_STEPS = 2**63 - 1


def split_step(prefix: str) -> tuple[str, int | None]:
    """Take the training step off the name of a checkpoint.

    Example:
        >>> split_step("model.ckpt-1000"), split_step("model.ckpt-best")
        (('model.ckpt', 1000), ('model.ckpt-best', None))
    """
    match = _STEP.fullmatch(prefix)
    if match is None or int(match["step"]) > _MOST_STEPS:
        return prefix, None
    return match["name"], int(match["step"])


def is_called(prefix: str, name: str) -> bool:
    """Whether a store of this name has made a checkpoint: it is the name, or that and a step.

    Example:
        >>> is_called("m", "m"), is_called("m-1", "m"), is_called("m-best-1", "m")
        (True, True, False)
    """
    return name in (prefix, split_step(prefix)[0])
