"""The private APIs of TF1 optimizers and their slot variables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tfpersist.errors import TargetError


def add_slots(
    objects: list[Any], paths: list[str], numbers: dict[int, int]
) -> dict[int, list[tuple[str, int, int]]]:
    """Add the slot variables of all optimizers to the objects of a walk.

    Args:
        objects: the objects; the slot variables are added.
        paths: the path of each; likewise.
        numbers: the number of each, by its identity; likewise.

    Returns:
        For each optimizer, by its number: slot name, number of the variable and number of the slot
        variable.

    Raises:
        TargetError: a slot variable is also an attribute of an object.
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
    """Make a TF1 optimizer create the slot variables that it would create at its first step.

    Args:
        optimizer: any object of an object graph.
        variables: the variables to create slots for.

    Returns:
        Whether slots were created: the object is such an optimizer, in eager mode.
    """
    import tensorflow as tf

    if not isinstance(optimizer, tf.compat.v1.train.Optimizer) or not tf.executing_eagerly():
        return False
    optimizer._create_slots(list(variables))
    return True
