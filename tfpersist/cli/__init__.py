"""The command `tfpersist`: each verb calls the library and prints the result.

Each verb has its module: `add` declares its arguments, `run` does its work and returns the exit
code.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tfpersist.cli import diff, freeze, inspect, plan, verify
from tfpersist.errors import TFPersistError

_VERBS = (inspect, verify, diff, plan, freeze)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        arguments: the words after the command's name; None for those of this process.

    Returns:
        0 for success, 1 if `verify` finds damage or `diff` a difference, 2 for an error.

    Example:
        >>> import numpy as np, tfpersist as tfp
        >>> store = tfp.ModelStore("memory://doc/cli")
        >>> checkpoint = store.save({"v1": np.float32([1, 2])}, step=7)
        >>> main(["inspect", "memory://doc/cli"])
        memory://doc/cli/model.ckpt-7
          v1  float32[2]
        0
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except TFPersistError as error:
        print(f"tfpersist: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tfpersist",
        description="Inspect, verify, compare, plan and freeze checkpoints.",
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for verb in _VERBS:
        verb.add(verbs)
    return parser
