"""The graphs of a SavedModel, by tags, and their signatures."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tfpersist.errors import FreezeError, NameNotFoundError, did_you_mean
from tfpersist.formats import dtypes
from tfpersist.formats.schema import Message
from tfpersist.formats.tensors import TensorSpec
from tfpersist.graph.describe.signature import Signature
from tfpersist.graph.structure.lowered import SourceSignature

_DEFAULT = "serving_default"
_INIT = "__saved_model_init_op"


def choose(saved_model: Message, tags: Collection[str] | None, file: str) -> Message:
    """Return one of the graphs of a SavedModel.

    Args:
        saved_model: the SavedModel.
        tags: all tags of the graph; None for the only graph, or the one with the tag "serve".
        file: the path or URL of the SavedModel, for the error.

    Returns:
        The MetaGraphDef.

    Raises:
        FreezeError: it has no graph with these tags, or more than one.

    Example:
        >>> from tfpersist.formats import schema
        >>> model = schema.SavedModel()
        >>> model.meta_graphs.add().meta_info_def.tags.append("serve")
        >>> list(choose(model, None, "m").meta_info_def.tags)
        ['serve']
    """
    graphs = list(saved_model.meta_graphs)
    if tags is None and len(graphs) == 1:
        return graphs[0]
    wanted = frozenset({"serve"} if tags is None else tags)
    matches = [meta for meta in graphs if frozenset(meta.meta_info_def.tags) == wanted]
    if len(matches) != 1:
        tags_of_each = [",".join(sorted(m.meta_info_def.tags)) or "no tags" for m in graphs]
        raise FreezeError(
            "the SavedModel does not have one graph with these tags",
            where=file,
            expected=", ".join(sorted(wanted)) or "no tags",
            found="; ".join(tags_of_each) or "no graph",
            advice="Set the tags: Freezer(...).tags(...). Freezer(...).tags() is the graph without"
            " tags.",
        )
    return matches[0]


def signature_of(meta: Message, name: str | None, file: str) -> Signature:
    """Return a signature of a graph.

    Args:
        meta: the MetaGraphDef.
        name: the name of the signature; None for "serving_default", or for the only one.
        file: the path or URL of the SavedModel, for the error.

    Returns:
        The inputs and outputs; empty if no name is given and there is no default.

    Raises:
        NameNotFoundError: there is no such signature.
        FreezeError: an input or output of it is not made of tensors with names.
    """
    names = _names(meta)
    if name is None:
        if _DEFAULT not in names and len(names) != 1:
            return Signature()
        name = _DEFAULT if _DEFAULT in names else names[0]
    if name not in names:
        raise NameNotFoundError(
            f"there is no signature {name!r}",
            where=file,
            found=", ".join(names) or "no signatures",
            advice=did_you_mean(name, names),
        )
    signature = meta.signature_def[name]
    return Signature(_tensors(signature.inputs, name), _tensors(signature.outputs, name))


def signatures(meta: Message) -> tuple[SourceSignature, ...]:
    """Return the signatures to choose from, with their inputs and outputs, sorted by name."""
    choices = []
    for name in _names(meta):
        signature = meta.signature_def[name]
        inputs, outputs = (
            {key: _spec(infos[key]) for key in sorted(infos)}
            for infos in (signature.inputs, signature.outputs)
        )
        tensors = (signature.outputs[key].name for key in outputs)
        choices.append(SourceSignature(name, inputs, outputs, tuple(filter(None, tensors))))
    return tuple(choices)


def _names(meta: Message) -> list[str]:
    return [name for name in sorted(meta.signature_def) if name != _INIT]


def _spec(info: Message) -> TensorSpec | None:
    dtype = dtypes.by_number(info.dtype)
    if dtype is None:
        return None
    shape = tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)
    return TensorSpec(dtype.name, None if info.tensor_shape.unknown_rank else shape)


def _tensors(infos: Mapping[str, Message], signature: str) -> dict[str, str]:
    """Return the names of tensors by their keys; a sparse tensor or the like becomes several."""
    by_key: dict[str, str] = {}
    for key in sorted(infos):
        info = infos[key]
        encoding = info.WhichOneof("encoding")
        if encoding == "name":
            by_key[key] = info.name
        elif encoding == "coo_sparse":
            for part in ("values", "indices", "dense_shape"):
                by_key[f"{key}/{part}"] = getattr(info.coo_sparse, f"{part}_tensor_name")
        elif encoding == "composite_tensor":
            for number, component in enumerate(info.composite_tensor.components):
                by_key[f"{key}/{number}"] = component.name
        else:
            raise FreezeError(
                f"the tensor {key!r} has no name",
                where=f"signature {signature}",
                advice="Choose another signature, or name the tensors with outputs() and inputs().",
            )
    return by_key
