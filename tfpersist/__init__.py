"""Save, restore, freeze and load TensorFlow models of any TensorFlow era.

ModelStore saves checkpoints in a directory and restores them; Checkpoint reads one, without
TensorFlow; Freezer turns a model into a single graph file; FrozenModel loads and runs it. The other
names are the types of what these take, return and raise. Each name is imported when it is first
used, and TensorFlow when it is first needed.

Example:
    >>> import numpy as np
    >>> import tfpersist as tfp
    >>> store = tfp.ModelStore("memory://facade")
    >>> checkpoint = store.save({"v1": np.float32([1, 2])}, step=7)
    >>> checkpoint["v1"]
    array([1., 2.], dtype=float32)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfpersist import safety as safety
    from tfpersist.calls.bound import Bound
    from tfpersist.checkpoint.checkpoint import Checkpoint
    from tfpersist.checkpoint.diff import Difference
    from tfpersist.checkpoint.pins import Pin
    from tfpersist.checkpoint.sidecar import Increment
    from tfpersist.checkpoint.verify import Flaw, Verification
    from tfpersist.errors import (
        ArgumentError,
        CheckpointNotFoundError,
        ConflictError,
        CorruptionError,
        FeedError,
        FreezeError,
        GraphError,
        NameNotFoundError,
        ParityError,
        RestoreError,
        RetentionError,
        RunError,
        SaveError,
        SelectionError,
        StorageError,
        TargetError,
        TFPersistError,
        UnsafeModelError,
        UnsupportedError,
    )
    from tfpersist.formats.graphdef import Graph
    from tfpersist.formats.tensors import Payload, TensorSpec
    from tfpersist.freezer.freezer import Freezer
    from tfpersist.frozen.model import FrozenModel
    from tfpersist.graph.describe.candidates import Candidates
    from tfpersist.graph.describe.parity import OutputDifference, Parity
    from tfpersist.graph.describe.signature import Proof, Signature
    from tfpersist.graph.describe.summary import Constant, Summary
    from tfpersist.graph.runtimes.portability import Blocker, Portability
    from tfpersist.graph.structure.lowered import Origin
    from tfpersist.graph.structure.names import TensorRef
    from tfpersist.matching.plans.loss import Loss
    from tfpersist.matching.plans.plan import Pair, Plan
    from tfpersist.matching.plans.report import RestoreReport, Row, Skipped
    from tfpersist.matching.plans.resume import Fact, Resume
    from tfpersist.matching.recipes import recipe_steps as recipe_steps
    from tfpersist.matching.recipes.recipe import Recipe
    from tfpersist.safety import Finding, Policy, ScanReport
    from tfpersist.store.background import PendingCheckpoint
    from tfpersist.store.last_save import SignalSave
    from tfpersist.store.model_store import ModelStore
    from tfpersist.store.parts import StorePart
    from tfpersist.store.retention import Best, Candidate, Keep, Pruning, Verdict
    from tfpersist.store.survey import Survey
    from tfpersist.tf.open_graph.graph_model import GraphModel
    from tfpersist.tf.training.training import Training

    __version__: str

__all__ = [
    "ArgumentError",
    "Best",
    "Blocker",
    "Bound",
    "Candidate",
    "Candidates",
    "Checkpoint",
    "CheckpointNotFoundError",
    "ConflictError",
    "Constant",
    "CorruptionError",
    "Difference",
    "Fact",
    "FeedError",
    "Finding",
    "Flaw",
    "FreezeError",
    "Freezer",
    "FrozenModel",
    "Graph",
    "GraphError",
    "GraphModel",
    "Increment",
    "Keep",
    "Loss",
    "ModelStore",
    "NameNotFoundError",
    "Origin",
    "OutputDifference",
    "Pair",
    "Parity",
    "ParityError",
    "Payload",
    "PendingCheckpoint",
    "Pin",
    "Plan",
    "Policy",
    "Portability",
    "Proof",
    "Pruning",
    "Recipe",
    "RestoreError",
    "RestoreReport",
    "Resume",
    "RetentionError",
    "Row",
    "RunError",
    "SaveError",
    "ScanReport",
    "SelectionError",
    "SignalSave",
    "Signature",
    "Skipped",
    "StorageError",
    "StorePart",
    "Summary",
    "Survey",
    "TFPersistError",
    "TargetError",
    "TensorRef",
    "TensorSpec",
    "Training",
    "UnsafeModelError",
    "UnsupportedError",
    "Verdict",
    "Verification",
]

# The module of each public name that is not an error.
_HOMES = {
    "Best": "store.retention",
    "Blocker": "graph.runtimes.portability",
    "Bound": "calls.bound",
    "Candidate": "store.retention",
    "Candidates": "graph.describe.candidates",
    "Checkpoint": "checkpoint.checkpoint",
    "Constant": "graph.describe.summary",
    "Difference": "checkpoint.diff",
    "Fact": "matching.plans.resume",
    "Finding": "safety",
    "Flaw": "checkpoint.verify",
    "Freezer": "freezer.freezer",
    "FrozenModel": "frozen.model",
    "Graph": "formats.graphdef",
    "GraphModel": "tf.open_graph.graph_model",
    "Increment": "checkpoint.sidecar",
    "Keep": "store.retention",
    "Loss": "matching.plans.loss",
    "ModelStore": "store.model_store",
    "Origin": "graph.structure.lowered",
    "OutputDifference": "graph.describe.parity",
    "Pair": "matching.plans.plan",
    "Parity": "graph.describe.parity",
    "Payload": "formats.tensors",
    "PendingCheckpoint": "store.background",
    "Pin": "checkpoint.pins",
    "Plan": "matching.plans.plan",
    "Policy": "safety",
    "Portability": "graph.runtimes.portability",
    "Proof": "graph.describe.signature",
    "Pruning": "store.retention",
    "Recipe": "matching.recipes.recipe",
    "RestoreReport": "matching.plans.report",
    "Resume": "matching.plans.resume",
    "Row": "matching.plans.report",
    "ScanReport": "safety",
    "SignalSave": "store.last_save",
    "Signature": "graph.describe.signature",
    "Skipped": "matching.plans.report",
    "Summary": "graph.describe.summary",
    "StorePart": "store.parts",
    "Survey": "store.survey",
    "TensorRef": "graph.structure.names",
    "TensorSpec": "formats.tensors",
    "Training": "tf.training.training",
    "Verdict": "store.retention",
    "Verification": "checkpoint.verify",
}

_MODULES = {"safety": "safety", "recipe_steps": "matching.recipes.recipe_steps"}

# A type checker takes a module's __getattr__ for a promise that every name is there.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            value = importlib.import_module("importlib.metadata").version(__name__)
        elif name in _MODULES:
            value = importlib.import_module(f"{__name__}.{_MODULES[name]}")
        elif name in __all__:
            home = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}")
            value = getattr(home, name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
