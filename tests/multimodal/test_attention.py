"""Attention between padded sequences: against plain formulas, with masks, with rows that have nothing to read."""

import math

import pytest
import torch
from torch.nn.functional import gelu, layer_norm

from cellseg.errors import InputError
from cellseg.multimodal.attention import AttentionBlock, MultiHeadAttention, open_empty_rows


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def plain_attention(attention, queries, keys):
    """One row without masks, head by head: ``softmax(q k / sqrt(d)) v``."""
    inner = attention.attend
    q, k, v = (
        tokens @ weight.T + bias
        for tokens, weight, bias in zip(
            (queries, keys, keys), inner.in_proj_weight.chunk(3), inner.in_proj_bias.chunk(3), strict=True
        )
    )
    size = q.shape[1] // inner.num_heads
    read, weights = [], []
    for start in range(0, q.shape[1], size):
        part = slice(start, start + size)
        scores = (q[:, part] @ k[:, part].T / math.sqrt(size)).exp()
        weights.append(scores / scores.sum(dim=1, keepdim=True))
        read.append(weights[-1] @ v[:, part])
    return torch.cat(read, dim=1) @ inner.out_proj.weight.T + inner.out_proj.bias, torch.stack(weights)


@pytest.fixture
def attention():
    torch.manual_seed(3)
    module = MultiHeadAttention(12, 3).eval()
    for bias in (module.attend.in_proj_bias, module.attend.out_proj.bias):
        torch.nn.init.normal_(bias)  # torch's begin at 0
    return module


@torch.no_grad()
def test_masked_rows_equal_the_plain_formula_on_their_real_keys(attention):
    queries, keys = random(4, 5, 12, seed=1), random(4, 7, 12, seed=2)
    mask = (
        torch.tensor([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0, 0], [0, 1, 0, 0, 1, 0, 1], [0, 0, 0, 0, 0, 0, 1]]) > 0
    )
    keys[~mask] = float("nan")
    read, weights = attention(queries, keys, mask)
    assert weights.shape == (4, 3, 5, 7)
    for row in range(4):
        expected, expected_weights = plain_attention(attention, queries[row], keys[row, mask[row]])
        torch.testing.assert_close(read[row], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(weights[row][:, :, mask[row]], expected_weights, atol=1e-6, rtol=0)
    assert not weights.permute(0, 3, 1, 2)[~mask].any()


@pytest.mark.parametrize("keys", [3, 0])
def test_a_row_without_keys_reads_zeros(attention, keys):
    values = random(2, keys, 12)
    mask = torch.tensor([[False] * keys, [True] * keys], dtype=torch.bool)
    queries = random(2, 4, 12, seed=1).requires_grad_()
    read, weights = attention(queries, values, mask)
    assert not read[0].any() and not weights[0].any()
    assert bool(read[1].any()) == (keys > 0)
    read.sum().backward()
    assert queries.grad.isfinite().all()


def test_open_empty_rows():
    mask = torch.tensor([[False, False], [False, True], [True, True]])
    assert open_empty_rows(mask).tolist() == [[True, False], [False, True], [True, True]]
    assert open_empty_rows(torch.zeros(2, 0, dtype=torch.bool)).shape == (2, 0)


@torch.no_grad()
@pytest.mark.parametrize("attends", [True, False])
def test_block_equals_its_formula(attends):
    torch.manual_seed(0)
    block = AttentionBlock(8, 2, feedforward=3, dropout=0.5, attends=attends).eval()
    for norm in (block.attention_norm, block.feedforward_norm):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    values, keys = random(1, 4, 8, seed=1), random(1, 6, 8, seed=2)
    mask = torch.ones(1, 6, dtype=torch.bool)
    found, weights = block(values, keys, mask) if attends else block(values)

    plain = values[0]
    if attends:
        read, expected_weights = plain_attention(block.attention, plain, keys[0])
        torch.testing.assert_close(weights[0], expected_weights)
        plain = plain + read
    plain = layer_norm(plain, (8,), block.attention_norm.weight, block.attention_norm.bias)
    first, last = block.feedforward[0], block.feedforward[3]
    assert first.out_features == 24
    inner = gelu(plain @ first.weight.T + first.bias) @ last.weight.T + last.bias
    plain = layer_norm(plain + inner, (8,), block.feedforward_norm.weight, block.feedforward_norm.bias)
    torch.testing.assert_close(found[0], plain, atol=1e-5, rtol=0)
    assert (weights is None) == (not attends)


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    block = AttentionBlock(8, 2, dropout=0.5)
    values, mask = random(1, 4, 8), torch.ones(1, 4, dtype=torch.bool)
    first, second = (block.train()(values, values, mask)[0] for _ in range(2))
    assert (first != second).any()
    first, second = (block.eval()(values, values, mask)[0] for _ in range(2))
    assert (first == second).all()


@pytest.mark.parametrize(("width", "heads"), [(10, 3), (0, 1), (8, 0)])
def test_a_width_that_heads_cannot_share_is_refused(width, heads):
    with pytest.raises(InputError) as caught:
        MultiHeadAttention(width, heads)
    assert str(caught.value) == (
        f"MultiHeadAttention: width {width} cannot be split among {heads} heads; choose a multiple"
    )
