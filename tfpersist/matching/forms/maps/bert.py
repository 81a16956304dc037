"""The maps of BERT and its relatives, as Google published them, into the models of keras_hub."""

from __future__ import annotations

from tfpersist.matching.forms.maps.model_map import ModelMap

_EMBEDDINGS = {
    "embeddings/word_embeddings": "token_embedding/embeddings",
    "embeddings/position_embeddings": "position_embedding/embeddings",
    "embeddings/token_type_embeddings": "segment_embedding/embeddings",
    "embeddings/LayerNorm/(gamma|beta)": r"embeddings_layer_norm/\1",
}
_POOLER = {"pooler/dense/(kernel|bias)": r"pooled_dense/\1"}
_BERT = "encoder/layer_([0-9]+)"
_LAYER = r"transformer_layer_\1"
_ALBERT = "encoder/transformer/group_([0-9]+)/inner_group_([0-9]+)"
_INNER = r"group_\1_inner_layer_\2"

BERT = ModelMap(
    "BERT of Google in BertBackbone",
    "embeddings/word_embeddings",
    {
        **_EMBEDDINGS,
        f"{_BERT}/attention/self/(query|key|value)/(kernel|bias)": (
            rf"{_LAYER}/self_attention_layer/\2/\3"
        ),
        f"{_BERT}/attention/output/dense/(kernel|bias)": (
            rf"{_LAYER}/self_attention_layer/attention_output/\2"
        ),
        f"{_BERT}/attention/output/LayerNorm/(gamma|beta)": (
            rf"{_LAYER}/self_attention_layer_norm/\2"
        ),
        f"{_BERT}/intermediate/dense/(kernel|bias)": (
            rf"{_LAYER}/feedforward_intermediate_dense/\2"
        ),
        f"{_BERT}/output/dense/(kernel|bias)": rf"{_LAYER}/feedforward_output_dense/\2",
        f"{_BERT}/output/LayerNorm/(gamma|beta)": rf"{_LAYER}/feedforward_layer_norm/\2",
    },
    _POOLER,
    "bert/modeling.py, keras_hub/src/models/bert/bert_backbone.py",
)
ALBERT = ModelMap(
    "ALBERT of Google in AlbertBackbone",
    "encoder/embedding_hidden_mapping_in",
    {
        **_EMBEDDINGS,
        "encoder/embedding_hidden_mapping_in/(kernel|bias)": r"embedding_projection/\1",
        f"{_ALBERT}/attention_1/self/(query|key|value)/(kernel|bias)": (
            rf"{_INNER}/self_attention_layer/\3/\4"
        ),
        f"{_ALBERT}/attention_1/output/dense/(kernel|bias)": (
            rf"{_INNER}/self_attention_layer/attention_output/\3"
        ),
        f"{_ALBERT}/LayerNorm/(gamma|beta)": rf"{_INNER}/self_attention_layer_norm/\3",
        f"{_ALBERT}/ffn_1/intermediate/dense/(kernel|bias)": (
            rf"{_INNER}/feedforward_intermediate_dense/\3"
        ),
        f"{_ALBERT}/ffn_1/intermediate/output/dense/(kernel|bias)": (
            rf"{_INNER}/feedforward_output_dense/\3"
        ),
        f"{_ALBERT}/LayerNorm_1/(gamma|beta)": rf"{_INNER}/feedforward_layer_norm/\3",
    },
    _POOLER,
    "albert/modeling.py, keras_hub/src/models/albert/albert_backbone.py",
)
