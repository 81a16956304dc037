"""The command `tfpersist`: each verb is one call of the library, printed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.checkpoint.locate import directory
from tfpersist.checkpoint.verify import Verification
from tfpersist.errors import TFPersistError, printable
from tfpersist.freezer.freezer import Freezer
from tfpersist.frozen.model import FrozenModel
from tfpersist.store import survey
from tfpersist.store.survey import Survey


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        arguments: what follows the command's name; None for those of this process.

    Returns:
        0 for success, 1 for damage that `verify` or a difference that `diff` found, 2 for an error.

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
        return int(options.verb(options))
    except TFPersistError as error:
        print(f"tfpersist: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tfpersist", description="Look into checkpoints and frozen graphs, without TensorFlow."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    a_checkpoint = "a prefix, a directory, any file of a checkpoint, or a URL"

    inspect = verbs.add_parser("inspect", help="list what a checkpoint or a frozen graph holds")
    inspect.add_argument("path", help=f"a .pb file; or {a_checkpoint}")
    inspect.set_defaults(verb=_inspect)

    verify = verbs.add_parser("verify", help="compare every byte of checkpoints to their checksums")
    verify.add_argument("path", help="a directory, for all in it; or a checkpoint as above")
    verify.set_defaults(verb=_verify)

    diff = verbs.add_parser("diff", help="tell how two checkpoints differ")
    diff.add_argument("one", help=a_checkpoint)
    diff.add_argument("other", help=a_checkpoint)
    diff.set_defaults(verb=_diff)

    freeze = verbs.add_parser("freeze", help="write a checkpoint and its .meta as one .pb")
    freeze.add_argument("source", help=a_checkpoint)
    freeze.add_argument("target", help="the .pb file to write")
    freeze.add_argument("outputs", nargs="+", help="a tensor to compute, such as add:0")
    freeze.add_argument(
        "--keep", action="append", default=[], metavar="NAME", help="a variable that stays one"
    )
    freeze.set_defaults(verb=_freeze)
    return parser


def _inspect(options: argparse.Namespace) -> int:
    if options.path.endswith((".pb", ".pbtxt")) and not options.path.endswith("saved_model.pb"):
        print(FrozenModel.load(options.path).summary())
        return 0
    checkpoint = Checkpoint(options.path)
    names = list(map(printable, checkpoint.specs))
    width = max(map(len, names), default=0)
    lines = [f"  {name} = {number:g}" for name, number in checkpoint.metrics.items()]
    specs = checkpoint.specs.values()
    lines += [f"  {name:{width}}  {spec}" for name, spec in zip(names, specs, strict=True)]
    print("\n".join(map(printable, [checkpoint.prefix, *lines])))
    return 0


def _verify(options: argparse.Namespace) -> int:
    storage = directory(options.path)
    known = {} if storage is None else survey.known(storage)
    found: Verification | Survey
    if storage is not None and known:
        found = survey.survey(storage, known)
    else:
        found = Checkpoint(options.path).verify()
    print(found)
    return 0 if found.ok else 1


def _diff(options: argparse.Namespace) -> int:
    difference = Checkpoint(options.one).diff(Checkpoint(options.other))
    print(difference)
    return 1 if difference else 0


def _freeze(options: argparse.Namespace) -> int:
    freezer = Freezer(options.source).outputs(*options.outputs).keep_variables(*options.keep)
    print(freezer.write(options.target).summary())
    return 0
