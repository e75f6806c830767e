"""The small picture encoder: sizes of its map, where a token lies, options."""

import pytest
import torch

from cellseg.errors import InputError
from cellseg.multimodal.encoders import CBAM, ConvEncoder


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 32), (33, 20), (7, 50)])
@pytest.mark.parametrize("strides", [(2, 2), (1, 3, 2), (4,)])
def test_grid_is_the_size_of_the_map(size, strides):
    encoder = ConvEncoder(width=16, strides=strides)
    images = torch.randn(2, 3, *size)
    assert encoder.features(images).shape == (2, 16, *encoder.grid(*size))
    assert encoder(images).values.shape == (2, encoder.grid(*size)[0] * encoder.grid(*size)[1], 16)


@torch.no_grad()
def test_tokens_go_row_by_row():
    torch.manual_seed(0)
    encoder = ConvEncoder(width=8, in_channels=1, strides=(4, 4), position_size=2).eval()
    images = torch.randn(1, 1, 32, 48)
    features = encoder.features(images) + encoder.positions(2, 3)
    tokens = encoder(images).values[0]
    for place, (y, x) in enumerate((y, x) for y in range(2) for x in range(3)):
        torch.testing.assert_close(tokens[place], encoder.norm(features[0, :, y, x]))


@torch.no_grad()
def test_positions_tell_equal_places_apart():
    encoder = ConvEncoder(width=8, strides=(8, 1), position_size=3).eval()
    inner = encoder(torch.zeros(1, 3, 40, 40)).values[0].reshape(5, 5, 8)[1:4, 1:4].reshape(9, 8)
    assert torch.cdist(inner, inner)[~torch.eye(9, dtype=torch.bool)].min() > 1e-3


def test_later_stages_are_wider():
    encoder = ConvEncoder(width=32, strides=(2, 2, 2, 2), blocks=2)
    assert [block.body[0].out_channels for block in encoder.features] == [8, 8, 8, 8, 16, 16, 32, 32]
    assert [block.body[0].stride[0] for block in encoder.features] == [2, 1] * 4
    assert isinstance(ConvEncoder(width=8, cbam=True).cbam, CBAM)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (dict(width=0), "ConvEncoder: width 0 and blocks 1: expected 1 or more"),
        (dict(blocks=0), "ConvEncoder: width 128 and blocks 0: expected 1 or more"),
        (dict(strides=[]), "ConvEncoder: strides []: expected one number from 1 on for each stage"),
        (dict(strides=[2, 0]), "ConvEncoder: strides [2, 0]: expected one number from 1 on for each stage"),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(InputError) as caught:
        ConvEncoder(**options)
    assert str(caught.value) == text
