"""Convolutions over padded sequences: masks that shorten, blocks against a written-out one."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cellseg.multimodal.encoders.masked_convolution import ChannelNorm, MaskedResidualBlock, hide, shorten


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(1, 4))
def test_shorten_keeps_what_holds_a_real_position(row, step):
    expected = [any(row[start : start + step]) for start in range(0, len(row), step)]
    assert shorten(torch.tensor([row]), step).tolist() == [expected]


@torch.no_grad()
@pytest.mark.parametrize(("inputs", "stride", "kernel"), [(3, 2, 5), (4, 1, 3), (3, 1, 1), (4, 3, 3)])
def test_block_equals_a_written_out_one(inputs, stride, kernel):
    torch.manual_seed(kernel)
    block = MaskedResidualBlock(inputs, 4, kernel, stride)
    values = torch.randn(1, inputs, 11)
    mask = torch.arange(11)[None] < 8

    def convolved(sequence, module, step):
        weight, half = module.weight, module.weight.shape[2] // 2
        steps = []
        for middle in range(0, len(sequence), step):
            total = module.bias.clone()
            for offset in range(-half, half + 1):
                if 0 <= middle + offset < len(sequence):
                    total = total + weight[:, :, offset + half] @ sequence[middle + offset]
            steps.append(total)
        return torch.stack(steps)

    real = values[0, :, :8].T
    inner = torch.nn.functional.gelu(block.first_norm(convolved(real, block.first, stride).T[None]))[0].T
    inner = block.second_norm(convolved(inner, block.second, 1).T[None])[0].T
    same = inputs == 4 and stride == 1
    shortcut = real if same else convolved(real, block.shortcut, stride)
    expected = torch.nn.functional.gelu(inner + shortcut)
    found, shorter = block(values, mask)
    assert shorter.sum() == len(expected) and not found[:, :, len(expected) :].any()
    torch.testing.assert_close(found[0, :, : len(expected)].T, expected, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("shape", [(2, 5, 3), (2, 5, 3, 2, 4)])
def test_channel_norm_is_that_of_each_place(shape):
    norm = ChannelNorm(5)
    torch.nn.init.normal_(norm.weight)
    values = torch.randn(shape) * 3 + 1
    found = norm(values)
    middle = values.mean(dim=1, keepdim=True)
    spread = ((values - middle).square().mean(dim=1, keepdim=True) + norm.eps).sqrt()
    weight = norm.weight.reshape(1, 5, *[1] * (len(shape) - 2))
    torch.testing.assert_close(found, (values - middle) / spread * weight, atol=1e-5, rtol=0)


def test_hide_reaches_all_sides_of_a_frame():
    hidden = hide(torch.ones(1, 2, 3, 2, 2), torch.tensor([[True, False, True]]))
    assert hidden.sum() == 16 and not hidden[:, :, 1].any()
