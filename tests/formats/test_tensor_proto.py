"""Tensors inside of messages, with TensorFlow as the model."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.errors import CorruptionError, UnsupportedError
from tfpersist.formats import dtypes, schema, tensor_proto

NUMBERS = [name for name, dtype in dtypes.BY_NAME.items() if dtype.size and dtype.number < 24]
PLAIN = [name for name in NUMBERS if not name.startswith(("q", "bfloat"))]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


def theirs(proto):
    """TensorFlow's own reading of one of our messages."""
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    return tf.make_ndarray(tensor_pb2.TensorProto.FromString(proto.SerializeToString()))


def executed(proto):
    """Return the array that TensorFlow decodes from a message."""
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2

    value = tensor_pb2.TensorProto.FromString(proto.SerializeToString())
    return tf.raw_ops.Identity(input=tf.io.parse_tensor(value.SerializeToString(), value.dtype))


def equal(one, other):
    one, other = np.asarray(one), np.asarray(other)
    if one.dtype.kind == "O":
        return one.shape == other.shape and one.tolist() == other.tolist()
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


@given(st.sampled_from(PLAIN).flatmap(lambda n: hnp.arrays(dtypes.BY_NAME[n].numpy, SHAPES)))
def test_numbers_survive_and_tensorflow_reads_them(array):
    if array.dtype.kind == "O":
        return
    proto = tensor_proto.from_array(array)
    assert equal(tensor_proto.to_array(proto), array)
    assert equal(theirs(proto), array)
    assert equal(executed(proto).numpy(), array)


@given(st.lists(st.binary(max_size=30), max_size=6))
def test_strings_survive_and_tensorflow_reads_them(values):
    array = np.empty(len(values), object)
    array[:] = values
    proto = tensor_proto.from_array(array)
    assert tensor_proto.to_array(proto).tolist() == values
    assert executed(proto).numpy().tolist() == values


@given(st.sampled_from(PLAIN).flatmap(lambda n: hnp.arrays(dtypes.BY_NAME[n].numpy, SHAPES)))
def test_tensors_of_tensorflow_are_read(array):
    import tensorflow as tf

    proto = tf.make_tensor_proto(array)
    ours = schema.TensorProto.FromString(proto.SerializeToString())
    assert equal(tensor_proto.to_array(ours), array)
    wire = tf.io.serialize_tensor(tf.constant(array)).numpy()
    assert equal(tensor_proto.to_array(schema.TensorProto.FromString(wire)), array)


@pytest.mark.parametrize("name", [n for n, d in dtypes.BY_NAME.items() if d.size])
def test_every_data_type_survives(name):
    dtype = dtypes.BY_NAME[name]
    array = np.array([[1, 0, 1]]).astype(dtype.numpy)
    proto = tensor_proto.from_array(array, name)
    assert proto.dtype == dtype.number
    assert equal(tensor_proto.to_array(proto), array)


FIELDS = [
    ("float32", "float_val", [1.5, 2.5]),
    ("float64", "double_val", [1.5, 2.5]),
    ("int32", "int_val", [-1, 7]),
    ("int16", "int_val", [-1, 7]),
    ("uint16", "int_val", [65535, 7]),
    ("int8", "int_val", [-1, 7]),
    ("uint8", "int_val", [255, 7]),
    ("int64", "int64_val", [-1, 1 << 62]),
    ("uint32", "uint32_val", [7, (1 << 32) - 1]),
    ("uint64", "uint64_val", [7, (1 << 64) - 1]),
    ("bool", "bool_val", [False, True]),
    ("float16", "half_val", [0x3C00, 0xC000]),
    ("bfloat16", "half_val", [0x3F80, 0xC000]),
    ("complex64", "scomplex_val", [1, 2, 3, 4]),
    ("complex128", "dcomplex_val", [1, 2, 3, 4]),
    ("string", "string_val", [b"a", b"bc"]),
    ("int4", "int_val", [-1, 7]),
    ("uint4", "int_val", [15, 7]),
    ("float8_e5m2", "float8_val", b"\x3c\xc0"),
]


@pytest.mark.parametrize("shape", [(), (1,), (2,), (2, 3), (0, 5)])
@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize(("name", "field", "values"), FIELDS, ids=[each[0] for each in FIELDS])
def test_too_few_elements_are_repeated_and_too_many_dropped(name, field, values, count, shape):
    per_element = 2 if name.startswith("complex") else 1
    proto = schema.TensorProto(dtype=dtypes.BY_NAME[name].number)
    proto.tensor_shape.SetInParent()
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    values = values[: count * per_element]
    if field == "float8_val":
        proto.float8_val = values
    else:
        getattr(proto, field).extend(values)
    ours = tensor_proto.to_array(proto)
    assert ours.shape == shape
    assert not ours.flags.writeable
    run = executed(proto).numpy()
    # Four bits of -1 lie in a byte as 0f or ff; both mean the same.
    assert ours.tolist() == run.tolist() if name.endswith("int4") else equal(ours, run)


def splat(name, *shape, **fields):
    proto = schema.TensorProto(dtype=dtypes.BY_NAME[name].number, **fields)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def test_one_value_for_a_huge_tensor_takes_no_memory(refuses):
    proto = splat("float32", 1 << 20, 1 << 15, float_val=[3.0])
    assert not refuses(lambda: tensor_proto.to_array(proto))
    assert tensor_proto.to_array(proto)[-1, -1] == 3


HOSTILE = {
    "no type": schema.TensorProto(),
    "an unknown type": schema.TensorProto(dtype=90),
    "a negative extent": splat("float32", -1),
    "an unknown rank": splat("float32", tensor_shape={"unknown_rank": True}),
    "content that is too short": splat("float32", 1 << 50, tensor_content=b"1234"),
    "content that is too long": splat("float32", 1, tensor_content=b"12345678"),
    "content that is cut": splat("float32", 1, tensor_content=b"123"),
    "two values for a huge tensor": splat("float32", 1 << 40, float_val=[1, 2]),
    "two strings for a huge tensor": splat("string", 1 << 40, string_val=[b"a", b"b"]),
    "a shape that overflows": splat("float32", 1 << 62, 1 << 62, float_val=[1]),
    "many strings in little content": splat("string", 1 << 40, tensor_content=b"\1\1\1\1ab"),
    "strings behind the content": splat("string", 2, tensor_content=b"\1\7ab"),
    "content behind the strings": splat("string", 2, tensor_content=b"\1\1abc"),
    "two values for more than 256 MB": splat("float64", (1 << 25) + 1, double_val=[1, 2]),
    "two strings for more than 256 MB": splat("string", (1 << 25) + 1, string_val=[b"a", b"b"]),
    "too many dimensions": splat("float32", *[1] * 100, float_val=[1]),
    "an overflow beside a zero": splat("float32", 0, 1 << 62, 1 << 62),
    "variants": splat("variant", 2),
    "resources": splat("resource"),
}


@pytest.mark.parametrize("proto", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_tensors_are_refused(proto, refuses):
    assert refuses(lambda: tensor_proto.to_array(proto, file="f", offset=3))


def test_the_place_is_named():
    with pytest.raises(CorruptionError) as caught:
        tensor_proto.to_array(HOSTILE["content that is cut"], file="f", offset=3)
    assert (caught.value.file, caught.value.offset) == ("f", 3)


def test_strings_in_the_content():
    proto = splat("string", 2, tensor_content=b"\1\2abc")
    assert tensor_proto.to_array(proto).tolist() == [b"a", b"bc"]
    assert executed(proto).numpy().tolist() == [b"a", b"bc"]


def test_an_array_of_another_type_is_refused():
    with pytest.raises(UnsupportedError, match="float32"):
        tensor_proto.from_array(np.zeros(2), "float32")


def test_arrays_of_any_layout_and_byte_order():
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    plain = tensor_proto.from_array(array)
    assert tensor_proto.from_array(np.asfortranarray(array)) == plain
    assert tensor_proto.from_array(array.astype(">i4")) == plain


def test_a_damaged_message_is_a_tensor_or_is_refused(refuses):
    data = tensor_proto.from_array(np.arange(4, dtype=np.int16)).SerializeToString()
    strings = tensor_proto.from_array(np.array([b"ab", b"c"], object)).SerializeToString()

    def read(damaged):
        return tensor_proto.to_array(schema.parse(schema.TensorProto, damaged, file="f"))

    outcomes = set()
    for whole in (data, strings):
        for at in range(len(whole)):
            for byte in range(256):
                damaged = whole[:at] + bytes([byte]) + whole[at + 1 :]
                outcomes.add(refuses(lambda damaged=damaged: read(damaged)))
            outcomes.add(refuses(lambda cut=whole[:at]: read(cut)))
    assert outcomes == {True, False}
