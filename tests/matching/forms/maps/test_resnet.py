"""The ResNets of TF-Slim: biases that are zeros, and other numbers of blocks."""

from __future__ import annotations

import numpy as np
import pytest
from known import found, under


def resnet(*counts):
    """Return the variables of a ResNet V1, and the tensors of TF-Slim, by their names."""
    live = {"conv1_conv/kernel": (7, 7, 3, 2), "conv1_conv/bias": (2,)}
    saved = {"conv1/weights": (7, 7, 3, 2)}
    norms = dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), (2,))
    live |= under("conv1_bn", norms)
    saved |= under("conv1/BatchNorm", norms)
    for stage, count in enumerate(counts):
        for unit in range(1, count + 1):
            for number, layer in enumerate(("shortcut", "conv1", "conv2", "conv3")):
                if number or unit == 1:
                    here = f"conv{stage + 2}_block{unit}_{number}"
                    there = f"block{stage + 1}/unit_{unit}/bottleneck_v1/{layer}"
                    live |= {f"{here}_conv/kernel": (1, 1, 2, 2), f"{here}_conv/bias": (2,)}
                    live |= under(f"{here}_bn", norms)
                    saved |= {f"{there}/weights": (1, 1, 2, 2)}
                    saved |= under(f"{there}/BatchNorm", norms)
    return live, under("resnet_v1_50", saved)


def test_biases_that_a_model_does_without_are_zeros():
    live, saved = resnet(2, 2, 2, 2)
    made = found(live, saved)
    assert made.keys() == live.keys()
    bias = made["conv3_block1_2_conv/bias"]
    assert bias.key == "resnet_v1_50/block2/unit_1/bottleneck_v1/conv2/BatchNorm/beta"
    assert bias.recipe.apply([np.float32([3, 4])]).tolist() == [0, 0]
    assert bias.reason.endswith("; zeros, as it has none")
    without = {name: shape for name, shape in live.items() if not name.endswith("bias")}
    assert found(without, saved).keys() == without.keys()


@pytest.mark.parametrize(
    ("here", "there", "refused"),
    [
        ((2, 2, 3, 2), (2, 2, 4, 2), True),
        ((2, 2, 5, 2), (2, 2, 4, 2), True),
        ((2, 2, 2, 2), (2, 2, 2, 3), False),
        ((2, 2, 2, 3), (2, 2, 2, 2), True),
    ],
)
def test_a_net_with_other_blocks_before_its_end_is_refused(here, there, refused):
    made = found(resnet(*here)[0], resnet(*there)[1])
    assert made
    assert {one.refused for one in made.values()} == {refused}
    assert all(one.recipe is None for one in made.values() if refused)
