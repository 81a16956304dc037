"""The verb `freeze`: write a checkpoint and its `.meta` as one `.pb`."""

from __future__ import annotations

import argparse

from tfpersist.cli.arguments import CHECKPOINT, Verbs
from tfpersist.freezer.freezer import Freezer


def add(verbs: Verbs) -> None:
    """Declare the arguments of the verb."""
    parser = verbs.add_parser("freeze", help="write a checkpoint and its .meta as one .pb")
    parser.add_argument("source", help=CHECKPOINT)
    parser.add_argument("target", help="the .pb file to write")
    parser.add_argument("outputs", nargs="+", help="a tensor to compute, such as add:0")
    parser.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="NAME",
        help="a variable that stays a variable; may be repeated",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Freeze the checkpoint, and print the summary of the file."""
    freezer = Freezer(options.source).outputs(*options.outputs).keep_variables(*options.keep)
    print(freezer.write(options.target).summary())
    return 0
