"""Name the tensors inside of nested arguments and results of a function."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_Path = tuple[str | int, ...]


def names_of_results(structure: Any) -> list[str]:
    """Return a name for each result of a function.

    Args:
        structure: its `structured_outputs`.

    Returns:
        A name for each of its `outputs`: the key of a dict, then the path from there, such as
        "boxes_0". "" for a result that is inside of no dict.

    Example:
        >>> import tensorflow as tf
        >>> one = tf.constant(1)
        >>> names_of_results({"b": [one, one], "a": one}), names_of_results((one, one))
        (['a', 'b_0', 'b_1'], ['', ''])
    """
    return _short([path for path, leaf in _leaves(structure) if leaf is not None])


def names_of_arguments(signature: Any, arguments: Sequence[str]) -> list[str]:
    """Return a name for each input of a function.

    Args:
        signature: its `structured_input_signature`.
        arguments: the names of its positional arguments.

    Returns:
        A name for each of its `inputs`: inside of an argument, the key of a dict as in
        `names_of_results`, after the argument's name where several have that key. For an argument
        that is a tensor, its name if it is passed by name, else "".

    Example:
        >>> import tensorflow as tf
        >>> spec = tf.TensorSpec(())
        >>> names_of_arguments(((spec, {"k": spec}), {"more": {"m": spec}, "n": spec}), ["x", "d"])
        ['', 'k', 'm', 'n']
    """
    positional, named = signature or ((), {})
    paths: list[_Path] = []
    for position, argument in enumerate(positional):
        start = arguments[position] if position < len(arguments) else position
        paths += [(start, *path) for path in _tensor_paths(argument)]
    by_position = len(paths)
    for name in sorted(named):
        paths += [(name, *path) for path in _tensor_paths(named[name])]
    short = _short([path[1:] for path in paths])
    names = [
        str(path[0]) if number >= by_position and len(path) == 1 else name
        for number, (path, name) in enumerate(zip(paths, short, strict=True))
    ]
    return _long_where_ambiguous(paths, names)


def _tensor_paths(argument: Any) -> list[_Path]:
    import tensorflow as tf

    return [path for path, leaf in _leaves(argument) if isinstance(leaf, tf.TensorSpec)]


def _leaves(structure: Any, path: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    """Yield the leaves of a structure with their paths, in the order of tf.nest."""
    import tensorflow as tf

    if isinstance(structure, Mapping):
        for key in sorted(structure):
            yield from _leaves(structure[key], (*path, str(key)))
    elif isinstance(structure, tuple) and hasattr(structure, "_fields"):
        for field in getattr(structure, "_fields", ()):
            yield from _leaves(getattr(structure, field), (*path, field))
    elif isinstance(structure, (list, tuple)):
        for position, item in enumerate(structure):
            yield from _leaves(item, (*path, position))
    else:
        parts = tf.nest.flatten(structure, expand_composites=True)
        if len(parts) == 1:
            yield path, parts[0]
        else:
            for position, part in enumerate(parts):
                yield (*path, position), part


def _short(paths: Sequence[_Path]) -> list[str]:
    """Return names that begin at the first key of each path; "" for a path without keys."""
    names = []
    for path in paths:
        keys = [position for position, part in enumerate(path) if isinstance(part, str)]
        names.append("_".join(map(str, path[keys[0] :])) if keys else "")
    return _long_where_ambiguous(paths, names)


def _long_where_ambiguous(paths: Sequence[_Path], names: Sequence[str]) -> list[str]:
    """Return the names, with the whole path in place of each name that occurs twice."""
    counts = collections.Counter(names)
    return [
        "_".join(map(str, path)) if name and counts[name] > 1 else name
        for path, name in zip(paths, names, strict=True)
    ]
