"""The maps of the ResNets of TF-Slim into those of keras.applications."""

from __future__ import annotations

from tfpersist.matching.forms.maps.model_map import ModelMap

_NORM = "BatchNorm/(gamma|beta|moving_mean|moving_variance)"
_STAGES = tuple(rf"conv{stage}_block([0-9]+)_.*" for stage in (2, 3, 4, 5))
_LOGITS = {"logits/weights": "predictions/kernel", "logits/biases": "predictions/bias"}
_PADDING = (
    "Keras pads with zeros before the first pooling, TF-Slim does not, so for images whose size is"
    " no multiple of 32 plus 1 the windows of this pooling are others"
)


def _v1() -> ModelMap:
    rules = {"conv1/weights": "conv1_conv/kernel", f"conv1/{_NORM}": r"conv1_bn/\1"}
    zeros = {"conv1/BatchNorm/beta": "conv1_conv/bias"}
    for block in (1, 2, 3, 4):
        unit = f"block{block}/unit_([0-9]+)/bottleneck_v1/"
        here = rf"conv{block + 1}_block\1_"
        for saved, number in (("shortcut", 0), ("conv1", 1), ("conv2", 2), ("conv3", 3)):
            rules[f"{unit}{saved}/weights"] = f"{here}{number}_conv/kernel"
            rules[f"{unit}{saved}/{_NORM}"] = rf"{here}{number}_bn/\2"
            zeros[f"{unit}{saved}/BatchNorm/beta"] = f"{here}{number}_conv/bias"
    return ModelMap(
        "ResNet V1 of TF-Slim in ResNet50, 101 or 152",
        "/bottleneck_v1/",
        rules,
        _LOGITS,
        "slim/nets/resnet_v1.py, keras/src/applications/resnet.py",
        zeros=zeros,
        stages=_STAGES,
        caveat="TF-Slim has the stride 2 in the last block of a stage (its 3x3 convolution),"
        " keras.applications in the first block of the next stage (its first 1x1 convolution)."
        " With the weights alone the outputs differ: train on, or make the model with the strides"
        " of TF-Slim",
    )


def _v2() -> ModelMap:
    rules = {
        "conv1/weights": "conv1_conv/kernel",
        "conv1/biases": "conv1_conv/bias",
        "postnorm/(gamma|beta|moving_mean|moving_variance)": r"post_bn/\1",
    }
    for block in (1, 2, 3, 4):
        unit = f"block{block}/unit_([0-9]+)/bottleneck_v2/"
        here = rf"conv{block + 1}_block\1_"
        rules[f"{unit}preact/(gamma|beta|moving_mean|moving_variance)"] = rf"{here}preact_bn/\2"
        for saved, number in (("shortcut", 0), ("conv3", 3)):
            rules[f"{unit}{saved}/weights"] = f"{here}{number}_conv/kernel"
            rules[f"{unit}{saved}/biases"] = f"{here}{number}_conv/bias"
        for number in (1, 2):
            rules[f"{unit}conv{number}/weights"] = f"{here}{number}_conv/kernel"
            rules[f"{unit}conv{number}/{_NORM}"] = rf"{here}{number}_bn/\2"
    return ModelMap(
        "ResNet V2 of TF-Slim in ResNet50V2, 101V2 or 152V2",
        "/bottleneck_v2/",
        rules,
        _LOGITS,
        "slim/nets/resnet_v2.py, keras/src/applications/resnet_v2.py",
        stages=_STAGES,
        caveat=_PADDING,
    )


V1 = _v1()
V2 = _v2()
