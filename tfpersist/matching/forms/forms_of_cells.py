"""The forms in which TensorFlow 1, cuDNN and Keras keep recurrent cells, as data.

The gates of an LSTM are i, j, f, o in TensorFlow 1 (j is c) and i, f, c, o in Keras. Those of a GRU
are r, u in TensorFlow 1 and z, r, h in Keras (u is z), and in both the new state is
z * state + (1 - z) * h.
"""

from __future__ import annotations

from tfpersist.matching.forms.form import Form, StepText, Way

_LSTM = {"kernel": "i,4u", "recurrent_kernel": "u,4u", "bias": "4u"}
_LSTM_1 = {"kernel": "i+u,4u", "bias": "4u"}
_GRU = {"kernel": "i,3u", "recurrent_kernel": "u,3u", "bias": "3u"}
_GRU_AFTER = {"kernel": "i,3u", "recurrent_kernel": "u,3u", "bias": "2,3u"}
_GRU_1 = {
    "gates/kernel": "i+u,2u",
    "gates/bias": "2u",
    "candidate/kernel": "i+u,u",
    "candidate/bias": "u",
}
_GRU_BLOCK = {"w_ru": "i+u,2u", "b_ru": "2u", "w_c": "i+u,u", "b_c": "u"}
_GRU_CUDNN = {
    "gates/kernel": "i+u,2u",
    "gates/bias": "2u",
    "candidate/input_projection/kernel": "i,u",
    "candidate/input_projection/bias": "u",
    "candidate/hidden_projection/kernel": "u,u",
    "candidate/hidden_projection/bias": "u",
}
_GRU_KERAS_CUDNN = {"kernel": "i,3u", "recurrent_kernel": "u,3u", "bias": "6u"}

_RNN_CELL = "tensorflow/python/ops/rnn_cell_impl.py"
_LSTM_OPS = "tensorflow/contrib/rnn/python/ops/lstm_ops.py"
_GRU_OPS = "tensorflow/contrib/rnn/python/ops/gru_ops.py"
_CUDNN_OPS = "tensorflow/contrib/cudnn_rnn/python/ops/cudnn_rnn_ops.py"
_KERAS_H5 = "tensorflow/python/keras/saving/hdf5_format.py"
_NO_FORGET_BIAS = frozenset({"cudnn_compatible_lstm_cell"})

# i, j, f, o to i, f, c, o: the same order leads back.
_GATES = ("reorder", 1, (0, 2, 1, 3))
_GATES_OF_BIAS = ("reorder", 0, (0, 2, 1, 3))
_INPUTS = ("slice", 0, 0, "i")
_STATES = ("slice", 0, "i", "i+u")


def _lstm(bias: tuple[StepText, ...]) -> dict[str, Way]:
    return {
        "kernel": Way(("kernel",), (_INPUTS, _GATES)),
        "recurrent_kernel": Way(("kernel",), (_STATES, _GATES)),
        "bias": Way(("bias",), bias),
    }


def _gru(gates: str, candidate: str, biases: tuple[str, str]) -> dict[str, Way]:
    kernels = (gates, candidate)
    blocks = ("reorder", 1, (1, 0, 2))
    return {
        "kernel": Way(kernels, (("concat", 1), _INPUTS, blocks)),
        "recurrent_kernel": Way(kernels, (("concat", 1), _STATES, blocks)),
        "bias": Way(biases, (("concat", 0), ("reorder", 0, (1, 0, 2)))),
    }


def _gru_back(wanted: dict[str, str], gates: str, candidate: str, biases: tuple[str, str]) -> Form:
    kernels = ("kernel", "recurrent_kernel")
    first, last = ("slice", 1, 0, "2u"), ("slice", 1, "2u", "3u")
    ways = {
        gates: Way(kernels, (("concat", 0), first, ("reorder", 1, (1, 0)))),
        candidate: Way(kernels, (("concat", 0), last)),
        biases[0]: Way(("bias",), (("slice", 0, 0, "2u"), ("reorder", 0, (1, 0)))),
        biases[1]: Way(("bias",), (("slice", 0, "2u", "3u"),)),
    }
    title = "kernels joined and split, gates reordered"
    return Form(title, wanted, _GRU, ways, f"{_RNN_CELL}, {_GRU_OPS}")


_ONE = ("add_to_block", 0, 4, 1, 1.0)
_ADDED = "kernel split, gates reordered, forget_bias 1.0 added"
_SUBTRACTED = "kernels joined, gates reordered, forget_bias 1.0 subtracted"
LSTMS = (
    Form(
        _ADDED,
        _LSTM,
        _LSTM_1,
        _lstm((_GATES_OF_BIAS, _ONE)),
        f"{_RNN_CELL}, {_LSTM_OPS}",
        other_scopes=_NO_FORGET_BIAS,
        others={"bias": Way(("bias",), (_GATES_OF_BIAS,))},
        without=frozenset({"projection/kernel"}),
        adds=True,
    ),
    Form(
        "kernel split, gates reordered",
        _LSTM,
        _LSTM_1,
        _lstm((_GATES_OF_BIAS,)),
        _CUDNN_OPS,
        scopes=_NO_FORGET_BIAS,
    ),
    Form(
        _SUBTRACTED,
        _LSTM_1,
        _LSTM,
        {
            "kernel": Way(("kernel", "recurrent_kernel"), (("concat", 0), _GATES)),
            "bias": Way(("bias",), (("add_to_block", 0, 4, 1, -1.0), _GATES_OF_BIAS)),
        },
        f"{_RNN_CELL}, {_LSTM_OPS}",
        others={"bias": Way(("bias",), (_GATES_OF_BIAS,))},
    ),
    Form(
        "peepholes",
        _LSTM,
        {**_LSTM_1, "w_f_diag": "u", "w_i_diag": "u", "w_o_diag": "u"},
        source=_RNN_CELL,
        refused="the saved cell has peepholes (w_f_diag); Keras has no such cell",
    ),
    Form(
        "projection",
        _LSTM,
        {"kernel": "i+p,4u", "bias": "4u", "projection/kernel": "u,p"},
        source=_RNN_CELL,
        refused="the saved cell has a projection of its output; Keras has no such cell",
    ),
    Form(
        "kernels of cuDNN turned, both biases added",
        _LSTM,
        {"kernel": "i,4u", "recurrent_kernel": "u,4u", "bias": "8u"},
        {
            "kernel": Way(
                ("kernel",),
                (
                    ("reshape", ("i", 4, "u")),
                    ("transpose", (1, 0, 2)),
                    ("reshape", (4, "u", "i")),
                    ("transpose", (2, 0, 1)),
                    ("reshape", ("i", "4u")),
                ),
            ),
            "recurrent_kernel": Way(
                ("recurrent_kernel",),
                (("reshape", ("u", 4, "u")), ("transpose", (2, 1, 0)), ("reshape", ("u", "4u"))),
            ),
            "bias": Way(("bias",), (("reshape", (2, "4u")), ("sum", 0))),
        },
        _KERAS_H5,
    ),
)


def _convolutional(space: str) -> tuple[Form, Form]:
    """Return the forms of an LSTM of convolutions, there and back.

    Args:
        space: the sizes of the kernel in space, such as "y,x".
    """
    rank = len(space.split(","))
    gates = ("reorder", rank + 1, (0, 2, 1, 3))
    keras = {"kernel": f"{space},i,4u", "recurrent_kernel": f"{space},u,4u", "bias": "4u"}
    contrib = {"kernel": f"{space},i+u,4u", "bias": "4u"}
    there = {
        "kernel": Way(("kernel",), (("slice", rank, 0, "i"), gates)),
        "recurrent_kernel": Way(("kernel",), (("slice", rank, "i", "i+u"), gates)),
        "bias": Way(("bias",), (_GATES_OF_BIAS, _ONE)),
    }
    back = {
        "kernel": Way(("kernel", "recurrent_kernel"), (("concat", rank), gates)),
        "bias": Way(("bias",), (("add_to_block", 0, 4, 1, -1.0), _GATES_OF_BIAS)),
    }
    source = "tensorflow/contrib/rnn/python/ops/rnn_cell.py"
    others = {"bias": Way(("bias",), (_GATES_OF_BIAS,))}
    return (
        Form(_ADDED, keras, contrib, there, source, others=others, adds=True),
        Form(_SUBTRACTED, contrib, keras, back, source, others=others),
    )


CONV_LSTMS = tuple(form for space in ("x", "y,x", "z,y,x") for form in _convolutional(space))
_REFUSED_BEFORE = (
    "the saved cell applies the reset gate before the product; build the layer with"
    " reset_after=False"
)
_REFUSED_AFTER = (
    "the saved cell applies the reset gate after the product; build the layer with reset_after=True"
)
GRUS = (
    Form(
        "kernels joined and split, gates reordered",
        _GRU,
        _GRU_1,
        _gru("gates/kernel", "candidate/kernel", ("gates/bias", "candidate/bias")),
        f"{_RNN_CELL}, {_GRU_OPS}",
    ),
    Form(
        "kernels joined and split, gates reordered",
        _GRU,
        _GRU_BLOCK,
        _gru("w_ru", "w_c", ("b_ru", "b_c")),
        _GRU_OPS,
    ),
    _gru_back(_GRU_1, "gates/kernel", "candidate/kernel", ("gates/bias", "candidate/bias")),
    _gru_back(_GRU_BLOCK, "w_ru", "w_c", ("b_ru", "b_c")),
    Form(
        "kernels of the gates split, gates reordered",
        _GRU_AFTER,
        _GRU_CUDNN,
        {
            "kernel": Way(
                ("gates/kernel", "candidate/input_projection/kernel"),
                (_INPUTS, ("concat", 1), ("reorder", 1, (1, 0, 2))),
            ),
            # The last rows are those of the state, also of the kernel that has no others.
            "recurrent_kernel": Way(
                ("gates/kernel", "candidate/hidden_projection/kernel"),
                (("slice", 0, "-u"), ("concat", 1), ("reorder", 1, (1, 0, 2))),
            ),
            # The gates have one bias; that of the state is zero.
            "bias": Way(
                (
                    "gates/bias",
                    "candidate/input_projection/bias",
                    "candidate/hidden_projection/bias",
                ),
                (
                    ("concat", 0),
                    ("pad", 0, 0, "2u"),
                    ("reorder", 0, (1, 0, 2, 4, 5, 3)),
                    ("reshape", (2, "3u")),
                ),
            ),
        },
        _CUDNN_OPS,
    ),
    Form(
        "kernels of cuDNN turned, biases reshaped",
        _GRU_AFTER,
        _GRU_KERAS_CUDNN,
        {
            "kernel": Way(
                ("kernel",),
                (
                    ("reshape", ("i", 3, "u")),
                    ("transpose", (1, 0, 2)),
                    ("reshape", (3, "u", "i")),
                    ("transpose", (2, 0, 1)),
                    ("reshape", ("i", "3u")),
                ),
            ),
            "recurrent_kernel": Way(
                ("recurrent_kernel",),
                (("reshape", ("u", 3, "u")), ("transpose", (2, 1, 0)), ("reshape", ("u", "3u"))),
            ),
            "bias": Way(("bias",), (("reshape", (2, "3u")),)),
        },
        _KERAS_H5,
    ),
    Form("GRUCell", _GRU_AFTER, _GRU_1, source=_RNN_CELL, refused=_REFUSED_BEFORE),
    Form("GRUBlockCell", _GRU_AFTER, _GRU_BLOCK, source=_GRU_OPS, refused=_REFUSED_BEFORE),
    Form("reset_after=False", _GRU_AFTER, _GRU, source=_KERAS_H5, refused=_REFUSED_BEFORE),
    Form("cuDNN", _GRU, _GRU_CUDNN, source=_CUDNN_OPS, refused=_REFUSED_AFTER),
    Form("CuDNNGRU", _GRU, _GRU_KERAS_CUDNN, source=_KERAS_H5, refused=_REFUSED_AFTER),
    Form("reset_after=True", _GRU, _GRU_AFTER, source=_KERAS_H5, refused=_REFUSED_AFTER),
)
