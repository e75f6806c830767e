"""Backbones without the pooling after the stem."""

import pytest
import torch
from mmengine.registry import MODELS

import cellseg.openmmlab  # noqa: F401  before mmdet is imported

NORM = dict(type="GN", num_groups=8)
SMALL = {
    "FineStemResNet": (dict(depth=10, base_channels=16), [16, 32, 64, 128]),
    "FineStemResNeSt": (dict(depth=14, base_channels=8, stem_channels=16), [32, 64, 128, 256]),
}


def build(name, **options):
    import cellseg.models.backbones  # noqa: F401  registers them

    return MODELS.build(dict(type=name, norm_cfg=NORM, norm_eval=False, **options))


@pytest.mark.parametrize("name", SMALL)
def test_features_at_strides_2_4_8_16(name):
    options, channels = SMALL[name]
    network = build(name, **options)
    features = network(torch.randn(1, 3, 64, 96))
    assert [tuple(part.shape) for part in features] == [
        (1, count, 64 // stride, 96 // stride) for count, stride in zip(channels, (2, 4, 8, 16), strict=True)
    ]
    sum(part.square().mean() for part in features).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())


def test_split_attention_weighs_its_branches():
    network = build("FineStemResNeSt", **SMALL["FineStemResNeSt"][0])
    attention = [module for module in network.modules() if type(module).__name__ == "SplitAttentionConv2d"]
    assert len(attention) == 4 and {module.radix for module in attention} == {2}
    assert all(module.fc2.weight.shape[0] == 2 * module.channels for module in attention)


@pytest.mark.parametrize(("name", "depth", "blocks"), [("FineStemResNet", 18, 8), ("FineStemResNeSt", 50, 16)])
def test_usual_depths_are_there_too(name, depth, blocks):
    network = build(name, depth=depth, base_channels=8, stem_channels=16)
    assert sum(len(getattr(network, layer)) for layer in network.res_layers) == blocks
