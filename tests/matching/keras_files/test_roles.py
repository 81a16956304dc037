import pytest

from tfpersist.formats.tensors import TensorSpec
from tfpersist.matching.keras_files.roles import WRAPPED, part_of, roles_of


def roles(kind, *shapes, **facts):
    return roles_of(kind, [TensorSpec("float32", shape) for shape in shapes], facts)


@pytest.mark.parametrize(
    ("kind", "shapes", "expected"),
    [
        ("dense", [(3, 2), (2,)], ("kernel", "bias")),
        ("dense", [(3, 2)], ("kernel",)),
        ("conv2d_transpose", [(1, 1, 2, 3), (2,)], ("kernel", "bias")),
        ("lstm_cell", [(3, 8), (2, 8)], ("kernel", "recurrent_kernel")),
        ("separable_conv1d", [(1, 2, 1), (1, 2, 3)], ("depthwise_kernel", "pointwise_kernel")),
        ("layer_normalization", [(2,), (2,)], ("gamma", "beta")),
        ("batch_normalization", [(2,)] * 4, ("gamma", "beta", "moving_mean", "moving_variance")),
        ("batch_normalization", [(2,)] * 2, ("moving_mean", "moving_variance")),
        ("normalization", [(2,), (2,), ()], ("mean", "variance", "count")),
    ],
)
def test_the_class_tells_the_roles(kind, shapes, expected):
    assert roles(kind, *shapes) == expected


def test_of_three_tensors_only_the_configuration_tells_which_is_missing():
    shapes = [(2,)] * 3
    assert roles("batch_normalization", *shapes) is None
    found = roles("batch_normalization", *shapes, scale=False, center=True)
    assert found == ("beta", "moving_mean", "moving_variance")


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [
        ("dense", [(3, 2), (2,), (2,)]),
        ("lstm_cell", [(3, 8)]),
        ("", [(2,), (2,)]),
        ("", [(3, 2), (2,)]),
        ("my_layer", [(3, 2), (2, 2), (2,)]),
        (WRAPPED, [(3, 2), (3,)]),
    ],
)
def test_where_nothing_decides_there_are_no_roles(kind, shapes):
    found = roles(kind, *shapes)
    assert found is None or kind == "my_layer"


def test_shapes_tell_a_cell_and_a_batch_normalization():
    assert roles("", (3, 8), (2, 8), (8,)) == ("kernel", "recurrent_kernel", "bias")
    assert roles("", (3, 8), (3, 8), (8,)) is None
    assert roles("", *[(2,)] * 4)[2:] == ("moving_mean", "moving_variance")


def test_what_a_layer_wraps_is_a_kernel_with_a_bias_if_it_looks_so():
    assert roles(WRAPPED, (3, 2), (2,)) == ("kernel", "bias")


@pytest.mark.parametrize(
    ("kind", "attribute", "part"),
    [
        ("gru", "cell", "gru_cell"),
        ("conv_lstm2d", "cell", "conv_lstm_cell"),
        ("rnn", "cell", ""),
        ("", "key_dense", "einsum_dense"),
        ("dropout", "seed_generator", "seed_generator"),
    ],
)
def test_the_parts_of_layers(kind, attribute, part):
    assert part_of(kind, attribute) == part
