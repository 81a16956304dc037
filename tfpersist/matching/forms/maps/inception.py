"""The maps of the Inceptions of TF-Slim into those of keras.applications.

keras.applications names none of their convolutions, so the order in which it makes them counts.
"""

from __future__ import annotations

from collections.abc import Iterator

from tfpersist.matching.forms.maps.model_map import ModelMap, Series

_STEM = ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")
_A = (("0a_1x1",), ("0a_1x1", "0b_5x5"), ("0a_1x1", "0b_3x3", "0c_3x3"), ("0b_1x1",))
_B = (
    ("0a_1x1",),
    ("0a_1x1", "0b_1x7", "0c_7x1"),
    ("0a_1x1", "0b_7x1", "0c_1x7", "0d_7x1", "0e_1x7"),
    ("0b_1x1",),
)
_C_END = ("0a_1x1", "0b_3x3", "0c_1x3", "0d_3x1"), ("0b_1x1",)
_Blocks = dict[str, tuple[tuple[str, ...], ...]]
_V3: _Blocks = {
    "Mixed_5b": _A,
    "Mixed_5c": _A,
    "Mixed_5d": _A,
    "Mixed_6a": (("1a_1x1",), ("0a_1x1", "0b_3x3", "1a_1x1")),
    "Mixed_6b": _B,
    "Mixed_6c": _B,
    "Mixed_6d": _B,
    "Mixed_6e": _B,
    "Mixed_7a": (("0a_1x1", "1a_3x3"), ("0a_1x1", "0b_1x7", "0c_7x1", "1a_3x3")),
    "Mixed_7b": (("0a_1x1",), ("0a_1x1", "0b_1x3", "0b_3x1"), *_C_END),
    "Mixed_7c": (("0a_1x1",), ("0a_1x1", "0b_1x3", "0c_3x1"), *_C_END),
}
# TF-Slim has called two convolutions otherwise than their like.
_ODD = {
    "Mixed_5c/Branch_1/Conv2d_0a_1x1": "Mixed_5c/Branch_1/Conv2d_0b_1x1",
    "Mixed_5c/Branch_1/Conv2d_0b_5x5": "Mixed_5c/Branch_1/Conv_1_0c_5x5",
}
_BLOCK35 = (("1x1",), ("0a_1x1", "0b_3x3"), ("0a_1x1", "0b_3x3", "0c_3x3"))
_BLOCK17 = (("1x1",), ("0a_1x1", "0b_1x7", "0c_7x1"))
_BLOCK8 = (("1x1",), ("0a_1x1", "0b_1x3", "0c_3x1"))
_RESNET_V2: _Blocks = {
    "Mixed_5b": (("1x1",), *_A[1:]),
    **{f"Repeat/block35_{number}": _BLOCK35 for number in range(1, 11)},
    "Mixed_6a": (("1a_3x3",), ("0a_1x1", "0b_3x3", "1a_3x3")),
    **{f"Repeat_1/block17_{number}": _BLOCK17 for number in range(1, 21)},
    "Mixed_7a": (("0a_1x1", "1a_3x3"), ("0a_1x1", "1a_3x3"), ("0a_1x1", "0b_3x3", "1a_3x3")),
    **{f"Repeat_2/block8_{number}": _BLOCK8 for number in range(1, 10)},
    "Block8": _BLOCK8,
}
# The stem and the first block.
_LEAST = 12
_NORMS = ("beta", "moving_mean", "moving_variance")


def _scopes(blocks: _Blocks) -> Iterator[str]:
    yield from (f"Conv2d_{kind}" for kind in _STEM)
    for block, branches in blocks.items():
        for number, kinds in enumerate(branches):
            for kind in kinds:
                scope = f"{block}/Branch_{number}/Conv2d_{kind}"
                yield _ODD.get(scope, scope)


def _series(scopes: Iterator[str]) -> tuple[Series, Series]:
    known = tuple(scopes)
    norms = {f"BatchNorm/{name}": name for name in _NORMS}
    return (
        Series("conv2d", known, {"weights": "kernel"}, least=_LEAST),
        Series("batch_normalization", known, norms, least=_LEAST),
    )


V3 = ModelMap(
    "InceptionV3 of TF-Slim in InceptionV3",
    "InceptionV3/",
    {},
    {
        "Logits/Conv2d_1c_1x1/weights": "predictions/kernel",
        "Logits/Conv2d_1c_1x1/biases": "predictions/bias",
    },
    "slim/nets/inception_v3.py, keras/src/applications/inception_v3.py",
    series=_series(_scopes(_V3)),
)
RESNET_V2 = ModelMap(
    "InceptionResnetV2 of TF-Slim in InceptionResNetV2",
    "InceptionResnetV2/",
    {
        "Repeat/block35_([0-9]+)/Conv2d_1x1/weights": r"block35_\1_conv/kernel",
        "Repeat/block35_([0-9]+)/Conv2d_1x1/biases": r"block35_\1_conv/bias",
    },
    {
        "Repeat_1/block17_([0-9]+)/Conv2d_1x1/weights": r"block17_\1_conv/kernel",
        "Repeat_1/block17_([0-9]+)/Conv2d_1x1/biases": r"block17_\1_conv/bias",
        "Repeat_2/block8_([0-9]+)/Conv2d_1x1/weights": r"block8_\1_conv/kernel",
        "Repeat_2/block8_([0-9]+)/Conv2d_1x1/biases": r"block8_\1_conv/bias",
        "Block8/Conv2d_1x1/weights": "block8_10_conv/kernel",
        "Block8/Conv2d_1x1/biases": "block8_10_conv/bias",
        "Conv2d_7b_1x1/weights": "conv_7b/kernel",
        "Conv2d_7b_1x1/BatchNorm/(beta|moving_mean|moving_variance)": r"conv_7b_bn/\1",
        "Logits/Logits/weights": "predictions/kernel",
        "Logits/Logits/biases": "predictions/bias",
    },
    "slim/nets/inception_resnet_v2.py, keras/src/applications/inception_resnet_v2.py",
    series=_series(_scopes(_RESNET_V2)),
)
