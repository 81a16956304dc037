"""What the parts of nested arguments and results of a function are called."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_Path = tuple[str | int, ...]


def names_of_results(structure: Any) -> list[str]:
    """Name the tensors that a function gives.

    Args:
        structure: its `structured_outputs`.

    Returns:
        What each of its `outputs` is called: the key of a dict, then what leads on from there, as
        in "boxes_0". Empty for what has no key, and for all where the structure is of other kinds.

    Example:
        >>> import tensorflow as tf
        >>> one = tf.constant(1)
        >>> names_of_results({"b": [one, one], "a": one}), names_of_results((one, one))
        (['a', 'b_0', 'b_1'], ['', ''])
    """
    return _short([path for path, leaf in _leaves(structure) if leaf is not None])


def names_of_arguments(signature: Any, arguments: Sequence[str]) -> list[str]:
    """Name the tensors that a function takes.

    Args:
        signature: its `structured_input_signature`.
        arguments: the names of its positional arguments.

    Returns:
        What each of its `inputs` is called: for what is inside of an argument, the key of a dict as
        in `names_of_results`, after the argument's name where several have that key. Empty for
        arguments that are tensors.

    Example:
        >>> import tensorflow as tf
        >>> spec = tf.TensorSpec(())
        >>> names_of_arguments(((spec, {"k": spec}), {"more": {"m": spec}}), ["x", "d"])
        ['', 'k', 'm']
    """
    import tensorflow as tf

    positional, named = signature or ((), {})
    found: list[_Path] = []
    for at, each in [*enumerate(positional), *((name, named[name]) for name in sorted(named))]:
        known = isinstance(at, int) and at < len(arguments)
        start = arguments[at] if known else at
        inner = [path for path, leaf in _leaves(each) if isinstance(leaf, tf.TensorSpec)]
        found += [(start, *path) for path in inner]
    short = _short([path[1:] for path in found])
    twice = collections.Counter(short)
    return [
        "_".join(map(str, path)) if name and twice[name] > 1 else name
        for path, name in zip(found, short, strict=True)
    ]


def _leaves(structure: Any, path: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    """List the leaves of a structure with the ways to them, in the order of tf.nest."""
    import tensorflow as tf

    if isinstance(structure, Mapping):
        for key in sorted(structure):
            yield from _leaves(structure[key], (*path, str(key)))
    elif isinstance(structure, tuple) and hasattr(structure, "_fields"):
        for field in getattr(structure, "_fields", ()):
            yield from _leaves(getattr(structure, field), (*path, field))
    elif isinstance(structure, (list, tuple)):
        for at, each in enumerate(structure):
            yield from _leaves(each, (*path, at))
    else:
        parts = tf.nest.flatten(structure, expand_composites=True)
        if len(parts) == 1:
            yield path, parts[0]
        else:
            for at, part in enumerate(parts):
                yield (*path, at), part


def _short(paths: Sequence[_Path]) -> list[str]:
    """Leave out what comes before the first key, unless two are called the same without it."""
    starts = [next((at for at, p in enumerate(path) if isinstance(p, str)), None) for path in paths]
    pairs = list(zip(paths, starts, strict=True))
    short = ["" if at is None else "_".join(map(str, path[at:])) for path, at in pairs]
    twice = collections.Counter(short)
    return [
        "_".join(map(str, path)) if name and twice[name] > 1 else name
        for path, name in zip(paths, short, strict=True)
    ]
