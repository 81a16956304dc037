"""The verb `diff`: compare two checkpoints tensor by tensor."""

from __future__ import annotations

import argparse

from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.cli.arguments import CHECKPOINT, Verbs


def add(verbs: Verbs) -> None:
    """Declare the arguments of the verb."""
    parser = verbs.add_parser("diff", help="compare two checkpoints")
    parser.add_argument("one", help=CHECKPOINT)
    parser.add_argument("other", help=CHECKPOINT)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print how the checkpoints differ; return 1 if they do."""
    difference = Checkpoint(options.one).diff(Checkpoint(options.other))
    print(difference)
    return 1 if difference else 0
