"""The verb `plan`: show which tensor of a checkpoint each variable of a model would get."""

from __future__ import annotations

import argparse
import importlib
import pathlib
import sys
from typing import Any

from tfpersist.cli.arguments import Verbs
from tfpersist.errors import ArgumentError
from tfpersist.store.model_store import ModelStore


def add(verbs: Verbs) -> None:
    """Declare the arguments of the verb."""
    parser = verbs.add_parser("plan", help="show what a restore into your model would do, and why")
    parser.add_argument("store", help="the directory of checkpoints; its newest is used")
    parser.add_argument(
        "model",
        metavar="MODULE:NAME",
        help="your model, or a function without arguments that builds it, such as train:make_model",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the plan as JSON, for tfpersist.Plan.from_json"
    )
    parser.add_argument("--step", type=int, help="use the checkpoint of this step")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the plan; return 1 if it leaves variables undecided."""
    store = ModelStore(options.store)
    if options.step is not None:
        store = store.at(options.step)
    plan = store.restore(_built(options.model), dry_run=True).plan
    print(plan.to_json() if options.json else plan)
    return int(any(not (pair.key or pair.recipe or pair.keep) for pair in plan))


def _built(text: str) -> Any:
    """Import a module as `python -m` would, and return the model that it has or builds."""
    module_name, _, name = text.partition(":")
    if not module_name or not name:
        raise ArgumentError(
            "the model is not given as MODULE:NAME",
            expected="such as train:make_model",
            found=repr(text),
        )
    if "" not in sys.path and str(pathlib.Path.cwd()) not in sys.path:
        sys.path.insert(0, str(pathlib.Path.cwd()))
    try:
        thing: Any = importlib.import_module(module_name)
        for part in name.split("."):
            thing = getattr(thing, part)
    except (ImportError, AttributeError) as error:
        raise ArgumentError(
            f"cannot find the model {text!r}",
            expected="a module that can be imported from here, and a name in it",
            found=f"{type(error).__name__}: {error}",
        ) from error
    is_builder = callable(thing) and not hasattr(thing, "variables")
    return thing() if is_builder else thing
