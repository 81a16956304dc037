"""The Inceptions of TF-Slim, whose convolutions Keras only numbers."""

from __future__ import annotations

import pytest
from known import found, under

from tfpersist.matching.forms.maps import inception as inception_maps


def inception(first=0, cut=94, before=()):
    """Return the variables of an InceptionV3 whose numbers begin with `first`."""
    live = dict.fromkeys((f"conv2d_{at}/kernel" for at in before), (1, 1, 1, 3))
    norms = dict.fromkeys(("beta", "moving_mean", "moving_variance"), (2,))
    for at in range(cut):
        label = f"_{first + at}" if first + at else ""
        live[f"conv2d{label}/kernel"] = (at + 1, 1, 2, 2)
        live |= under(f"batch_normalization{label}", norms)
    return live


SCOPES = inception_maps.V3.series[0].scopes
INCEPTION = under(
    "InceptionV3",
    {
        **{f"{scope}/weights": (at + 1, 1, 2, 2) for at, scope in enumerate(SCOPES)},
        **{
            f"{scope}/BatchNorm/{name}": (2,)
            for scope in SCOPES
            for name in ("beta", "moving_mean", "moving_variance")
        },
    },
)


@pytest.mark.parametrize("first", [0, 7])
@pytest.mark.parametrize("before", [(), (300,)])
def test_unnamed_layers_follow_their_numbers_from_any_one_on(first, before):
    made = found(inception(first, before=before), INCEPTION)
    assert len(made) == 94 * 4
    for at, scope in enumerate(SCOPES):
        label = f"_{first + at}" if first + at else ""
        assert made[f"conv2d{label}/kernel"].key == f"InceptionV3/{scope}/weights"
        norm = made[f"batch_normalization{label}/moving_mean"]
        assert norm.key == f"InceptionV3/{scope}/BatchNorm/moving_mean"


def test_unnamed_layers_need_one_first_number_and_all_shapes():
    live = inception(5)
    assert not found({**live, "conv2d_60/kernel": (1, 1, 1, 1)}, INCEPTION)
    without = {name: shape for name, shape in live.items() if name != "conv2d_9/kernel"}
    assert not found(without, INCEPTION)
    # Where a further layer looks like the last, two runs would fit.
    alike = {name: (1, 1, 2, 2) if name.endswith("weights") else (2,) for name in INCEPTION}
    same = {name: (1, 1, 2, 2) if name.endswith("kernel") else (2,) for name in live}
    assert len(found(same, alike)) == 94 * 4
    more = {"conv2d_4/kernel": (1, 1, 2, 2)}
    assert not found({**same, **more}, alike)


@pytest.mark.parametrize(("cut", "known_ones"), [(30, 30), (11, 0)])
def test_a_model_that_ends_early_has_the_first_layers(cut, known_ones):
    assert len(found(inception(cut=cut), INCEPTION)) == known_ones * 4
