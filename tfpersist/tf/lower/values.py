"""Values of living models as arrays, and names that a graph accepts."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from tfpersist.errors import FreezeError

_FOREIGN = re.compile(r"[^A-Za-z0-9_.\\/>-]", re.ASCII)


def node_name(name: str) -> str:
    """Return a name with "_" for each character that the name of a node cannot have.

    Example:
        >>> node_name("my layer:0")
        'my_layer_0'
    """
    return _FOREIGN.sub("_", name)


def uninitialized(name: str) -> FreezeError:
    """Return the error for a variable without a value.

    Args:
        name: the variable.
    """
    return FreezeError(
        "the variable has no value yet",
        where=f"variable {name}",
        advice="Run its initializer or restore a checkpoint first.",
    )


def as_array(value: Any, dtype: str) -> np.ndarray[Any, Any]:
    """Return what TensorFlow has fetched as a contiguous array of plain elements.

    Args:
        value: an array, or a scalar.
        dtype: TensorFlow's name of its data type.
    """
    if dtype == "string":
        array = np.empty(np.shape(value), object)
        array[...] = value
        return array
    array = np.ascontiguousarray(value).reshape(np.shape(value))
    return array.view(array.dtype[0]) if array.dtype.names else array
