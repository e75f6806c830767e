"""Channel and place attention against the written-out formulas."""

import pytest
import torch

from cellseg.multimodal.encoders import CBAM


def sigmoid(value):
    return 1 / (1 + (-value).exp())


def plain_cbam(module, features):
    """One map ``[C, H, W]``, channel by channel and pixel by pixel."""
    first, last = module.mlp[0], module.mlp[2]

    def mlp(vector):
        return last.weight @ (first.weight @ vector + first.bias).clamp(min=0) + last.bias

    channels, height, width = features.shape
    average = torch.stack([features[c].sum() / (height * width) for c in range(channels)])
    largest = torch.stack([features[c].max() for c in range(channels)])
    weighted = sigmoid(mlp(average) + mlp(largest))[:, None, None] * features

    summary = torch.zeros(2, height + 6, width + 6)  # 3 pixels of zeros around it
    summary[0, 3:-3, 3:-3] = weighted.sum(dim=0) / channels
    summary[1, 3:-3, 3:-3] = weighted.max(dim=0).values
    places = torch.zeros(height, width)
    for y in range(height):
        for x in range(width):
            window = summary[:, y : y + 7, x : x + 7]
            places[y, x] = sigmoid((window * module.convolution.weight[0]).sum() + module.convolution.bias[0])
    return places * weighted


@torch.no_grad()
@pytest.mark.parametrize(("channels", "reduction", "hidden"), [(32, 16, 2), (12, 4, 3), (5, 16, 1)])
def test_equals_the_formulas(channels, reduction, hidden):
    torch.manual_seed(channels)
    module = CBAM(channels, reduction)
    assert module.mlp[0].out_features == hidden
    features = torch.randn(2, channels, 4, 9)
    found = module(features)
    for row in range(2):
        torch.testing.assert_close(found[row], plain_cbam(module, features[row]), atol=1e-6, rtol=1e-5)


def test_reduction_is_16_by_default():
    assert CBAM(64).mlp[0].out_features == 4
