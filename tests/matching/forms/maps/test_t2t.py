"""The transformers of tensor2tensor, by the layers of keras_hub."""

from __future__ import annotations

from known import found, under

PARTS = {"q": "query", "k": "key", "v": "value", "output_transform": "attention_output"}


def attention(layer, saved):
    """Return the variables of an attention layer of keras_hub, and the tensors of tensor2tensor."""
    live, there = {}, {}
    for theirs, mine in PARTS.items():
        is_last = mine == "attention_output"
        live[f"{layer}/{mine}/kernel"] = (2, 4, 8) if is_last else (8, 2, 4)
        live[f"{layer}/{mine}/bias"] = (8,) if is_last else (2, 4)
        there[f"{saved}/multihead_attention/{theirs}/kernel"] = (8, 8)
    return live, there


def norm(layer, saved):
    scope = f"{saved}/layer_prepostprocess/layer_norm"
    return (
        {f"{layer}/gamma": (8,), f"{layer}/beta": (8,)},
        {f"{scope}/layer_norm_scale": (8,), f"{scope}/layer_norm_bias": (8,)},
    )


def encoder(count):
    live, saved = {}, {}
    for number in range(count):
        label = f"_{number}" if number else ""
        dense = {"intermediate": (8, 12), "output": (12, 8)}
        parts = [
            attention("self_attention_layer", "self_attention"),
            norm("self_attention_layer_norm", "self_attention"),
            norm("feedforward_layer_norm", "ffn"),
        ]
        for at, (name, shape) in enumerate(dense.items(), 1):
            mine, theirs = f"feedforward_{name}_dense", f"ffn/conv{at}"
            both = {"kernel": shape, "bias": shape[-1:]}
            parts.append((under(mine, both), under(theirs, both)))
        for here, there in parts:
            live |= under(f"transformer_encoder{label}", here)
            saved |= under(f"transformer/body/encoder/layer_{number}", there)
    return live, saved


def test_layers_of_the_encoder_follow_their_numbers():
    live, saved = encoder(2)
    made = found(live, saved)
    assert made.keys() == live.keys()
    query = made["transformer_encoder_1/self_attention_layer/query/kernel"]
    scope = "transformer/body/encoder/layer_1"
    assert query.key == f"{scope}/self_attention/multihead_attention/q/kernel"
    assert str(query.recipe).endswith("reshape(shape=[8, 2, 4])")
    gamma = made["transformer_encoder/feedforward_layer_norm/gamma"]
    assert gamma.key.startswith("transformer/body/encoder/layer_0/ffn/layer_prepostprocess/")


def test_biases_that_attention_does_without_are_zeros():
    made = found(*encoder(1))
    bias = made["transformer_encoder/self_attention_layer/query/bias"]
    assert bias.reason.endswith("; zeros, as it has none")
