"""Checkpoints for the verbs to work on."""

from __future__ import annotations

import numpy as np
import pytest

import tfpersist


@pytest.fixture
def runs(tmp_path):
    """Return the path of a directory with two checkpoints."""
    store = tfpersist.ModelStore(tmp_path)
    values = {"conv/kernel": np.ones((2, 3), np.float32), "step": np.int64(1)}
    store.save(values, step=1, metrics={"accuracy": 0.5})
    store.save({**values, "conv/kernel": values["conv/kernel"] * 3}, step=2)
    return str(tmp_path)
