"""Save, restore, freeze and load TensorFlow models of any TensorFlow era.

ModelStore saves checkpoints in a directory and restores them; Checkpoint reads one, without
TensorFlow; Freezer turns a model into a single graph file; FrozenModel loads and runs it.
Each name is imported when it is first used, and TensorFlow when it is first needed.

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
    from tfpersist.checkpoint.checkpoint import Checkpoint
    from tfpersist.errors import (
        ArgumentError,
        CheckpointNotFoundError,
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
    from tfpersist.formats.tensors import TensorSpec
    from tfpersist.freezer.freezer import Freezer
    from tfpersist.frozen.model import FrozenModel
    from tfpersist.graph.structure.names import TensorRef
    from tfpersist.matching.report import RestoreReport
    from tfpersist.safety import Policy
    from tfpersist.store.model_store import ModelStore
    from tfpersist.store.retention import Keep

    __version__: str

__all__ = [
    "ArgumentError",
    "Checkpoint",
    "CheckpointNotFoundError",
    "CorruptionError",
    "FeedError",
    "FreezeError",
    "Freezer",
    "FrozenModel",
    "GraphError",
    "Keep",
    "ModelStore",
    "NameNotFoundError",
    "ParityError",
    "Policy",
    "RestoreError",
    "RestoreReport",
    "RetentionError",
    "RunError",
    "SaveError",
    "SelectionError",
    "StorageError",
    "TFPersistError",
    "TargetError",
    "TensorRef",
    "TensorSpec",
    "UnsafeModelError",
    "UnsupportedError",
]

_HOMES = {
    "Checkpoint": "checkpoint.checkpoint",
    "Freezer": "freezer.freezer",
    "FrozenModel": "frozen.model",
    "Keep": "store.retention",
    "ModelStore": "store.model_store",
    "Policy": "safety",
    "RestoreReport": "matching.report",
    "TensorRef": "graph.structure.names",
    "TensorSpec": "formats.tensors",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value = importlib.import_module("importlib.metadata").version(__name__)
    elif name in __all__:
        home = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}")
        value = getattr(home, name)
    elif name == "safety":
        value = importlib.import_module(f"{__name__}.safety")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
