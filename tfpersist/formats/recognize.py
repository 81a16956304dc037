"""Recognize files that are not a frozen graph, and say what reads them."""

from __future__ import annotations

import re

from tfpersist.errors import CorruptionError
from tfpersist.formats import graphdef, schema, sstable
from tfpersist.formats.foreign import FileKind, foreign
from tfpersist.formats.schema import Message

_CHECKPOINT = (
    "Read it with tfpersist.Checkpoint(path); with its .meta beside it, freeze it with "
    "tfpersist.Freezer(path)."
)
_SPACE = rb"\s*(?:#[^\n]*\n\s*)*"
_TEXT = re.compile(_SPACE + rb"([a-z_]{4,40})" + _SPACE + rb"[:{<]")
# The bytes of the comments before a text.
_MOST_COMMENTS = 1 << 16
_TEXT_NAMES = (".pbtxt", ".pb.txt")
_GRAPH_FIELDS = (b"node", b"library", b"version", b"versions")
_OPERATION = re.compile(r"[A-Za-z_>][A-Za-z0-9_>/.\-]*")


_SAVED_MODEL = FileKind(
    "a SavedModel", "Freeze its directory first with tfpersist.Freezer(directory)."
)
_STATE = FileKind("the state file of a directory of checkpoints", _CHECKPOINT)
_META_TEXT = FileKind(
    "a MetaGraphDef in text form",
    "As the .meta beside a checkpoint, tfpersist.ModelStore(directory).open_graph() reads it, and"
    " so does tfpersist.Freezer(path).",
)
_TEXTS = {
    b"model_checkpoint_path": _STATE,
    b"all_model_checkpoint_paths": _STATE,
    b"meta_info_def": _META_TEXT,
    b"graph_def": _META_TEXT,
    b"saved_model_schema_version": _SAVED_MODEL,
    b"meta_graphs": _SAVED_MODEL,
}


def is_text_graph(data: memoryview, file: str = "") -> bool:
    """Return whether this is a GraphDef in text form.

    It is if it begins as one. Of a file with the name of a text, also if it can be parsed as one:
    parsers do not agree on what is a space.

    Args:
        data: the whole file.
        file: its name.

    Raises:
        CorruptionError: it is a GraphDef in binary form too, and another one. Programs do not
            agree on which of the two they read.

    Example:
        >>> is_text_graph(memoryview(b'node { name: "a" }')), is_text_graph(memoryview(b""))
        (True, False)
    """
    match = _TEXT.match(data, 0, _MOST_COMMENTS)
    begins = match is not None and match[1] in _GRAPH_FIELDS
    if not begins and not (file.endswith(_TEXT_NAMES) and _can_be_text(data, file)):
        return False
    try:
        schema.parse(schema.GraphDef, data, file=file)
    except CorruptionError:
        return True
    raise CorruptionError(
        "these bytes are one graph in binary form, and another one as text",
        file=file,
        expected="bytes that every program reads as the same graph",
        advice="Do not run it: somebody has made it so that a check sees another graph",
    )


def _can_be_text(data: memoryview, file: str) -> bool:
    try:
        return len(schema.parse_text(schema.GraphDef, data, file=file).node) > 0
    except CorruptionError:
        return False


def is_real_graph(graph: Message) -> bool:
    """Return whether a GraphDef has nodes, and each of them a name and an op.

    Other messages can be parsed as a GraphDef too, since parsers skip unknown fields.
    """
    return len(graph.node) > 0 and all(
        node.name and _OPERATION.fullmatch(node.op) for node in graph.node
    )


def by_magic(data: memoryview, name: str) -> FileKind | None:
    """Return the kind of a file by its first bytes, its last bytes or its name; None if unknown.

    Args:
        data: the whole file.
        name: its name.

    Example:
        >>> by_magic(memoryview(b"PK\x03\x04"), "model.keras").name
        'a Keras model or another zip file'
    """
    file_kind = foreign(data)
    if file_kind is not None:
        return file_kind
    text = _TEXT.match(bytes(data[:64]))
    if bytes(data[-len(sstable.MAGIC) :]) == sstable.MAGIC:
        return FileKind("a checkpoint or the index of one", _CHECKPOINT)
    if re.search(r"\.data-\d{5,}-of-\d{5,}$", name):
        return FileKind("a data shard of a checkpoint", _CHECKPOINT)
    return _TEXTS.get(text[1]) if text else None


def by_content(data: memoryview) -> FileKind | None:
    """Return the kind of a file that holds another message of TensorFlow; None if it does not.

    Args:
        data: the whole file.
    """
    try:
        saved = graphdef.parse_saved_model(data)
        if saved.meta_graphs and is_real_graph(saved.meta_graphs[0].graph_def):
            return _SAVED_MODEL
    except CorruptionError:
        pass
    try:
        if is_real_graph(graphdef.parse_meta(data).graph_def):
            return FileKind(
                "the .meta of a checkpoint",
                "Run it with tfpersist.ModelStore(directory).open_graph(), or freeze it with "
                "tfpersist.Freezer(path).",
            )
    except CorruptionError:
        pass
    return None
