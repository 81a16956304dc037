"""The map of the transformers of tensor2tensor into the layers of keras_hub."""

from __future__ import annotations

from tfpersist.matching.forms.maps.model_map import ModelMap, Series

_MOST = 64
_PARTS = {"q": "query", "k": "key", "v": "value", "output_transform": "attention_output"}


def _norm(saved: str, norm: str) -> dict[str, str]:
    """Return the tensors of a norm, which lies before or after the layer."""
    return {
        f"{saved}/{place}/layer_norm/layer_norm_{theirs}": f"{norm}/{mine}"
        for place in ("layer_prepostprocess", "layer_postprocess")
        for theirs, mine in (("scale", "gamma"), ("bias", "beta"))
    }


def _attention(saved: str, layer: str, norm: str) -> dict[str, str]:
    kernels = {
        f"{saved}/multihead_attention/{theirs}/kernel": f"{layer}/{mine}/kernel"
        for theirs, mine in _PARTS.items()
    }
    return {**_norm(saved, norm), **kernels}


def _biases(layer: str) -> tuple[str, ...]:
    return tuple(f"{layer}/{part}/bias" for part in _PARTS.values())


_FEEDFORWARD = {
    **_norm("ffn", "feedforward_layer_norm"),
    **{f"ffn/conv1/{one}": f"feedforward_intermediate_dense/{one}" for one in ("kernel", "bias")},
    **{f"ffn/conv2/{one}": f"feedforward_output_dense/{one}" for one in ("kernel", "bias")},
}
_ENCODER = tuple(f"encoder/layer_{number}" for number in range(_MOST))
_DECODER = tuple(f"decoder/layer_{number}" for number in range(_MOST))
_LAST = tuple(f"{side}/layer_prepostprocess/layer_norm" for side in ("encoder", "decoder"))


def _layers(layer: str, scopes: tuple[str, ...], attention: str) -> Series:
    own = _attention("self_attention", attention, "self_attention_layer_norm")
    return Series(layer, scopes, {**own, **_FEEDFORWARD}, _biases(attention), optional=True)


T2T = ModelMap(
    "transformer of tensor2tensor in TransformerEncoder and TransformerDecoder",
    "/multihead_attention/output_transform/",
    {},
    {},
    "tensor2tensor/layers/common_attention.py and common_layers.py,"
    " keras_hub/src/layers/modeling/transformer_encoder.py and transformer_decoder.py",
    series=(
        _layers("transformer_encoder", _ENCODER, "self_attention_layer"),
        _layers("transformer_decoder", _DECODER, "self_attention"),
        Series(
            "transformer_decoder",
            _DECODER,
            _attention("encdec_attention", "cross_attention", "cross_attention_layer_norm"),
            _biases("cross_attention"),
            optional=True,
        ),
        Series(
            "layer_normalization",
            _LAST,
            {"layer_norm_scale": "gamma", "layer_norm_bias": "beta"},
            optional=True,
        ),
    ),
    caveat="It has normalize_first=True if its norms are called layer_prepostprocess, and"
    " layer_norm_epsilon=1e-6; embeddings and positions are not in these layers",
)
