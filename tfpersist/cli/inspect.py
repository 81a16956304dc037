"""The verb `inspect`: list the content of a checkpoint or a frozen graph."""

from __future__ import annotations

import argparse

from tfpersist.checkpoint.checkpoint import Checkpoint
from tfpersist.cli.arguments import CHECKPOINT, Verbs
from tfpersist.errors import printable
from tfpersist.freezer.sources.graph import FILES
from tfpersist.freezer.sources.saved_model import folder_of
from tfpersist.frozen.model import FrozenModel


def add(verbs: Verbs) -> None:
    """Declare the arguments of the verb."""
    parser = verbs.add_parser("inspect", help="list the content of a checkpoint or a frozen graph")
    parser.add_argument("path", help=f"a .pb file; or {CHECKPOINT}")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the summary of a frozen graph, or the metrics and tensors of a checkpoint."""
    folder = folder_of(options.path)
    if folder is None and options.path.endswith(FILES):
        print(FrozenModel.load(options.path).summary())
        return 0
    checkpoint = Checkpoint(folder or options.path)
    names = list(map(printable, checkpoint.specs))
    width = max(map(len, names), default=0)
    lines = [f"  {name} = {number:g}" for name, number in checkpoint.metrics.items()]
    specs = checkpoint.specs.values()
    lines += [f"  {name:{width}}  {spec}" for name, spec in zip(names, specs, strict=True)]
    print("\n".join(map(printable, [checkpoint.prefix, *lines])))
    return 0
