"""Variant tensors in a data shard; TensorFlow writes and reads them."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tfpersist.errors import CorruptionError, UnsupportedError
from tfpersist.formats import tensors, variant_tensor
from tfpersist.formats.variant_tensor import Variant, array_of


def decoded(data, count, offset=10, *, big_endian=False):
    return variant_tensor.decode(
        memoryview(data), count, big_endian=big_endian, file="d", offset=offset
    )


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_variants_survive(values):
    data, crc = variant_tensor.encode(array_of(values))
    found, found_crc = decoded(data, len(values))
    assert found.tolist() == values
    assert all(isinstance(one, Variant) for one in found)
    assert found_crc == crc


@pytest.mark.parametrize("count", [0, 1, 3, 1 << 62])
def test_another_number_of_variants_is_refused(count):
    data, _ = variant_tensor.encode(array_of([b"a", b"bc"]))
    with pytest.raises(CorruptionError) as caught:
        decoded(data, count)
    assert caught.value.offset >= 10


def test_every_damage_is_noticed_by_one_of_the_checksums(survives):
    values = [b"a", b"", b"b" * 130, b"cd"]
    data, crc = variant_tensor.encode(array_of(values))

    def read(damaged):
        found, found_crc = decoded(damaged, len(values), offset=0)
        return found.tolist() if found_crc == crc else None

    assert survives(read, data, lambda found: found in (None, values))


def test_a_length_that_leaves_no_room_for_a_checksum_is_refused():
    with pytest.raises(CorruptionError, match="do not fill"):
        decoded(b"\x03abcde", 1)


def test_the_other_byte_order():
    data, _ = variant_tensor.encode(array_of([b"abc"]))
    with pytest.raises(CorruptionError, match="checksum of an element"):
        decoded(data, 1, big_endian=True)


def test_bytes_that_no_checkpoint_has_given_are_refused():
    with pytest.raises(UnsupportedError, match="not a variant"):
        variant_tensor.encode(np.array([b"abc"], object))


def test_arrays_know_that_they_hold_variants():
    assert str(tensors.spec_of(array_of([b"a", b"b"]))) == "variant[2]"
    assert str(tensors.spec_of(np.array([b"a"], object))) == "string[1]"
    assert str(tensors.spec_of(array_of([b"a", b"b"])[1:].reshape(1, 1).copy())) == "variant[1,1]"


def test_tensorflow_takes_and_gives_the_same_variants():
    iterator = iter(tf.data.Dataset.range(9).shuffle(4, seed=1).batch(2))
    next(iterator)
    state = iterator._serialize_to_tensors()["_STATE"]
    variants = variant_tensor.from_proto(tf.io.serialize_tensor(state).numpy())
    assert variants.shape == tuple(state.shape)
    rest = [batch.numpy().tolist() for batch in iterator]
    back = tf.io.parse_tensor(variant_tensor.to_proto(variants), tf.variant)
    iterator._restore_from_tensors({"_STATE": back})
    assert [batch.numpy().tolist() for batch in iterator] == rest


def test_a_message_that_contradicts_itself_is_refused():
    list_of = tf.raw_ops.EmptyTensorList(
        element_shape=[2], max_num_elements=3, element_dtype=tf.float32
    )
    encoded = tf.io.serialize_tensor(list_of).numpy()
    assert variant_tensor.from_proto(encoded).shape == ()
    with pytest.raises(CorruptionError):
        variant_tensor.from_proto(encoded[:-1])
    shorter = tf.make_tensor_proto([1], tf.int32).FromString(encoded)
    shorter.tensor_content = shorter.tensor_content[:-1]
    with pytest.raises(CorruptionError, match="do not fill"):
        variant_tensor.from_proto(shorter.SerializeToString())
