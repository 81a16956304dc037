"""Find optimizer slots and differing prefixes in the names of variables. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from tfpersist.errors import SelectionError
from tfpersist.matching.sides.object_graph import ATTRIBUTES

# The slot names of the optimizers that TensorFlow and Google have published.
_SLOTS = re.compile(
    r"(Adam|AdamW|AdamAsync|Adagrad|AdagradDA|Adadelta|Adamax|Nadam|Ftrl|Momentum|RMSProp|"
    r"ProximalAdagrad|LARS|LARSOptimizer|adam_m|adam_v|lamb_m|lamb_v|ExponentialMovingAverage|"
    r"accumulator|linear|momentum|velocity|vhat|rms|mg|m|v)(_\d+)?"
)
_POWERS = re.compile(r"beta[12]_power(_\d+)?")
_OBJECT_SLOT = re.compile(r"/\.OPTIMIZER_SLOT/.*/([^/]+)/\.ATTRIBUTES/[^/]+$")


def slot_of(name: str, names: Collection[str]) -> str | None:
    """Return the slot of an optimizer or a moving average that a name is.

    Args:
        name: a variable's name, or a checkpoint key.
        names: all names: a slot's name begins with the name of its variable.

    Returns:
        The slot, such as "Adam_1", "beta1_power" or "ExponentialMovingAverage"; None for a variable
        of the model itself.

    Example:
        >>> slot_of("w/Adam_1", {"w", "w/Adam_1"}), slot_of("w", {"w"})
        ('Adam_1', None)
    """
    match = _OBJECT_SLOT.search(name)
    if match:
        return match.group(1)
    owner, _, last = name.rpartition("/")
    if _POWERS.fullmatch(last):
        return last
    if not _SLOTS.fullmatch(last):
        return None
    # The slot of "w" that was created under the scope of an optimizer is "opt/w/Momentum".
    while owner:
        if owner in names:
            return last
        owner = owner.partition("/")[2]
    return None


def splits(key: str) -> Iterator[tuple[str, str]]:
    """Return an iterator over beginning and ending of a key, the longest ending first.

    Example:
        >>> list(splits("a/b/c"))
        [('', 'a/b/c'), ('a/', 'b/c'), ('a/b/', 'c')]
    """
    yield "", key
    for at, letter in enumerate(key[:-1]):
        if letter == "/":
            yield key[: at + 1], key[at + 1 :]


def completed(key: str, own: str, known: Collection[str]) -> str:
    """Return a key with the end of an object's key, which users need not write.

    Args:
        key: the user's name for a tensor.
        own: the whole key of its variable.
        known: the keys of the checkpoint.

    Returns:
        The key with the end of `own`, if the checkpoint has only that; else the key.

    Example:
        >>> end = "/.ATTRIBUTES/VARIABLE_VALUE"
        >>> completed("net/w", f"v{end}", {f"net/w{end}"})
        'net/w/.ATTRIBUTES/VARIABLE_VALUE'
    """
    if key in known:
        return key
    longer = whole(key, own)
    return longer if longer in known else key


def whole(key: str, own: str) -> str:
    """Return a key with the end of an object's key, if it has no such end.

    Example:
        >>> whole("net/w", "v/.ATTRIBUTES/VARIABLE_VALUE")
        'net/w/.ATTRIBUTES/VARIABLE_VALUE'
    """
    if key == own or ATTRIBUTES in key:
        return key
    end = own.find(ATTRIBUTES)
    return key + own[end:] if end >= 0 else key


def twice(name: str, first: str, second: str) -> SelectionError:
    """Return the error for a variable that a selection names under two keys."""
    return SelectionError(
        f"variable {name!r} gets two keys, {first!r} and {second!r}",
        advice="Name each variable once.",
    )
