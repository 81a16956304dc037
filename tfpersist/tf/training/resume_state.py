"""The object in which a checkpoint keeps the state of a training beside its variables.

It is a `tf.train.experimental.PythonState`, so that TensorFlow itself writes and reads it too. It
is never needed to restore a model: a checkpoint without it fits, and so does one with it.
"""

from __future__ import annotations

import functools
import os
import platform
import sys
from collections.abc import Callable, Mapping
from typing import Any

from tfpersist.errors import RestoreError, SaveError, printable_lines
from tfpersist.matching.plans.resume import Fact, Resume
from tfpersist.tf.internals import random_state
from tfpersist.tf.training.encoded import decode, encode

# The name of the object in the object graph.
NAME = "resume"


def resume_state(
    capture: Callable[[], Mapping[str, Any]], restore: Callable[[Mapping[str, Any]], None]
) -> Any:
    """Return the object.

    Args:
        capture: returns the state.
        restore: restores it.
    """
    return _state_class()(capture, restore)


@functools.cache
def _state_class() -> type[Any]:
    import tensorflow as tf

    class ResumeState(tf.train.experimental.PythonState):
        """The state of a training, as bytes."""

        # A checkpoint may lack it.
        is_spare = True

        def __init__(
            self,
            capture: Callable[[], Mapping[str, Any]],
            restore: Callable[[Mapping[str, Any]], None],
        ) -> None:
            self.capture, self.restore = capture, restore

        def serialize(self) -> bytes:
            return encode(self.capture())

        def deserialize(self, string_value: bytes) -> None:
            self.restore(decode(string_value))

    return ResumeState


def require_version(state: Mapping[str, Any]) -> None:
    """Refuse a state whose form is not known.

    Raises:
        RestoreError: it has another version.
    """
    version = state.get("version") if isinstance(state, Mapping) else None
    if version != 1:
        raise RestoreError(
            "another version of tfpersist has saved this training",
            expected="a state of version 1",
            found=repr(version),
            advice='Update tfpersist, or go on from the variables alone with resume="weights".',
        )


def checked(resume: Resume, *, strict: bool) -> Resume:
    """Return the facts about a save.

    Raises:
        SaveError: something is not covered, and nothing may be.
    """
    if strict and resume.not_covered:
        raise SaveError(
            printable_lines(
                "this training cannot go on to the bit:",
                *(f"  {one}" for one in resume.not_covered),
            ),
            advice="Change what is not covered, or leave strict=True out.",
        )
    return resume


def resumed(saved: Resume | None, *, was_found: bool) -> Resume:
    """Return the facts about a restore.

    Args:
        saved: what was noted at the save; None if nothing was.
        was_found: whether the checkpoint has the state of a training.
    """
    if was_found:
        return (saved or Resume()).now(environment())
    return Resume(
        (
            Fact(
                "not covered",
                "all but the variables",
                "",
                "the checkpoint has nothing else",
                "Save by store.callback(), or a tfp.Training.",
            ),
        )
    )


def environment() -> dict[str, str]:
    """Return what the bits of a training depend on beside its program and its state."""
    import numpy as np
    import tensorflow as tf

    threads = tf.config.threading
    devices = sorted({one.device_type for one in tf.config.list_logical_devices()})
    keras: Any = sys.modules.get("keras")
    found = {
        "tensorflow": tf.__version__,
        "keras": getattr(keras, "__version__", ""),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "devices": ", ".join(devices),
        "threads between ops": f"{threads.get_inter_op_parallelism_threads()}",
        "threads inside ops": f"{threads.get_intra_op_parallelism_threads()}",
        "op determinism": f"{random_state.is_deterministic()}",
        "XLA": f"{tf.config.optimizer.get_jit()}",
        "TF_ENABLE_ONEDNN_OPTS": os.environ.get("TF_ENABLE_ONEDNN_OPTS", ""),
        "processors": f"{os.cpu_count()}",
    }
    return {name: value for name, value in found.items() if value}
