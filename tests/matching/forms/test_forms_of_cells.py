"""The forms of cells: the equations of both sides compute the same from what they make."""

from __future__ import annotations

import numpy as np
import pytest

from tfpersist.matching.forms.form_sizes import recipe_of, size_of
from tfpersist.matching.forms.forms_of_cells import CONV_LSTMS, GRUS, LSTMS

SIZES = {"i": 4, "u": 3}
X, STATE, CARRY = np.random.default_rng(1).uniform(-1, 1, (3, 2, 4))
STATE, CARRY = STATE[:, :3], CARRY[:, :3]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_of_tensorflow(kernel, bias):
    """BasicLSTMCell.call, with its forget_bias of 1.0."""
    gates = np.concatenate([X, STATE], 1) @ kernel + bias
    i, j, f, o = np.split(gates, 4, 1)
    carry = CARRY * sigmoid(f + 1) + sigmoid(i) * np.tanh(j)
    return np.tanh(carry) * sigmoid(o)


def lstm_of_keras(kernel, recurrent_kernel, bias):
    """LSTMCell.call."""
    i, f, c, o = np.split(X @ kernel + STATE @ recurrent_kernel + bias, 4, 1)
    carry = sigmoid(f) * CARRY + sigmoid(i) * np.tanh(c)
    return sigmoid(o) * np.tanh(carry)


def gru_of_tensorflow(gates_kernel, gates_bias, candidate_kernel, candidate_bias):
    """GRUCell.call."""
    both = sigmoid(np.concatenate([X, STATE], 1) @ gates_kernel + gates_bias)
    r, u = np.split(both, 2, 1)
    c = np.tanh(np.concatenate([X, r * STATE], 1) @ candidate_kernel + candidate_bias)
    return u * STATE + (1 - u) * c


def gru_of_keras(kernel, recurrent_kernel, bias):
    """GRUCell.call with reset_after=False."""
    own = np.split(recurrent_kernel, 3, 1)
    x_z, x_r, x_h = np.split(X @ kernel + bias, 3, 1)
    z, r = sigmoid(x_z + STATE @ own[0]), sigmoid(x_r + STATE @ own[1])
    return z * STATE + (1 - z) * np.tanh(x_h + (r * STATE) @ own[2])


def gru_of_cudnn(gates_kernel, gates_bias, input_kernel, input_bias, hidden_kernel, hidden_bias):
    """CudnnCompatibleGRUCell.call."""
    both = sigmoid(np.concatenate([X, STATE], 1) @ gates_kernel + gates_bias)
    r, u = np.split(both, 2, 1)
    c = np.tanh(X @ input_kernel + input_bias + r * (STATE @ hidden_kernel + hidden_bias))
    return (1 - u) * c + u * STATE


def gru_of_keras_after(kernel, recurrent_kernel, bias):
    """GRUCell.call with reset_after=True."""
    x_z, x_r, x_h = np.split(X @ kernel + bias[0], 3, 1)
    own_z, own_r, own_h = np.split(STATE @ recurrent_kernel + bias[1], 3, 1)
    z, r = sigmoid(x_z + own_z), sigmoid(x_r + own_r)
    return z * STATE + (1 - z) * np.tanh(x_h + r * own_h)


CELLS = [
    (LSTMS[0], lstm_of_tensorflow, lstm_of_keras),
    (LSTMS[2], lstm_of_keras, lstm_of_tensorflow),
    (GRUS[0], gru_of_tensorflow, gru_of_keras),
    (GRUS[2], gru_of_keras, gru_of_tensorflow),
    (GRUS[1], gru_of_tensorflow, gru_of_keras),
    (GRUS[3], gru_of_keras, gru_of_tensorflow),
    (GRUS[4], gru_of_cudnn, gru_of_keras_after),
]


@pytest.mark.parametrize(("form", "theirs", "mine"), CELLS, ids=lambda value: str(value)[:20])
def test_both_cells_compute_the_same(form, theirs, mine):
    random = np.random.default_rng(2)
    tensors = {
        name: random.uniform(-1, 1, [size_of(axis, SIZES) for axis in shape.split(",")])
        for name, shape in form.stored.items()
    }
    keys = {name: name for name in tensors}
    made = []
    for name in form.wanted:
        recipe = recipe_of(form.ways[name], keys, SIZES)
        made.append(recipe.apply([tensors[key] for key in recipe.keys]))
    # Both compute in float64, and add in another order.
    np.testing.assert_allclose(mine(*made), theirs(*tensors.values()), rtol=0, atol=1e-14)


def test_there_is_a_convolutional_form_for_each_rank():
    ranks = [len(form.wanted["kernel"].split(",")) for form in CONV_LSTMS]
    assert ranks == [3, 3, 4, 4, 5, 5]
    for form in CONV_LSTMS:
        axis = len(form.wanted["kernel"].split(",")) - 1
        assert ("reorder", axis, (0, 2, 1, 3)) in form.ways["kernel"].steps
