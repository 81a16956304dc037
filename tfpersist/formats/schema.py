"""TensorFlow's protocol messages, in a descriptor pool of our own.

The pool is private. So the classes do not collide with those that TensorFlow registers in the
default pool, and do not depend on the protobuf release that generated them. `schema.proto` lists
the fields.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from tfpersist.errors import CorruptionError
from tfpersist.formats.foreign import foreign

# Message classes are made at run time, so a type checker does not know their fields.
Message = Any


def _load() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    encoded = resources.files(__package__).joinpath("schema.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(encoded).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL = _load()


def _message(name: str) -> Message:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"tensorflow.{name}"))


DATA_TYPES: dict[str, int] = {
    value.name: value.number for value in _POOL.FindEnumTypeByName("tensorflow.DataType").values
}

AttrValue = _message("AttrValue")
BundleEntryProto = _message("BundleEntryProto")
BundleHeaderProto = _message("BundleHeaderProto")
CheckpointState = _message("CheckpointState")
CollectionDef = _message("CollectionDef")
FunctionDef = _message("FunctionDef")
FunctionDefLibrary = _message("FunctionDefLibrary")
GraphDef = _message("GraphDef")
MetaGraphDef = _message("MetaGraphDef")
NodeDef = _message("NodeDef")
OpDef = _message("OpDef")
OpList = _message("OpList")
SavedModel = _message("SavedModel")
SavedTensorSlices = _message("SavedTensorSlices")
SaverDef = _message("SaverDef")
SignatureDef = _message("SignatureDef")
TensorProto = _message("TensorProto")
TensorShapeProto = _message("TensorShapeProto")
TensorSliceProto = _message("TensorSliceProto")
TrackableObjectGraph = _message("TrackableObjectGraph")
VariableDef = _message("VariableDef")


def parse(message: Message, data: bytes | memoryview, *, file: str, offset: int = 0) -> Message:
    """Decode `data` as one message.

    Args:
        message: a message class of this module.
        data: the encoded message.
        file: name of the file that the bytes come from, for the error.
        offset: where they start in that file.

    Returns:
        The message; it keeps fields that the schema does not know.

    Raises:
        CorruptionError: the bytes are not such a message.
    """
    try:
        return message.FromString(bytes(data))
    except (DecodeError, RuntimeError) as error:
        other = foreign(memoryview(data))
        raise CorruptionError(
            f"these {len(data)} bytes are not a {message.DESCRIPTOR.name}: {error}",
            file=file,
            offset=offset,
            found=other.name if other else None,
            advice=other.advice if other else None,
        ) from error


def parse_text(message: Message, data: bytes | memoryview, *, file: str) -> Message:
    """Decode text as one message.

    Args:
        message: a message class of this module.
        data: the message in protobuf's text form.
        file: name of the file that the text comes from, for the error.

    Returns:
        The message, without the fields that the schema does not know.

    Raises:
        CorruptionError: the text is not such a message.

    Example:
        >>> parse_text(NodeDef, b'name: "a" op: "NoOp"', file="").op
        'NoOp'
    """
    from google.protobuf import text_format

    try:
        return text_format.Parse(bytes(data), message(), allow_unknown_field=True)
    except (text_format.ParseError, ValueError, RecursionError) as error:
        raise CorruptionError(
            f"this text is not a {message.DESCRIPTOR.name}: {error}", file=file
        ) from error
