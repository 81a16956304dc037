"""The forms in which libraries keep the tensors of one layer, as data."""

from __future__ import annotations

from collections.abc import Mapping

from tfpersist.matching.forms.form import Form, StepText, Way
from tfpersist.matching.forms.forms_of_cells import CONV_LSTMS, GRUS, LSTMS

# Labels that mean the same. The first is the one that forms use.
LABELS: Mapping[str, str] = {
    **dict.fromkeys(("query", "q", "q_proj", "query_proj", "wq", "to_q", "q_lin"), "query"),
    **dict.fromkeys(("key", "k", "k_proj", "key_proj", "wk", "to_k", "k_lin"), "key"),
    **dict.fromkeys(("value", "v", "v_proj", "value_proj", "wv", "to_v", "v_lin"), "value"),
    **dict.fromkeys(("qkv", "c_attn", "in_proj", "qkv_proj", "to_qkv", "wqkv"), "qkv"),
    "query_key_value": "qkv",
    # TensorFlow 0.12 writes them with a capital letter.
    "gates": "gates",
    "candidate": "candidate",
}

# The tensors of a product in a cell of TensorFlow 0.12, and their roles.
LINEAR: Mapping[tuple[str, ...], str] = {
    ("Linear", "Matrix"): "kernel",
    ("Linear", "Bias"): "bias",
}

# Scopes that TensorFlow and Keras give to cells and to what runs them.
CELLS = frozenset(
    {
        *("basic_lstm_cell", "lstm_cell", "lstm_fused_cell", "lstm_block_cell"),
        *("cudnn_compatible_lstm_cell", "cudnn_compatible_gru_cell"),
        *("conv_lstm_cell", "conv_1d_lstm_cell", "conv_2d_lstm_cell", "conv_3d_lstm_cell"),
        *("gru_cell", "gru_block_cell", "cell", "rnn", "multi_rnn_cell", "bi_rnn"),
        *("bidirectional_rnn", "stack_bidirectional_rnn", "cudnn_lstm", "cudnn_gru"),
        *("cu_dnnlstm", "cu_dnngru", "stacked_rnn_cells", "lstm", "gru", "bidirectional"),
    }
)
# What runs along the time, and against it.
DIRECTIONS: Mapping[str, str] = {
    **dict.fromkeys(("fw", "forward", "forward_layer", "fwd"), "forward"),
    **dict.fromkeys(("bw", "backward", "backward_layer", "bwd"), "backward"),
}

_KERAS_MHA = "keras/src/layers/attention/multi_head_attention.py"


def _split(kernel: str, bias: str, *, biases: bool) -> Form:
    """Return the form of three projections of which the checkpoint has one kernel."""
    names = ("query", "key", "value")
    wanted, ways = {}, {}
    for at, name in enumerate(names):
        reshaped = ("reshape", tuple(kernel.split(",")))
        columns = ("slice", 1, f"{at}n", f"{at + 1}n")
        wanted[f"{name}/kernel"] = kernel
        ways[f"{name}/kernel"] = Way(("qkv/kernel",), (columns, reshaped))
        if biases:
            part = ("slice", 0, f"{at}n", f"{at + 1}n")
            wanted[f"{name}/bias"] = bias
            ways[f"{name}/bias"] = Way(("qkv/bias",), (part, ("reshape", tuple(bias.split(",")))))
    stored = {"qkv/kernel": "d,3n", **({"qkv/bias": "3n"} if biases else {})}
    return Form("columns of query, key and value split", wanted, stored, ways, _KERAS_MHA)


def _joined(kernel: str, bias: str, *, biases: bool) -> Form:
    """Return the form of one kernel of which the checkpoint has three."""
    names = ("query", "key", "value")
    kernels, all_biases = (tuple(f"{n}/{role}" for n in names) for role in ("kernel", "bias"))
    # With heads as an axis of their own, a stack keeps the three apart.
    ways = {"qkv/kernel": Way(kernels, (("stack", 1), ("reshape", ("d", "3n"))))}
    stored = dict.fromkeys(kernels, kernel)
    if biases:
        ways["qkv/bias"] = Way(all_biases, (("stack", 0), ("reshape", ("3n",))))
        stored |= dict.fromkeys(all_biases, bias)
    wanted = {"qkv/kernel": "d,3n", **({"qkv/bias": "3n"} if biases else {})}
    return Form("kernels of query, key and value joined", wanted, stored, ways, _KERAS_MHA)


def _single(title: str, wanted: str, stored: str, steps: tuple[StepText, ...]) -> tuple[Form, ...]:
    """Return the forms of a layer with one kernel, with and without a bias of the same size."""
    kernel = Way(("kernel",), steps)
    size = wanted.rpartition(",")[2]
    return (
        Form(title, {"kernel": wanted}, {"kernel": stored}, {"kernel": kernel}, by_order=False),
        Form(
            title,
            {"kernel": wanted, "bias": size},
            {"kernel": stored, "bias": size},
            {"kernel": kernel, "bias": Way(("bias",))},
            by_order=False,
        ),
    )


def _heads(title: str, *, split: bool) -> Form:
    kernels, biases = ("d,h,k", "d,hk"), ("h,k", "hk")
    here, there = (0, 1) if split else (1, 0)
    return Form(
        title,
        {"kernel": kernels[here], "bias": biases[here]},
        {"kernel": kernels[there], "bias": biases[there]},
        {
            "kernel": Way(("kernel",), (("reshape", tuple(kernels[here].split(","))),)),
            "bias": Way(("bias",), (("reshape", tuple(biases[here].split(","))),)),
        },
        _KERAS_MHA,
        by_order=False,
    )


_ATTENTION = tuple(
    form
    for biases in (True, False)
    for form in (
        _split("d,n", "n", biases=biases),
        _split("d,h,k", "h,k", biases=biases),
        _joined("d,n", "n", biases=biases),
        _joined("d,h,k", "h,k", biases=biases),
    )
)
_RESHAPED = (
    _heads("heads split", split=True),
    _heads("heads joined", split=False),
    *_single("heads split", "d,h,k", "d,hk", (("reshape", ("d", "h", "k")),))[:1],
    *_single("heads joined", "d,hk", "d,h,k", (("reshape", ("d", "hk")),))[:1],
    *_single("heads split", "h,k,o", "hk,o", (("reshape", ("h", "k", "o")),)),
    *_single("heads joined", "hk,o", "h,k,o", (("reshape", ("hk", "o")),)),
)
TRANSPOSED = "transposed"
_TURNED = (
    *_single(TRANSPOSED, "a,b", "b,a", (("transpose", (1, 0)),)),
    *_single(TRANSPOSED, "w,a,b", "b,a,w", (("transpose", (2, 1, 0)),)),
    *_single(TRANSPOSED, "y,x,a,b", "b,a,y,x", (("transpose", (2, 3, 1, 0)),)),
)

# In this order: what needs several tensors comes before what a single shape tells.
FORMS: tuple[Form, ...] = (*LSTMS, *CONV_LSTMS, *GRUS, *_ATTENTION, *_RESHAPED, *_TURNED)
