"""Volumes: the order of tokens, frames that are missing, a single frame repeated."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cellseg.errors import InputError
from cellseg.multimodal.encoders import VolumeEncoder
from cellseg.multimodal.encoders.volume import fill_frames


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.integers(0, 3))
def test_fill_frames_takes_the_nearest(row, more):
    frames = len(row) + more
    values = torch.arange(2.0 * len(row)).reshape(1, 2, len(row), 1, 1)
    filled, mask = fill_frames(values, torch.tensor([row]), frames)
    assert filled.shape == (1, 2, frames, 1, 1)
    assert mask.tolist() == [[any(row)] * frames]
    real = [place for place, taken in enumerate(row) if taken]
    if real:
        nearest = [min(real, key=lambda place, at=at: (abs(place - at), place)) for at in range(frames)]
        assert filled[0, :, :, 0, 0].tolist() == values[0, :, nearest, 0, 0].tolist()


@torch.no_grad()
def test_a_single_frame_is_a_series_of_that_frame():
    torch.manual_seed(0)
    encoder = VolumeEncoder(width=8, strides=((1, 2), (2, 2)), repeat_frames=5).eval()
    frame = torch.randn(2, 1, 1, 8, 8)
    expected = encoder(frame.expand(-1, -1, 5, -1, -1))
    assert expected.values.shape == (2, 3 * 4, 8)
    torch.testing.assert_close(encoder(frame).values, expected.values)

    series = torch.full((2, 1, 4, 8, 8), float("nan"))
    series[:, :, 2:3] = frame
    mask = (torch.arange(4) == 2).expand(2, -1).clone()
    torch.testing.assert_close(encoder(series, mask).values, expected.values)
    mask[1] = False
    tokens = encoder(series, mask)
    assert tokens.mask[0].all() and not tokens.mask[1].any() and not tokens.values[1].any()


@torch.no_grad()
def test_without_repeating_missing_frames_stay_missing():
    encoder = VolumeEncoder(width=8, strides=((2, 4),)).eval()
    tokens = encoder(torch.randn(1, 1, 4, 8, 8), torch.tensor([[True, True, False, False]]))
    assert tokens.mask.tolist() == [[True] * 4 + [False] * 4]


@torch.no_grad()
def test_tokens_go_frame_by_frame_and_row_by_row():
    torch.manual_seed(0)
    encoder = VolumeEncoder(width=8, strides=((1, 4),)).eval()
    values = torch.randn(1, 1, 3, 8, 12)
    plain = encoder(values).values[0].reshape(3, 2, 3, 8)
    values[0, 0, 2, :4, 8:] += 1  # the last frame's upper right
    moved = (encoder(values).values[0].reshape(3, 2, 3, 8) - plain).abs().amax(dim=3)
    assert moved[2, 0, 2] > 1e-2 and moved[0, 1, 0] == 0


@torch.no_grad()
def test_positions_tell_equal_frames_apart():
    encoder = VolumeEncoder(width=8, strides=((1, 4),)).eval()
    tokens = encoder(torch.ones(1, 1, 9, 8, 8)).values[0].reshape(9, 4, 8)
    assert (tokens[3] - tokens[5]).abs().amax(dim=1).min() > 1e-2


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (dict(repeat_frames=-1), "VolumeEncoder: repeat_frames -1: expected 0 or the frames of a full series"),
        (
            dict(strides=[2, 2]),
            "VolumeEncoder: strides [2, 2]: expected for each block a pair (along the frames, along their sides), from "
            "1 on",
        ),
        (
            dict(strides=[[1, 0]]),
            "VolumeEncoder: strides [[1, 0]]: expected for each block a pair (along the frames, along their sides), "
            "from 1 on",
        ),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(InputError) as caught:
        VolumeEncoder(**options)
    assert str(caught.value) == text


def test_a_series_longer_than_a_full_one_is_refused():
    with pytest.raises(InputError) as caught:
        VolumeEncoder(width=8, repeat_frames=2)(torch.zeros(1, 1, 3, 8, 8))
    assert str(caught.value) == (
        "VolumeEncoder: a series of 3 frames, but repeat_frames is 2; give the number of frames of a full series"
    )
