"""Our messages are TensorFlow's."""

import importlib

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor, EnumDescriptor

from tfpersist.errors import CorruptionError
from tfpersist.formats import schema, varint

MODULES = [
    "tensorflow.core.framework.graph_pb2",
    "tensorflow.core.framework.op_def_pb2",
    "tensorflow.core.framework.variable_pb2",
    "tensorflow.core.protobuf.meta_graph_pb2",
    "tensorflow.core.protobuf.saved_model_pb2",
    "tensorflow.core.protobuf.saved_object_graph_pb2",
    "tensorflow.core.protobuf.saver_pb2",
    "tensorflow.core.protobuf.tensor_bundle_pb2",
    "tensorflow.core.protobuf.trackable_object_graph_pb2",
    "tensorflow.core.util.saved_tensor_slice_pb2",
    "tensorflow.python.training.checkpoint_state_pb2",
]

# What appeared in TensorFlow after 2.16.
NEWER = {
    "DataType.DT_FLOAT8_E4M3FNUZ",
    "DataType.DT_FLOAT8_E4M3B11FNUZ",
    "DataType.DT_FLOAT8_E5M2FNUZ",
    "DataType.DT_INT2",
    "DataType.DT_UINT2",
    "DataType.DT_FLOAT4_E2M1FN",
}
NEWER |= {f"{name}_REF" for name in NEWER}

# In TensorFlow these are imported from elsewhere, under another name.
ELSEWHERE = {"BoolValue": "google.protobuf.BoolValue"}


def encoded():
    return (schema.resources.files("tfpersist.formats") / "schema.binpb").read_bytes()


def messages():
    [file] = descriptor_pb2.FileDescriptorSet.FromString(encoded()).file
    return file


def every_message(nested, prefix=""):
    for message in nested:
        yield prefix + message.name, message
        yield from every_message(message.nested_type, f"{prefix}{message.name}.")


def find(name) -> Descriptor | EnumDescriptor | None:
    full = ELSEWHERE.get(name.split(".")[0], f"tensorflow.{name}")
    pool = descriptor_pool.Default()
    for look_up in (pool.FindMessageTypeByName, pool.FindEnumTypeByName):
        try:
            return look_up(full)
        except KeyError:
            continue
    return None


@pytest.fixture(scope="module")
def installed():
    """TensorFlow's messages, in the default pool."""
    importlib.import_module("tensorflow")
    for module in MODULES:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError:
            continue
    return find


def label_of(field):
    if field.label == field.LABEL_REPEATED:
        return "repeated"
    return "one"


def test_every_field_is_tensorflows(installed):
    problems = []
    compared = 0
    for name, message in every_message(messages().message_type):
        theirs = installed(name)
        if theirs is None:
            problems.append(f"{name} is missing")
            continue
        described = descriptor_pb2.DescriptorProto()
        theirs.CopyToProto(described)
        fields = {field.name: field for field in described.field}
        for field in message.field:
            where = f"{name}.{field.name}"
            other = fields.get(field.name)
            if other is None:
                problems.append(f"{where} is missing")
                continue
            compared += 1
            expected = (other.number, other.type, label_of(other), other.type_name.split(".")[-1])
            if (
                field.number,
                field.type,
                label_of(field),
                field.type_name.split(".")[-1],
            ) != expected:
                problems.append(f"{where} differs: {expected}")
    assert [each for each in problems if each.removesuffix(" is missing") not in NEWER] == []
    assert compared > 150


def test_every_enum_value_is_tensorflows(installed):
    file = messages()
    enums = [(enum.name, enum) for enum in file.enum_type]
    for name, message in every_message(file.message_type):
        enums += [(f"{name}.{enum.name}", enum) for enum in message.enum_type]
    problems = []
    for name, enum in enums:
        theirs = {value.name: value.number for value in installed(name).values}
        problems += [
            f"{name}.{value.name}" for value in enum.value if theirs.get(value.name) != value.number
        ]
    assert set(problems) <= NEWER
    assert len(enums) >= 5


def test_the_compiled_schema_is_that_of_the_source(fresh, tmp_path):
    pytest.importorskip("grpc_tools", reason="the compiler comes with the group schema")
    # A process of its own: the compiler and TensorFlow bring a protobuf library each.
    printed = fresh(
        """
        import sys
        from grpc_tools import protoc
        folder, target = sys.argv[1:]
        options = [f"--proto_path={folder}", f"--descriptor_set_out={target}", "schema.proto"]
        print(protoc.main(["protoc", *options]))
        """,
        schema.resources.files("tfpersist.formats"),
        tmp_path / "schema.binpb",
    )
    assert printed == "0\n"
    assert (tmp_path / "schema.binpb").read_bytes() == encoded()


def test_unknown_fields_survive_a_round_trip():
    data = schema.GraphDef(version=7).SerializeToString() + bytes.fromhex("a2060568656c6c6f")
    assert schema.GraphDef.FromString(data).SerializeToString() == data


def test_rubbish_is_refused_with_its_place():
    with pytest.raises(CorruptionError, match="not a GraphDef") as caught:
        schema.parse(schema.GraphDef, b"\x0a\xff", file="g.pb", offset=9)
    assert (caught.value.file, caught.value.offset) == ("g.pb", 9)


def test_deep_nesting_is_refused():
    """AttrValue.func (10) holds NameAttrList.attr (2), a map whose values (2) are AttrValues."""
    data = b""
    for _ in range(300):
        for tag in (b"\x12", b"\x12", b"\x52"):
            data = tag + varint.encode(len(data)) + data
    with pytest.raises(CorruptionError):
        schema.parse(schema.AttrValue, data, file="x")
