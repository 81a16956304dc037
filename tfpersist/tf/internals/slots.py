"""The private parts of TF1 optimizers, which have slot variables; tested as `internals` is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tfpersist.errors import TargetError


def add_slots(
    objects: list[Any], paths: list[str], numbers: dict[int, int]
) -> dict[int, list[tuple[str, int, int]]]:
    """Add the slot variables of all optimizers to the objects of a walk.

    Args:
        objects: the objects; grows.
        paths: the path of each; grows.
        numbers: the number of each, by its identity; grows.

    Returns:
        Slot name, number of the variable and number of the slot variable, by optimizer.

    Raises:
        TargetError: a slot variable is an attribute of an object, too.
    """
    from tensorflow.python.trackable import trackable_utils

    slots: dict[int, list[tuple[str, int, int]]] = {}
    reached = list(enumerate(objects))
    for owner, optimizer in reached:
        if not hasattr(type(optimizer), "get_slot_names"):
            continue
        for name in optimizer.get_slot_names():
            for number, variable in reached:
                try:
                    slot = optimizer.get_slot(variable, name)
                except (AttributeError, KeyError):
                    continue
                if slot is None:
                    continue
                if id(slot) in numbers:
                    raise TargetError(
                        f"slot {name!r} of {paths[number]!r} is also an attribute of an object",
                        advice="Let the optimizer alone hold its slot variables.",
                    )
                path = trackable_utils.slot_variable_key(paths[number], paths[owner], name)
                numbers[id(slot)] = len(objects)
                slots.setdefault(owner, []).append((name, number, len(objects)))
                objects.append(slot)
                paths.append(path)
    return slots


def create_slots(optimizer: Any, variables: Iterable[Any]) -> bool:
    """Let a TF1 optimizer make the slot variables that it would make at its first step.

    Args:
        optimizer: any object of an object graph.
        variables: what it is to have slots for.

    Returns:
        Whether there is such an optimizer in eager mode, and it has made them.
    """
    import tensorflow as tf

    if not isinstance(optimizer, tf.compat.v1.train.Optimizer) or not tf.executing_eagerly():
        return False
    optimizer._create_slots(list(variables))
    return True
