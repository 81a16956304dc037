"""The maps of the MobileNets of TF-Slim into those of keras.applications."""

from __future__ import annotations

from tfpersist.matching.forms.maps.model_map import ModelMap

_NORM = "BatchNorm/(gamma|beta|moving_mean|moving_variance)"
_V1 = "Conv2d_([0-9]+)"
_FIRST = "expanded_conv/(depthwise|project)"
_BLOCK = "expanded_conv_([0-9]+)/(expand|depthwise|project)"
_LOGITS = "Logits/Conv2d_1c_1x1"

V1 = ModelMap(
    "MobilenetV1 of TF-Slim in MobileNet",
    "MobilenetV1/",
    {
        "Conv2d_0/weights": "conv1/kernel",
        f"Conv2d_0/{_NORM}": r"conv1_bn/\1",
        f"{_V1}_depthwise/depthwise_weights": r"conv_dw_\1/kernel",
        f"{_V1}_depthwise/{_NORM}": r"conv_dw_\1_bn/\2",
        f"{_V1}_pointwise/weights": r"conv_pw_\1/kernel",
        f"{_V1}_pointwise/{_NORM}": r"conv_pw_\1_bn/\2",
    },
    {f"{_LOGITS}/weights": "conv_preds/kernel", f"{_LOGITS}/biases": "conv_preds/bias"},
    "slim/nets/mobilenet_v1.py, keras/src/applications/mobilenet.py",
)
V2 = ModelMap(
    "MobilenetV2 of TF-Slim in MobileNetV2",
    "MobilenetV2/",
    {
        "Conv/weights": "Conv1/kernel",
        f"Conv/{_NORM}": r"bn_Conv1/\1",
        f"{_FIRST}/(?:depthwise_)?weights": r"expanded_conv_\1/kernel",
        f"{_FIRST}/{_NORM}": r"expanded_conv_\1_BN/\2",
        f"{_BLOCK}/(?:depthwise_)?weights": r"block_\1_\2/kernel",
        f"{_BLOCK}/{_NORM}": r"block_\1_\2_BN/\3",
    },
    {
        # DeepLab ends before it.
        "Conv_1/weights": "Conv_1/kernel",
        f"Conv_1/{_NORM}": r"Conv_1_bn/\1",
        f"{_LOGITS}/weights": "predictions/kernel",
        f"{_LOGITS}/biases": "predictions/bias",
    },
    "slim/nets/mobilenet/mobilenet_v2.py, keras/src/applications/mobilenet_v2.py",
)
