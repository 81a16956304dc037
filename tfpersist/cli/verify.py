"""The verb `verify`: compare every byte of checkpoints with their checksums."""

from __future__ import annotations

import argparse

from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.checkpoint.directory import Directory
from tfpersist.checkpoint.locate import directory
from tfpersist.checkpoint.verify import Verification
from tfpersist.cli.arguments import Verbs
from tfpersist.store.survey import Survey, survey


def add(verbs: Verbs) -> None:
    """Declare the arguments of the verb."""
    parser = verbs.add_parser(
        "verify", help="compare every byte of checkpoints with their checksums"
    )
    parser.add_argument("path", help="a directory, for all checkpoints in it; or one checkpoint")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print which checkpoints are intact; return 1 if one is damaged."""
    storage = directory(options.path)
    look = None if storage is None else Directory.look(storage)
    result: Verification | Survey
    if look is not None and look.known:
        result = survey(look, look.known)
    else:
        result = Checkpoint(options.path).verify()
    print(result)
    return 0 if result.ok else 1
