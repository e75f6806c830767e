"""DenseNet-121 with CBAM: shapes, the ablation, weights from a file, frozen statistics."""

import re

import pytest
import torch
from torch import nn
from torchvision.models import densenet121

from cellseg.errors import InputError, MissingFileError
from cellseg.multimodal.encoders import CBAM, DenseNetEncoder


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return densenet121(weights=None).eval()


@pytest.fixture(scope="module")
def pretrained(network, tmp_path_factory):
    """A file as torchvision publishes it: names with dots, no counters of batches."""
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|relu|conv))([12])\.", r"\1.\2.", name): value
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    path = tmp_path_factory.mktemp("weights") / "densenet121.pth"
    torch.save(old, path)
    return str(path)


@torch.no_grad()
def test_tokens_are_torchvisions_features_after_cbam(network, pretrained):
    torch.manual_seed(1)
    encoder = DenseNetEncoder(pretrained=pretrained, width=8).eval()
    images = torch.randn(2, 3, 64, 64)
    tokens = encoder(images)
    assert encoder.channels == 8 and tokens.values.shape == (2, 4, 8) and tokens.mask.all()

    features = network.features(images).clamp(min=0)
    assert features.shape == (2, 1024, 2, 2)
    torch.testing.assert_close(encoder.features(images), features)
    assert isinstance(encoder.cbam, CBAM) and encoder.cbam.mlp[0].out_features == 64
    weighted = encoder.cbam(features)
    for row in range(2):
        for place, (y, x) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
            expected = encoder.project.weight @ weighted[row, :, y, x] + encoder.project.bias
            torch.testing.assert_close(tokens.values[row, place], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(tokens.pooled, tokens.values.sum(dim=1) / 4)


@torch.no_grad()
def test_without_cbam_features_go_on_as_they_are():
    encoder = DenseNetEncoder(cbam=False).eval()
    images = torch.randn(1, 3, 32, 64)
    tokens = encoder(images)
    assert encoder.channels == 1024
    assert not any(isinstance(module, CBAM) for module in encoder.modules())
    torch.testing.assert_close(tokens.values[0], encoder.features(images)[0].reshape(1024, 2).T)
    assert tokens.values.shape[1] == encoder.grid(32, 64)[0] * encoder.grid(32, 64)[1]


@pytest.mark.parametrize(("pixels", "cells"), [(32, 1), (61, 2), (60, 1), (64, 2), (200, 6), (224, 7), (253, 8)])
def test_grid_follows_the_layers(pixels, cells):
    encoder = DenseNetEncoder(cbam=False)
    size = torch.zeros(1, 1, pixels, 32)
    # What changes the size: a convolution and a pooling at the door, three poolings between the blocks.
    for module in (nn.MaxPool2d(7, 2, 3), nn.MaxPool2d(3, 2, 1), *[nn.AvgPool2d(2, 2)] * 3):
        size = module(size)
    assert encoder.grid(pixels, 224) == (size.shape[2], 7) == (cells, 7)


def test_frozen_statistics_do_not_move_in_training():
    for freeze in (True, False):
        encoder = DenseNetEncoder(cbam=False, freeze_norm=freeze).train()
        assert encoder.features.layers.norm0.training != freeze and encoder.features.layers.conv0.training
        assert encoder.features.layers.norm0.weight.requires_grad
        encoder.features.layers.norm0(torch.randn(2, 64, 4, 4) + 5)
        assert bool(encoder.features.layers.norm0.running_mean.any()) != freeze


def test_a_small_picture_is_refused():
    with pytest.raises(InputError) as caught:
        DenseNetEncoder(cbam=False)(torch.zeros(1, 3, 64, 31))
    assert str(caught.value) == (
        "DenseNetEncoder: a picture of 64 x 31 pixels; it needs 32 along a side at least, give a larger image_size or "
        "use ConvEncoder"
    )


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="nothing.pth: no such checkpoint"):
        DenseNetEncoder(pretrained=str(tmp_path / "nothing.pth"))


def _without_a_layer(state):
    del state["features.denseblock4.denselayer16.conv2.weight"]
    return state


def _of_another_shape(state):
    state["features.conv0.weight"] = torch.zeros(64, 1, 7, 7)
    return state


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda state: [1, 2], "expected the weights of torchvision's densenet121 by name, found other values"),
        (lambda state: {"state_dict": state}, "expected the weights of torchvision's densenet121 by name, found other"),
        (lambda state: {"fc.weight": torch.zeros(2)}, "not the weights of torchvision's densenet121: features.conv0.w"),
        (_without_a_layer, "densenet121: features.denseblock4.denselayer16.conv2.weight is missing, unknown or of"),
        (_of_another_shape, "densenet121: features.conv0.weight is missing, unknown or of another shape, and so are 0"),
        (lambda state: {**state, "features.more": torch.zeros(1)}, "densenet121: features.more is missing, unknown or"),
    ],
)
def test_other_weights_are_refused(network, tmp_path, change, text):
    path = tmp_path / "other.pth"
    torch.save(change(dict(network.state_dict())), path)
    with pytest.raises(InputError, match=re.escape(f"{path}: ") + ".*" + re.escape(text)):
        DenseNetEncoder(pretrained=str(path))


def test_files_that_could_run_code_are_refused(tmp_path):
    path = tmp_path / "code.pth"
    torch.save({"features.conv0.weight": nn.Linear(1, 1)}, path)
    with pytest.raises(InputError, match="refused"):
        DenseNetEncoder(pretrained=str(path))
