"""What a SavedModel says of itself: its graphs by tags, and their signatures."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs

from tfpersist.errors import FreezeError, NameNotFoundError, did_you_mean
from tfpersist.formats import dtypes
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import TensorSpec
from tfpersist.graph.structure.lowered import Offer

_DEFAULT = "serving_default"
_INIT = "__saved_model_init_op"


@attrs.frozen
class Endpoints:
    """Where a computation begins and ends.

    Args:
        inputs: names of the tensors that are fed, by what the signature calls them.
        outputs: names of the tensors that are computed, by what the signature calls them.
    """

    inputs: Mapping[str, str] = attrs.field(factory=dict)
    outputs: Mapping[str, str] = attrs.field(factory=dict)


def choose(saved_model: Message, tags: Collection[str], file: str) -> Message:
    """Choose one of the graphs of a SavedModel.

    Args:
        saved_model: the SavedModel.
        tags: those of the graph, all of them; empty for the one that is there, or that for serving.
        file: where it comes from, for the error.

    Returns:
        The MetaGraphDef.

    Raises:
        FreezeError: there is no such graph, or it is not clear which.

    Example:
        >>> from tfpersist.formats import schema
        >>> model = schema.SavedModel()
        >>> model.meta_graphs.add().meta_info_def.tags.append("serve")
        >>> list(choose(model, (), "m").meta_info_def.tags)
        ['serve']
    """
    graphs = list(saved_model.meta_graphs)
    wanted = frozenset(tags)
    if not wanted and len(graphs) != 1:
        wanted = frozenset({"serve"})
    found = [m for m in graphs if not wanted or frozenset(m.meta_info_def.tags) == wanted]
    if len(found) != 1:
        known = [",".join(sorted(m.meta_info_def.tags)) or "no tags" for m in graphs]
        raise FreezeError(
            "the SavedModel has no graph of these tags",
            where=file,
            expected=", ".join(sorted(wanted)),
            found="; ".join(known) or "no graph at all",
            advice="Name the tags: Freezer(...).tags(...).",
        )
    return found[0]


def endpoints(meta: Message, name: str | None, file: str) -> Endpoints:
    """Read a signature.

    Args:
        meta: the MetaGraphDef.
        name: that of the signature; None for "serving_default", or the only one.
        file: where it comes from, for the error.

    Returns:
        Its inputs and outputs; nothing where none is named and none goes without saying.

    Raises:
        NameNotFoundError: there is no such signature.
        FreezeError: it passes something else than plain tensors.
    """
    names = _names(meta)
    if name is None:
        if _DEFAULT not in names and len(names) != 1:
            return Endpoints()
        name = _DEFAULT if _DEFAULT in names else names[0]
    if name not in names:
        raise NameNotFoundError(
            f"there is no signature {name!r}",
            where=file,
            found=", ".join(names) or "no signatures",
            advice=did_you_mean(name, names),
        )
    signature = meta.signature_def[name]
    return Endpoints(_tensors(signature.inputs, name), _tensors(signature.outputs, name))


def offers(meta: Message) -> tuple[Offer, ...]:
    """List the signatures with what they take and give, sorted by name."""
    found = []
    for name in _names(meta):
        signature = meta.signature_def[name]
        takes, gives = (
            {key: _spec(infos[key]) for key in sorted(infos)}
            for infos in (signature.inputs, signature.outputs)
        )
        tensors = (signature.outputs[key].name for key in gives)
        found.append(Offer(name, takes, gives, tuple(filter(None, tensors))))
    return tuple(found)


def _names(meta: Message) -> list[str]:
    return [name for name in sorted(meta.signature_def) if name != _INIT]


def _spec(info: Message) -> TensorSpec | None:
    dtype = dtypes.by_number(info.dtype)
    if dtype is None:
        return None
    shape = tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)
    return TensorSpec(dtype.name, None if info.tensor_shape.unknown_rank else shape)


def _tensors(infos: Mapping[str, Message], signature: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for key in sorted(infos):
        info = infos[key]
        kind = info.WhichOneof("encoding")
        if kind == "name":
            found[key] = info.name
        elif kind == "coo_sparse":
            for part in ("values", "indices", "dense_shape"):
                found[f"{key}/{part}"] = getattr(info.coo_sparse, f"{part}_tensor_name")
        elif kind == "composite_tensor":
            for number, component in enumerate(info.composite_tensor.components):
                found[f"{key}/{number}"] = component.name
        else:
            raise FreezeError(f"its tensor {key!r} has no name", where=f"signature {signature}")
    return found
