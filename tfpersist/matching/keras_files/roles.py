"""Find the kernel, the bias and the other roles among the tensors of a Keras layer. Pure.

Files of Keras 3 only number the tensors of a layer. Their order is that in which the class of the
layer makes them. Without a known class, shapes decide, or nothing does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfpersist.formats.tensors import TensorSpec

# The class of a layer that another layer of Keras wraps, if no more is known.
WRAPPED = "wrapped"

Shape = tuple[int | None, ...]

_KERNEL = ("kernel", "bias")
_SCALED = ("gamma", "beta")
_MOVING = ("moving_mean", "moving_variance")
_CELL = ("kernel", "recurrent_kernel", "bias")
_SEPARABLE = ("depthwise_kernel", "pointwise_kernel", "bias")

# The tensors of each class, in their order; those at the end may be missing.
_ORDERS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("dense", "einsum_dense"), _KERNEL),
    **dict.fromkeys((f"conv{n}d{kind}" for n in "123" for kind in ("", "_transpose")), _KERNEL),
    **dict.fromkeys((f"{kind}_conv{n}d" for n in "12" for kind in ("depthwise",)), _KERNEL),
    **dict.fromkeys((f"locally_connected{n}d" for n in "12"), _KERNEL),
    **dict.fromkeys((f"separable_conv{n}d" for n in "12"), _SEPARABLE),
    **dict.fromkeys(("lstm_cell", "gru_cell", "simple_rnn_cell", "conv_lstm_cell"), _CELL),
    "embedding": ("embeddings",),
    "rms_normalization": ("gamma",),
    "p_re_lu": ("alpha",),
    "normalization": ("mean", "variance", "count"),
    "seed_generator": ("seed_generator_state",),
    **dict.fromkeys(("attention", "additive_attention"), ("scale",)),
}
_LEAST: Mapping[Sequence[str], int] = {_SEPARABLE: 2, _CELL: 2}
_SCALING = frozenset({"layer_normalization", "group_normalization", "batch_normalization"})

# The class of what an attribute of a layer holds.
_PARTS: Mapping[str, str] = {
    "query_dense": "einsum_dense",
    "key_dense": "einsum_dense",
    "value_dense": "einsum_dense",
    "output_dense": "einsum_dense",
    "seed_generator": "seed_generator",
}
_CELLS: Mapping[str, str] = {
    "lstm": "lstm_cell",
    "gru": "gru_cell",
    "simple_rnn": "simple_rnn_cell",
    **{f"conv_lstm{n}d": "conv_lstm_cell" for n in "123"},
}


def part_of(kind: str, attribute: str) -> str:
    """Return the class of what an attribute of a layer holds; empty if it is not known.

    Args:
        kind: the class of the layer, in snake case; empty if it is not known.
        attribute: the name of the attribute.

    Example:
        >>> part_of("lstm", "cell"), part_of("", "_query_dense"), part_of("net", "head")
        ('lstm_cell', 'einsum_dense', '')
    """
    plain = attribute.strip("_")
    return _CELLS.get(kind, "") if plain == "cell" else _PARTS.get(plain, "")


def roles_of(
    kind: str, specs: Sequence[TensorSpec], facts: Mapping[str, Any]
) -> tuple[str, ...] | None:
    """Return the role of each tensor of a layer; None if nothing decides.

    Args:
        kind: the class of the layer, in snake case; empty if it is not known.
        specs: its tensors, in their order.
        facts: its configuration, if it is known.

    Example:
        >>> kernel, bias = TensorSpec("float32", (3, 2)), TensorSpec("float32", (2,))
        >>> roles_of("dense", [kernel, bias], {})
        ('kernel', 'bias')
        >>> roles_of("my_layer", [kernel, bias], {})
    """
    count = len(specs)
    if kind in _SCALING:
        return _of_normalization(kind, count, facts)
    order = _ORDERS.get(kind)
    if order is not None:
        least = _LEAST.get(order, 1)
        return tuple(order[:count]) if least <= count <= len(order) else None
    return _by_shapes([spec.shape or () for spec in specs], is_wrapped=kind == WRAPPED)


def _of_normalization(kind: str, count: int, facts: Mapping[str, Any]) -> tuple[str, ...] | None:
    moving = _MOVING if kind == "batch_normalization" else ()
    scaled = count - len(moving)
    switches = [facts.get(name) for name in ("scale", "center")]
    roles = tuple(role for role, on in zip(_SCALED, switches, strict=True) if on)
    if scaled == len(_SCALED):
        return (*_SCALED, *moving)
    if scaled == 0:
        return moving
    if scaled == 1 and len(roles) == 1 and None not in switches:
        return (*roles, *moving)
    # One tensor alone is the only one that there is, whatever it is called.
    return _SCALED[:1] if count == 1 else None


def _by_shapes(shapes: Sequence[Shape], *, is_wrapped: bool) -> tuple[str, ...] | None:
    """Return the roles in a layer of an unknown class, if its shapes allow no others."""
    if is_wrapped and len(shapes) == 2:
        kernel, bias = shapes
        fits = len(kernel) > len(bias) > 0 and kernel[len(kernel) - len(bias) :] == bias
        return _KERNEL if fits else None
    if len(shapes) == 3:
        kernel, recurrent, bias = shapes
        same = len(kernel) == len(recurrent) > 1 and len(bias) in (1, 2)
        last = same and kernel[-1] == recurrent[-1] == bias[-1]
        units = recurrent[-2] if last else None
        ratio = bool(units and any(units * n == bias[-1] for n in (1, 3, 4)))
        return _CELL if last and ratio else None
    alike = len(shapes) == 4 and len(set(shapes)) == 1 and len(shapes[0]) == 1
    return (*_SCALED, *_MOVING) if alike else None
