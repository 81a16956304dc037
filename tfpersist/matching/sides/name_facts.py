"""Read the facts of names: which layers hold which tensors, by keys alone. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.sides import facts
from tfpersist.matching.sides.facts import Leaf, Member, Side


def side_of(tensors: Iterable[tuple[object, str, TensorSpec]], *, ordered: bool) -> Side:
    """Return the leaves that names describe.

    A tensor whose last name is a role, such as "kernel" or "biases", belongs to the layer that the
    rest names. Any other tensor is a leaf of its own.

    Args:
        tensors: for each tensor what it is called by its side, its name, and its spec; without
            slots of optimizers.
        ordered: whether they are in the order in which they were created.

    Example:
        >>> spec = TensorSpec("float32", (2,))
        >>> side = side_of([(0, "net/dense_1/w", spec), (1, "step", spec)], ordered=False)
        >>> [(leaf.named, dict.keys(leaf.members)) for leaf in side.leaves]
        [(('net',), dict_keys(['kernel'])), (('step',), dict_keys(['value']))]
    """
    groups: dict[tuple[str, ...], dict[str, Member]] = {}
    for identity, name, spec in tensors:
        *scopes, last = name.removesuffix(":0").split("/")
        role = facts.role_of(last)
        if facts.is_role(last) and role not in groups.get(tuple(scopes), {}):
            groups.setdefault(tuple(scopes), {})[role] = Member(identity, spec)
        else:
            groups.setdefault((*scopes, last), {})["value"] = Member(identity, spec)
    leaves = []
    for number, (path, tensors_of) in enumerate(groups.items()):
        kernels = [role for role in tensors_of if role.endswith("kernel")]
        plain = dict.fromkeys(kernels, "kernel") if len(kernels) == 1 else {}
        members = {plain.get(role, role): member for role, member in tensors_of.items()}
        by_people = tuple(label for label in path if not facts.is_automatic(label))
        automatic = len(by_people) < len(path)
        tail = () if automatic else None
        is_named = bool(path) and not facts.is_automatic(path[-1])
        leaves.append(Leaf(number, members, by_people, by_people, tail, (), path, is_named))
    return Side(leaves, ordered)
