"""The verb `verify`: compare every byte of checkpoints with their checksums."""

from __future__ import annotations

import argparse

from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.checkpoint.locate import directory
from tfpersist.checkpoint.verify import Verification
from tfpersist.cli.arguments import Verbs
from tfpersist.store import survey
from tfpersist.store.survey import Survey


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
    known = {} if storage is None else survey.known(storage)
    result: Verification | Survey
    if storage is not None and known:
        result = survey.survey(storage, known)
    else:
        result = Checkpoint(options.path).verify()
    print(result)
    return 0 if result.ok else 1
